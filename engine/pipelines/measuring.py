"""Metrics of the pipelines with their intervals: the same bootstrap over patients for every task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine.cells import to_category
from engine.errors import EngineError
from engine.evaluation import MOST_CELLS
from engine.intervals import entry_of
from engine.metrics import Floats, Ints, Metric
from engine.split import patient_codes, resamples

if TYPE_CHECKING:
    from engine.pipelines.base import Pipeline

Scores = Callable[[Mapping[str, Any], Floats], dict[str, Floats]]
# (task, metric) -> the counts by record that it is a share of
RESTS_ON = {
    ("spans", "span_sensitivity"): "true", ("spans", "span_f1"): "true", ("spans", "span_precision"): "found",
    ("spans", "overlap_f1"): "true", ("spans", "token_f1"): "token_true",
}  # fmt: skip
Sheet = dict[str, Any]  # one entry per record under each key of `by_record`; JSON-able as it is


def measure(
    scores: Scores, metrics: Mapping[str, Metric], sheet: Sheet, patients: Ints, bootstrap: int, seed: int, reason: str
) -> dict[str, dict[str, Any]]:
    """name -> {value, low, high, n, reason}: 95% percentile bootstraps over patients (Efron & Tibshirani 1993).

    `reason` says why a value may be undefined.
    """
    n = len(patients)
    point = scores(sheet, np.ones((1, n)))
    count = min(bootstrap, max(100, MOST_CELLS // max(n, 1))) if bootstrap > 0 else 0
    blocks = [scores(sheet, weights) for weights in resamples(patients, count, seed)] if count else []
    found = {}
    for name, values in point.items():
        drawn = np.concatenate([block[name] for block in blocks]) if blocks else np.zeros(0)
        found[name] = entry_of(metrics[name], float(values[0]), drawn, n, _bearing_on(name, sheet, patients), reason)
    return found


def _bearing_on(name: str, sheet: Sheet, patients: Ints) -> int:
    """How many patients a share rests on: of spans those who have any (or for whom any was found), else all."""
    counts = sheet.get(RESTS_ON.get((str(sheet.get("task")), name), ""))
    return len(np.unique(patients if counts is None else patients[np.asarray(counts) > 0]))


def grouped(
    frame: pd.DataFrame, names: Sequence[str], part: Callable[[Ints], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """For each column of `names` and each of its values what `part` says of those rows."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        if name not in frame.columns:
            raise EngineError("column_missing", f"There is no column “{name}”.", {"column": name})
        values = np.array([to_category(cell) or "" for cell in frame[name].tolist()])
        found[name] = {value: part(np.flatnonzero(values == value)) for value in sorted(set(values.tolist()))}
    return found


def ratio(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, NaN where there is nothing to divide by."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=np.asarray(bottom) > 1e-12)


def plain(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def paired(
    pipeline: Pipeline, a: Mapping[str, Any], b: Mapping[str, Any], metric: str, patients: Sequence[Any] | None,
    seed: int, resampled: int,
) -> dict[str, float | None]:  # fmt: skip
    """As engine.compare, for what the reports of a pipeline store. Raises EngineError as that does."""
    if metric not in pipeline.metrics:
        raise EngineError("metric_unknown", f"There is no metric “{metric}”.", {"metric": metric})
    if b.get("task") != pipeline.name or a.get("true") != b.get("true"):
        raise EngineError("not_paired", "The two models were not judged on the same records.")
    codes = patient_codes(np.array(list(a["patient"] if patients is None else patients), dtype=object))
    if len(codes) != len(a["patient"]):
        raise EngineError("not_paired", "There must be one patient for each record.")

    def difference(weights: Floats) -> Floats:
        return pipeline.scores(a, weights)[metric] - pipeline.scores(b, weights)[metric]

    whole = float(difference(np.ones((1, len(codes))))[0])
    values = np.concatenate([difference(weights) for weights in resamples(codes, resampled, seed)])
    values = values[np.isfinite(values)]
    if not np.isfinite(whole) or not len(values):
        return {"difference": None, "low": None, "high": None, "p": None}
    low, high = np.quantile(values, (0.025, 0.975))
    tail = min(np.sum(values <= 0), np.sum(values >= 0))
    return {"difference": whole, "low": float(low), "high": float(high),
            "p": float(min(1.0, 2.0 * (tail + 1) / (len(values) + 1)))}  # fmt: skip
