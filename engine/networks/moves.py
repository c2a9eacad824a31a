"""Small changes of pictures and volumes that leave their meaning alone; all randomness from the generator given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional


def amount(settings: Mapping[str, Any]) -> float:
    """The strength of augmentation, 0 to 1."""
    return float(settings.get("augmentation", 0.5))


def even(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Even random numbers from -1 to 1."""
    return torch.rand(shape, generator=generator) * 2.0 - 1.0


def affine(
    batch: torch.Tensor, generator: torch.Generator, *, degrees: float, scale: float, shift: float
) -> torch.Tensor:
    """(b, channels, h, w) or (b, channels, x, y, z): turned (a volume about its last axis), scaled and moved.

    `shift` is a share of half the side; beyond the edge the outermost values go on.
    """
    n, axes = len(batch), batch.ndim - 2
    angle = even((n,), generator) * math.radians(degrees)
    size = torch.exp(even((n,), generator) * scale)
    theta = torch.zeros(n, axes, axes + 1)
    for axis in range(axes):
        theta[:, axis, axis] = size
    # affine_grid's coordinates run from the last axis to the first: the last two are the first two of the volume
    a, b = axes - 2, axes - 1
    theta[:, a, a], theta[:, a, b] = torch.cos(angle) * size, -torch.sin(angle) * size
    theta[:, b, a], theta[:, b, b] = torch.sin(angle) * size, torch.cos(angle) * size
    theta[:, :, axes] = even((n, axes), generator) * shift
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)


def flips(batch: torch.Tensor, generator: torch.Generator, axis: int) -> torch.Tensor:
    """Half of the batch mirrored along an axis."""
    chosen = torch.rand(len(batch), generator=generator) < 0.5
    batch = batch.clone()
    batch[chosen] = batch[chosen].flip(axis)
    return batch


def brightness(batch: torch.Tensor, generator: torch.Generator, strength: float) -> torch.Tensor:
    """Contrast by up to a fifth and brightness by up to a tenth, for each item on its own."""
    ones = (len(batch),) + (1,) * (batch.ndim - 1)
    contrast = 1.0 + 0.4 * strength * even(ones, generator)
    middle = batch.mean(dim=tuple(range(1, batch.ndim)), keepdim=True)
    return (batch - middle) * contrast + middle + 0.2 * strength * even(ones, generator)


def hidden_block(batch: torch.Tensor, generator: torch.Generator, share: float) -> torch.Tensor:
    """In half of the items a block with sides of up to `share` is set to the item's mean (Zhong et al. 2020,
    doi:10.1609/aaai.v34i07.7000)."""
    hidden = torch.rand(len(batch), generator=generator) < 0.5
    mask = torch.ones(len(batch), 1, *batch.shape[2:], dtype=torch.bool)
    for axis in range(2, batch.ndim):
        side = batch.shape[axis]
        length = torch.rand(len(batch), generator=generator) * share * side
        start = torch.rand(len(batch), generator=generator) * (side - length)
        place = torch.arange(side, dtype=torch.float32)[None]
        inside = (place >= start[:, None]) & (place < (start + length)[:, None])
        mask &= inside.reshape(len(batch), 1, *(side if k == axis else 1 for k in range(2, batch.ndim)))
    mask &= hidden.reshape(-1, *(1,) * (batch.ndim - 1))
    middle = batch.mean(dim=tuple(range(1, batch.ndim)), keepdim=True)
    return torch.where(mask, middle, batch)


def changed(
    batch: torch.Tensor, generator: torch.Generator, settings: Mapping[str, Any], *, degrees: float, scale: float, axis: int
) -> torch.Tensor:
    """Pictures or volumes turned, scaled and moved, brighter or darker, a part hidden, each by `settings`' strength;
    mirrored along `axis` only where that is allowed."""
    strength = amount(settings)
    if strength == 0:
        return batch
    batch = affine(batch, generator, degrees=degrees * strength, scale=scale * strength, shift=0.1 * strength)
    if settings.get("allow_flip"):
        batch = flips(batch, generator, axis=axis)
    return hidden_block(brightness(batch, generator, strength), generator, 0.3 * strength)
