"""From rows of visits to series, and what is known of a series at each visit: never anything that came later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from engine.cells import to_category, to_days, to_number
from engine.metrics import Floats, Ints
from engine.pipelines.measuring import ratio

PAST = ("last", "change", "change before", "mean", "mean of three", "spread", "slope", "values", "gap", "age", "since first")
TOLERANCE = 0.25  # a value counts as measured at the horizon when it is within this share of it


@dataclass(frozen=True)
class Layout:
    """Which columns make a series. `unit` is "visits" or "days"; `dated`: `time` holds dates, else numbers.

    Where `time` holds numbers, "days" are in its unit (years of age, weeks of treatment).
    """

    target: str
    patient: str
    time: str
    dated: bool
    unit: str
    horizon: float

    @property
    def by_visits(self) -> bool:
        """Whether the horizon counts visits."""
        return self.unit == "visits"

    def named(self, feature: str) -> str:
        """The column of a feature of the past."""
        return f"{self.target} [{feature}]"

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that `past` gives; how far ahead it is is only known where the horizon is a time."""
        return tuple(self.named(name) for name in (PAST if self.by_visits else (*PAST, "ahead")))


def is_dated(cells: list[Any]) -> bool:
    """Whether a column of times holds dates, or numbers."""
    present = [number for number, _ in map(to_number, cells) if np.isfinite(number)]
    return len(present) < 0.5 * sum(value is not None for value in cells)


@dataclass(frozen=True)
class Series:
    """n rows and their visits. A visit is all rows of one patient at one time; a patient's visits are in order.

    `visit` (n,) of each row; by visit (v,): `owner` patient code, `time` in days, `value` (mean of its rows, NaN when
    none was measured), `row` the last of its rows, `count` measured values up to and with it. `times`, `values` (m,)
    are the measured ones in the same order, and those of patient p lie from `starts[p]` to `starts[p + 1]`.
    """

    visit: Ints
    owner: Ints
    time: Floats
    value: Floats
    row: Ints
    count: Ints
    times: Floats
    values: Floats
    starts: Ints


def read(frame: pd.DataFrame, layout: Layout) -> Series:
    """Rows without a patient or a time are series of their own: nothing is known of what was before or after."""
    n = len(frame)
    parse = to_days if layout.dated else to_number
    time = np.array([parse(cell)[0] for cell in _cells(frame, layout.time)], dtype=float)
    value = np.array([to_number(cell)[0] for cell in _cells(frame, layout.target)], dtype=float)
    names = [to_category(cell) for cell in _cells(frame, layout.patient)]
    codes: dict[Any, int] = {}
    alone = ~np.isfinite(time)
    patient = np.array(
        [codes.setdefault(("", i) if name is None or alone[i] else name, len(codes)) for i, name in enumerate(names)],
        dtype=np.int64,
    )  # fmt: skip
    time = np.where(alone, 0.0, time)
    order = np.lexsort((np.arange(n), time, patient))
    new = np.append(True, (np.diff(patient[order]) != 0) | (np.diff(time[order]) != 0))[:n]
    of_sorted = np.cumsum(new) - 1
    visit = np.empty(n, dtype=np.int64)
    visit[order] = of_sorted
    visits = int(of_sorted[-1]) + 1 if n else 0
    return _series(visit, order, new, patient, time, value, visits, len(codes))


def _cells(frame: pd.DataFrame, name: str) -> list[Any]:
    return frame[name].tolist() if name in frame.columns else [None] * len(frame)


def _series(
    visit: Ints, order: Ints, new: Any, patient: Ints, time: Floats, value: Floats, visits: int, patients: int
) -> Series:
    first = order[new]
    known = np.isfinite(value)
    total = np.bincount(visit[known], weights=value[known], minlength=visits)
    times = np.bincount(visit[known], minlength=visits)
    mean = np.divide(total, times, out=np.full(visits, np.nan), where=times > 0)
    last = np.append(np.flatnonzero(new)[1:], len(order)) - 1 if visits else np.zeros(0, dtype=np.int64)
    owner, moment, measured = patient[first], time[first], np.isfinite(mean)
    starts = np.concatenate([[0], np.cumsum(np.bincount(owner[measured], minlength=patients))])
    count = np.cumsum(measured) - starts[owner]
    return Series(visit, owner, moment, mean, order[last], count, moment[measured], mean[measured], starts)


def past(series: Series, layout: Layout, ahead: Floats | None = None) -> dict[str, Floats]:
    """The features (v,) of every visit, from the values measured up to and with it; NaN where there are too few.

    `ahead` (v,): in how many days the value is wanted, where the horizon is a time (default: the horizon).
    Running sums give each visit its patient's mean, spread and least-squares slope (per day) so far.
    """
    start = series.starts[series.owner]
    end = start + series.count  # one behind the last value known at this visit
    lags = [_pick(series.values, end - 1 - k, start) for k in range(3)]
    moments = [_pick(series.times, end - 1 - k, start) for k in range(2)]
    first = _pick(series.times, start, start, end)
    n = series.count.astype(float)
    mean, spread, slope = _running(series, start, end, n)
    recent = np.stack(lags)
    three = ratio(np.nansum(recent, axis=0), np.isfinite(recent).sum(axis=0).astype(float))
    found = dict(zip(PAST, (
        lags[0], lags[0] - lags[1], lags[1] - lags[2], mean, three, spread, slope, n, moments[0] - moments[1],
        series.time - moments[0], series.time - first,
    ), strict=True))  # fmt: skip
    if not layout.by_visits:
        found["ahead"] = np.full(len(n), layout.horizon) if ahead is None else ahead
    return {layout.named(name): values for name, values in found.items()}


def _pick(values: Floats, index: Ints, low: Ints, high: Ints | None = None) -> Floats:
    """values[index], NaN where the index is before `low` or not before `high`."""
    inside = index >= low
    if high is not None:
        inside &= index < high
    if not len(values):
        return np.full(len(index), np.nan)
    return np.where(inside, values[np.clip(index, 0, len(values) - 1)], np.nan)


def _running(series: Series, start: Ints, end: Ints, n: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, standard deviation and slope of the values from `start` to before `end`, by running sums.

    Times and values are taken from each patient's first, so that the sums stay small, and summed patient by patient, so
    that nobody's numbers depend on who else is in the table, not even in the last digit.
    """
    sizes = np.diff(series.starts)
    if not len(series.values):
        return np.full(len(n), np.nan), np.full(len(n), np.nan), np.full(len(n), np.nan)
    at_first = np.minimum(series.starts[:-1], len(series.values) - 1)
    t = series.times - np.repeat(series.times[at_first], sizes)
    y = series.values - np.repeat(series.values[at_first], sizes)
    st, sy, stt, sty, syy = (_sums(x, series.starts, start, end) for x in (t, y, t * t, t * y, y * y))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(n > 0, series.values[np.minimum(start, len(series.values) - 1)] + sy / n, np.nan)
        spread = np.where(n > 1, np.sqrt(np.maximum(syy - sy * sy / n, 0.0) / (n - 1)), np.nan)
        spread_of_time = stt - st * st / n
        slope = np.where((n > 1) & (spread_of_time > 1e-12), (sty - st * sy / n) / spread_of_time, np.nan)
    return mean, spread, slope


def _sums(x: Floats, starts: Ints, start: Ints, end: Ints) -> Floats:
    """The sum of x from `start`, the first of a patient's, to before `end`."""
    sums = np.concatenate([np.cumsum(x[a:b]) for a, b in pairwise(starts.tolist())])
    return np.where(end > start, sums[np.maximum(end - 1, 0)], 0.0)


@dataclass(frozen=True)
class Examples:
    """Visits (e,) from which a later value is known: that `value`, its `time`, and how many days `ahead` it was."""

    visits: Ints
    value: Floats
    time: Floats
    ahead: Floats


def examples(series: Series, layout: Layout) -> Examples:
    """The visits with a value before or at them and one at the horizon.

    By visits: the horizon-th measured value after it. By days: the measured value nearest to the horizon, within
    TOLERANCE of it; a missing visit thus makes no example, and irregular ones keep their true distance.
    """
    start, stop = series.starts[series.owner], series.starts[series.owner + 1]
    after = start + series.count
    index = after + int(layout.horizon) - 1 if layout.by_visits else _nearest(series, layout, after, stop)
    known = (index >= after) & (index < stop) & (series.count > 0)
    if not layout.by_visits and len(series.times):
        ahead = series.times[np.clip(index, 0, len(series.times) - 1)] - series.time
        known &= np.abs(ahead - layout.horizon) <= TOLERANCE * layout.horizon
    visits = np.flatnonzero(known)
    chosen = index[visits]
    return Examples(
        visits, series.values[chosen], series.times[chosen], series.times[chosen] - series.time[visits]
    )


def _nearest(series: Series, layout: Layout, after: Ints, stop: Ints) -> Ints:
    if not len(series.times):
        return after
    low = min(series.time.min(), series.times.min())
    width = series.time.max() - low + layout.horizon + 1.0  # no time of one patient reaches the next one's
    owner = np.repeat(np.arange(len(series.starts) - 1), np.diff(series.starts))
    keys = owner * width + (series.times - low)
    wanted = series.owner * width + (series.time + layout.horizon - low)
    right = np.clip(np.searchsorted(keys, wanted), after, np.maximum(stop - 1, after))
    left = np.maximum(right - 1, after)
    size = len(keys) - 1
    nearer = np.abs(keys[np.clip(left, 0, size)] - wanted) <= np.abs(keys[np.clip(right, 0, size)] - wanted)
    return np.where(nearer, left, right)


def table(
    frame: pd.DataFrame, rows: Ints, features: Mapping[str, Floats], visits: Ints, covariates: list[str]
) -> pd.DataFrame:
    """The columns that candidates learn from: what is known of the series at `visits`, and the cells of `rows`."""
    columns: dict[str, Any] = {name: values[visits] for name, values in features.items()}
    for name in covariates:
        cells = frame[name] if name in frame.columns else pd.Series([None] * len(frame), dtype=object)
        columns[name] = cells.iloc[rows].to_numpy()
    return pd.DataFrame(columns)
