"""How the recordings of one column are laid side by side: which channels, at which rate, over which stretch of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Floats
from engine.signals.features import POOLED_FROM, as_float32, describe, feature_count
from engine.signals.recording import Recording
from engine.signals.resampling import at_rate, fill_gaps, resample

FEWEST_STEPS, MOST_STEPS = 64, 1024  # of a network's view of a recording
MOST_CHANNELS = 64  # that a network sees
NAMED_SHARE = 0.5  # of the recordings that have a channel for it to be one of the column's
FURTHEST = 8.0  # deviations; what lies further out says only that it lies far out
LONGER = 4.0  # times the usual length: a recording beyond it does not stretch everybody's view


@dataclass(frozen=True)
class Layout:
    """`names`: the channels' own, "" where they are told by position only. `rate` (Hz): of everything that is computed.

    `seconds`: what a network sees, from the start, in `steps` steps; `centre` and `scale` (channels,) are its units.
    """

    names: tuple[str, ...]
    rate: float
    seconds: float
    steps: int
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    @property
    def features(self) -> int:
        """How many numbers describe a recording."""
        return feature_count(len(self.names))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form; `from_dict` turns it back."""
        return {"names": list(self.names), "rate": self.rate, "seconds": self.seconds, "steps": self.steps,
                "centre": list(self.centre), "scale": list(self.scale)}  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Layout:
        """Raises KeyError, TypeError or ValueError for what is no layout."""
        layout = cls(
            tuple(str(name) for name in data["names"]), float(data["rate"]), float(data["seconds"]),
            int(data["steps"]), tuple(map(float, data["centre"])), tuple(map(float, data["scale"])),
        )  # fmt: skip
        channels = len(layout.names)
        right = channels == len(layout.centre) == len(layout.scale) and 1 <= channels <= MOST_CHANNELS
        finite = np.isfinite([layout.rate, layout.seconds, *layout.centre, *layout.scale]).all()
        if not (right and finite and min(layout.rate, layout.seconds, *layout.scale) > 0 and 1 <= layout.steps <= 65536):
            raise ValueError("a layout of signals that can't be")
        return layout


DEFAULT = Layout(("",), 1.0, 1024.0, MOST_STEPS, (0.0,), (1.0,))  # of a column without a readable recording


def settle(recordings: Sequence[Recording]) -> Layout:
    """A layout that suits training recordings: the channels that most of them have, and a rate that almost all reach."""
    if not recordings:
        return DEFAULT
    names = _channels(recordings)
    rate = float(np.quantile([r.rate for r in recordings], 0.1, method="lower"))
    lengths = np.array([r.seconds for r in recordings])
    seconds = float(max(min(lengths.max(), LONGER * np.median(lengths)), 2.0 / rate))
    steps = int(np.clip(round(seconds * rate), FEWEST_STEPS, MOST_STEPS))
    draft = Layout(names, rate, seconds, steps, (0.0,) * len(names), (1.0,) * len(names))
    low, middle, high = np.nanmedian(
        [_spread(arrange(recording, names)) for recording in recordings], axis=0
    ) if len(names) else np.zeros((3, 0))  # fmt: skip
    centre = np.nan_to_num(middle)
    scale = np.nan_to_num((high - low) / 2.0)
    scale = np.where(scale > 1e-12 * (1.0 + np.abs(centre)), scale, 1.0)
    return Layout(names, rate, seconds, draft.steps, tuple(centre.tolist()), tuple(scale.tolist()))


def _channels(recordings: Sequence[Recording]) -> tuple[str, ...]:
    """By name when most recordings name all their channels, else by position; as many as the middle recording has."""
    named = [r.names for r in recordings if all(r.names) and len(set(r.names)) == len(r.names)]
    if len(named) >= NAMED_SHARE * len(recordings):
        counted = Counter(name for names in named for name in names)
        order = {name: place for names in reversed(named) for place, name in enumerate(names)}
        kept = [name for name, count in counted.items() if count >= NAMED_SHARE * len(named)]
        if kept:
            return tuple(sorted(kept, key=lambda name: (order[name], name)))[:MOST_CHANNELS]
    count = int(np.median([len(r.values) for r in recordings]))
    return ("",) * max(1, min(count, MOST_CHANNELS))


def _spread(values: Floats) -> Floats:
    """(3, channels) the 2.5%, 50% and 97.5% quantiles of each channel; NaN for a channel without values."""
    spread = np.full((3, len(values)), np.nan)
    for j, row in enumerate(values):
        seen = row[~np.isnan(row)]
        if len(seen):
            spread[:, j] = np.quantile(seen, (0.025, 0.5, 0.975))
    return spread


def arrange(recording: Recording, names: Sequence[str]) -> Floats:
    """(len(names), n) the recording's channels in the layout's order; NaN for one that it has not."""
    own = recording.names
    if len(names) and all(names) and any(name in own for name in names):
        places = [own.index(name) if name in own else -1 for name in names]
    else:
        places = [j if j < len(own) else -1 for j in range(len(names))]
    values = np.full((len(names), recording.values.shape[1]), np.nan)
    for j, place in enumerate(places):
        if place >= 0:
            values[j] = recording.values[place]
    return values


def laid_out(recording: Recording, layout: Layout) -> Recording:
    """The recording with the layout's channels at the layout's rate; one that was recorded more slowly stays as it is."""
    arranged = Recording(arrange(recording, layout.names), recording.rate, layout.names, recording.rate_known)
    return at_rate(arranged, layout.rate) if recording.rate > layout.rate else arranged


def features_of(recording: Recording, layout: Layout) -> NDArray[np.float32]:
    """(layout.features,) of a recording that is laid out."""
    return as_float32(describe(recording.values, recording.rate))


def view_of(recording: Recording, layout: Layout) -> NDArray[np.float32]:
    """(channels, steps) for networks, of a recording that is laid out: centred, scaled, 0 in gaps and after its end."""
    view = np.zeros((len(layout.names), layout.steps), dtype=np.float32)
    rate = layout.steps / layout.seconds
    values = fill_gaps(recording.values[:, : max(2, round(layout.seconds * recording.rate))])
    if abs(rate / recording.rate - 1.0) > 1e-9:
        values = resample(values, recording.rate, rate)
    n = min(values.shape[1], layout.steps)
    centre, scale = np.array(layout.centre)[:, None], np.array(layout.scale)[:, None]
    part = np.clip((values[:, :n] - centre) / scale, -FURTHEST, FURTHEST)
    places = np.minimum(np.rint(np.arange(n) * recording.rate / rate), recording.values.shape[1] - 1).astype(np.int64)
    view[:, :n] = np.where(recording.gaps[:, places], 0.0, part)
    return view


__all__ = ["DEFAULT", "POOLED_FROM", "Layout", "arrange", "features_of", "laid_out", "settle", "view_of"]
