"""What a clip looks like in numbers: each frame's look pooled over time, how it moves and where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Floats
from engine.signals.features import autocorrelation, rhythm
from engine.video.clip import SAME, Clip, Picture, choose

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
GRID = 3  # cells across and down in which brightness and change are measured
DIRECTIONS = 6  # of edges, over half a turn
LOOKED_AT = 12  # frames whose look is described
RINGS = 4  # octaves of spatial frequency
POOLS = ("mean", "sd", "most")
LOOK = (
    "grey", "contrast", *(f"q{round(100 * q):02d}" for q in QUANTILES), "red", "blue", "colour",
    *(f"cell_{k}" for k in range(GRID * GRID)), "edges", *(f"direction_{k}" for k in range(DIRECTIONS)),
    *(f"ring_{k}" for k in range(RINGS)), *(f"pattern_{k}" for k in range(10)),
)  # fmt: skip
MOTION = (
    "motion_mean", "motion_sd", "motion_most", "motion_q25", "motion_q50", "motion_q75", "still", "cuts",
    "flow_mean", "flow_sd", "flow_most", "light_sd", "light_period", "light_periodicity", "motion_period",
    "motion_periodicity", "seconds", "rate", *(f"change_{k}" for k in range(GRID * GRID)),
)  # fmt: skip
NAMES = (*(f"{pool}.{name}" for pool in POOLS for name in LOOK), *MOTION)


def describe(clip: Clip) -> Floats:
    """(len(NAMES),) of a clip; NaN where a feature makes no sense (the period of a clip in which nothing moves)."""
    looks = np.stack([look(clip.frames[k]) for k in choose(clip.moved, LOOKED_AT)])
    pooled = np.concatenate([looks.mean(axis=0), looks.std(axis=0), looks.max(axis=0)])
    return np.concatenate([pooled, motion(clip), change(clip.frames)])


def grey(frame: Picture) -> NDArray[np.float64]:
    """(h, w) luma 0 to 1 (ITU-R BT.601)."""
    weights = np.array([0.299, 0.587, 0.114]) / 255.0
    result: NDArray[np.float64] = frame.astype(np.float64) @ weights
    return result


def look(frame: Picture) -> Floats:
    """(len(LOOK),) of one frame (SIDE, SIDE, 3)."""
    g = grey(frame)
    red, green, blue = (np.ascontiguousarray(frame[..., k]) for k in range(3))
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    colour = float((most - least).mean()) / 255.0
    down, across = np.gradient(g.astype(np.float32))
    steep = np.sqrt(down * down + across * across)
    angle = np.mod(np.arctan2(down, across), np.float32(np.pi))
    place = np.minimum((angle / np.pi * DIRECTIONS).astype(np.int64), DIRECTIONS - 1)
    directions = np.bincount(place.ravel(), steep.ravel(), DIRECTIONS)
    return np.concatenate([
        [g.mean(), g.std()], np.quantile(g, QUANTILES),
        [(red.mean() - green.mean()) / 255.0, (blue.mean() - green.mean()) / 255.0, colour],
        cells(g), [steep.mean()], directions / max(float(directions.sum()), 1e-12), rings(g), patterns(g),
    ])  # fmt: skip


def cells(g: Floats) -> Floats:
    """(GRID * GRID,) means of the parts of a picture, row by row."""
    parts = [part for band in np.array_split(g, GRID) for part in np.array_split(band, GRID, axis=1)]
    return np.array([part.mean() for part in parts])


def rings(g: Floats) -> Floats:
    """(RINGS,) share of the power in octaves of spatial frequency, coarse to fine; 0 for a flat picture."""
    power = np.abs(np.fft.fft2(g - g.mean())) ** 2
    radius = np.hypot(np.fft.fftfreq(g.shape[0])[:, None], np.fft.fftfreq(g.shape[1])[None, :])
    edges = [0.0, *(0.5 * 2.0 ** -np.arange(RINGS - 1, 0, -1)), np.inf]
    total = float(power.sum())
    if total <= 1e-12:
        return np.zeros(RINGS)
    ring = np.searchsorted(edges, radius.ravel(), side="right") - 1
    return np.bincount(ring, power.ravel(), RINGS) / total


def patterns(g: Floats) -> Floats:
    """(10,) shares of uniform local binary patterns with 8 neighbours (Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623):
    how many neighbours are as bright or brighter, where they lie together; the last is for all other patterns."""
    core = g[1:-1, 1:-1]
    steps = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    h, w = g.shape
    brighter = np.stack([g[1 + a : h - 1 + a, 1 + b : w - 1 + b] >= core for a, b in steps])
    changes = (brighter != np.roll(brighter, 1, axis=0)).sum(axis=0)
    code = np.where(changes <= 2, brighter.sum(axis=0), 9)
    return np.bincount(code.ravel(), minlength=10) / code.size


def motion(clip: Clip) -> Floats:
    """The first features of MOTION: from the differences between all decoded frames, not only the kept ones."""
    m, flow, light = clip.motion, clip.flow, clip.light
    if not len(m):
        return np.array([0.0] * 6 + [1.0, 0.0, 0.0, 0.0, 0.0, 0.0] + [np.nan] * 4 + [clip.seconds, clip.rate])
    middle = float(np.median(m))
    cuts = float((m > 5.0 * middle + 10.0).sum()) / max(clip.seconds, 1e-9)
    return np.array([
        m.mean(), m.std(), m.max(), *np.quantile(m, (0.25, 0.5, 0.75)), float((m < SAME).mean()), cuts,
        flow.mean(), flow.std(), flow.max(), light.std(), *_period(light, clip.rate), *_period(m, clip.rate),
        clip.seconds, clip.rate,
    ])  # fmt: skip


def _period(series: Floats, rate: float) -> list[float]:
    """Seconds between repetitions and how alike they are, as of a beating heart; NaN when nothing changes."""
    if len(series) < 8 or autocorrelation(series) is None:
        return [float("nan")] * 2
    return rhythm(series, rate)[:2]


def change(frames: Picture) -> Floats:
    """(GRID * GRID,) how much each part of the picture changes over time: the deviation of its pixels, averaged."""
    return cells(np.stack([grey(frame) for frame in frames]).std(axis=0))
