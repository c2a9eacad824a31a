"""How a network looks at a picture: a small residual network on 64 x 64 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from engine.networks.base import KindNetwork, encoder
from engine.networks.moves import changed
from engine.schema import Kind


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a short cut (He et al. 2016, doi:10.1109/CVPR.2016.90), with group normalisation
    (Wu & He 2018, arXiv:1803.08494): no statistics of the batch, so that a picture's result is its own."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.GroupNorm(8, outputs), nn.GroupNorm(8, outputs)])
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        y = torch.relu(self.norms[0](self.first(x)))
        result: torch.Tensor = torch.relu(self.norms[1](self.second(y)) + self.short(x))
        return result


class ImageEncoder(nn.Module):
    """Patches of 4 x 4, two residual stages, then the mean and the largest answer of each channel."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 24, 4, 4)
        self.stages = nn.Sequential(nn.GroupNorm(8, 24), Residual(24, 32, 1), Residual(32, 64, 2))
        self.out = nn.Linear(128, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, channels, h, w) from 0 to 1, to (b, width)."""
        y = self.stages(self.stem((x - 0.5) * 4.0))
        result: torch.Tensor = self.out(torch.cat([y.mean(dim=(2, 3)), y.amax(dim=(2, 3))], dim=1))
        return result


@encoder(Kind.IMAGE)
class ImageNetwork(KindNetwork):
    """Turned by up to 15 degrees, moved, scaled, brighter or darker, a part hidden; never mirrored unless allowed."""

    def build(self, tensor_shape: tuple[int, ...], width: int) -> nn.Module:
        """From (channels, h, w)."""
        return ImageEncoder(tensor_shape[0], width)

    def augment(
        self, batch: torch.Tensor, generator: torch.Generator, settings: Mapping[str, Any]
    ) -> torch.Tensor:
        """(b, channels, h, w)."""
        return changed(batch, generator, settings, degrees=15, scale=0.15, axis=3)
