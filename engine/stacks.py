"""A stack of slices made a volume: straight behind one another, at even distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import FileRefused

MOST_VOXELS = 2**28


def upright(stack: NDArray[np.float32], beside: NDArray[np.float64]) -> NDArray[np.float32]:
    """Slices that do not begin straight behind one another (a tilted gantry), moved within their planes until they do.

    `beside`: (slices, 2) where each begins, in pixels down and across. What is outside of a slice has the smallest value.
    Raises FileRefused where they lie beside one another, as no slices of one volume do.
    """
    from scipy.ndimage import shift

    moved = beside - beside.min(axis=0)
    if moved.max() < 0.5:
        return stack
    larger = np.ceil(moved.max(axis=0)).astype(int)
    if np.any(larger > stack.shape[1:]) or stack.size * np.prod(1 + larger / stack.shape[1:]) > MOST_VOXELS:
        raise FileRefused("file_unreadable", "the slices do not lie behind one another")
    outside = float(stack.min())
    made = np.full((len(stack), stack.shape[1] + larger[0], stack.shape[2] + larger[1]), outside, dtype=np.float32)
    made[:, : stack.shape[1], : stack.shape[2]] = stack
    for plane, by in zip(made, moved, strict=True):
        plane[:] = shift(plane, by, order=1, mode="constant", cval=outside)
    return made


def even(stack: NDArray[np.float32], places: NDArray[np.float64]) -> tuple[NDArray[np.float32], float]:
    """Slices at even distances (the median one): where some are missing, those beside them are mixed."""
    gaps = np.diff(places)
    gap = float(np.median(gaps))
    if np.all(np.abs(gaps - gap) <= 0.1 * gap):
        return stack, gap
    count = round(float(places[-1] - places[0]) / gap) + 1
    if count * stack[0].size > MOST_VOXELS:
        raise FileRefused("file_unreadable", "the slices lie too far apart")
    wanted = places[0] + gap * np.arange(count)
    upper = np.clip(np.searchsorted(places, wanted), 1, len(places) - 1)
    share = np.clip((wanted - places[upper - 1]) / (places[upper] - places[upper - 1]), 0.0, 1.0)
    share = share.astype(np.float32)[:, None, None]
    return stack[upper - 1] * (1 - share) + stack[upper] * share, gap
