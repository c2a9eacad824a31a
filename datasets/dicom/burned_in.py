"""Does the picture itself name the patient? By what the header says, and by looking for lines of characters.

Looking finds letters and digits as a person does before reading: small shapes of one brightness, sharp against what is around
them, of like height, side by side on one line. It reads nothing, so it needs no model and no dictionary and finds Chinese as
well; it is a net for what the header does not confess. How often it is right was measured: see the ADR and
`tests/datasets/dicom/test_burned_in.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.dicom.codes import Unreadable
from datasets.dicom.picture import bit_overlays
from datasets.dicom.pixels import frame_count, shown

FRAMES = 12  # of a multi-frame that are looked at, evenly spread
LARGEST = 2048  # pixels of the longer side; larger pictures are looked at at half size, and so on
# Kinds of objects whose pictures are made of screens, paper or consoles (PS3.4 B.5).
SCREENS = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
        "1.2.840.10008.5.1.4.1.1.7.1",
        "1.2.840.10008.5.1.4.1.1.7.2",
        "1.2.840.10008.5.1.4.1.1.7.3",
        "1.2.840.10008.5.1.4.1.1.7.4",
        "1.2.840.10008.5.1.4.1.1.6.1",  # ultrasound
        "1.2.840.10008.5.1.4.1.1.6",
        "1.2.840.10008.5.1.4.1.1.3.1",
        "1.2.840.10008.5.1.4.1.1.3",
    }
)
DOCUMENTS = frozenset(f"1.2.840.10008.5.1.4.1.1.104.{n}" for n in range(1, 6))
MODALITIES = frozenset({"US", "IVUS", "ECHO", "SC", "OT", "DOC", "HC", "FID", "SCREEN"})
IMAGE_TYPES = (
    "SCREEN",
    "CAPTURE",
    "REPORT",
    "DOSE_INFO",
    "DOSE INFO",
    "PATIENT_PROTOCOL",
    "PRINT",
    "FILM",
    "SECONDARY CAPTURE",
)


def by_header(data: Any) -> tuple[str, ...]:
    """Codes of QUARANTINE that the header alone gives; "NO" in Burned In Annotation is believed of pictures that usually
    show text, and looked at all the same."""
    if str(data.get("SOPClassUID", "")) in DOCUMENTS or "EncapsulatedDocument" in data:
        return ("document",)
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        return ()
    said = str(data.get("BurnedInAnnotation", "") or "").strip().upper()
    if said == "YES":
        return ("burned_in_declared",)
    if bit_overlays(data) and data.file_meta.TransferSyntaxUID.is_compressed:
        return ("overlay_in_pixels",)
    return ("burned_in_likely",) if said != "NO" and usually_shows_text(data) else ()


def usually_shows_text(data: Any) -> bool:
    """Whether the kind of object, the modality, the image type or the conversion tell of a screen, a scan or ultrasound."""
    kinds = [str(part).upper() for part in np.atleast_1d(data.get("ImageType", None) or [])]
    return (
        str(data.get("SOPClassUID", "")) in SCREENS
        or str(data.get("Modality", "")).upper() in MODALITIES
        or any(word in part for word in IMAGE_TYPES for part in kinds)
        or str(data.get("ConversionType", "") or "").upper() in ("SD", "SI", "DF", "DV")
        or "SecondaryCaptureDeviceManufacturer" in data
    )


def by_looking(data: Any) -> tuple[tuple[str, ...], int]:
    """(codes of QUARANTINE, how many frames were looked at)."""
    try:
        count = frame_count(data)
    except Unreadable as error:
        return ((), 0) if error.code == "no_pixels" else (("pixels_unread",), 0)
    chosen = np.unique(np.linspace(0, count - 1, min(count, FRAMES)).round().astype(int))
    for seen, index in enumerate(chosen, start=1):
        try:
            frame = shown(data, int(index), overlays=False)
        except Unreadable as error:
            if error.code == "truncated":
                raise
            return ("pixels_unread",), seen
        if text_lines(frame):
            return ("text_seen",), seen
    return (), len(chosen)


def text_lines(picture: NDArray[np.uint8]) -> int:
    """How many lines of characters a picture (rows, columns[, 3]) seems to show."""
    grey = picture if picture.ndim == 2 else picture.max(axis=2)
    step = -(-max(grey.shape) // LARGEST)
    wide: NDArray[np.uint8] = grey[::step, ::step].astype(np.uint8)
    if min(wide.shape) < 16:
        return 0
    return max(_lines(_characters(wide)), _lines(_characters(np.uint8(255) - wide)))


def _characters(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n, 4): top, bottom, left, right of bright shapes that could be characters."""
    from scipy.ndimage import find_objects, label

    boxes: list[tuple[float, float, float, float]] = []
    for bright in _bright(grey):
        marks, _count = label(bright, structure=np.ones((3, 3), dtype=bool))
        for number, place in enumerate(find_objects(marks), start=1):
            rows, columns = place
            high, wide = rows.stop - rows.start, columns.stop - columns.start
            if not (HEIGHT[0] <= high <= HEIGHT[1] and 1 <= wide <= 1.6 * high):
                continue
            own = marks[place] == number
            filled = own.mean()
            if not FILLED[0] <= filled <= (1.0 if wide <= 0.35 * high else FILLED[1]):
                continue
            if _sharp(grey, rows, columns, own):
                boxes.append((rows.start, rows.stop, columns.start, columns.stop))
    return np.unique(np.array(boxes, dtype=float).reshape(-1, 4), axis=0)


HEIGHT = (6, 96)  # pixels
FILLED = (0.12, 0.88)
EDGE = 30  # grey levels between a character and what is around it
ALIKE = 0.3  # heights of neighbours on a line
CHARACTERS = 4  # on a line
STROKE = 9  # pixels: what is thinner is a stroke, what is wider is tissue
STEPS = (70, 110, 160)  # grey levels above what lies around


def _bright(grey: NDArray[np.uint8]) -> Iterator[NDArray[np.bool_]]:
    """Where the picture is as bright as its brightest, and where it is brighter than what lies around, by several steps:
    text has one brightness, but thin letters are smoothed, and text may lie on tissue."""
    from scipy.ndimage import grey_opening

    yield grey >= max(int(grey.max()) - 12, EDGE)
    above = grey - grey_opening(grey, size=(STROKE, STROKE))
    for level in STEPS:
        yield above >= level


def _sharp(grey: NDArray[np.uint8], rows: slice, columns: slice, own: NDArray[np.bool_]) -> bool:
    """Whether what lies around the shape is much darker than the shape."""
    from scipy.ndimage import binary_dilation

    around = slice(max(0, rows.start - 2), rows.stop + 2), slice(max(0, columns.start - 2), columns.stop + 2)
    inside = np.zeros(grey[around].shape, dtype=bool)
    top, left = rows.start - around[0].start, columns.start - around[1].start
    inside[top : top + own.shape[0], left : left + own.shape[1]] = own
    ring = binary_dilation(inside, iterations=2) & ~binary_dilation(inside, iterations=1)
    if not ring.any():
        return False
    return float(np.median(grey[around][inside]) - np.percentile(grey[around][ring], 75)) >= EDGE


def _lines(boxes: NDArray[np.float64]) -> int:
    """Rows of at least CHARACTERS boxes of like height that stand side by side on one base line."""
    if len(boxes) < CHARACTERS:
        return 0
    boxes = boxes[np.argsort(boxes[:, 2])]
    ends: list[tuple[NDArray[np.float64], int]] = []  # (last box of a line, how many it has)
    for box in boxes:
        high = box[1] - box[0]
        best = None
        for k, (last, _n) in enumerate(ends):
            other = last[1] - last[0]
            gap = box[2] - last[3]
            if (
                -0.2 * high <= gap <= 0.9 * max(high, other)
                and abs(high - other) <= ALIKE * max(high, other)
                and abs(box[1] - last[1]) <= 0.25 * max(high, other)
                and (best is None or gap < box[2] - ends[best][0][3])
            ):
                best = k
        if best is None:
            ends.append((box, 1))
        else:
            ends[best] = (box, ends[best][1] + 1)
    return sum(n >= CHARACTERS for _last, n in ends)
