"""Evaluation on records the model has not seen: metrics with intervals, curves, confusion, per class and per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine import pipelines
from engine.decision_curve import decision_curve
from engine.errors import EngineError
from engine.files import Folder
from engine.fitted import Fitted, Prediction
from engine.intervals import bearing_on, entry_of
from engine.metrics import (
    CALIBRATION_BINS,
    METRICS,
    Floats,
    Ints,
    Outcomes,
    confidence_and_hit,
    equal_mass_bins,
    rank_scores,
    score_all,
)
from engine.promises import coverage_report, referral_report, risk_coverage, rows_of
from engine.schema import Role
from engine.split import resamples
from engine.subgroups import FEWEST, OTHERS, columns_for, largest_gap, values_of, without_rare
from engine.tasks import special
from engine.training_data import labels_of, patients_of
from engine.validation import metrics_of

MOST_POINTS = 200
GROUP_RESAMPLES = 200  # at most, for each group and for those kept and referred: many small intervals
FREQUENCY = frozenset(["log_loss", "brier"])  # metrics that grow with how common the finding is
MOST_CELLS = 300_000_000  # records times resamples; above, fewer resamples are drawn (never fewer than 100)


@dataclass(frozen=True)
class Report:
    """`metrics`: name -> {value, low, high, n, reason}; None where undefined, with the reason.

    `predictions` holds truth, probabilities or values, and patient numbers by record, for paired tests. `groups`:
    column -> value -> {n, patients, metrics}; a group of few patients has `too_few` instead of figures. `gaps`: for each
    column the two groups furthest apart, the widest first. `coverage`: see engine.promises.coverage_report. `referral`:
    what is referred to a specialist, or None. `suspicious`: columns that training left out, and why.
    """

    task: str
    n: int
    patients: int
    metrics: dict[str, dict[str, Any]]
    baseline: dict[str, float | None]
    classes: list[str]
    curves: dict[str, Any]
    confusion: dict[str, Any] | None
    per_class: list[dict[str, Any]]
    groups: dict[str, dict[str, Any]]
    predictions: dict[str, Any]
    left_out: dict[str, int]
    operating_point: dict[str, Any] | None = None
    validation: dict[str, Any] = field(default_factory=dict)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    coverage: dict[str, Any] = field(default_factory=dict)
    referral: dict[str, Any] | None = None
    decision: dict[str, Any] | None = None
    suspicious: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON."""
        return {
            "task": self.task, "n": self.n, "patients": self.patients, "metrics": self.metrics,
            "baseline": self.baseline, "classes": self.classes, "curves": self.curves, "confusion": self.confusion,
            "per_class": self.per_class, "groups": self.groups, "predictions": self.predictions,
            "left_out": self.left_out, "operating_point": self.operating_point, "validation": self.validation,
            "gaps": self.gaps, "coverage": self.coverage, "referral": self.referral, "decision": self.decision,
            "suspicious": self.suspicious,
        }  # fmt: skip


def evaluate(
    fitted: Fitted,
    frame: pd.DataFrame,
    *,
    groups: str | Sequence[str] | None = "auto",
    bootstrap: int = 1000,
    seed: int = 0,
    files: Folder = None,
) -> Report:
    """Score labelled records; intervals are 95% percentile bootstraps (Efron & Tibshirani 1993) over patients.

    `groups` names columns whose values are reported on their own; "auto": sex, age, site and categories with few values,
    as engine.subgroups finds them; None: no groups. `files` is the folder below which cells name files. Rows without a
    label, or with a class the model does not know, are left out and counted.
    Raises EngineError ("column_missing", "no_labels").
    """
    frame = frame.rename(columns=str)
    own = pipelines.of(fitted.task)
    if own is not None:
        named = [groups] if isinstance(groups, str) else list(groups or ())
        return own.evaluate(
            fitted, frame, [name for name in named if name != "auto" or "auto" in frame], bootstrap, seed
        )
    if special(fitted.task) is not None:
        from engine.tasks.evaluation import evaluate_special

        return evaluate_special(fitted, frame, groups, bootstrap, seed)
    codes, rows, left_out = _truth(fitted, frame)
    labelled = frame.iloc[rows].reset_index(drop=True)
    outcomes, prediction = outcomes_of(fitted, labelled, codes, files)
    patients = _patients(fitted, labelled)
    wanted = _wanted(fitted, labelled, groups)
    parted = {name: _values(fitted, labelled, name, patients) for name in wanted}
    few = min(bootstrap, GROUP_RESAMPLES)
    tables = {name: _group(values, outcomes, patients, few, seed) for name, values in parted.items()}
    return Report(
        task=fitted.task, n=len(rows), patients=int(patients.max()) + 1,
        metrics=measure(outcomes, patients, bootstrap, seed),
        baseline=_baseline(fitted, outcomes),
        classes=fitted.classes_.tolist(),
        curves=_curves(fitted, outcomes) | _more_curves(fitted, outcomes, prediction, patients, few, seed),
        confusion=_confusion(fitted, outcomes),
        per_class=_per_class(fitted, outcomes),
        groups=tables, gaps=_gaps(fitted, parted, tables, outcomes, patients, few, seed),
        predictions=_predictions(fitted, outcomes, prediction, patients),
        left_out=left_out, operating_point=fitted.operating_point, validation=fitted.validation,
        coverage=coverage_report(fitted, outcomes, prediction, patients, bootstrap, seed),
        referral=referral_report(
            fitted, outcomes, prediction.refer, patients, lambda part, own: measure(part, own, few, seed), bootstrap, seed
        ),
        decision=fitted.decision, suspicious=fitted.training.get("left_out", []),
    )  # fmt: skip


def _wanted(fitted: Fitted, frame: pd.DataFrame, groups: str | Sequence[str] | None) -> list[str]:
    if groups == "auto" and "auto" not in frame.columns:
        return columns_for(fitted.schema, frame)
    return [groups] if isinstance(groups, str) else list(groups or ())


def _more_curves(
    fitted: Fitted, outcomes: Outcomes, prediction: Prediction, patients: Ints, resampled: int, seed: int
) -> dict[str, Any]:
    curves: dict[str, Any] = {"risk_coverage": risk_coverage(fitted, outcomes, prediction)}
    decisions = decision_curve(outcomes, patients, resampled, seed)
    return curves if decisions is None else {**curves, "decision": decisions}


def _truth(fitted: Fitted, frame: pd.DataFrame) -> tuple[Floats | Ints, Ints, dict[str, int]]:
    target = fitted.recipe.target
    if target not in frame.columns:
        raise EngineError("column_missing", f"There is no column “{target}”.", {"column": target})
    labels = labels_of(frame[target], fitted.task, fitted.recipe.keep_words)
    code = {name: i for i, name in enumerate(fitted.classes_.tolist())}
    known = [label is not None and (not fitted.classify or label in code) for label in labels]
    rows = np.flatnonzero(known)
    missing = sum(label is None for label in labels)
    if not len(rows):
        raise EngineError("no_labels", f"No row has a known value in “{target}”.", {"column": target})
    values = [code[labels[i]] if fitted.classify else labels[i] for i in rows]
    left_out = {"unlabelled": missing, "unknown_class": len(labels) - missing - len(rows)}
    return np.array(values, dtype=np.int64 if fitted.classify else float), rows, left_out


def _patients(fitted: Fitted, frame: pd.DataFrame) -> Ints:
    column = next((c.name for c in fitted.schema.with_role(Role.PATIENT)), None)
    return patients_of(frame, column)


def outcomes_of(
    fitted: Fitted, frame: pd.DataFrame, truth: Floats | Ints, files: Folder = None
) -> tuple[Outcomes, Prediction]:
    """Truth beside the model's decisions and calibrated probabilities."""
    prediction = fitted.predict(frame, files=files)
    if prediction.probabilities is None:
        return Outcomes(truth, prediction.value), prediction
    decided = fitted.decide(prediction.probabilities)
    return Outcomes(truth, decided, prediction.probabilities, fitted.positive), prediction


def measure(outcomes: Outcomes, patients: Ints, bootstrap: int, seed: int) -> dict[str, dict[str, Any]]:
    """All metrics of the task with their intervals."""
    names = metrics_of(outcomes.task)
    point = score_all(outcomes, np.ones((1, outcomes.n)), names)
    count = min(bootstrap, max(100, MOST_CELLS // max(outcomes.n, 1)))
    drawn: dict[str, list[Floats]] = {name: [] for name in names}
    for weights in resamples(patients, count, seed) if count > 0 else ():
        for name, values in score_all(outcomes, weights, names).items():
            drawn[name].append(values)
    return {
        name: entry_of(
            METRICS[name], float(point[name][0]), np.concatenate(drawn[name] or [np.zeros(0)]), outcomes.n,
            bearing_on(name, outcomes, patients), _why_undefined(name, outcomes),
        )
        for name in names
    }  # fmt: skip


def _why_undefined(name: str, outcomes: Outcomes) -> str:
    if special(outcomes.task) is not None:
        return "not defined for these records"
    if outcomes.probabilities is None:
        return "the target does not vary in these records"
    if len(np.unique(outcomes.truth)) < 2:
        return "only one class occurs in these records"
    return "no record was decided positive" if name == "precision" else "not defined for these records"


def _baseline(fitted: Fitted, outcomes: Outcomes) -> dict[str, float | None]:
    prior = np.array(fitted.training["prior"])
    if outcomes.probabilities is None:
        same = Outcomes(outcomes.truth, np.full(outcomes.n, prior[0]))
    else:
        p = np.tile(prior, (outcomes.n, 1))
        same = Outcomes(outcomes.truth, p.argmax(axis=1), p, outcomes.positive)
    names = metrics_of(fitted.task)
    scores = score_all(same, np.ones((1, outcomes.n)), names)
    return {name: float(scores[name][0]) if np.isfinite(scores[name][0]) else None for name in names}


def _curves(fitted: Fitted, outcomes: Outcomes) -> dict[str, Any]:
    if outcomes.probabilities is None:
        order = np.argsort(outcomes.truth, kind="stable")
        chosen = order[np.unique(np.linspace(0, len(order) - 1, min(MOST_POINTS, len(order))).astype(int))]
        return {
            "scatter": {
                "true": outcomes.truth[chosen].tolist(),
                "predicted": outcomes.decided[chosen].tolist(),
            }
        }
    codes = (
        [outcomes.positive]
        if outcomes.probabilities.shape[1] == 2
        else range(outcomes.probabilities.shape[1])
    )
    roc, pr = {}, {}
    for code in codes:
        hit = outcomes.truth == code
        if hit.any() and not hit.all():
            name = str(fitted.classes_[code])
            roc[name], pr[name] = roc_and_pr(hit, outcomes.probabilities[:, code])
    return {"roc": roc, "pr": pr, "calibration": calibration_curve(outcomes)}


def roc_and_pr(hit: NDArray[np.bool_], p: Floats) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))
    true, false = np.cumsum(hit[order])[ends], np.cumsum(~hit[order])[ends]
    keep = np.unique(np.linspace(0, len(ends) - 1, min(MOST_POINTS, len(ends))).astype(int))
    true, false, limits = true[keep], false[keep], p[order][ends][keep]
    recall = [0.0, *(true / hit.sum()).tolist()]
    roc = {"false_positive_rate": [0.0, *(false / (~hit).sum()).tolist()], "true_positive_rate": recall,
           "threshold": [1.0, *limits.tolist()]}  # fmt: skip
    return roc, {"recall": recall, "precision": [1.0, *(true / (true + false)).tolist()]}


def calibration_curve(outcomes: Outcomes) -> list[dict[str, float]]:
    """For each of ten bins of equal mass: mean predicted probability, observed share, and n."""
    confidence, hit = confidence_and_hit(outcomes)
    bins = equal_mass_bins(confidence)
    points = []
    for k in range(CALIBRATION_BINS):
        inside = bins == k
        if inside.any():
            points.append({"predicted": float(confidence[inside].mean()), "observed": float(hit[inside].mean()),
                           "n": int(inside.sum())})  # fmt: skip
    return points


def _confusion(fitted: Fitted, outcomes: Outcomes) -> dict[str, Any] | None:
    if not fitted.classify:
        return None
    k = len(fitted.classes_)
    counts = np.bincount(
        outcomes.truth.astype(int) * k + outcomes.decided.astype(int), minlength=k * k
    ).reshape(k, k)
    return {"classes": fitted.classes_.tolist(), "counts": counts.tolist()}


def _per_class(fitted: Fitted, outcomes: Outcomes) -> list[dict[str, Any]]:
    if outcomes.probabilities is None:
        return []
    table = []
    for code, name in enumerate(fitted.classes_.tolist()):
        hit, called = outcomes.truth == code, outcomes.decided == code
        area, average = rank_scores(hit, outcomes.probabilities[:, code], np.ones((1, outcomes.n)))
        both, actual, named = int((hit & called).sum()), int(hit.sum()), int(called.sum())
        values = {
            "sensitivity": _share(both, actual), "precision": _share(both, named),
            "specificity": _share(outcomes.n - actual - named + both, outcomes.n - actual),
            "f1": _share(2 * both, actual + named) if actual else None,
            "roc_auc": float(area[0]) if np.isfinite(area[0]) else None,
            "pr_auc": float(average[0]) if np.isfinite(average[0]) else None,
        }  # fmt: skip
        table.append({"class": name, "n": actual, **values})
    return table


def _share(top: int, bottom: int) -> float | None:
    return top / bottom if bottom else None


def _values(fitted: Fitted, frame: pd.DataFrame, name: str, patients: Ints) -> NDArray[Any]:
    if name not in frame.columns:
        raise EngineError("column_missing", f"There is no column “{name}”.", {"column": name})
    values = values_of(frame, name, fitted.schema, fitted.recipe.split_by, fitted.recipe.keep_words)
    return without_rare(values, patients)


def _group(
    values: NDArray[Any], outcomes: Outcomes, patients: Ints, bootstrap: int, seed: int
) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for value in sorted(set(values.tolist())):
        rows = np.flatnonzero(values == value)
        own = np.unique(patients[rows], return_inverse=True)[1]
        parts[value] = {"n": len(rows), "patients": int(own.max()) + 1}
        if parts[value]["patients"] < FEWEST:
            parts[value] |= {"metrics": {}, "too_few": FEWEST}
        else:
            parts[value]["metrics"] = measure(rows_of(outcomes, rows), own, bootstrap, seed)
    return parts


def _gaps(
    fitted: Fitted, parted: Mapping[str, NDArray[Any]], tables: Mapping[str, Any], outcomes: Outcomes,
    patients: Ints, resampled: int, seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """In the model's own metric, but the area where that is a loss: a loss is larger where the finding is commoner, which
    is no gap in what the model can do. Missing values and the pooled rare ones are no group to compare."""
    found = []
    metric = "roc_auc" if fitted.metric in FREQUENCY else fitted.metric
    for name, values in parted.items():
        enough = [g for g, part in tables[name].items() if g not in ("", OTHERS) and "too_few" not in part]
        gap = largest_gap(name, values, enough, outcomes, patients, metric, resampled, seed)
        if gap is not None:
            found.append(gap)
    return sorted(found, key=lambda gap: -float(gap["difference"]))


def _predictions(
    fitted: Fitted, outcomes: Outcomes, prediction: Prediction, patients: Ints
) -> dict[str, Any]:
    shared: Mapping[str, Any] = {"task": fitted.task, "true": outcomes.truth.tolist(), "patient": patients.tolist(),
                                 "decided": outcomes.decided.tolist()}  # fmt: skip
    if prediction.probabilities is None:
        return dict(shared)
    return {**shared, "classes": fitted.classes_.tolist(), "positive": fitted.positive,
            "probabilities": np.round(prediction.probabilities, 9).tolist()}  # fmt: skip


def outcomes_from(predictions: Mapping[str, Any]) -> Outcomes:
    """Stored `Report.predictions` back as outcomes. Raises EngineError ("predictions_invalid")."""
    try:
        own = special(predictions["task"])
        if own is not None:
            return own.restored(predictions)
        if predictions["task"] == "regression":
            return Outcomes(
                np.array(predictions["true"], dtype=float), np.array(predictions["decided"], dtype=float)
            )
        return Outcomes(
            np.array(predictions["true"], dtype=np.int64), np.array(predictions["decided"], dtype=np.int64),
            np.array(predictions["probabilities"], dtype=float), int(predictions["positive"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError("predictions_invalid", f"These are no stored predictions: {error}.") from error
