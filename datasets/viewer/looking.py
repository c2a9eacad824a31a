"""What there is to look at in a file, and one frame of it; in the process of a desk, as decoders of strangers' bytes run here.

A frame is grey values (packed below) or, where it has colours, a PNG. `about` tells only numbers and short names from lists of
ours: no text of the file goes to a browser.
"""

import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from datasets.cells.pictures import of_pixels, png
from datasets.models import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"AMG1"  # then width, height (uint16), slope, intercept (float64), all little-endian, then uint16 row by row
HEADER = struct.Struct("<4sHHdd")
TRACE = b"AMT1"  # then channels, columns (uint16), then least and greatest (float32) of each column, channel by channel
LONGEST = 4096  # pixels of a frame's longer side
MOST_FRAMES = 100_000


@dataclass(frozen=True)
class Plane:
    """A row of frames to scroll through. `spacing`: millimetres across and down; `marks`: of the patient, at the left,
    right, top and bottom; either None where the file does not say."""

    name: str
    count: int
    width: int
    height: int
    spacing: tuple[float, float] | None = None
    marks: tuple[str, str, str, str] | None = None
    start: int = 0
    aspect: float = 1.0  # height of a pixel by its width
    depth: float = 0.0  # millimetres from frame to frame, of a plane of a volume


@dataclass(frozen=True)
class Signal:
    """What a recording is beside its tiles. `timed`: its rate is known; `millivolts`: its values are voltages."""

    seconds: float
    timed: bool
    millivolts: bool
    channels: tuple[str, ...]


@dataclass(frozen=True)
class About:
    """What the viewer must know before the first frame. Windows are (centre, width); `exact`: without DICOM's half steps."""

    planes: list[Plane]
    windows: list[tuple[float, float]] = field(default_factory=list)
    range: tuple[float, float] | None = None  # None where frames have colours
    exact: bool = True
    inverse: bool = False
    hounsfield: bool = False
    rate: float | None = None
    signal: Signal | None = None
    more: bool = False  # other planes can be had, by reading all of the file


class Look(Protocol):
    """An opened file."""

    def about(self, whole: bool) -> About:
        """With `whole` after reading all of the file, if that tells more."""
        ...

    def frame(self, plane: str, index: int) -> bytes: ...


class Picture:
    """What Pillow reads: one frame in colours."""

    def __init__(self, path: Path) -> None:
        from engine.pictures import show_picture

        self.image = of_pixels(show_picture(path, LONGEST))

    def about(self, whole: bool = False) -> About:
        return About([Plane("picture", 1, self.image.width, self.image.height)])

    def frame(self, plane: str, index: int) -> bytes:
        return png(self.image)


def pack(values: "NDArray[Any]", low: float | None = None, high: float | None = None) -> bytes:
    """Grey values (rows, columns) as 16 bits: whole numbers exactly, all others in 65,535 steps between their extremes."""
    values, slope, low = steps(values, low, high)
    return packed(values, slope, low)


def packed(values: "NDArray[np.uint16]", slope: float, intercept: float) -> bytes:
    height, width = values.shape
    return HEADER.pack(MAGIC, width, height, slope, intercept) + values.astype("<u2").tobytes()


def steps(
    values: "NDArray[Any]", low: float | None = None, high: float | None = None
) -> tuple["NDArray[np.uint16]", float, float]:
    """(steps, what a step is, what 0 is)."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    whole = values.dtype.kind in "iub" or bool(np.all(values == np.rint(values)))
    slope = 1.0 if whole and high - low <= 65535 else (high - low) / 65535 or 1.0
    return np.rint((values - low) / slope).clip(0, 65535).astype(np.uint16), slope, low


def spread(values: "NDArray[Any]") -> tuple[float, float]:
    """The window that shows nearly all, where the file names none."""
    from engine.pictures import HIGH, LOW

    some = values[tuple(slice(None, None, max(1, n // 128)) for n in values.shape)]
    low, high = (float(v) for v in np.quantile(some, (LOW, HIGH)))
    if high - low < 1e-12:
        low, high = float(values.min()), float(values.max())
    return (low + high) / 2, (high - low) or 1.0


def opened(path: Path, kind: str) -> Look:
    """Raises whatever the decoder raises."""
    from engine.packs import is_pack
    from engine.pictures import is_dicom

    if kind == Kind.VOLUME and is_pack(path):
        from datasets.viewer.series import Slices

        return Slices(path)
    if kind == Kind.SIGNAL:
        from datasets.viewer.trace import Traces

        return Traces(path)
    if kind in (Kind.IMAGE, Kind.VOLUME, Kind.VIDEO) and is_dicom(path):
        if kind == Kind.VIDEO:
            from datasets.viewer.clip import Clip, is_mpeg

            if is_mpeg(path):
                return Clip(path)
        from datasets.viewer.dicom import Frames

        return Frames(path)
    if kind == Kind.VOLUME:
        from datasets.viewer.volume import Planes

        return Planes(path)
    if kind == Kind.IMAGE:
        return Picture(path)
    if kind == Kind.VIDEO:
        from datasets.viewer.clip import Clip

        return Clip(path)
    raise ValueError(kind)


_last: tuple[Any, Look] | None = None  # scrolling asks the same file again and again


def forget() -> None:
    """Other questions want the memory."""
    global _last
    held, _last = _last, None
    if held is not None and (close := getattr(held[1], "close", None)):  # a clip holds its file
        close()


def look(path: Path, kind: str) -> Look:
    """The file opened, or still open from the last question."""
    global _last
    state = path.stat()
    key = (str(path), kind, state.st_ino, state.st_mtime_ns, state.st_size)
    if _last is None or _last[0] != key:
        forget()  # before the next one is read: two volumes would be too much
        _last = (key, opened(path, kind))
    return _last[1]


def about(path: Path, kind: str, whole: bool) -> dict[str, Any]:
    """`About` as plain JSON."""
    return asdict(look(path, kind).about(whole))


def frame(path: Path, kind: str, plane: str, index: int) -> bytes:
    """One frame, packed or as PNG."""
    return look(path, kind).frame(plane, index)
