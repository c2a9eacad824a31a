"""The figures of survival for many resamples at once: Kaplan-Meier, concordance, Brier score, AUC and calibration.

Weights are (B, n): how often each record is in each resample. The censoring distribution is estimated from the
evaluated records themselves, in each resample anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Floats, Ints, divide, rank_scores

FEWEST_IN_BIN = 20


@dataclass(frozen=True)
class Steps:
    """A falling step function for each resample: `values` (B, len(when)) hold from `when` on; 1 before."""

    when: Floats
    values: Floats

    def at(self, times: Floats) -> Floats:
        """(B, len(times))."""
        ones = np.ones((len(self.values), 1))
        place = np.searchsorted(self.when, times, side="right")
        result: Floats = np.concatenate([ones, self.values], axis=1)[:, place]
        return result


def kaplan_meier(time: Floats, event: NDArray[np.bool_], weights: Floats, *, censoring: bool = False) -> Steps:
    """Kaplan & Meier 1958 (doi:10.1080/01621459.1958.10501452); with `censoring` the distribution of the time of
    censoring, where at equal times events come first and are no longer at risk of being censored."""
    order = np.argsort(time, kind="stable")
    ordered = weights[:, order]
    when, first = np.unique(time[order], return_index=True)
    total = np.add.reduceat(ordered, first, axis=1)
    events = np.add.reduceat(ordered * event[order], first, axis=1)
    at_risk = np.cumsum(total[:, ::-1], axis=1)[:, ::-1]
    left, gone = (at_risk - events, total - events) if censoring else (at_risk, events)
    share = np.divide(gone, left, out=np.zeros_like(left), where=left > 1e-12)
    return Steps(when, np.cumprod(1.0 - share, axis=1))


def concordance(
    time: Floats, event: NDArray[np.bool_], risk: Floats, weights: Floats, of_event: Floats | None = None
) -> Floats:
    """(B,) the share of comparable pairs in which the earlier event had the larger risk; equal risks count half.

    A pair is comparable when the earlier of two times is an event; of an event and a censoring at the same time the
    event is the earlier (Harrell et al. 1982). `of_event` (B, n) weighs each event, as in Uno et al. 2011.
    All pairs are counted by merging sorted halves, in O(B n log n).
    """
    left = weights * event if of_event is None else weights * of_event * event
    order = np.lexsort((-risk, ~event, time))  # equal events: the larger risk first, so that their pairs are known
    t, happened, r = time[order], event[order], risk[order]
    w, v = weights[:, order], left[:, order]
    concordant, comparable = _merged(r, w, v)
    tied = np.flatnonzero(happened)
    if len(tied):  # events at the same time are not comparable: take their pairs out again
        same = np.append(True, np.diff(t[tied]) != 0)
        alike = same | np.append(True, np.diff(r[tied]) != 0)
        among = _pairs(v[:, tied], w[:, tied], np.flatnonzero(same))
        equal = _pairs(v[:, tied], w[:, tied], np.flatnonzero(alike))
        concordant, comparable = concordant - (among - equal) - 0.5 * equal, comparable - among
    return divide(concordant, comparable)


def _pairs(v: Floats, w: Floats, starts: Ints) -> Floats:
    """(B,) sum over the groups of v_i w_j with i before j."""
    before = np.cumsum(v, axis=1) - v
    first = np.repeat(starts, np.diff(np.append(starts, v.shape[1])))
    return ((before - before[:, first]) * w).sum(axis=1)


def _merged(r: Floats, w: Floats, v: Floats) -> tuple[Floats, Floats]:
    """(B,) sums of v_i w_j over i before j where r_i > r_j (r_i = r_j counts half), and over all i before j."""
    comparable = ((np.cumsum(v, axis=1) - v) * w).sum(axis=1)
    concordant = np.zeros(len(w))
    n, width = len(r), 1
    ranks = np.unique(r, return_inverse=True)[1].astype(np.int64)
    span = int(ranks.max()) + 1 if n else 1
    while width < n:
        block = np.arange(n) // (2 * width)
        on_left = (np.arange(n) // width) % 2 == 0
        lefts = np.flatnonzero(on_left)
        key = block * span + ranks
        lefts = lefts[np.argsort(key[lefts], kind="stable")]  # by block, then by risk
        rights = np.flatnonzero(~on_left)
        sums = np.concatenate([np.zeros((len(v), 1)), np.cumsum(v[:, lefts], axis=1)], axis=1)
        sorted_keys = key[lefts]
        end = np.searchsorted(sorted_keys, (block[rights] + 1) * span, side="left")
        low = np.searchsorted(sorted_keys, key[rights], side="left")
        high = np.searchsorted(sorted_keys, key[rights], side="right")
        more = sums[:, end] - (sums[:, low] + sums[:, high]) / 2.0  # larger, and half of the equal ones
        concordant += (more * w[:, rights]).sum(axis=1)
        width *= 2
    return concordant, comparable


def inverse_of_censoring(
    time: Floats, event: NDArray[np.bool_], weights: Floats, times: Floats
) -> tuple[Floats, Floats]:
    """((B, n) 1 / G at each record's time, (B, len(times)) 1 / G at the times); 0 where G is 0."""
    censored = kaplan_meier(time, event, weights, censoring=True)
    return _inverse(censored.at(time)), _inverse(censored.at(times))


def _inverse(g: Floats) -> Floats:
    result: Floats = np.divide(1.0, g, out=np.zeros_like(g), where=g > 1e-12)
    return result


def brier(
    time: Floats, event: NDArray[np.bool_], free: Floats, times: Floats, weights: Floats, own: Floats, fixed: Floats
) -> Floats:
    """(B, len(times)) weighted Brier scores (Graf et al. 1999): `free` (n, times) predicted, `own` and `fixed` from
    `inverse_of_censoring`."""
    total = weights.sum(axis=1)
    found = np.empty((len(weights), len(times)))
    for j, at in enumerate(times):
        gone = (time <= at) & event
        lost = (weights * own) @ (gone * free[:, j] ** 2)
        there = (weights @ ((time > at) * (1.0 - free[:, j]) ** 2)) * fixed[:, j]
        found[:, j] = divide(lost + there, total)
    return found


def integrated(scores: Floats, times: Floats) -> Floats:
    """(B,) the trapezium rule over the times, divided by their span."""
    if len(times) < 2:
        return scores[:, 0]
    result: Floats = np.trapezoid(scores, times, axis=1) / (times[-1] - times[0])
    return result


def auc_at(
    time: Floats, event: NDArray[np.bool_], risk: Floats, horizon: float, weights: Floats, own: Floats
) -> Floats:
    """(B,) cumulative/dynamic AUC (Uno et al. 2007): events up to the horizon against those still free of it."""
    cases, controls = (time <= horizon) & event, time > horizon
    rows = np.flatnonzero(cases | controls)
    weighted = weights[:, rows] * np.where(cases[rows], own[:, rows], 1.0)
    return rank_scores(cases[rows], risk[rows], weighted, False)[0]


def bins_of(risk: Floats) -> Ints:
    """(n,) bins of equal mass by predicted risk: as many as hold twenty records each, two to ten."""
    count = int(np.clip(len(risk) // FEWEST_IN_BIN, 2, 10))
    order = np.argsort(risk, kind="stable")
    bins = np.empty(len(risk), dtype=np.int64)
    bins[order] = np.arange(len(risk)) * count // max(len(risk), 1)
    return bins


def calibration_at(
    time: Floats, event: NDArray[np.bool_], risk: Floats, horizon: float, weights: Floats
) -> Floats:
    """(B,) mean distance between predicted risk and 1 - Kaplan-Meier at the horizon over the bins."""
    bins, gap = bins_of(risk), np.zeros(len(weights))
    for k in np.unique(bins):
        rows = np.flatnonzero(bins == k)
        own = weights[:, rows]
        size = own.sum(axis=1)
        observed = 1.0 - kaplan_meier(time[rows], event[rows], own).at(np.array([horizon]))[:, 0]
        gap += np.where(size > 0, np.abs(own @ risk[rows] - observed * size), 0.0)
    return divide(gap, weights.sum(axis=1))
