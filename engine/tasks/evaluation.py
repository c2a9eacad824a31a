"""Evaluation of the tasks of this package: the same report, with the parts that the task fills in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.errors import EngineError
from engine.evaluation import GROUP_RESAMPLES, Report, _patients, _values, _wanted, measure
from engine.fitted import Fitted, Prediction
from engine.metrics import Floats, Ints, Outcomes, score_all
from engine.promises import share_of
from engine.subgroups import FEWEST
from engine.tasks import special
from engine.tasks.base import Task, Truth, coverage_of
from engine.validation import metrics_of


@dataclass(frozen=True)
class _Judged:
    """Labelled records with what was predicted of them."""

    task: Task
    fitted: Fitted
    truth: Truth
    raw: Floats
    patients: Ints
    seed: int

    def part(self, rows: Ints, resampled: int) -> dict[str, Any]:
        """The figures of some of the records; none where there are few patients."""
        own = np.unique(self.patients[rows], return_inverse=True)[1]
        found: dict[str, Any] = {"n": len(rows), "patients": int(own.max()) + 1 if len(rows) else 0, "metrics": {}}
        if found["patients"] < FEWEST:
            return {**found, "too_few": FEWEST}
        outcomes = self.task.judged(self.fitted, self.truth[rows], self.raw[rows])
        return {**found, "metrics": measure(outcomes, own, resampled, self.seed)}


def evaluate_special(
    fitted: Fitted, frame: pd.DataFrame, groups: str | Sequence[str] | None, bootstrap: int, seed: int
) -> Report:
    """What `evaluate` does, for a task of this package. Raises EngineError ("column_missing", "no_labels")."""
    task = special(fitted.task)
    assert task is not None
    rows, truth, left_out = task.reread(fitted, frame)
    if not len(rows):
        target = fitted.recipe.target
        raise EngineError("no_labels", f"No row has a known value in “{target}”.", {"column": target})
    labelled = frame.iloc[rows].reset_index(drop=True)
    encoded = fitted.encoder.from_frame(labelled)
    raw, prediction = fitted.raw(encoded), fitted.predict_encoded(encoded)
    outcomes, patients = task.judged(fitted, truth, raw), _patients(fitted, labelled)
    judged = _Judged(task, fitted, truth, raw, patients, seed)
    few = min(bootstrap, GROUP_RESAMPLES)
    parted = {name: _values(fitted, labelled, name, patients) for name in _wanted(fitted, labelled, groups)}
    tables = {
        name: {value: judged.part(np.flatnonzero(values == value), few) for value in sorted(set(values.tolist()))}
        for name, values in parted.items()
    }
    return Report(
        task=fitted.task, n=len(rows), patients=int(patients.max()) + 1,
        metrics=measure(outcomes, patients, bootstrap, seed),
        baseline=_baseline(task, fitted, truth),
        classes=fitted.classes_.tolist(),
        curves=task.curves(fitted, outcomes),
        confusion=task.confusion(fitted, outcomes),
        per_class=task.per_class(fitted, outcomes),
        groups=tables,
        predictions={"task": fitted.task, "patient": patients.tolist(), **task.stored(fitted, outcomes)},
        left_out=left_out, operating_point=None, validation=fitted.validation,
        coverage=_coverage(task, fitted, outcomes, prediction, patients, bootstrap, seed),
        referral=_referral(judged, prediction, few),
        suspicious=fitted.training.get("left_out", []),
    )  # fmt: skip


def _baseline(task: Task, fitted: Fitted, truth: Truth) -> dict[str, float | None]:
    """The figures of what training would have said of everybody, uncalibrated as it needs none."""
    same = task.reference(fitted, truth, np.tile(np.array(fitted.training["prior"]), (len(truth), 1)))
    names = metrics_of(fitted.task)
    scores = score_all(same, np.ones((1, same.n)), names)
    return {name: float(scores[name][0]) if np.isfinite(scores[name][0]) else None for name in names}


def _coverage(
    task: Task, fitted: Fitted, outcomes: Outcomes, prediction: Prediction, patients: Ints, bootstrap: int, seed: int
) -> dict[str, Any]:
    """{promised, reached, size, by_class, classes} as `coverage_report` has it; empty where there are no sets.

    Several labels keep their promise one by one, so there `reached` is None.
    """
    held = task.coverage(fitted, outcomes, prediction)
    if not held or prediction.sets is None:
        return {}

    def share(inside: Floats) -> dict[str, Any] | None:
        asked = np.flatnonzero(np.isfinite(inside))
        return share_of(inside[asked], patients[asked], bootstrap, seed) if len(asked) else None

    each = {name: share(inside) for name, inside in held.items()}
    size = np.array([len(members) for members in prediction.sets], dtype=float)
    return {
        "promised": coverage_of(fitted), "reached": each.get(""), "size": share_of(size, patients, bootstrap, seed),
        "by_class": "" not in each,
        "classes": [{"class": name, **entry} for name, entry in each.items() if name and entry is not None],
    }  # fmt: skip


def _referral(judged: _Judged, prediction: Prediction, resampled: int) -> dict[str, Any] | None:
    """The share that was referred to a specialist, and the figures of those kept and of those referred."""
    asked, refer = judged.fitted.referral, prediction.refer
    if asked is None:
        return None
    return {
        "asked": asked["rate"], "limit": asked["limit"],
        "share": share_of(refer.astype(float), judged.patients, resampled, judged.seed),
        "kept": judged.part(np.flatnonzero(~refer), resampled),
        "referred": judged.part(np.flatnonzero(refer), resampled),
    }  # fmt: skip
