"""Is the model as good for everybody: which columns divide the patients, and how far apart their groups are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.cells import to_category, to_days, to_number
from engine.metrics import METRICS, Floats, Ints, Outcomes, score_all
from engine.schema import ColumnSpec, Kind, Role, Schema
from engine.split import resamples

FEWEST = 20  # patients of a group below which its figures would say little
RARE = 5  # patients of a value below which it is not named: it could point at one
MOST_LEVELS, MOST_SITES = 8, 30
MOST_COLUMNS = 10
GAP_RESAMPLES = 200
OTHERS = "…"  # the rare values together
AGES = (18.0, 40.0, 60.0, 80.0)
BANDS = ("0–17", "18–39", "40–59", "60–79", "80+")
YEAR = 365.2425

_AGE = re.compile(r"(^|[^a-z])age([^a-z]|$)|^年龄|年龄$", re.IGNORECASE)
_BIRTH = re.compile(r"birth|(^|[^a-z])dob([^a-z]|$)|出生|生日", re.IGNORECASE)
_SEX = re.compile(r"(^|[^a-z])(sex|gender|male|female)([^a-z]|$)|性别", re.IGNORECASE)
_SITE = re.compile(
    r"(^|[^a-z])(site|hospital|clinic|cent(er|re)|ward|department|institution|source|scanner|device|vendor|manufacturer)([^a-z]|$)"
    r"|医院|中心|院区|科室|来源|设备|机器|厂家|机型",
    re.IGNORECASE,
)


def is_site(name: str) -> bool:
    """Whether a column is called like a hospital, a ward or a device."""
    return _SITE.search(name) is not None


def columns_for(schema: Schema, frame: pd.DataFrame) -> list[str]:
    """The columns worth looking at on their own: sex, age, site, then any category with few values; at most ten.

    Columns that the model does not learn from are looked at, too: a site that is left out is where a gap would hide.
    """
    found: list[tuple[int, str]] = []
    for spec in schema.columns:
        if spec.role in (Role.TARGET, Role.PATIENT) or spec.name not in frame.columns:
            continue
        rank = _rank(spec, frame[spec.name])
        if rank is not None:
            found.append((rank, spec.name))
    return [name for _, name in sorted(found, key=lambda pair: pair[0])][:MOST_COLUMNS]


def _rank(spec: ColumnSpec, series: pd.Series[Any]) -> int | None:
    if _AGE.search(spec.name) and spec.kind is Kind.NUMBER and _in_years(spec, series):
        return 1
    if _BIRTH.search(spec.name) and spec.kind is Kind.DATE:
        return 1
    if spec.kind not in (Kind.CATEGORY, Kind.NUMBER):
        return None
    levels = len({to_category(cell) for cell in series.tolist()} - {None})
    if _SEX.search(spec.name) and 2 <= levels <= MOST_LEVELS:
        return 0
    if is_site(spec.name) and 2 <= levels <= MOST_SITES:
        return 2
    if levels == 2 or (spec.kind is Kind.CATEGORY and 2 <= levels <= MOST_LEVELS):
        return 3
    return None


def _in_years(spec: ColumnSpec, series: pd.Series[Any]) -> bool:
    """Ages, not standardised numbers; the model's own column tells, so that a small test set is cut like a large one."""
    low, high = spec.minimum, spec.maximum
    if low is None or high is None:
        ages = np.array([to_number(cell)[0] for cell in series.tolist()], dtype=float)
        if np.all(np.isnan(ages)):
            return False
        low, high = float(np.nanmin(ages)), float(np.nanmax(ages))
    return low >= 0.0 and 10.0 < high <= 150.0


def values_of(
    frame: pd.DataFrame, name: str, schema: Schema, dates: str | None, keep_words: bool = False
) -> NDArray[Any]:
    """(n,) the group of each record in this column as text, "" where it is missing.

    A number called age is cut into bands; a date of birth too, by the age at the date in `dates` (the recipe's
    `split_by`) where there is one, else by the decade of birth.
    """
    cells = frame[name].tolist()
    kind = schema[name].kind if name in schema else None
    if kind is Kind.NUMBER and _AGE.search(name) and _in_years(schema[name], frame[name]):
        return _bands(np.array([to_number(cell)[0] for cell in cells], dtype=float))
    if kind is Kind.DATE and _BIRTH.search(name):
        born = np.array([to_days(cell)[0] for cell in cells], dtype=float)
        if dates is not None and dates in frame.columns and dates != name:
            seen = np.array([to_days(cell)[0] for cell in frame[dates].tolist()], dtype=float)
            return _bands((seen - born) / YEAR)
        return np.array([_decade(days) for days in born.tolist()], dtype=object)
    return np.array([to_category(cell, keep_words) or "" for cell in cells], dtype=object)


def _decade(days: float) -> str:
    if not np.isfinite(days):
        return ""
    year = int(str(np.datetime64(0, "D") + np.timedelta64(int(np.floor(days)), "D"))[:4])
    return f"{year // 10 * 10}–{year // 10 * 10 + 9}"


def _bands(ages: Floats) -> NDArray[Any]:
    bands = np.array(BANDS, dtype=object)[np.searchsorted(AGES, np.nan_to_num(ages), side="right")]
    return np.where(np.isfinite(ages) & (ages >= 0), bands, "")


def without_rare(values: NDArray[Any], patients: Ints) -> NDArray[Any]:
    """Values of fewer than RARE patients become one nameless group."""
    result = values.copy()
    for value in set(values.tolist()) - {""}:
        inside = values == value
        if len(np.unique(patients[inside])) < RARE:
            result[inside] = OTHERS
    return result


def largest_gap(
    name: str,
    values: NDArray[Any],
    groups: Sequence[str],
    outcomes: Outcomes,
    patients: Ints,
    metric: str,
    resampled: int,
    seed: int,
) -> dict[str, Any] | None:
    """{column, metric, best, worst, difference, low, high} of the two groups that are furthest apart; None without two.

    The interval is of these two groups, the whole data set's patients resampled. Two groups picked as the furthest apart
    of many differ somewhat by chance alone: read it with `compared`, the number of groups.
    """
    scores = {}
    for group in groups:
        own = score_all(outcomes, (values == group).astype(float)[None, :], (metric,))[metric][0]
        if np.isfinite(own):
            scores[group] = float(own)
    if len(scores) < 2:
        return None
    sign = 1.0 if METRICS[metric].better == "higher" else -1.0
    best = max(scores, key=lambda group: sign * scores[group])
    worst = min(scores, key=lambda group: sign * scores[group])
    difference = abs(scores[best] - scores[worst])
    found = {"column": name, "metric": metric, "best": best, "worst": worst, "difference": difference,
             "low": None, "high": None, "compared": len(scores)}  # fmt: skip
    drawn = []
    for weights in resamples(patients, min(resampled, GAP_RESAMPLES), seed) if resampled > 0 else ():
        one, other = (
            score_all(outcomes, weights * (values == group), (metric,))[metric] for group in (best, worst)
        )
        drawn.append(sign * (one - other))
    between = np.concatenate(drawn) if drawn else np.zeros(0)
    between = between[np.isfinite(between)]
    if len(between):
        low, high = np.quantile(between, (0.025, 0.975))
        found |= {"low": float(min(low, difference)), "high": float(max(high, difference))}
    return found
