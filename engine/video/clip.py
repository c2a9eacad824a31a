"""One clip as a bounded number of frames with their times, and how much moved between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Floats

SIDE = 128  # pixels of a kept frame, whatever the clip's own size and proportions
SMALL = 48  # pixels of the grey frame in which motion is measured
HELD = 64  # frames held while reading, at most twice as many
KEPT = 24  # frames of a clip
MOST_MOTION = 4096  # steps of motion that are remembered one by one
SAME = 1.0  # grey levels: below it nothing was seen to move

Picture = NDArray[np.uint8]


class VideoError(ValueError):
    """A file or array that holds no clip which could be read. `code` is stable: it becomes an issue of the cell."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Clip:
    """`frames` (k, SIDE, SIDE, 3) uint8 RGB with `times` (k,) in seconds and `moved` (k,), the most that moved since the
    one before. Of all decoded frames: `motion` (m,) mean grey levels by which each differs from the one before, `flow`
    (m,) pixels of SMALL that things moved, `light` (m + 1,) mean grey.

    `rate`: decoded frames per second; `seconds`: the length that was read. `cut`: not all of it could be read.
    """

    frames: Picture
    times: Floats
    moved: Floats
    motion: Floats
    flow: Floats
    light: Floats
    rate: float
    seconds: float
    cut: bool = False


class Sampler:
    """Takes one decoded frame after the other and keeps every so many: when too many are held, every second one goes.

    Memory does not grow with the clip: at most 2 * HELD frames of SIDE x SIDE, and MOST_MOTION steps of motion, which are
    averaged in pairs when they become more.
    """

    def __init__(self) -> None:
        self.frames: list[Picture] = []
        self.times: list[float] = []
        self.moved: list[float] = []  # the largest motion since the kept frame before
        self.stride, self.count = 1, 0
        self.motion: list[float] = []
        self.flow: list[float] = []
        self.light: list[float] = []
        self.pooled = 1
        self.waiting: list[tuple[float, float, float]] = []
        self.before: NDArray[np.float32] | None = None
        self.since = 0.0
        self.last = 0.0

    @property
    def wants(self) -> bool:
        """Whether the next frame's picture is to be kept; only then it needs to be made."""
        return self.count % self.stride == 0

    def add(self, picture: Picture | None, small: NDArray[np.float32], time: float) -> None:
        """`picture` (SIDE, SIDE, 3), None when it is not wanted; `small` (SMALL, SMALL) grey levels."""
        if self.before is not None:
            step = float(np.abs(small - self.before).mean())
            self.since = max(self.since, step)
            self._remember(step, normal_flow(self.before, small), float(small.mean()))
        else:
            self.light.append(float(small.mean()))
        if picture is not None and self.wants:
            self.frames.append(picture)
            self.times.append(time)
            self.moved.append(self.since)
            self.since = 0.0
            if len(self.frames) >= 2 * HELD:
                self.frames, self.times = self.frames[::2], self.times[::2]
                pairs = [*self.moved[1:], 0.0]
                self.moved = [max(a, b) for a, b in zip(self.moved[::2], [0.0, *pairs[:-1:2]], strict=False)]
                self.stride *= 2
        self.before, self.last = small, time
        self.count += 1

    def _remember(self, motion: float, flow: float, light: float) -> None:
        self.waiting.append((motion, flow, light))
        if len(self.waiting) < self.pooled:
            return
        for kept, values in zip((self.motion, self.flow, self.light), zip(*self.waiting, strict=True), strict=True):
            kept.append(float(np.mean(values)))
        self.waiting = []
        if len(self.motion) >= 2 * MOST_MOTION:
            for name in ("motion", "flow"):
                pairs = np.array(getattr(self, name)).reshape(-1, 2)
                setattr(self, name, pairs.mean(axis=1).tolist())
            self.light = [self.light[0], *np.array(self.light[1:]).reshape(-1, 2).mean(axis=1).tolist()]
            self.pooled *= 2

    def clip(self, rate: float | None, *, cut: bool = False, most: int = KEPT) -> Clip:
        """At most `most` of the held frames: half evenly in time, half where most has moved. Raises VideoError."""
        if not self.frames:
            raise VideoError("video_empty", "This clip has no frame that could be read.")
        seconds = self.last - self.times[0]
        own = (self.count - 1) / seconds if seconds > 0 else rate or 1.0
        moved = np.array(self.moved)
        chosen = choose(moved, most)
        frames = np.stack([self.frames[k] for k in chosen])
        times = np.array([self.times[k] for k in chosen]) - self.times[0]
        motion, flow = np.array(self.motion), np.array(self.flow)
        return Clip(frames, times, moved[chosen], motion, flow, np.array(self.light), own / self.pooled, seconds + 1.0 / own, cut)


def choose(moved: Floats, most: int) -> NDArray[np.int64]:
    """Positions in time order, at most `most`: half of them evenly spread, then those before which most has moved.

    A clip in which nothing moves gets evenly spread ones only.
    """
    n = len(moved)
    if n <= most:
        return np.arange(n)
    even = np.unique(np.linspace(0, n - 1, most - most // 2).round().astype(np.int64))
    others = np.setdiff1d(np.arange(n), even)
    lively = others[moved[others] > SAME]
    by_motion = lively[np.argsort(-moved[lively], kind="stable")][: most - len(even)]
    chosen = np.union1d(even, by_motion)
    if len(chosen) < most:
        rest = np.setdiff1d(np.arange(n), chosen)
        fill = rest[np.linspace(0, len(rest) - 1, most - len(chosen)).round().astype(np.int64)]
        chosen = np.union1d(chosen, fill)
    return chosen


def normal_flow(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How many pixels things moved, mean over the places with an edge: the part of the motion along the gradient that
    brightness constancy gives, |It| / |grad I| (Horn & Schunck 1981, doi:10.1016/0004-3702(81)90024-2); 0 without edges."""
    vertical, horizontal = np.gradient((before + after) / 2.0)
    steep = np.hypot(vertical, horizontal)
    edge = steep > 4.0
    if not edge.any():
        return 0.0
    speed = np.abs(after - before)[edge] / steep[edge]
    return float(np.minimum(speed, SMALL / 4.0).mean())


def frame_of(array: NDArray[np.generic], wanted: bool = True) -> tuple[Picture | None, NDArray[np.float32]]:
    """(h, w) or (h, w, 3) uint8 to the kept picture (where wanted) and the small grey one."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(array, dtype=np.uint8))
    box = Image.Resampling.BOX
    picture = np.asarray(image.convert("RGB").resize((SIDE, SIDE), box)) if wanted else None
    small = np.asarray(image.convert("L").resize((SMALL, SMALL), box), dtype=np.float32)
    return picture, small


def clip_of_frames(frames: Iterable[NDArray[np.generic]], rate: float, *, cut: bool = False) -> Clip:
    """From decoded frames, one at a time."""
    sampler = Sampler()
    for number, frame in enumerate(frames):
        sampler.add(*frame_of(frame, sampler.wants), number / rate)
    return sampler.clip(rate, cut=cut)
