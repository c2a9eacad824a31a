"""What a file is, told by its content: which kind of cell it can be, and its format.

The name is asked only where the content cannot tell: a table of numbers may be a signal, a text or notes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

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

ENDINGS = {
    "png": ".png", "jpeg": ".jpg", "tiff": ".tif", "bmp": ".bmp", "webp": ".webp", "gif": ".gif", "dicom": ".dcm",
    "nifti": ".nii", "nifti-gz": ".nii.gz", "mp4": ".mp4", "avi": ".avi", "mov": ".mov", "matroska": ".mkv",
    "mpeg": ".mpg", "npy": ".npy", "edf": ".edf", "bdf": ".bdf", "csv": ".csv", "tsv": ".tsv",
}  # fmt: skip


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
    "csv": Kind.SIGNAL, "tsv": Kind.SIGNAL,
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


def examine(path: Path, name: str) -> Look:
    """What a file is, looked into far enough to know that it can be read. Raises NotACell, which says why not."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if not head:
        raise NotACell("empty", _("the file is empty"))
    found = look(head, name)
    if found is None:
        raise NotACell("unknown", _("of no format of pictures, volumes, videos or signals that can be read"))
    try:
        found = _CHECKS.get(found.form, _as_it_is)(path, found)
    except NotACell:
        raise
    except Exception as error:  # decoders raise whatever they like for damaged files
        raise NotACell("damaged", _("damaged or incomplete: it cannot be read")) from error
    return found


def _as_it_is(path: Path, found: Look) -> Look:
    return found


def _picture(path: Path, found: Look) -> Look:
    """Decoded once, as networks will see it: what breaks off is found now."""
    from engine.pictures import read_picture

    read_picture(path)
    if found.form == "gif":
        from PIL import Image

        with Image.open(path, formats=("GIF",)) as image:
            moves = getattr(image, "n_frames", 1) > 1
        return Look(Kind.VIDEO if moves else Kind.IMAGE, "gif")
    return found


def _dicom(path: Path, found: Look) -> Look:
    """A waveform is a signal; several frames are a video where they have a rate of their own, else a volume."""
    from pydicom import dcmread

    data = dcmread(path, stop_before_pixels=True, force=False)
    if "WaveformSequence" in data:
        return Look(Kind.SIGNAL, "dicom")
    frames = int(data.get("NumberOfFrames", 1) or 1)
    if not int(data.get("Rows", 0) or 0):
        raise NotACell("no_picture", _("a DICOM object without a picture or a waveform"))
    if frames > 1:
        moving = any(name in data for name in ("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate"))
        return Look(Kind.VIDEO if moving else Kind.VOLUME, "dicom")
    from engine.pictures import read_picture

    read_picture(path)
    return Look(Kind.IMAGE, "dicom")


def _volume(path: Path, found: Look) -> Look:
    from engine.volumes import read_volume

    read_volume(path)
    return found


def _video(path: Path, found: Look) -> Look:
    """The first frame can be decoded; the rest comes to light when it is learned from."""
    from engine.video.readers import FORMATS

    import av

    options = {"format_whitelist": FORMATS, "protocol_whitelist": ""}
    with path.open("rb") as file, av.open(file, options=options, metadata_errors="ignore") as container:
        if not container.streams.video:
            raise NotACell("no_picture", _("a file without moving pictures"))
        for _frame in container.decode(container.streams.video[0]):
            return found
    raise NotACell("damaged", _("damaged or incomplete: it cannot be read"))


def _signal(path: Path, found: Look) -> Look:
    from engine.signals.readers import read_signal

    read_signal(path)
    return found


_CHECKS: dict[str, Any] = {
    **dict.fromkeys(("png", "jpeg", "tiff", "bmp", "webp", "gif"), _picture), "dicom": _dicom,
    **dict.fromkeys(("nifti", "nifti-gz"), _volume), **dict.fromkeys(("mp4", "mov", "avi", "matroska", "mpeg"), _video),
    **dict.fromkeys(("npy", "edf", "bdf", "csv", "tsv"), _signal),
}  # fmt: skip

assert set(FITTING) == set(FILE_KINDS)
