"""Reading a DICOM file: with or without its Part 10 header, bounded, any failure as one of a few codes."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.dicom.codes import Unreadable
from engine.errors import FileRefused
from engine.jpeg12 import register
from engine.pictures import read_dicom

MOST_BYTES = 2**30  # of a file that is read at once
MOST_SEQUENCES = 64  # sequences within sequences: more is an attack on the stack, not a picture
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
DEFLATED = b"1.2.840.10008.1.2.1.99"
UNDEFINED = 0xFFFFFFFF  # a length that is told by the end of what it is of
DICOMDIR = "1.2.840.10008.1.3.10"
# What a data set without the Part 10 header must have for it to be taken as one.
_SIGNS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "Modality", "Rows")


@dataclass(frozen=True)
class Instance:
    """What grouping and choosing need to know of one file; holds UIDs and geometry, and nothing of the patient.

    `orientation` (6) and `position` (3) are the patient's LPS millimetres, None where the file does not tell.
    """

    path: Path
    sop_class: str
    uid: str
    series: str
    study: str
    frame_of_reference: str
    modality: str
    transfer_syntax: str
    rows: int
    columns: int
    frames: int
    number: int
    series_number: int
    has_pixels: bool
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None


@contextmanager
def coded(code: str) -> Iterator[None]:
    """Whatever pydicom and its decoders raise inside becomes Unreadable(code); their own words could quote values.

    For the same reason their warnings are not shown (and the settings keep pydicom's logger silent).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Unreadable:
        raise
    except FileRefused as error:
        raise Unreadable("too_large" if "too" in str(error) else code, type(error).__name__) from None
    except (EOFError, struct.error):
        raise Unreadable("truncated") from None
    except (MemoryError, RecursionError) as error:
        raise Unreadable(
            "too_large" if isinstance(error, MemoryError) else code, type(error).__name__
        ) from None
    except Exception as error:  # decoders raise whatever they like
        raise Unreadable(code, type(error).__name__) from None


def read(path: Path, *, header: bool = False) -> Any:
    """The data set of a file; with `header` without its pixels. Raises Unreadable.

    A DICOMDIR is refused (its images are files of their own). A file without the Part 10 header (no preamble, no file
    meta) is read where it looks like a data set; it can't be deflated.
    """
    if path.stat().st_size > MOST_BYTES and not header:
        raise Unreadable("too_large")
    with path.open("rb") as stream:
        head = stream.read(2048)
    part10 = head[128:132] == b"DICM"
    if not part10 and (len(head) < 8 or DEFLATED in head):
        raise Unreadable("not_dicom")
    with coded("header_unreadable" if part10 else "not_dicom"):
        data = read_dicom(path, header=header) if part10 else _bare(path, header)
        _check(data)
    if (
        str(data.get("MediaStorageSOPClassUID", "") or data.file_meta.get("MediaStorageSOPClassUID", ""))
        == DICOMDIR
    ):
        raise Unreadable("dicomdir")
    return data


def _bare(path: Path, header: bool) -> Any:
    from pydicom import dcmread

    data = dcmread(path, force=True, stop_before_pixels=header)
    if sum(name in data for name in _SIGNS) < 2:
        raise Unreadable("not_dicom")
    return data


def _check(data: Any) -> None:
    """Convert every element of the header now: what is damaged fails here, not in the middle of somebody's work."""
    from pydicom.dataset import FileMetaDataset

    if getattr(data, "file_meta", None) is None:
        data.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in data.file_meta:
        implicit, little = data.original_encoding
        data.file_meta.TransferSyntaxUID = (
            "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
        )
    for tag in list(data.keys()):
        raw = data.get_item(tag)
        length = getattr(raw, "length", None)  # of an element that isn't converted yet
        if length not in (None, UNDEFINED) and raw.value is not None and len(raw.value) < length:
            raise Unreadable("truncated")
    _walk(data, 0)


def _walk(data: Any, depth: int) -> None:
    if depth > MOST_SEQUENCES:
        raise Unreadable("header_unreadable", "too many sequences within sequences")
    for element in data:
        if element.VR == "SQ":
            for item in element.value:
                _walk(item, depth + 1)


def describe(path: Path) -> Instance:
    """An Instance from the header of a file. Raises Unreadable; "no_uid" where it can't be told which image it is."""
    data = read(path, header=True)
    with coded("header_unreadable"):
        found = instance_of(path, data)
    if not (found.uid and found.series and found.study):
        raise Unreadable("no_uid")
    return found


def instance_of(path: Path, data: Any) -> Instance:
    """An Instance from a data set. Raises what a damaged value raises."""
    rows, columns = int(data.get("Rows", 0) or 0), int(data.get("Columns", 0) or 0)
    meta = data.file_meta
    return Instance(
        path=path,
        sop_class=str(data.get("SOPClassUID", "") or ""),
        uid=str(data.get("SOPInstanceUID", "") or ""),
        series=str(data.get("SeriesInstanceUID", "") or ""),
        study=str(data.get("StudyInstanceUID", "") or ""),
        frame_of_reference=str(data.get("FrameOfReferenceUID", "") or ""),
        modality=str(data.get("Modality", "") or ""),
        transfer_syntax=str(meta.get("TransferSyntaxUID", "")),
        rows=rows,
        columns=columns,
        frames=max(1, int(data.get("NumberOfFrames", 1) or 1)) if rows and columns else 0,
        number=int(data.get("InstanceNumber", 0) or 0),
        series_number=int(data.get("SeriesNumber", 0) or 0),
        has_pixels=rows > 0 and columns > 0,
        orientation=_numbers(_first(data, "PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        position=_numbers(_first(data, "PlanePositionSequence", "ImagePositionPatient"), 3),
    )


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    if value is None or isinstance(value, str | float) or len(value) != count:
        return None
    numbers = tuple(float(part) for part in value)
    return numbers if all(map(math.isfinite, numbers)) else None


def _first(data: Any, group: str, name: str) -> Any:
    """On top, else in the first frame's functional group, else in the shared one (PS3.3 C.7.6.16)."""
    if data.get(name) is not None:
        return data.get(name)
    for sequence in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for holder in list(data.get(sequence, None) or [])[:1]:
            for item in list(holder.get(group, None) or [])[:1]:
                if item.get(name) is not None:
                    return item.get(name)
    return None


def syntax_readable(syntax: str) -> bool:
    """Whether the pixels of a transfer syntax are decoded here: native ones, and those that a decoder is installed for."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    register()
    uid = UID(syntax)
    if not uid.is_transfer_syntax or uid.is_private:
        return False
    if not uid.is_compressed:
        return True
    try:
        return get_decoder(uid).is_available
    except NotImplementedError:
        return False
