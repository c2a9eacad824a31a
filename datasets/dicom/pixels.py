"""The frames of a DICOM object as a person sees them: window or look-up table, colour, overlays. The engine decodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.dicom.codes import Unreadable
from datasets.dicom.reading import coded, syntax_readable
from engine.errors import FileRefused
from engine.pictures import dicom_picture, frames_of

OVERLAY_GROUPS = range(0x6000, 0x6100, 2)


def frame_count(data: Any) -> int:
    """How many frames; raises Unreadable ("no_pixels", "too_large", "header_unreadable")."""
    with coded("header_unreadable"):
        try:
            return frames_of(data)
        except FileRefused as error:
            raise Unreadable("too_large" if "too many" in str(error) else "no_pixels") from None


def shown(
    data: Any, index: int = 0, *, window: tuple[float, float] | None = None, overlays: bool = True
) -> NDArray[np.uint8]:
    """(rows, columns, 3), 0 to 255: one frame as a radiologist's screen shows it. Raises Unreadable.

    `window`: (centre, width) in the modality's units (Hounsfield for CT); None: what the file says, else its percentiles.
    Overlays are drawn white on top.
    """
    count = frame_count(data)
    if not 0 <= index < count:
        raise Unreadable("pixels_unreadable", "no such frame")
    if not syntax_readable(str(data.file_meta.TransferSyntaxUID)):
        raise Unreadable("syntax_unsupported")
    check_length(data, count)
    with coded("pixels_unreadable"):
        picture = np.rint(dicom_picture(data, index, window) * 255).astype(np.uint8)
        if overlays:
            for plane in overlay_planes(data, index):
                rows, columns = min(plane.shape[0], picture.shape[0]), min(plane.shape[1], picture.shape[1])
                picture[:rows, :columns][plane[:rows, :columns]] = 255
    return picture


def native_length(data: Any, count: int) -> int | None:
    """How many bytes the pixels of `count` frames are, by the header; None where they are compressed."""
    from pydicom.pixels.utils import get_expected_length

    if data.file_meta.TransferSyntaxUID.is_compressed or "PixelData" not in data:
        return None
    with coded("pixels_unreadable"):
        return int(get_expected_length(data)) if count else 0


def check_length(data: Any, count: int) -> None:
    """Raises Unreadable("truncated") where native pixels are fewer than the header says."""
    expected = native_length(data, count)
    if expected is not None and len(data.PixelData) < expected:
        raise Unreadable("truncated")


def overlay_planes(data: Any, index: int = 0) -> list[NDArray[np.bool_]]:
    """The overlays that lie on a frame, each (rows, columns) from the picture's top left corner; damaged ones are left out."""
    planes = []
    for group in OVERLAY_GROUPS:
        if (group, 0x3000) not in data or (group, 0x0010) not in data:
            continue
        try:
            planes += [_placed(data, group, index)]
        except Exception:  # noqa: S112  # an overlay is a drawing on top: without it the picture is still the picture
            continue
    return planes


def _placed(data: Any, group: int, index: int) -> NDArray[np.bool_]:
    plane = np.asarray(data.overlay_array(group)).astype(bool)
    if plane.ndim == 3:
        first = int(data.get((group, 0x0051), None).value) - 1 if (group, 0x0051) in data else 0
        if not 0 <= index - first < plane.shape[0]:
            return np.zeros((0, 0), dtype=bool)
        plane = plane[index - first]
    element = data.get((group, 0x0050))
    down, right = (int(v) - 1 for v in element.value) if element is not None and element.value else (0, 0)
    plane = plane[max(0, -down) :, max(0, -right) :]
    return np.pad(plane, ((max(0, down), 0), (max(0, right), 0)))
