"""Recordings and volumes without what their headers say of the patient: EDF, BDF and NIfTI. No sample and no voxel is touched.

Fields are overwritten where they stand, so nothing else moves: EDF's by what EDF+ writes for "unknown" (X), and the first day
that its clock knows; NIfTI's texts and extensions (DICOM headers, comments) by zeros.
"""

import gzip
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from datasets.arrivals.found import Refused

FORMATS = ("edf", "bdf", "nifti", "nifti.gz", "nifti-gz")  # the last two: as arrivals and as cells call it
PIECE = 1024 * 1024
HEADER = 256  # bytes of EDF's fixed header, and of each signal's
MOST_HEAD = 64 * 2**20  # bytes before the voxels
# EDF+ 2.1.3.3: patient (number, sex, birth date, name), recording (start date, number, technician, equipment), date, time.
PERSON = ((8, b"X X X X".ljust(80)), (88, b"Startdate X X X X".ljust(80)), (168, b"01.01.85" + b"00.00.00"))
# NIfTI's fields of free text: (place, length); NIfTI-2 lacks the two that are there for Analyze.
TEXTS = {1: ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16)), 2: ((240, 80), (320, 24), (508, 16))}
GZIP_EXTRA, GZIP_NAME, GZIP_COMMENT = 4, 8, 16


def clean(path: Path, form: str, out: Path) -> int:
    """Write it without what names the patient to `out`; how many pieces went, with 0 nothing is written. Raises Refused."""
    try:
        if form in ("edf", "bdf"):
            return _edf(path, 3 if form == "bdf" else 2, out)
        return _nifti(path, out) if form == "nifti" else _nifti_gz(path, out)
    except (struct.error, ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refused("metadata_header") from error


# -- EDF and BDF --


def _edf(path: Path, width: int, out: Path) -> int:
    with path.open("rb") as stream:
        changes = list(_edf_changes(stream, width))
    if not changes:
        return 0
    shutil.copyfile(path, out)
    with out.open("r+b") as stream:
        for place, content in changes:
            stream.seek(place)
            stream.write(content)
    return len(changes)


def _edf_changes(stream: IO[bytes], width: int) -> Iterator[tuple[int, bytes]]:
    """(place, what is to stand there) wherever it does not already."""
    fixed = stream.read(HEADER)
    for place, content in PERSON:
        if fixed[place : place + len(content)] != content:
            yield place, content
    count, records = int(fixed[252:256]), int(fixed[236:244])
    described = stream.read(HEADER * count)
    samples = [int(described[216 * count + 8 * k : 216 * count + 8 * k + 8]) for k in range(count)]
    annotated = [k for k in range(count) if described[16 * k : 16 * k + 16].strip() in (b"EDF Annotations", b"BDF Annotations")]
    size = sum(samples) * width
    for record in range(records) if annotated else ():
        for k in annotated:
            place = HEADER * (count + 1) + record * size + sum(samples[:k]) * width
            stream.seek(place)
            content = stream.read(samples[k] * width)
            kept = _time_only(content) if k == annotated[0] else b""
            if content != (wanted := kept.ljust(len(content), b"\0")):
                yield place, wanted


def _time_only(annotations: bytes) -> bytes:
    """When the record began, which its first annotation says (EDF+ 2.2.4), without what anybody wrote there."""
    onset, mark, _rest = annotations.partition(b"\x14")
    return onset + b"\x14\x14\0" if mark and onset[:1] in (b"+", b"-") else b""


# -- NIfTI --


def _nifti(path: Path, out: Path) -> int:
    with path.open("rb") as stream:
        head = _head(stream)
    cleaned, count = _without_texts(head)
    if count:
        shutil.copyfile(path, out)
        with out.open("r+b") as stream:
            stream.write(cleaned)
    return count


def _nifti_gz(path: Path, out: Path) -> int:
    with path.open("rb") as raw:
        named = raw.read(4)[3:] or b"\0"
    with gzip.open(path) as stream:
        cleaned, count = _without_texts(_head(stream))
        count += bool(named[0] & (GZIP_EXTRA | GZIP_NAME | GZIP_COMMENT))  # the file's name where it was packed
        if count:
            with out.open("wb") as target, gzip.GzipFile("", "wb", 6, target, mtime=0) as packed:
                packed.write(cleaned)
                shutil.copyfileobj(stream, packed, PIECE)
    return count


def _head(stream: IO[bytes] | gzip.GzipFile) -> bytes:
    """All that stands before the voxels. Raises Refused."""
    head = stream.read(348)
    two = head[4:7] == b"n+2"
    head += stream.read(192) if two else b""
    orders = [order for order in "<>" if struct.unpack_from(order + "i", head)[0] == len(head)]
    if not orders:
        raise Refused("metadata_header")
    (offset,) = struct.unpack_from(orders[0] + ("q" if two else "f"), head, 168 if two else 108)
    if not 0 <= offset <= MOST_HEAD:
        raise Refused("metadata_header")
    return head + stream.read(max(int(offset), len(head) + 4) - len(head))


def _without_texts(head: bytes) -> tuple[bytes, int]:
    """(the same with zeros for texts and extensions, how many there were)."""
    version, size = (2, 540) if head[4:7] == b"n+2" else (1, 348)
    out, count = bytearray(head), 0
    for place, length in (*TEXTS[version], (size, len(head) - size)):
        if any(out[place : place + length]):
            out[place : place + length] = bytes(length)
            count += 1
    return bytes(out), count
