"""What a task says: how labels are read, how candidates learn it, and how it is calibrated, decided and judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from engine.candidates.base import Model
from engine.errors import EngineError
from engine.metrics import Floats, Ints, Outcomes
from engine.problems import Problem
from engine.recipe import Recipe
from engine.registry import Candidate

if TYPE_CHECKING:
    from engine.assembly import Contender
    from engine.fitted import Fitted, Prediction
    from engine.training_data import TrainingData
    from engine.validation import TrialResult, Validator

Details = dict[str, Any]  # JSON: what of the task is decided once from the training table (labels, times, ...)
Truth = Any  # (n,) codes, (n, labels) with NaN where unknown, or (n, 2) time and event


class Task(ABC):
    """Stateless; everything learned is in `Fitted.details` (JSON), `Fitted.calibrator` and `Fitted.reach`."""

    name: ClassVar[str]
    unit: ClassVar[str]  # of what `score` gives

    @abstractmethod
    def read(self, frame: pd.DataFrame, recipe: Recipe) -> tuple[Ints, Truth, list[str], Details]:
        """(rows with a label, their truth, classes, details). Raises EngineError."""

    @abstractmethod
    def reread(self, fitted: Fitted, frame: pd.DataFrame) -> tuple[Ints, Truth, dict[str, int]]:
        """(rows with a known label, their truth, how many were left out and why) of other records."""

    @abstractmethod
    def guide(self, truth: Truth, patients: Ints, details: Details) -> Floats:
        """(n,) one number per record, by which folds are balanced and preprocessing is guided."""

    def strata(self, guide: Floats) -> Ints | None:
        """(n,) what is balanced between folds, or None for fifths of the guide."""
        return None

    @abstractmethod
    def problems(self, frame: pd.DataFrame, data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
        """What is wrong or doubtful about the labels."""

    @abstractmethod
    def plain(self, data: TrainingData) -> list[TrainingData]:
        """The same records as plain classifications and regressions, in which leaks are sought."""

    def rows(self, data: TrainingData, candidate: str) -> int:
        """How many rows a candidate is fitted on; estimates its time."""
        return len(data.y)

    @abstractmethod
    def build(
        self, candidate: Candidate, seed: int, hyperparameters: Mapping[str, Any], details: Details
    ) -> Model:
        """The candidate's model for this task; its `fit` takes the truth as `read` gives it."""

    @abstractmethod
    def baseline(self, data: TrainingData, n: int) -> Floats:
        """What one would say of n records knowing nothing of them, shaped like a model's `raw`."""

    def prior(self, data: TrainingData) -> list[float]:
        """One row of `baseline`."""
        row: list[float] = self.baseline(data, 1)[0].tolist()
        return row

    @abstractmethod
    def outcomes(self, data: TrainingData, rows: Ints, raw: Floats, metric: str) -> Outcomes:
        """Truth beside uncalibrated predictions, for the search."""

    @abstractmethod
    def finish(self, fitted: Fitted, validator: Validator, contender: Contender) -> Outcomes:
        """Calibration, thresholds, prediction sets and intervals from out-of-fold predictions, which are returned."""

    @abstractmethod
    def calibrator(self, method: str, state: dict[str, Any]) -> Any:
        """The stored calibrator."""

    @abstractmethod
    def predict(self, fitted: Fitted, raw: Floats, about: Mapping[str, Any]) -> Prediction:
        """`about` holds out_of_distribution, ood_score and warnings."""

    @abstractmethod
    def judged(self, fitted: Fitted, truth: Truth, raw: Floats) -> Outcomes:
        """Truth beside the finished model's calibrated predictions."""

    @abstractmethod
    def reference(self, fitted: Fitted, truth: Truth, raw: Floats) -> Outcomes:
        """Truth beside the same prediction for everybody (n rows of `training["prior"]`)."""

    @abstractmethod
    def restored(self, predictions: Mapping[str, Any]) -> Outcomes:
        """Stored `Report.predictions` as outcomes."""

    @abstractmethod
    def stored(self, fitted: Fitted, outcomes: Outcomes) -> dict[str, Any]:
        """JSON from which `restored` makes the outcomes again."""

    def curves(self, fitted: Fitted, outcomes: Outcomes) -> dict[str, Any]:
        """For charts."""
        return {}

    def confusion(self, fitted: Fitted, outcomes: Outcomes) -> dict[str, Any] | None:
        """Counts of what was taken for what."""
        return None

    def per_class(self, fitted: Fitted, outcomes: Outcomes) -> list[dict[str, Any]]:
        """A row per class or label."""
        return []

    def unsure(self, fitted: Fitted, probabilities: Floats | None, ood_score: Floats) -> Floats:
        """(n,) how unsure each decision is, larger is less sure: how unlike the training data the record is."""
        return ood_score

    def coverage(self, fitted: Fitted, outcomes: Outcomes, prediction: Prediction) -> dict[str, Floats]:
        """{"": ..., class: ...} (n,) whether the set held the truth, over all and by class; NaN where that is not asked."""
        return {}

    def explained(self, fitted: Fitted, raw: Floats) -> int:
        """Which column of `score` a single record's (1, k) predictions are explained by."""
        return 0

    @abstractmethod
    def score(self, fitted: Fitted, raw: Floats) -> Floats:
        """(n, q) what contributions add up to."""

    def scored(self, fitted: Fitted) -> list[str] | None:
        """The names of the columns of `score` when there are several."""
        return None


def stored_probabilities(fitted: Fitted, outcomes: Outcomes) -> dict[str, Any]:
    """`Task.stored` of a task whose predictions are probabilities, (n, k) beside truth and decisions."""
    assert outcomes.probabilities is not None
    return {"true": outcomes.truth.tolist(), "decided": outcomes.decided.tolist(),
            "classes": fitted.classes_.tolist(), "probabilities": np.round(outcomes.probabilities, 9).tolist()}  # fmt: skip


def restored_probabilities(kind: type[Outcomes], predictions: Mapping[str, Any]) -> Outcomes:
    """The inverse, as outcomes of that kind."""
    truth, decided = (np.array(predictions[key], dtype=np.int64) for key in ("true", "decided"))
    return kind(truth, decided, np.array(predictions["probabilities"], dtype=float))


def jackknife(
    validator: Validator, members: list[tuple[float, TrialResult]], scale: Callable[[Floats], Floats]
) -> Floats:
    """(q,) how much `scale` of the raw predictions (n, q) would differ had other patients been seen.

    The delete-a-group jackknife's standard error (Kott 2001, J. Official Statistics 17): the root of the median over
    records, as in `Validator.spread` (also forward in time); 0 for one split.
    """
    folds = []
    for k in range(len(validator.folds)):
        total: Floats | float = 0.0
        for weight, result in members:
            preprocessor, model = result.pairs[k]
            total = total + weight * model.raw(preprocessor.transform(validator.encoded))
        folds.append(scale(np.asarray(total)))
    if len(folds) < 2:
        return np.zeros(folds[0].shape[1])
    forward = validator.recipe is not None and validator.recipe.split_by is not None
    deviation = np.var(np.stack(folds), axis=0) * (1 if forward else len(folds) - 1)
    result_: Floats = np.sqrt(np.median(deviation, axis=0))
    return result_


def as_plain(data: TrainingData, task: str, y: Floats, rows: Ints | None = None) -> TrainingData:
    """The records (or some rows of them) with other labels: codes for "classification", else numbers."""
    if rows is not None:
        patients = np.unique(data.patients[rows], return_inverse=True)[1]
        frame = data.frame.iloc[rows].reset_index(drop=True)
        data = replace(data, frame=frame, patients=patients)
        y = y[rows]
    classes = np.unique(y).astype(int).astype(str) if task == "classification" else np.array([])
    return replace(data, task=task, y=y.astype(float), classes=classes, targets=None, details={})


def coverage_of(fitted: Fitted) -> float:
    """What prediction sets promise: 95%, or what the recipe says where it can."""
    return float(getattr(fitted.recipe, "coverage", 0.95))


def column(frame: pd.DataFrame, name: str) -> list[Any]:
    """The cells of a column. Raises EngineError ("column_missing")."""
    if name not in frame.columns:
        raise EngineError("column_missing", f"There is no column “{name}”.", {"column": name})
    return frame[name].tolist()


__all__ = ["Details", "Task", "Truth", "as_plain", "column", "coverage_of", "jackknife"]
