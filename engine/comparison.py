"""Are two models different on the same records? A paired bootstrap over patients, or DeLong's test of two areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine import pipelines
from engine.delong import delong
from engine.errors import EngineError
from engine.evaluation import outcomes_from
from engine.metrics import METRICS, Outcomes, score, score_all
from engine.split import patient_codes, resamples

RESAMPLES = 2000
METHODS = ("bootstrap", "delong")


def compare(
    predictions_a: Mapping[str, Any],
    predictions_b: Mapping[str, Any],
    metric: str,
    *,
    patients: Sequence[Any] | None = None,
    seed: int = 0,
    resampled: int = RESAMPLES,
    method: str = "bootstrap",
) -> dict[str, float | None]:
    """{difference, low, high, p} of a minus b in `metric`, from two `Report.predictions` of the same records.

    `patients`: one name or number per record (default: those stored with a). Each resample of the patients is scored
    for both models (Efron & Tibshirani 1993, chapter 16); p is two-sided and never 0. All None where undefined.
    `method` "delong" asks DeLong's test instead (see engine.delong), for the ROC AUC of two classes.
    Raises EngineError ("not_paired") when the records differ, ("metric_unknown") for an unknown metric,
    ("method_unknown") for an unknown method or one that does not know this metric.
    """
    own = pipelines.of(str(predictions_a.get("task")))
    if own is not None:
        from engine.pipelines.measuring import paired

        return paired(own, predictions_a, predictions_b, metric, patients, seed, resampled)
    if metric not in METRICS:
        raise EngineError("metric_unknown", f"There is no metric “{metric}”.", {"metric": metric})
    a, b = outcomes_from(predictions_a), outcomes_from(predictions_b)
    if (a.probabilities is None) != (b.probabilities is None) or METRICS[metric].tasks[0] != predictions_a[
        "task"
    ]:
        raise EngineError(
            "not_paired", "These predictions are not of the same task as the metric.", {"metric": metric}
        )
    if predictions_a.get("classes") != predictions_b.get("classes") or not np.array_equal(a.truth, b.truth):
        raise EngineError("not_paired", "The two models were not judged on the same records.")
    codes = patient_codes(
        np.array(list(predictions_a["patient"] if patients is None else patients), dtype=object)
    )
    if len(codes) != a.n:
        raise EngineError("not_paired", "There must be one patient for each record.")
    if method not in METHODS or (method == "delong" and not _has_one_area(a, metric)):
        raise EngineError(
            "method_unknown", f"“{method}” does not compare “{metric}” here.", {"method": method, "metric": metric}
        )
    if method == "delong":
        assert a.probabilities is not None and b.probabilities is not None
        of_finding = (a.probabilities[:, a.positive], b.probabilities[:, a.positive])
        return delong(a.truth == a.positive, *of_finding, codes)
    difference = score(a, metric) - score(b, metric)
    drawn = [
        score_all(a, weights, (metric,))[metric] - score_all(b, weights, (metric,))[metric]
        for weights in resamples(codes, resampled, seed)
    ]
    values = np.concatenate(drawn)
    values = values[np.isfinite(values)]
    if not np.isfinite(difference) or not len(values):
        return {"difference": None, "low": None, "high": None, "p": None}
    low, high = np.quantile(values, (0.025, 0.975))
    tail = min(np.sum(values <= 0), np.sum(values >= 0))
    return {"difference": float(difference), "low": float(low), "high": float(high),
            "p": float(min(1.0, 2.0 * (tail + 1) / (len(values) + 1)))}  # fmt: skip


def _has_one_area(outcomes: Outcomes, metric: str) -> bool:
    return metric == "roc_auc" and outcomes.probabilities is not None and outcomes.probabilities.shape[1] == 2
