"""A DICOM series: a frame is one slice, and only that slice is read."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.viewer.dicom import MOST_VOXELS, plane_of, sent, windows
from datasets.viewer.looking import About, spread
from engine import packs
from engine.pictures import frame_values, frames_of, inverse, read_dicom
from engine.volumes import geometry

if TYPE_CHECKING:
    from datasets.viewer.volume import Planes


class Slices:
    """The slices of a pack, in the order of their places."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pack = packs.opened(path)
        self.count = len(self.pack.members)
        self.volume: Planes | None = None

    def read(self, index: int) -> tuple[Any, Any]:
        """(values, data set) of a slice."""
        data = read_dicom(io.BytesIO(self.pack.members[index].read()))
        frames_of(data)  # bounded before it is decoded
        return frame_values(data, 0), data

    def about(self, whole: bool = False) -> About:
        values, data = self.read(self.count // 2)
        planes = [plane_of(values, data, self.count, self.count // 2)]
        if values.ndim == 3:
            return About(planes)
        more = self.count > 1 and geometry(data, 0) is not None
        if more and whole:  # else the first slice would wait for all others
            planes += self._volume().about().planes
        low, high = float(values.min()), float(values.max())
        own = windows(data)
        return About(
            planes, own or [spread(values)], (low, high), exact=not own, inverse=inverse(data),
            hounsfield=str(data.get("Modality", "")) == "CT", more=more and not whole,
        )  # fmt: skip

    def _volume(self) -> "Planes":
        from datasets.viewer.volume import Planes

        if self.volume is None:
            self.volume = Planes(self.path, MOST_VOXELS)
        return self.volume

    def frame(self, plane: str, index: int) -> bytes:
        return sent(*self.read(index)) if plane == "frames" else self._volume().frame(plane, index)
