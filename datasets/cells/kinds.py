"""Which kind of cell a file can be, and its format: `examine` opens it (by `datasets.arrivals`); `look` glances at its
beginning, for previews of thousands of files. There the name is asked where the beginning cannot tell: a table of numbers
may be a signal or notes.
"""

from dataclasses import dataclass
from pathlib import Path

from django.utils.translation import gettext as _

from datasets.arrivals import desks
from datasets.arrivals.found import Refused, Shape
from datasets.models import Kind
from datasets.records import FILE_KINDS

HEAD = 4096  # bytes that tell what a file is

# Which kinds of columns take a file of each kind: a DICOM object of several frames is a volume as well as a video.
FITTING: dict[str, frozenset[str]] = {
    "image": frozenset({Kind.IMAGE}),
    "volume": frozenset({Kind.VOLUME}),
    "video": frozenset({Kind.VIDEO}),
    "signal": frozenset({Kind.SIGNAL}),
}
_FRAMES = frozenset({Kind.IMAGE, Kind.VOLUME, Kind.VIDEO})


class NotACell(ValueError):
    """The file cannot be a cell. `code` for programs, the text for the person."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Look:
    """What a file is: `kind` is what it most likely is meant as."""

    kind: str
    form: str

    def fits(self, kind: str) -> bool:
        """Whether a column of this kind takes it."""
        if self.form == "dicom" and self.kind != Kind.SIGNAL:
            return kind in _FRAMES
        if self.form == "gif":
            return kind in (Kind.IMAGE, Kind.VIDEO)
        return kind in FITTING[self.kind]


def label(kind: str) -> str:
    """The kind in words."""
    return str(Kind(kind).label)


def look(head: bytes, name: str = "") -> Look | None:
    """What the first HEAD bytes tell; None when they tell of nothing that a cell can hold. DICOM needs `examine`."""
    form = _form(head, name.lower())
    if form is None:
        return None
    return Look(_KINDS.get(form, Kind.IMAGE), form)


_KINDS = {
    "nifti": Kind.VOLUME, "nifti-gz": Kind.VOLUME, "mp4": Kind.VIDEO, "mov": Kind.VIDEO, "avi": Kind.VIDEO,
    "matroska": Kind.VIDEO, "mpeg": Kind.VIDEO, "npy": Kind.SIGNAL, "edf": Kind.SIGNAL, "bdf": Kind.SIGNAL,
    "csv": Kind.SIGNAL, "tsv": Kind.SIGNAL, "wfdb": Kind.SIGNAL,
}  # fmt: skip
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"II*\x00", "tiff"), (b"MM\x00*", "tiff"), (b"BM", "bmp"),
    (b"GIF87a", "gif"), (b"GIF89a", "gif"), (b"\x1aE\xdf\xa3", "matroska"), (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpeg"), (b"\x93NUMPY", "npy"), (b"0       ", "edf"), (b"\xffBIOSEMI", "bdf"),
)  # fmt: skip


def _form(head: bytes, name: str) -> str | None:
    if head[128:132] == b"DICM":
        return "dicom"
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"AVI "):
        return "webp" if head[8:12] == b"WEBP" else "avi"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov" if head[8:12] == b"qt  " or head[4:8] != b"ftyp" else "mp4"
    if head[344:348] in (b"n+1\x00", b"n+2\x00") or head[4:8] in (b"n+2\x00", b"ni2\x00"):
        return "nifti"
    if head[:2] == b"\x1f\x8b":
        return "nifti-gz" if name.endswith(".nii.gz") or _gzipped_nifti(head) else None
    if name.endswith(".hea") and b"\x00" not in head:
        return "wfdb"
    if name.endswith((".csv", ".tsv", ".txt")) and b"\x00" not in head and any(c in b"0123456789" for c in head):
        return "tsv" if b"\t" in head else "csv"
    return None


def _gzipped_nifti(head: bytes) -> bool:
    import zlib

    try:
        start = zlib.decompressobj(31).decompress(head, 400)
    except zlib.error:
        return False
    return start[344:348] in (b"n+1\x00", b"n+2\x00") or start[4:8] == b"n+2\x00"


def examine(path: Path) -> Look:
    """What a file is, opened by the reader that will use it, in the process of a desk, so that what is damaged is found now.

    Raises NotACell, and Busy of the desk.
    """
    try:
        with desks.shared() as desk:
            found = desk.look(path)
    except Refused as refused:
        raise NotACell(refused.code, refused.why) from refused
    kind = _OF_SHAPES.get(found.kind)
    if kind is None or (found.kind == Shape.TABLE and not found.facts.get("numbers")):
        raise NotACell("unknown", _("This is no picture, volume, video or signal."))
    return Look(kind, found.format)


_OF_SHAPES: dict[str, str] = {
    Shape.IMAGE: Kind.IMAGE, Shape.SLICE: Kind.IMAGE, Shape.VOLUME: Kind.VOLUME, Shape.VIDEO: Kind.VIDEO,
    Shape.SIGNAL: Kind.SIGNAL, Shape.TABLE: Kind.SIGNAL,
}  # fmt: skip

assert set(FITTING) == set(FILE_KINDS)
