"""What a recording looks like in numbers: each channel's statistics, rhythm, spectrum and peaks, and how channels agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Floats
from engine.signals.resampling import fill_gaps

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
OCTAVES = 8  # bands, each twice as wide as the one below it; the highest ends at half the sampling rate
WINDOWS = 16  # equal parts of the recording in which its strength is compared
ORDER = 4  # samples of a pattern for the permutation entropy
LONGEST_SEGMENT = 8192  # samples of a spectrum
MOST_LAGS = 8192  # samples for the autocorrelation
CHANNEL_FEATURES = (
    "mean", "sd", "minimum", "maximum", "skewness", "kurtosis", *(f"q{round(100 * q):02d}" for q in QUANTILES),
    "rms", "slope", "line_length", "gaps", "crossings", "mobility", "complexity", "permutation_entropy",
    "loudest", "loudest_at", "strength_variation", "log_power", *(f"octave_{k}" for k in range(OCTAVES)),
    "dominant", "centroid", "bandwidth", "edge_95", "spectral_entropy", "period", "periodicity", "memory",
    "peak_rate", "peak_prominence", "interval_mean", "interval_sd", "interval_rmssd",
)  # fmt: skip
PAIRWISE = 6  # channels up to which each pair's correlation is a feature
POOLED_FROM = 13  # channels from which only their mean, deviation, least and most are kept
AGREEMENT = ("correlation_mean", "correlation_sd", "correlation_least", "correlation_most")


def feature_count(channels: int) -> int:
    """How many numbers `describe` gives."""
    return len(feature_names(channels))


def feature_names(channels: int) -> list[str]:
    """The names of what `describe` gives, channels counted from 1."""
    if channels >= POOLED_FROM:
        own = [f"{pool}.{name}" for pool in ("mean", "sd", "least", "most") for name in CHANNEL_FEATURES]
    else:
        own = [f"{c + 1}.{name}" for c in range(channels) for name in CHANNEL_FEATURES]
    if channels == 1:
        return [*own, "seconds"]
    pairs = [f"correlation_{a + 1}_{b + 1}" for a, b in _pairs(channels)] if channels <= PAIRWISE else []
    return [*own, *AGREEMENT, *pairs, "seconds"]


def describe(values: Floats, rate: float) -> Floats:
    """(F,) of (channels, n): NaN where a feature makes no sense (an empty channel, no peaks)."""
    filled = fill_gaps(values)
    rows = np.stack([channel_features(raw, row, rate) for raw, row in zip(values, filled, strict=True)])
    seconds = [values.shape[1] / rate]
    own = np.concatenate(_pool(rows)) if len(values) >= POOLED_FROM else rows.ravel()
    if len(values) == 1:
        return np.concatenate([own, seconds])
    return np.concatenate([own, agreement(values, filled), seconds])


def _pool(rows: Floats) -> list[Floats]:
    known = np.isfinite(rows).any(axis=0)
    pooled = np.full((4, rows.shape[1]), np.nan)
    some = rows[:, known]
    pooled[:, known] = [np.nanmean(some, 0), np.nanstd(some, 0), np.nanmin(some, 0), np.nanmax(some, 0)]
    return list(pooled)


def _pairs(channels: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(channels) for b in range(a + 1, channels)]


def agreement(values: Floats, filled: Floats) -> Floats:
    """Pearson correlations between channels: mean, deviation, least and most of the pairs, and for few channels each."""
    pairs = _pairs(len(values))
    flat = np.isnan(values).all(axis=1) | (np.ptp(filled, axis=1) == 0)
    matrix = np.full((len(values), len(values)), np.nan)
    if (~flat).sum() > 1:
        matrix[np.ix_(~flat, ~flat)] = np.corrcoef(filled[~flat])
    each = np.array([matrix[pair] for pair in pairs])
    known = each[np.isfinite(each)]
    whole = [known.mean(), known.std(), known.min(), known.max()] if len(known) else [np.nan] * 4
    return np.concatenate([whole, each]) if len(values) <= PAIRWISE else np.array(whole)


def channel_features(raw: Floats, filled: Floats, rate: float) -> Floats:
    """(len(CHANNEL_FEATURES),) of one channel: `raw` with NaN in gaps, `filled` without."""
    seen = raw[~np.isnan(raw)]
    if len(seen) < 2:
        empty = np.full(len(CHANNEL_FEATURES), np.nan)
        empty[CHANNEL_FEATURES.index("gaps")] = 1.0
        return empty
    return np.array([
        *statistics(seen), trend(filled, rate), float(np.abs(np.diff(filled)).mean()) * rate,
        1.0 - len(seen) / len(raw), crossings(filled, rate), *hjorth(filled, rate), permutation_entropy(filled),
        *strength(filled), *spectrum(filled, rate), *rhythm(filled, rate), *beats(filled, rate),
    ])  # fmt: skip


def statistics(x: Floats) -> list[float]:
    """Mean, deviation, extremes, skewness, excess kurtosis, quantiles and root mean square."""
    mean, sd = float(x.mean()), float(x.std())
    z = (x - mean) / sd if sd > 1e-12 * (1.0 + abs(mean)) else np.zeros_like(x)
    shape = [float((z**3).mean()), float((z**4).mean()) - 3.0 if z.any() else 0.0]
    return [mean, sd, float(x.min()), float(x.max()), *shape, *np.quantile(x, QUANTILES).tolist(),
            float(np.sqrt((x**2).mean()))]  # fmt: skip


def trend(x: Floats, rate: float) -> float:
    """The slope of the least-squares line, per second."""
    t = (np.arange(len(x)) - (len(x) - 1) / 2.0) / rate
    return float((t * x).sum() / (t * t).sum())


def crossings(x: Floats, rate: float) -> float:
    """How often a second the signal crosses its median; values exactly on it do not count."""
    side = np.sign(x - np.median(x))
    side = side[side != 0]
    return float((side[1:] != side[:-1]).sum()) * rate / len(x) if len(side) > 1 else 0.0


def hjorth(x: Floats, rate: float) -> tuple[float, float]:
    """Mobility (1/s) and complexity: Hjorth 1970, doi:10.1016/0013-4694(70)90143-4; NaN when nothing moves."""
    first = np.diff(x) * rate
    second = np.diff(first) * rate
    a, b, c = float(x.var()), float(first.var()), float(second.var()) if len(second) else 0.0
    if a <= 0 or b <= 0:
        return float("nan"), float("nan")
    mobility = np.sqrt(b / a)
    return float(mobility), float(np.sqrt(c / b) / mobility)


def permutation_entropy(x: Floats, order: int = ORDER) -> float:
    """Shannon entropy of the orders of neighbouring samples, 0 to 1 (Bandt & Pompe 2002, 10.1103/PhysRevLett.88.174102)."""
    if len(x) < order + 1:
        return float("nan")
    windows = np.lib.stride_tricks.sliding_window_view(x, order)
    ranks = np.argsort(np.argsort(windows, axis=1, kind="stable"), axis=1)
    codes = ranks @ (order ** np.arange(order))
    p = np.unique(codes, return_counts=True)[1] / len(codes)
    most = float(np.log([k for k in range(2, order + 1)]).sum())
    return float(-(p * np.log(p)).sum() / most)


def strength(x: Floats) -> list[float]:
    """Of the deviation in equal windows: the largest over the median, where it lies (0 to 1), and its variation."""
    windows = [part.std() for part in np.array_split(x - x.mean(), min(WINDOWS, len(x) // 2))]
    level, middle = np.array(windows), float(np.median(windows))
    if level.max() <= 0:
        return [1.0, float("nan"), 0.0]
    loudest = float(np.log1p(level.max() / middle)) if middle > 0 else 20.0
    return [loudest, (int(level.argmax()) + 0.5) / len(level), float(level.std() / level.mean())]


def spectrum(x: Floats, rate: float) -> list[float]:
    """From Welch's density: log10 of the power, shares of octaves, dominant, mean and spread of the frequency, the
    frequency below which 95% of the power lies, and the entropy (0 to 1). NaN when nothing moves."""
    from scipy import signal

    segment = segment_length(len(x))
    frequency, density = signal.welch(x, rate, nperseg=segment)
    frequency, density = frequency[1:], density[1:]  # the constant part was taken out
    total = float(density.sum())
    if total <= 1e-24 or not len(density):
        return [float("nan")] * (OCTAVES + 6)
    share = density / total
    centroid = float((share * frequency).sum())
    width = float(np.sqrt((share * (frequency - centroid) ** 2).sum()))
    edge = float(frequency[min(int(np.searchsorted(np.cumsum(share), 0.95)), len(share) - 1)])
    positive = share[share > 0]
    entropy = float(-(positive * np.log(positive)).sum() / np.log(len(share))) if len(share) > 1 else 0.0
    return [float(np.log10(total * (frequency[0]))), *octaves(frequency, share, rate),
            float(frequency[density.argmax()]), centroid, width, edge, entropy]  # fmt: skip


def segment_length(n: int) -> int:
    """Samples of one Welch segment: about a quarter of the recording, all of a short one."""
    return n if n <= 256 else int(min(LONGEST_SEGMENT, max(256, 2 ** int(np.log2(n / 4)))))


def octaves(frequency: Floats, share: Floats, rate: float) -> list[float]:
    """The share of the power in each octave, the lowest band with all that lies below it."""
    edges = rate / 2.0 * 2.0 ** -np.arange(OCTAVES, -1, -1, dtype=float)
    edges[0] = 0.0
    edges[-1] = np.inf
    return [float(share[(frequency >= a) & (frequency < b)].sum()) for a, b in pairwise(edges)]


def rhythm(x: Floats, rate: float) -> list[float]:
    """From the autocorrelation: the period in seconds and how strong it is (the highest peak after the first fall below
    zero), and the seconds until it has fallen to 1/e."""
    from scipy import signal

    correlation = autocorrelation(x)
    if correlation is None:
        return [float("nan")] * 3
    below = np.flatnonzero(correlation < 1.0 / np.e)
    memory = float(below[0]) / rate if len(below) else len(correlation) / rate
    negative = np.flatnonzero(correlation < 0)
    if not len(negative):
        return [float("nan"), 0.0, memory]
    tail = correlation[negative[0] :]
    peaks = signal.find_peaks(tail)[0]
    if not len(peaks):
        return [float("nan"), 0.0, memory]
    best = int(peaks[tail[peaks].argmax()])
    return [float(negative[0] + best) / rate, float(tail[best]), memory]


def autocorrelation(x: Floats) -> Floats | None:
    """(lags,) of the first half, biased as usual (divided by n), 1 at lag 0; None when nothing moves."""
    from scipy import signal

    centred = x - x.mean()
    power = float((centred**2).sum())
    if power <= 1e-24:
        return None
    lags = min(MOST_LAGS, max(2, len(x) // 2))
    full = signal.correlate(centred, centred, mode="full", method="fft")[len(x) - 1 :]
    result: Floats = full[:lags] / power
    return result


def beats(x: Floats, rate: float) -> list[float]:
    """Peaks: how many a second, how far they stand out (in deviations), and the mean, the deviation and the root mean
    square of successive differences of the times between them (s).

    A peak stands out by a deviation at least, and by half of what the tallest tenth does: so that of a heart beat's waves
    one is counted.
    """
    from scipy import signal

    sd = float(x.std())
    nothing = [0.0, float("nan"), float("nan"), float("nan"), float("nan")]
    if sd <= 0:
        return nothing
    peaks, found = signal.find_peaks(x, prominence=sd)
    if not len(peaks):
        return nothing
    tall = found["prominences"] >= 0.5 * np.quantile(found["prominences"], 0.9)
    peaks, prominences = peaks[tall], found["prominences"][tall]
    first = [len(peaks) * rate / len(x), float(prominences.mean() / sd)]
    return [*first, *intervals_of(np.diff(peaks) / rate)]


def intervals_of(intervals: Floats) -> list[float]:
    """Mean, deviation and root mean square of successive differences of the times between beats (Task Force 1996,
    doi:10.1161/01.CIR.93.5.1043); NaN for fewer than two intervals where two are needed."""
    if not len(intervals):
        return [float("nan")] * 3
    if len(intervals) < 2:
        return [float(intervals[0]), float("nan"), float("nan")]
    return [float(intervals.mean()), float(intervals.std()), float(np.sqrt((np.diff(intervals) ** 2).mean()))]


def as_float32(features: Floats | Sequence[float]) -> NDArray[np.float32]:
    """Clipped to what float32 can hold well."""
    return np.clip(np.asarray(features, dtype=float), -1e30, 1e30).astype(np.float32)
