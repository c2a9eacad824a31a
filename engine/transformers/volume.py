"""Volumes (CT, MR): values, shape and symmetry on a grid of equal millimetres, and that grid for networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.files import Files, source_of
from engine.schema import ColumnSpec, Kind
from engine.transformers.base import transformer
from engine.transformers.files import FileTransformer, Source
from engine.volumes import Volume, read_volume, resample

SIZE = 32  # voxels of each side of the grid
PROBED = 12  # cells that are read to find the grid's millimetres
FIELD = 220.0  # millimetres of the grid's side where no cell could be read: about a head
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Scan:
    """`grid` (32, 32, 32) from 0 to 1; `quantiles` of the values as stored (Hounsfield units for CT); `litres` of what
    is brighter than the background."""

    grid: NDArray[np.float32]
    quantiles: NDArray[np.float64]
    litres: float


@transformer(Kind.VOLUME)
class VolumeTransformer(FileTransformer):
    """Every volume lies on the same grid in millimetres, so that a large organ stays large.

    The matrix size and the field of view are no features: they tell of the protocol, not of the patient.
    """

    width = 2 * len(QUANTILES) + 2 + 3 + 24 + 216 + 192 + 6 + 3
    shape = (1, SIZE, SIZE, SIZE)
    seconds = 5.5e-3

    @classmethod
    def settle(
        cls, specs: Sequence[ColumnSpec], columns: Sequence[Sequence[Any]], files: Files | None = None
    ) -> dict[str, Any]:
        """The grid's voxel size for each column: nine of ten of the probed volumes fit into it."""
        settings = super().settle(specs, columns, files)
        folder = None if files is None else files.folder
        return settings | {"millimetres": [_field(cells, folder) / SIZE for cells in columns]}

    def read(self, source: Source) -> Scan:
        """Resampled and scaled between its own 1% and 99% quantiles."""
        return self._scan(read_volume(source))

    @property
    def millimetres(self) -> float:
        """Of a voxel of the grid."""
        return float(max(self.settings.get("millimetres") or [FIELD / SIZE]))

    def _scan(self, volume: Volume) -> Scan:
        grid = resample(volume, self.millimetres, SIZE)
        low, high = np.quantile(volume.values, (0.01, 0.99))
        span = float(high - low) if high - low > 1e-9 else float(np.ptp(volume.values)) or np.inf
        bright = volume.values > low + 0.25 * span
        litres = float(bright.sum()) * float(np.prod(volume.spacing)) * 1e-6
        unit = np.clip((grid - np.float32(low)) / np.float32(span), 0.0, 1.0)
        return Scan(unit, np.quantile(volume.values, QUANTILES), litres)

    def describe(self, item: Any) -> NDArray[Any]:
        """Values 36 (raw and scaled quantiles, moments, histogram), body 2, coarse grid 216, projections 192, edges 6,
        asymmetry 3."""
        grid = item.grid
        body = np.array([np.log1p(item.litres), float((grid > 0.25).mean())])
        quantiles = np.concatenate([np.arcsinh(item.quantiles), np.quantile(grid, QUANTILES)])
        return np.concatenate([
            quantiles, body, _moments(grid), _histogram(grid), _coarse(grid), _projections(grid), _edges(grid),
            [float(np.abs(grid - np.flip(grid, axis)).mean()) for axis in range(3)],
        ])  # fmt: skip

    def sketch(self, item: Any) -> NDArray[Any]:
        """(1, x, y, z) from 0 to 255."""
        return np.rint(item.grid * 255.0).astype(np.uint8)[None]


def seen_grid(source: Source, millimetres: float) -> NDArray[np.float32]:
    """The grid (32, 32, 32) from 0 to 1 on which a transformer with voxels of so many millimetres sees a volume."""
    grid: NDArray[np.float32] = VolumeTransformer([], {"millimetres": [millimetres]}).read(source).grid
    return grid


def _field(cells: Sequence[Any], folder: Any) -> float:
    """The side of the grid in millimetres."""
    probed = [cells[i] for i in np.unique(np.linspace(0, len(cells) - 1, min(len(cells), PROBED)).astype(int))]
    extents = [extent for extent in (_extent(cell, folder) for cell in probed) if extent is not None]
    return float(np.quantile(extents, 0.9)) if extents else FIELD


def _extent(cell: Any, folder: Any) -> float | None:
    try:
        source = source_of(cell, folder)
        return None if source is None else read_volume(source).extent
    except Exception:  # it will be reported when the cells are encoded
        return None


def _moments(grid: NDArray[Any]) -> NDArray[Any]:
    z = (grid - grid.mean()) / max(float(grid.std()), 1e-6)
    return np.array([float(grid.std()), float((z**3).mean()), min(float((z**4).mean()), 100.0)])


def _histogram(grid: NDArray[Any]) -> NDArray[Any]:
    return np.bincount(np.minimum((grid * 24).astype(np.int64), 23).ravel(), minlength=24) / grid.size


def _coarse(grid: NDArray[Any]) -> NDArray[Any]:
    """(6, 6, 6) means."""
    edges = np.linspace(0, SIZE, 7).astype(int)[:-1]
    sums = grid
    for axis in range(3):
        counts = np.diff([*edges, SIZE]).reshape([-1 if k == axis else 1 for k in range(3)])
        sums = np.add.reduceat(sums, edges, axis=axis) / counts
    return sums.ravel()


def _projections(grid: NDArray[Any]) -> NDArray[Any]:
    """Means along each axis as 8 x 8."""
    return np.concatenate([grid.mean(axis=axis).reshape(8, SIZE // 8, 8, SIZE // 8).mean(axis=(1, 3)).ravel()
                           for axis in range(3)])  # fmt: skip


def _edges(grid: NDArray[Any]) -> NDArray[Any]:
    """How much changes along each axis, mean and deviation."""
    steps = [np.abs(np.diff(grid, axis=axis)) for axis in range(3)]
    return np.array([float(value) for step in steps for value in (step.mean(), step.std())])
