"""Evaluation of the tasks of this package: the same report, with the parts that the task fills in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from engine.cells import to_category
from engine.errors import EngineError
from engine.evaluation import Report, _patients, measure
from engine.fitted import Fitted
from engine.metrics import Floats, Ints, score_all
from engine.tasks import special
from engine.tasks.base import Task, Truth
from engine.validation import metrics_of


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
    raw = fitted.raw(fitted.encoder.from_frame(labelled))
    outcomes = task.judged(fitted, truth, raw)
    patients = _patients(fitted, labelled)
    wanted = [groups] if isinstance(groups, str) else list(groups or ())
    return Report(
        task=fitted.task, n=len(rows), patients=int(patients.max()) + 1,
        metrics=measure(outcomes, patients, bootstrap, seed),
        baseline=_baseline(task, fitted, truth),
        classes=fitted.classes_.tolist(),
        curves=task.curves(fitted, outcomes),
        confusion=task.confusion(fitted, outcomes),
        per_class=task.per_class(fitted, outcomes),
        groups={name: _group(task, fitted, labelled, name, truth, raw, patients, bootstrap, seed) for name in wanted},
        predictions={"task": fitted.task, "patient": patients.tolist(), **task.stored(fitted, outcomes)},
        left_out=left_out, operating_point=None, validation=fitted.validation,
    )  # fmt: skip


def _baseline(task: Task, fitted: Fitted, truth: Truth) -> dict[str, float | None]:
    """The figures of what training would have said of everybody, uncalibrated as it needs none."""
    same = task.reference(fitted, truth, np.tile(np.array(fitted.training["prior"]), (len(truth), 1)))
    names = metrics_of(fitted.task)
    scores = score_all(same, np.ones((1, same.n)), names)
    return {name: float(scores[name][0]) if np.isfinite(scores[name][0]) else None for name in names}


def _group(
    task: Task, fitted: Fitted, frame: pd.DataFrame, name: str, truth: Truth, raw: Floats, patients: Ints,
    bootstrap: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    if name not in frame.columns:
        raise EngineError("column_missing", f"There is no column “{name}”.", {"column": name})
    values = np.array([to_category(cell) or "" for cell in frame[name].tolist()])
    parts = {}
    for value in sorted(set(values.tolist())):
        rows = np.flatnonzero(values == value)
        own = np.unique(patients[rows], return_inverse=True)[1]
        part = task.judged(fitted, truth[rows], raw[rows])
        parts[value] = {"n": len(rows), "patients": int(own.max()) + 1, "metrics": measure(part, own, bootstrap, seed)}
    return parts
