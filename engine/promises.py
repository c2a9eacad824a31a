"""Were the promises kept on unseen records: the coverage of sets and intervals, and what referring the unsure ones gains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.decisions import uncertainty
from engine.fitted import Fitted, Prediction
from engine.metrics import Floats, Ints, Outcomes
from engine.split import resamples

MOST_POINTS = 100
MOST_RESAMPLES = 500

Measure = Callable[[Outcomes, Ints], dict[str, Any]]


def share_of(values: Floats, patients: Ints, resampled: int, seed: int) -> dict[str, Any]:
    """{value, low, high, n}: the mean of a figure of each record with its 95% interval, patients resampled."""
    entry: dict[str, Any] = {"value": float(values.mean()), "low": None, "high": None, "n": len(values)}
    if resampled > 0:
        codes = np.unique(patients, return_inverse=True)[1]
        drawn = [(w @ values) / w.sum(axis=1) for w in resamples(codes, min(resampled, MOST_RESAMPLES), seed)]
        low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975))
        entry |= {"low": float(min(low, entry["value"])), "high": float(max(high, entry["value"]))}
    return entry


def coverage_report(
    fitted: Fitted, outcomes: Outcomes, prediction: Prediction, patients: Ints, resampled: int, seed: int
) -> dict[str, Any]:
    """{promised, reached, size, by_class, classes}: how often the truth was in the set or interval, and how large those are.

    `size` is the mean number of classes of a set, or the mean width of an interval; `by_class` says that each class has
    a limit of its own, `classes` how often each class was covered.
    """
    promised = fitted.recipe.coverage
    if prediction.sets is None:
        low, high = prediction.interval[:, 0], prediction.interval[:, 1]
        inside = (low <= outcomes.truth) & (outcomes.truth <= high)
        size = high - low
        bounded = bool(np.all(np.isfinite(size)))
        return {"promised": promised, "reached": share_of(inside.astype(float), patients, resampled, seed),
                "size": share_of(size, patients, resampled, seed) if bounded else None, "by_class": False,
                "classes": []}  # fmt: skip
    names = fitted.classes_.tolist()
    truth = outcomes.truth.astype(int)
    inside = np.array([names[c] in found for c, found in zip(truth, prediction.sets, strict=True)])
    size = np.array([len(found) for found in prediction.sets], dtype=float)
    classes = [
        {"class": name, **share_of(inside[truth == c].astype(float), patients[truth == c], resampled, seed)}
        for c, name in enumerate(names)
        if np.any(truth == c)
    ]
    return {"promised": promised, "reached": share_of(inside.astype(float), patients, resampled, seed),
            "size": share_of(size, patients, resampled, seed), "by_class": fitted.reaches is not None,
            "classes": classes}  # fmt: skip


def loss_of(outcomes: Outcomes) -> Floats:
    """(n,) what a decision costs: 1 for a wrong class, the absolute error for a number."""
    if outcomes.probabilities is None:
        return np.abs(outcomes.truth - outcomes.decided)
    return (outcomes.truth != outcomes.decided).astype(float)


def risk_coverage(fitted: Fitted, outcomes: Outcomes, prediction: Prediction) -> dict[str, Any]:
    """The share of decisions kept (from the surest on) beside their mean loss, and the area under that curve.

    El-Yaniv & Wiener 2010, JMLR 11; the area as Geifman et al. 2019, arXiv:1805.08206. Records that are equally sure
    are kept together. A curve that falls to the left says that the model knows what it does not know.
    """
    unsure = uncertainty(fitted, prediction.probabilities, prediction.ood_score)
    order = np.argsort(unsure, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(unsure[order]) != 0, True))
    total = np.cumsum(loss_of(outcomes)[order])[ends]
    count = ends + 1.0
    steps = np.diff(count, prepend=0.0)
    keep = np.unique(np.linspace(0, len(ends) - 1, min(MOST_POINTS, len(ends))).astype(int))
    return {"coverage": (count / len(order))[keep].tolist(), "risk": (total / count)[keep].tolist(),
            "area": float((steps * total / count).sum() / len(order))}  # fmt: skip


def referral_report(
    fitted: Fitted,
    outcomes: Outcomes,
    refer: Any,
    patients: Ints,
    measure: Measure,
    resampled: int,
    seed: int,
) -> dict[str, Any] | None:
    """{asked, share, limit, kept, referred}: the share that was referred, and the metrics of those kept and of those
    referred; None when the recipe asked for no abstention."""
    if fitted.referral is None:
        return None
    parts = {"kept": np.flatnonzero(~refer), "referred": np.flatnonzero(refer)}
    return {
        "asked": fitted.referral["rate"], "limit": fitted.referral["limit"],
        "share": share_of(refer.astype(float), patients, resampled, seed),
        **{name: _part(outcomes, rows, patients, measure) for name, rows in parts.items()},
    }  # fmt: skip


def _part(outcomes: Outcomes, rows: Ints, patients: Ints, measure: Measure) -> dict[str, Any]:
    if not len(rows):
        return {"n": 0, "patients": 0, "loss": None, "metrics": {}}
    part = rows_of(outcomes, rows)
    own: Ints = np.unique(patients[rows], return_inverse=True)[1]
    return {"n": len(rows), "patients": int(own.max()) + 1, "loss": float(loss_of(part).mean()),
            "metrics": measure(part, own)}  # fmt: skip


def rows_of(outcomes: Outcomes, rows: Ints) -> Outcomes:
    """Some of the records."""
    p = None if outcomes.probabilities is None else outcomes.probabilities[rows]
    return Outcomes(outcomes.truth[rows], outcomes.decided[rows], p, outcomes.positive)
