"""How a network looks at a volume: a small network of three-dimensional convolutions on 32 x 32 x 32 voxels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from engine.networks.base import KindNetwork, encoder
from engine.networks.moves import changed
from engine.schema import Kind


class VolumeEncoder(nn.Module):
    """Three convolutions that halve the sides, then the mean and the largest answer of each channel."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for inputs, outputs in ((channels, 16), (16, 32), (32, 48)):
            parts += [nn.Conv3d(inputs, outputs, 3, 2, 1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU()]
        self.stages = nn.Sequential(*parts)
        self.out = nn.Linear(96, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, channels, x, y, z) from 0 to 1, to (b, width)."""
        y = self.stages((x - 0.5) * 4.0)
        result: torch.Tensor = self.out(torch.cat([y.mean(dim=(2, 3, 4)), y.amax(dim=(2, 3, 4))], dim=1))
        return result


@encoder(Kind.VOLUME)
class VolumeNetwork(KindNetwork):
    """Turned about the body's axis, moved, scaled, brighter or darker; left and right are exchanged only if allowed."""

    def build(self, tensor_shape: tuple[int, ...], width: int) -> nn.Module:
        """From (channels, x, y, z)."""
        return VolumeEncoder(tensor_shape[0], width)

    def augment(
        self, batch: torch.Tensor, generator: torch.Generator, settings: Mapping[str, Any]
    ) -> torch.Tensor:
        """(b, channels, x, y, z); x runs from left to right."""
        return changed(batch, generator, settings, degrees=10, scale=0.1, axis=2)
