"""The frames of a DICOM object, read one by one, with what the file says of window, spacing, orientation and rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from datasets.cells.pictures import png
from datasets.viewer.looking import LONGEST, MOST_FRAMES, About, Plane, pack, spread
from engine.errors import FileRefused
from engine.pictures import DEFLATED, frame_values, frames_of, inverse, read_dicom, with_functional_groups
from engine.video.readers import frame_rate
from engine.volumes import attribute, geometry

if TYPE_CHECKING:
    from datasets.viewer.volume import Planes

LARGE = 16 * 2**20  # bytes of a file above which only a frame's pixels are read
MOST_VOXELS = 2**25  # of a volume that is put together for the other planes: read, stacked and turned within a desk's memory
# The patient's LPS axes: towards, away.
LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))
FEET = {"H": "S", "F": "I"}  # as PS3.3 C.7.6.1.1.1 calls head and foot
OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "S": "I", "I": "S"}
LEANING = 0.3  # share of a direction above which its second letter is told too


class Frames:
    """A DICOM object."""

    def __init__(self, path: Path) -> None:
        self.path = path
        deflated = str(read_dicom(path, header=True).file_meta.TransferSyntaxUID) == DEFLATED
        self.apart = not deflated and path.stat().st_size > LARGE
        self.data = read_dicom(path, header=False, later=self.apart)
        self.count = frames_of(self.data)
        if self.count > MOST_FRAMES:
            raise FileRefused("file_unreadable", "too many frames")
        self.volume: Planes | None = None

    def values(self, index: int) -> Any:
        return frame_values(self.data, index, self.path if self.apart else None)

    def about(self, whole: bool = False) -> About:
        first = self.values(0)
        planes = [plane_of(first, self.data, self.count, 0)]
        if first.ndim == 3:
            return About(planes, rate=self._rate())
        more = _is_volume(self.data, self.count)
        if more and whole:  # else the first frame would wait for all others
            planes += self._volume().about().planes
        low, high = float(first.min()), float(first.max())
        return About(
            planes, windows(self.data) or [spread(first)], (low, high), exact=not windows(self.data),
            inverse=inverse(self.data), hounsfield=str(self.data.get("Modality", "")) == "CT", rate=self._rate(),
            more=more and not whole,
        )  # fmt: skip

    def _rate(self) -> float | None:
        return frame_rate(self.data) if self.count > 1 else None

    def _volume(self) -> "Planes":
        from datasets.viewer.volume import Planes

        if self.volume is None:
            self.volume = Planes(self.path, MOST_VOXELS)
        return self.volume

    def frame(self, plane: str, index: int) -> bytes:
        if plane != "frames":
            return self._volume().frame(plane, index)
        return sent(self.values(index), self.data)


def plane_of(values: Any, data: Any, count: int, start: int) -> Plane:
    """The frames as they are stored, all like this one."""
    height, width = values.shape[:2]
    spacing, aspect = _spacing(data), _aspect(data)
    if spacing is not None:
        aspect = spacing[1] / spacing[0]
    frames = int(data.get("NumberOfFrames", 1) or 1)
    return Plane(
        "frames", count, *_fitted(width, height), _grown(spacing, width, height), _marks(data, frames), start, aspect
    )


def sent(values: Any, data: Any) -> bytes:
    """A frame of a DICOM object as the viewer gets it."""
    height, width = values.shape[:2]
    size = _fitted(width, height)
    if values.ndim == 3:
        if values.dtype != np.uint8:
            top = 2.0 ** int(data.get("BitsStored", 16) or 16) - 1.0
            values = (values.astype(np.float32) * (255.0 / top)).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(np.ascontiguousarray(values[:, :, :3]))
        return png(image if image.size == size else image.resize(size, Image.Resampling.BOX))
    if size != (width, height):
        values = np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BOX))
    return pack(values)


def _fitted(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONGEST / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _grown(spacing: tuple[float, float] | None, width: int, height: int) -> tuple[float, float] | None:
    """What is shown with fewer pixels has larger ones."""
    if spacing is None:
        return None
    fitted = _fitted(width, height)
    return spacing[0] * width / fitted[0], spacing[1] * height / fitted[1]


def _numbers(value: Any) -> list[float]:
    """One number or several, as finite floats; [] for anything else."""
    if value is None or isinstance(value, str):
        return []
    try:
        found = [float(v) for v in (value if isinstance(value, Sequence) or hasattr(value, "__iter__") else [value])]
    except (TypeError, ValueError):
        return []
    return found if all(np.isfinite(found)) else []


def windows(data: Any) -> list[tuple[float, float]]:
    """The file's own linear windows."""
    info = with_functional_groups(data, 0)
    pairs = zip(_numbers(info.get("WindowCenter")), _numbers(info.get("WindowWidth")), strict=False)
    return [(centre, width) for centre, width in pairs if width > 0][:8]


def _spacing(data: Any) -> tuple[float, float] | None:
    """Across and down, at the patient. Spacing at the detector (projections) is another length and not taken for it."""
    found = _numbers(attribute(data, 0, "PixelMeasuresSequence", "PixelSpacing"))
    if len(found) != 2 or min(found) <= 0:
        return None
    return found[1], found[0]  # DICOM names rows first


def _aspect(data: Any) -> float:
    found = _numbers(data.get("PixelAspectRatio"))
    return found[0] / found[1] if len(found) == 2 and min(found) > 0 else 1.0


def _marks(data: Any, count: int) -> tuple[str, str, str, str] | None:
    """At the left, right, top and bottom; None unless the file says it, the same for all frames."""
    own = data.get("PerFrameFunctionalGroupsSequence")
    found = [geometry(data, index) for index in (range(count) if own else range(1))]
    known = [where for where in found if where is not None]
    if known:
        if len(known) < len(found) or any(
            np.abs(np.array(where[:2]) - np.array(known[0][:2])).max() > 1e-3 for where in known
        ):
            return None
        right, down = _letters(known[0][0]), _letters(known[0][1])
        return _turned(right), right, _turned(down), down
    said = data.get("PatientOrientation")
    if said is None or isinstance(said, str) or len(said) != 2:
        return None
    right, down = ("".join(FEET.get(c, c) for c in str(part).upper()[:3]) for part in said)
    if not right or not down or not set(right + down) <= set(OPPOSITE):
        return None
    return _turned(right), right, _turned(down), down


def _letters(direction: Any) -> str:
    """Where a direction of LPS points to: its main letter, and the next ones where it leans."""
    order = np.argsort(-np.abs(direction))
    told = [axis for place, axis in enumerate(order) if not place or abs(direction[axis]) > LEANING]
    return "".join(LETTERS[axis][0 if direction[axis] > 0 else 1] for axis in told)


def _turned(letters: str) -> str:
    return "".join(OPPOSITE[c] for c in letters)


def _is_volume(data: Any, count: int) -> bool:
    """Whether the file says where each frame lies, at more than one place, and the whole fits into the desk."""
    if count < 2 or count * int(data.Rows) * int(data.Columns) > MOST_VOXELS or _marks(data, count) is None:
        return False
    if "PerFrameFunctionalGroupsSequence" not in data:
        offsets = _numbers(data.get("GridFrameOffsetVector"))
        return len(offsets) == count and len(set(offsets)) == count and geometry(data, 0) is not None
    found = [geometry(data, index) for index in range(count)]
    if any(where is None for where in found):
        return False
    places = [float(np.dot(np.cross(where[0], where[1]), where[2])) for where in found if where is not None]
    return len({round(place, 3) for place in places}) > 1
