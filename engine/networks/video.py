"""How a network looks at a clip: the same small network on every frame, and attention over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from engine.networks.base import KindNetwork, encoder
from engine.schema import Kind

LIGHT, CONTRAST, MOVE, ZOOM, FRAMES_LOST = 0.15, 0.2, 0.1, 0.1, 0.2  # at strength 1


class VideoEncoder(nn.Module):
    """(batch, frames, channels, h, w) to (batch, width).

    Every frame is seen with its difference from the clip's middle frame, so that what moves stands out where and when it
    does. Black frames are those that a short clip lacks. `stages`: see SignalEncoder.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = (16, 32, 48, 64)
        parts: list[nn.Module] = []
        inputs = 2 * channels
        for size in sizes:
            parts += [nn.Conv2d(inputs, size, 3, stride=2, padding=1), nn.GroupNorm(4, size), nn.SiLU()]
            inputs = size
        self.stages = nn.Sequential(*parts)
        self.frame = nn.Sequential(nn.Linear(2 * sizes[-1] + channels, 64), nn.SiLU())
        self.attention = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 1))
        self.last = nn.Linear(3 * 64, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        n, frames, channels, h, w = x.shape
        there = x.flatten(2).amax(dim=2) > 0
        there = there | (~there.any(dim=1, keepdim=True))  # an empty clip is looked at as it is
        share = there[:, :, None, None, None] / there.sum(dim=1).clamp(min=1)[:, None, None, None, None]
        seen_only = x.masked_fill(~there[:, :, None, None, None], float("nan"))
        middle = seen_only.nanmedian(dim=1, keepdim=True).values
        both = torch.cat([x - 0.5, 4.0 * (x - middle)], dim=2).reshape(n * frames, 2 * channels, h, w)
        maps = self.stages(both)
        seen = torch.cat([maps.mean((2, 3)), maps.amax((2, 3)), x.mean((3, 4)).reshape(n * frames, channels)], dim=1)
        frame = self.frame(seen).reshape(n, frames, -1)
        score = self.attention(frame)[..., 0].masked_fill(~there, -1e4)
        attended = (score.softmax(dim=1)[..., None] * frame).sum(dim=1)
        mean = (share[:, :, :, 0, 0] * frame).sum(dim=1)
        most = frame.masked_fill(~there[..., None], -1e4).amax(dim=1)
        result: torch.Tensor = self.last(torch.cat([attended, mean, most], dim=1))
        return result


@encoder(Kind.VIDEO)
class VideoNetwork(KindNetwork):
    """Augmented by light, contrast, a small move and zoom that are the same for all frames of a clip, and by frames that
    are lost. Time is never reversed; left and right are exchanged only where that is allowed."""

    def build(self, tensor_shape: tuple[int, ...], width: int) -> nn.Module:
        """A VideoEncoder."""
        return VideoEncoder(tensor_shape[1], width)

    def augment(
        self, batch: torch.Tensor, generator: torch.Generator, settings: Mapping[str, Any]
    ) -> torch.Tensor:
        """See the class."""
        strength = float(settings.get("augmentation", 0.5))
        if strength <= 0:
            return batch
        n, frames = batch.shape[:2]

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(shape, generator=generator)

        def either(*shape: int) -> torch.Tensor:
            return 2.0 * uniform(*shape) - 1.0

        there = (batch.flatten(2).amax(dim=2) > 0)[:, :, None, None, None]
        contrast = 1.0 + strength * CONTRAST * either(n, 1, 1, 1, 1)
        light = strength * LIGHT * either(n, 1, 1, 1, 1)
        changed = ((batch - 0.5) * contrast + 0.5 + light).clamp(0.0, 1.0)
        zoom = 1.0 + strength * ZOOM * either(n)
        sign = torch.ones(n)
        if settings.get("allow_flip"):
            sign = torch.where(uniform(n) < 0.5, -1.0, 1.0)
        moves = strength * MOVE * either(n, 2)
        nothing = torch.zeros(n)
        theta = torch.stack([
            torch.stack([zoom * sign, nothing, moves[:, 0]], dim=1),
            torch.stack([nothing, zoom, moves[:, 1]], dim=1),
        ], dim=1)  # fmt: skip
        flat = changed.flatten(1, 2)
        grid = functional.affine_grid(theta, list(flat.shape), align_corners=False)
        moved = functional.grid_sample(flat, grid, padding_mode="border", align_corners=False).reshape(batch.shape)
        lost = uniform(n, frames) < strength * FRAMES_LOST
        before = torch.arange(frames)[None, :].expand(n, -1).clone()
        before[lost] -= 1  # a lost frame shows what the one before it showed
        index = before.clamp(min=0)[:, :, None, None, None].expand_as(moved)
        return moved.gather(1, index) * there
