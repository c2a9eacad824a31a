"""NIfTI volumes, plain and gzipped: the header by nibabel, and as many bytes as it claims."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

from datasets.arrivals import signatures
from datasets.arrivals.found import Found, Refused, Shape
from datasets.arrivals.looks import texts
from datasets.storage import limit_text

MOST_VOXELS = 2**28  # of one volume, as engine.volumes
MOST_BYTES = 8 * 2**30  # of a series of volumes, unpacked
PIECE = 1024 * 1024


def look(path: Path, form: str) -> Found:
    """A plain file. Raises Refused, or what nibabel raises."""
    with path.open("rb") as stream:
        return _look(stream, path.stat().st_size, "nifti")


def look_gzip(path: Path, form: str) -> Found:
    """What a gzipped file holds: a volume, a table, or one other file, which is unpacked as from an archive."""
    try:
        with gzip.open(path) as stream:
            head = stream.read(signatures.HEAD)
            claims = signatures.claims(head)
            if claims[:1] == ["nifti"]:
                stream.seek(0)
                return _look(stream, None, "nifti.gz")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refused("truncated" if isinstance(error, EOFError) else "damaged", format="GZIP") from error
    if not head:
        raise Refused("empty")
    if "tar" in claims:
        raise Refused("archive_format", format="TAR")
    if "gzip" in claims:
        raise Refused("nested")
    if not claims and signatures.plainly_refused(head) is None and texts.tabular(head):
        return texts.look_table(path, "gzip")
    return Found(Shape.ARCHIVE, "gzip")


def _look(stream: Any, size: int | None, form: str) -> Found:
    from nibabel import Nifti1Header, Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    head = stream.read(540)
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        raise Refused("nifti_pair")
    two = head[4:7] == b"n+2"
    try:
        header = (Nifti2Header if two else Nifti1Header)(head if two else head[:348])
        shape = tuple(int(n) for n in header.get_data_shape())
        each, offset = int(header.get_data_dtype().itemsize), int(header.get_data_offset())
    except (HeaderDataError, ValueError) as error:
        raise Refused("damaged", format="NIFTI") from error
    if len(shape) < 3 or min(shape) < 1:
        raise Refused("wrong_size")
    if math.prod(shape[:3]) > MOST_VOXELS or math.prod(shape) * each > MOST_BYTES:
        raise Refused("too_large", limit=limit_text(MOST_BYTES))
    needed = max(offset, 352) + math.prod(shape) * each
    there = size if size is not None else _count(stream, len(head), needed)
    if there < needed:
        raise Refused("truncated")
    if there > needed:
        raise Refused("wrong_size")
    return Found(Shape.VOLUME, form, {"shape": list(shape)})


def _count(stream: Any, already: int, needed: int) -> int:
    """How many bytes come out, to one more than needed: that reads gzip's checksum too."""
    count = already
    while count <= needed and (piece := stream.read(min(PIECE, needed + 1 - count))):
        count += len(piece)
    return count
