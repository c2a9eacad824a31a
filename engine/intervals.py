"""A figure with its interval: percentiles of its resamples, and what is said where all resamples agree."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.calibration import wilson
from engine.metrics import REGRESSION, Floats, Ints, Metric, Outcomes
from engine.tasks import special


def entry_of(
    metric: Metric, value: float, drawn: Floats, n: int, patients: int, reason: str
) -> dict[str, Any]:
    """{value, low, high, n}: a figure with the 2.5 and 97.5 percentiles of its resamples; with `reason` where undefined.

    Where all went right (or wrong), every resample says so too, and the percentiles would promise a certainty that no
    sample shows: such a share gets Wilson's interval with the number of `patients` that it rests on.
    """
    entry: dict[str, Any] = {"value": None, "low": None, "high": None, "n": n}
    if not np.isfinite(value):
        return {**entry, "reason": reason}
    entry["value"] = float(value)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn):
        low, high = np.quantile(drawn, (0.025, 0.975))
        if (
            low == high == value
            and value in (metric.lower, metric.upper)
            and (metric.lower, metric.upper) == (0.0, 1.0)
        ):
            low, high = wilson(value * patients, patients)
        # Resampling adds noise, which lifts an error that cannot be below 0 (the calibration error above all), so
        # the percentiles may leave out the value itself; the interval is widened to hold it.
        entry |= {"low": float(min(low, value)), "high": float(max(high, value))}
    return entry


def bearing_on(name: str, outcomes: Outcomes, patients: Ints) -> int:
    """How many patients a share rests on: those it is a share of; for what compares classes, the smallest class's."""
    if outcomes.task == REGRESSION or special(outcomes.task) is not None or name == "accuracy":
        return len(np.unique(patients))
    positive = outcomes.truth == outcomes.positive
    rows = {
        "sensitivity": positive,
        "f1": positive,
        "specificity": ~positive,
        "precision": outcomes.decided == outcomes.positive,
    }
    if outcomes.probabilities is not None and outcomes.probabilities.shape[1] == 2 and name in rows:
        return len(np.unique(patients[rows[name]]))
    return min(len(np.unique(patients[outcomes.truth == code])) for code in np.unique(outcomes.truth))
