"""How a network looks at a signal: convolutions over time that see all channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from engine.networks.base import KindNetwork, encoder
from engine.schema import Kind

NOISE, SCALE, SHIFT, MASK, DROP = 0.1, 0.2, 0.1, 0.1, 0.1  # at strength 1: deviations and shares of the length


class Residual(nn.Module):
    """Two convolutions beside a way past them; every second step goes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(inputs, outputs, 7, stride=2, padding=3), nn.GroupNorm(4, outputs), nn.SiLU(),
            nn.Conv1d(outputs, outputs, 5, padding=2), nn.GroupNorm(4, outputs),
        )  # fmt: skip
        self.past = nn.Conv1d(inputs, outputs, 1, stride=2)
        self.end = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, steps) to (batch, outputs, steps / 2)."""
        result: torch.Tensor = self.end(self.main(x) + self.past(x))
        return result


class SignalEncoder(nn.Module):
    """(batch, channels, steps) to (batch, width): a residual network, mean and maximum over time, and each channel's own
    level and strength, which the normalisations inside would lose. `stages` is where Grad-CAM looks."""

    def __init__(self, channels: int, steps: int, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(channels, 16, 9, stride=2, padding=4), nn.SiLU())
        depth = 4 if steps >= 512 else 3 if steps >= 128 else 2
        sizes = (16, 24, 32, 48, 64)
        self.stages = nn.Sequential(*[Residual(sizes[k], sizes[k + 1]) for k in range(depth)])
        self.last = nn.Linear(2 * sizes[depth] + 2 * channels, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        found = self.stages(self.first(x))
        level, strength = x.mean(dim=2), torch.log1p(x.std(dim=2))
        result: torch.Tensor = self.last(torch.cat([found.mean(2), found.amax(2), level, strength], dim=1))
        return result


@encoder(Kind.SIGNAL)
class SignalNetwork(KindNetwork):
    """Augmented by noise, scaling, a shift in time, a stretch that is masked, and a channel that is dropped."""

    def build(self, tensor_shape: tuple[int, ...], width: int) -> nn.Module:
        """A SignalEncoder."""
        return SignalEncoder(tensor_shape[0], tensor_shape[1], width)

    def augment(
        self, batch: torch.Tensor, generator: torch.Generator, settings: Mapping[str, Any]
    ) -> torch.Tensor:
        """A recording begins at any moment and leads vary in gain; time is never reversed and signs never turned."""
        strength = float(settings.get("augmentation", 0.5))
        if strength <= 0:
            return batch
        n, channels, steps = batch.shape

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(shape, generator=generator)

        spread = batch.std(dim=2, keepdim=True)
        gain = 1.0 + strength * SCALE * (2.0 * uniform(n, 1, 1) - 1.0)
        noise = torch.randn(batch.shape, generator=generator) * spread * strength * NOISE * uniform(n, 1, 1)
        moved = shifted(batch * gain + noise, strength * SHIFT * (2.0 * uniform(n) - 1.0))
        places = torch.arange(steps)[None, :]
        length = (strength * MASK * uniform(n, 1) * steps).long()
        start = (uniform(n, 1) * (steps - length)).long()
        kept = (places < start) | (places >= start + length)
        moved = moved * kept[:, None, :]
        if channels > 2:
            moved = moved * (uniform(n, channels, 1) >= strength * DROP)
        return moved


def shifted(batch: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """(batch, channels, steps) moved later by a share of the length (earlier when negative), 0 where nothing comes in."""
    steps = batch.shape[2]
    by = (shares * steps).round().long()
    source = torch.arange(steps)[None, :] - by[:, None]
    inside = (source >= 0) & (source < steps)
    index = source.clamp(0, steps - 1)[:, None, :].expand(-1, batch.shape[1], -1)
    return batch.gather(2, index) * inside[:, None, :]
