"""Volumes from DICOM series, NIfTI files and arrays: values on axes that run right, anterior, superior, in millimetres."""

from __future__ import annotations

import gzip
import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import packs
from engine.errors import FileRefused
from engine.files import members
from engine.pictures import frame_values, frames_of, is_dicom, read_dicom
from engine.stacks import MOST_VOXELS, even, upright

MOST_SLICES = 4000  # files of one folder
WORKING = 192  # voxels of an axis above which only every second, third, ... one is taken


@dataclass(frozen=True)
class Volume:
    """`values` float32 (x, y, z), axes to the patient's right, front and head (RAS); `spacing` in millimetres.

    `known`: the file itself tells which way the axes run. Else it is a guess, and nobody may be shown a left or a right.
    """

    values: NDArray[np.float32]
    spacing: tuple[float, float, float]
    known: bool = False

    @property
    def extent(self) -> float:
        """The longest side in millimetres."""
        return max(n * step for n, step in zip(self.values.shape, self.spacing, strict=True))


@dataclass(frozen=True)
class _Slice:
    """Where a slice lies: its place along the normal (mm), where its first pixel is along its rows and columns (mm), the order
    it was taken in, and its geometry. `values` has every `thin`-th (row, column) of a slice of the size `shape`."""

    place: float | None
    across: tuple[float, float]
    number: int
    values: NDArray[np.float32]
    shape: tuple[int, ...]
    thin: tuple[int, int]
    data: Any


def read_volume(source: Path | NDArray[Any], *, most: int = 0) -> Volume:
    """An array is (slices, rows, columns) with voxels of 1 mm. Raises FileRefused or what the decoder raises.

    Models work on axes of at most WORKING voxels; people look at all of them, up to `most` voxels in the volume.
    """
    if isinstance(source, np.ndarray):
        if source.ndim == 4 and 1 in (source.shape[0], source.shape[3]):
            source = source[0] if source.shape[0] == 1 else source[..., 0]
        return _oriented(_bounded(source), np.diag([-1.0, -1.0, 1.0]) @ np.eye(3)[::-1], most)
    if source.is_dir():
        return _from_folder(source, most)
    if packs.is_pack(source):
        return pack_volume(packs.opened(source), most=most)
    return series_volume([source], most=most) if is_dicom(source) else _from_nifti(source, most)


def _bounded(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 3 or not array.size:
        raise FileRefused("file_unreadable", f"an array of shape {array.shape} is no volume")
    if array.size > MOST_VOXELS:
        raise FileRefused("file_unreadable", "too many voxels")
    return array


def _longest(shape: tuple[int, ...], most: int) -> int:
    """How many voxels an axis may have."""
    if not most:
        return WORKING
    longest = max(shape)
    while math.prod(math.ceil(n / math.ceil(n / longest)) for n in shape) > most:
        longest = longest // 2
    return longest


def _oriented(array: NDArray[Any], steps: NDArray[np.float64], most: int = 0) -> Volume:
    """`steps` (3, 3): column k is the way in millimetres, in RAS, from one voxel to the next along axis k."""
    from nibabel.orientations import apply_orientation, io_orientation

    affine = np.eye(4)
    affine[:3, :3] = steps
    lengths = np.linalg.norm(steps, axis=0)
    if not np.all(np.isfinite(lengths)) or np.any(lengths <= 0):
        raise FileRefused("file_unreadable", "no spacing")
    turn = io_orientation(affine)
    longest = _longest(array.shape, most)
    thin = tuple(slice(None, None, max(1, math.ceil(n / longest))) for n in array.shape)
    lengths = lengths * [part.step for part in thin]
    turned = apply_orientation(array[thin], turn)
    spacing = [0.0, 0.0, 0.0]
    for axis, (target, _) in enumerate(turn):
        spacing[int(target)] = float(lengths[axis])
    values = np.nan_to_num(np.ascontiguousarray(turned, dtype=np.float32), posinf=0.0, neginf=0.0)
    return Volume(values, (spacing[0], spacing[1], spacing[2]))


def _from_nifti(path: Path, most: int = 0) -> Volume:
    """By content, whatever the name; of several volumes (functional series) the middle one."""
    from nibabel import Nifti1Image, Nifti2Image

    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        head = stream.read(4)
        two = head in ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
        stream.seek(0)
        image = (Nifti2Image if two else Nifti1Image).from_stream(stream)
        shape = tuple(int(n) for n in image.shape)
        if (
            len(shape) < 3
            or min(shape) < 1
            or math.prod(shape) > 16 * MOST_VOXELS
            or math.prod(shape[:3]) > MOST_VOXELS
        ):
            raise FileRefused("file_unreadable", f"a volume of shape {shape}")
        where = (slice(None), slice(None), slice(None), *(n // 2 for n in shape[3:]))
        array = _bounded(np.asarray(image.dataobj[where]))
        unit = {"meter": 1000.0, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1.0)
        volume = _oriented(array, np.asarray(image.affine[:3, :3], dtype=float) * unit, most)
        return replace(volume, known=bool(image.header["sform_code"] > 0 or image.header["qform_code"] > 0))


def _from_folder(folder: Path, most: int = 0) -> Volume:
    """A folder of slices, or one with a single NIfTI file."""
    paths = list(members(folder, MOST_SLICES))
    slices = [path for path in paths if is_dicom(path) and path.name != "DICOMDIR"]
    if not slices and len(paths) == 1:
        return _from_nifti(paths[0], most)
    return series_volume(slices, most=most)


def pack_volume(pack: packs.Pack, *, most: int = 0) -> Volume:
    """The series of a pack. Raises as `series_volume`."""
    if pack.form != packs.SERIES:
        raise FileRefused("file_unreadable", "no slice")
    return series_volume(pack.members, most=most)


def series_volume(sources: Sequence[Path | packs.Member], *, most: int = 0) -> Volume:
    """The series with the most slices among these DICOM files; damaged files and those without pixels are passed over.

    Raises FileRefused, or what the decoder raises, when no file gives a slice.
    """
    series: dict[str, list[_Slice]] = defaultdict(list)
    failure: Exception = FileRefused("file_unreadable", "no slice")
    voxels = 0
    for source in sources:
        try:
            data = read_dicom(source if isinstance(source, Path) else io.BytesIO(source.read()))
            count, rows, columns = frames_of(data), int(data.Rows), int(data.Columns)
            longest = _longest((count * len(sources), rows, columns), most)
            thin = max(1, math.ceil(rows / longest)), max(1, math.ceil(columns / longest))
            voxels += count * math.ceil(rows / thin[0]) * math.ceil(columns / thin[1])
            if voxels > MOST_VOXELS:
                raise MemoryError("too many voxels")
            series[str(data.get("SeriesInstanceUID", ""))] += [_slice(data, k, count, thin) for k in range(count)]
        except MemoryError:
            raise FileRefused("file_unreadable", "too many voxels") from None
        except Exception as error:
            failure = error
    if not series:
        raise failure
    chosen = max(sorted(series), key=lambda uid: len(series[uid]))
    return _stacked(series[chosen], most)


def _slice(data: Any, index: int, count: int, thin: tuple[int, int]) -> _Slice:
    values = frame_values(data, index)
    shape = values.shape[:2]
    values = values[:: thin[0], :: thin[1]]  # now: all of them in full would be a gigabyte
    if values.ndim == 3:
        values = values.mean(axis=2)
    where = geometry(data, index)
    place, across = None, (0.0, 0.0)
    if where is not None:
        normal = np.cross(where[0], where[1])
        place = float(np.dot(normal, where[2]))
        across = float(np.dot(where[1], where[2])), float(np.dot(where[0], where[2]))
        if count > 1 and "PerFrameFunctionalGroupsSequence" not in data:
            place = _offset(data, index, count, place, float(normal[2]))
    number = int(data.get("InstanceNumber", 0) or 0) * count + index
    keep = None if index else data
    return _Slice(place, across, number, np.array(values, dtype=np.float32), shape, thin, keep)


def _offset(data: Any, index: int, count: int, first: float, upwards: float) -> float | None:
    """A dose grid tells where its frames lie (PS3.3 C.8.8.3.2): along the normal from the first one, or, where the first
    offset is not 0, on the patient's z axis. Of other multi-frames one position for all says nothing of their order."""
    offsets = data.get("GridFrameOffsetVector")
    if offsets is None or len(offsets) != count:
        return None
    start, own = float(offsets[0]), float(offsets[index])
    return first + own if start == 0 else first + (own - start) * upwards


def geometry(data: Any, index: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None:
    """Directions of a row and of a column, and the position of the first pixel, in the patient's LPS millimetres."""
    direction = attribute(data, index, "PlaneOrientationSequence", "ImageOrientationPatient")
    position = attribute(data, index, "PlanePositionSequence", "ImagePositionPatient")
    if direction is None or position is None or len(direction) != 6 or len(position) != 3:
        return None
    numbers = np.array([*map(float, direction), *map(float, position)])
    if not np.all(np.isfinite(numbers)) or np.linalg.norm(np.cross(numbers[:3], numbers[3:6])) < 0.5:
        return None
    return numbers[:3], numbers[3:6], numbers[6:]


def attribute(data: Any, index: int, group: str, name: str) -> Any:
    """An attribute from where it may lie: on top, in the frame's functional group, in the shared one."""
    if data.get(name) is not None:
        return data.get(name)
    frames = list(data.get("PerFrameFunctionalGroupsSequence", None) or [])[index : index + 1]
    for holder in (*frames, *list(data.get("SharedFunctionalGroupsSequence", None) or [])[:1]):
        for item in list(holder.get(group, None) or [])[:1]:
            if item.get(name) is not None:
                return item.get(name)
    return None


def _stacked(slices: list[_Slice], most: int = 0) -> Volume:
    """Ordered along the normal (by number where the geometry is not told), one slice for each place, evenly spaced."""
    shapes = [part.shape for part in slices]
    usual = max(sorted(set(shapes)), key=shapes.count)
    slices = [part for part in slices if part.shape == usual]
    head = next((part.data for part in slices if part.data is not None), None)
    placed = all(part.place is not None for part in slices)
    slices.sort(key=lambda part: (part.place if placed else 0.0, part.number))
    if placed:  # phases and echoes repeat a place: the first of each is kept
        slices = [part for k, part in enumerate(slices) if not k or _apart(slices[k - 1], part)]
    stack = np.stack([part.values for part in slices])
    gap = _number(head, "SpacingBetweenSlices") or _number(head, "SliceThickness") or 1.0
    across = attribute(head, 0, "PixelMeasuresSequence", "PixelSpacing") if head is not None else None
    down, right = (
        (float(across[0]), float(across[1])) if across is not None and len(across) == 2 else (1.0, 1.0)
    )
    down, right = down * slices[0].thin[0], right * slices[0].thin[1]
    if placed and len(slices) > 1:
        places = np.array([part.place for part in slices], dtype=float)
        beside = np.array([part.across for part in slices]) / (down, right)
        stack, gap = even(upright(stack, beside), places)
    where = None if head is None else geometry(head, 0)
    row, column = (np.array([1.0, 0, 0]), np.array([0, 1.0, 0])) if where is None else where[:2]
    steps = np.column_stack([np.cross(row, column) * gap, column * down, row * right])
    volume = _oriented(stack, np.diag([-1.0, -1.0, 1.0]) @ steps, most)  # LPS to RAS
    return replace(volume, known=where is not None and placed)


def _apart(first: _Slice, second: _Slice) -> bool:
    return first.place is None or second.place is None or abs(second.place - first.place) > 1e-3


def _number(data: Any, name: str) -> float | None:
    if data is None:
        return None
    value = attribute(data, 0, "PixelMeasuresSequence", name)
    return abs(float(value)) if value is not None and float(value) != 0 else None


def resample(volume: Volume, millimetres: float, size: int) -> NDArray[np.float32]:
    """A cube of `size` voxels of `millimetres` around the volume's centre: block means, then trilinear interpolation.

    Outside of the volume lies its smallest value.
    """
    from scipy.ndimage import affine_transform

    values, spacing = volume.values, np.array(volume.spacing)
    for axis in range(3):
        block = min(max(1, int(millimetres / spacing[axis])), values.shape[axis])
        whole = values.shape[axis] // block * block
        parts = np.moveaxis(values, axis, 0)[:whole]
        parts = parts.reshape(whole // block, block, *parts.shape[1:]).mean(axis=1)
        values = np.moveaxis(parts, 0, axis)
        spacing[axis] *= block
    scale = millimetres / spacing
    offset = (np.array(values.shape) - 1) / 2 - scale * (size - 1) / 2
    outside = float(values.min())
    cube = affine_transform(
        np.ascontiguousarray(values),
        scale,
        offset,
        (size, size, size),
        order=1,
        mode="grid-constant",
        cval=outside,
    )
    result: NDArray[np.float32] = cube.astype(np.float32)
    return result
