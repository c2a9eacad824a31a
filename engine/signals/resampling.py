"""Gaps and sampling rates: filling, and changing the rate without aliasing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from engine.metrics import Floats
from engine.signals.recording import Recording

FINEST = 1000  # a ratio of rates is taken as a fraction with at most this denominator
STEEPEST = 100  # a larger step down is made in several


def fill_gaps(values: Floats) -> Floats:
    """(channels, n) without NaN: straight lines over gaps, the nearest value at the ends, 0 in an empty channel."""
    if not np.isnan(values).any():
        return values
    filled = values.copy()
    places = np.arange(values.shape[1])
    for row in filled:
        gap = np.isnan(row)
        row[gap] = 0.0 if gap.all() else np.interp(places[gap], places[~gap], row[~gap])
    return filled


def resample(values: Floats, old: float, new: float) -> Floats:
    """(channels, n) of rate `old` to (channels, about n * new / old) of rate `new`.

    scipy's polyphase filter (a Kaiser-windowed low pass, zero phase) takes out what lies above half the new rate before
    samples are left out. A ratio that is no short fraction is met within half a thousandth by it, exactly by lines.
    """
    from scipy.signal import resample_poly  # where it is needed: serving tables does not wait for it

    while old / new > STEEPEST:
        values, old = resample_poly(values, 1, STEEPEST // 2, axis=1, padtype="line"), old / (STEEPEST // 2)
    ratio = Fraction(new / old).limit_denominator(FINEST)
    length = max(2, round(values.shape[1] * new / old))
    if ratio.numerator == 0:
        ratio = Fraction(1, FINEST)
    if ratio != 1:
        values = resample_poly(values, ratio.numerator, ratio.denominator, axis=1, padtype="line")
        old *= ratio.numerator / ratio.denominator
    if abs(new / old - 1.0) > 1e-9:
        times, places = np.arange(length) / new, np.arange(values.shape[1]) / old
        values = np.stack([np.interp(times, places, row) for row in values])
    result: Floats = values[:, :length]
    return result


def at_rate(recording: Recording, rate: float) -> Recording:
    """The recording at another rate; gaps stay gaps. Within 1% of it the recording stays as it is."""
    if abs(recording.rate / rate - 1.0) <= 0.01:
        return recording
    values = resample(fill_gaps(recording.values), recording.rate, rate)
    gaps = recording.gaps
    if gaps.any():
        nearest = np.rint(np.arange(values.shape[1]) * recording.rate / rate).astype(np.int64)
        values = np.where(gaps[:, np.minimum(nearest, gaps.shape[1] - 1)], np.nan, values)
    return Recording(values, rate, recording.names, recording.rate_known)
