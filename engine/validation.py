"""Validation by patient: one trial fitted on every fold, its out-of-fold predictions and how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from engine.calibration import logit
from engine.candidates.base import Curve, Matrix, Model, StopCheck
from engine.decisions import choose_point, class_weights, decide_by
from engine.encoding import Encoded, Encoder
from engine.metrics import METRICS, NEEDS_DECISION, Floats, Ints, Outcomes, gain, score, score_all
from engine.preprocessing.pipeline import Preprocessor
from engine.recipe import Recipe
from engine.registry import Candidate
from engine.split import Fold, resamples
from engine.tasks import special
from engine.tasks.models import build
from engine.training_data import TrainingData

RESAMPLES = 200


@dataclass
class TrialResult:
    """`raw` are the predictions of the validation rows `rows`, in that order."""

    rows: Ints
    raw: Floats
    fold_gains: Floats
    pairs: list[tuple[Preprocessor, Model]]
    curve: Curve

    @property
    def mean(self) -> float:
        """The mean gain over folds."""
        return float(np.mean(self.fold_gains))

    def beats(self, other: TrialResult) -> bool:
        """Better by more than a quarter of the standard error of the folds' differences, so as not to chase noise."""
        difference = self.fold_gains - other.fold_gains
        if not np.all(np.isfinite(difference)):
            return self.mean > other.mean
        error = float(np.std(difference, ddof=1)) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
        return float(np.mean(difference)) > 0.25 * error + 1e-9


@dataclass
class Validator:
    """The folds of one search; remembers the last preprocessing, as trials often change only the model."""

    data: TrainingData
    encoder: Encoder
    encoded: Encoded
    folds: list[Fold]
    metric: str
    positive: int
    seed: int
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        self.parts = [
            (self.encoder.take(self.encoded, train), self.encoder.take(self.encoded, held))
            for train, held in self.folds
        ]
        self.remembered: tuple[dict[str, str], list[tuple[Preprocessor, Matrix, Matrix]]] | None = None

    def matrices(self, choices: dict[str, str]) -> list[tuple[Preprocessor, Matrix, Matrix]]:
        """For every fold the preprocessing learned on its training rows, and both matrices."""
        if self.remembered is None or self.remembered[0] != choices:
            made = Parallel()(delayed(_matrices)(self, choices, fold) for fold in range(len(self.folds)))
            self.remembered = (dict(choices), made)
        return self.remembered[1]

    def run(
        self,
        candidate: Candidate,
        hyperparameters: dict[str, Any],
        choices: dict[str, str],
        stop: StopCheck | None,
    ) -> TrialResult:
        """Fit on every fold (through joblib: its backend decides where) and predict the rows left out."""
        matrices = self.matrices(choices)
        jobs = (
            delayed(_fit_fold)(self, candidate, hyperparameters, matrices[k][1], k, stop)
            for k in range(len(self.folds))
        )
        models: list[Model] = list(Parallel()(jobs))
        raws = [model.raw(X_held) for model, (_, _, X_held) in zip(models, matrices, strict=True)]
        gains = [self.gain(raw, held) for raw, (_, held) in zip(raws, self.folds, strict=True)]
        pairs = [(matrix[0], model) for matrix, model in zip(matrices, models, strict=True)]
        rows = np.concatenate([held for _, held in self.folds])
        return TrialResult(rows, np.concatenate(raws), np.array(gains), pairs, models[0].curve)

    def gain(self, raw: Floats, rows: Ints) -> float:
        """The validation metric, sign turned so that more is better."""
        return gain(self.metric, score(self.outcomes(raw, rows), self.metric))

    def outcomes(self, raw: Floats, rows: Ints) -> Outcomes:
        """Where the metric looks at decisions, they are made as the fitted model will make them."""
        own = special(self.data.task)
        if own is not None:
            return own.outcomes(self.data, rows, raw, self.metric)
        truth = self.data.y[rows]
        if raw.ndim == 1:
            return Outcomes(truth, raw)
        codes = truth.astype(np.int64)
        decided = decide_by(raw, self.weights(raw.shape[1]))
        if raw.shape[1] == 2 and self.metric in NEEDS_DECISION:
            p, wanted = raw[:, self.positive], self.recipe.operating_point if self.recipe else {}
            threshold = choose_point(p, codes == self.positive, "", self.data.patients[rows], wanted)["threshold"]
            decided = np.where(p >= threshold, self.positive, 1 - self.positive)
        return Outcomes(codes, decided, raw, self.positive)

    def weights(self, classes: int) -> Floats | None:
        """What several classes' probabilities are multiplied by before the largest decides."""
        rule = self.recipe.decision if self.recipe else "auto"
        return class_weights(self.data.y, classes, self.metric, rule)

    def spread(self, members: list[tuple[float, TrialResult]]) -> float:
        """How much the model would differ had other patients been seen: the delete-a-group jackknife's standard error
        of the log odds (Kott 2001, J. Official Statistics 17), root mean square over records; 0 for one split. Steps
        forward in time leave out no group each: there the models' own variance stands for it."""
        count = len(self.folds)
        if count < 2 or not self.data.classify:
            return 0.0
        by_fold = []
        for k in range(count):
            total = np.zeros((self.encoded.n, len(self.data.classes)))
            for weight, result in members:
                preprocessor, model = result.pairs[k]
                total += weight * model.raw(preprocessor.transform(self.encoded))
            by_fold.append(logit(total))
        forward = self.recipe is not None and self.recipe.split_by is not None
        deviation = np.var(np.stack(by_fold), axis=0) * (1 if forward else count - 1)
        return float(np.sqrt(np.median(deviation)))


def _matrices(
    validator: Validator, choices: dict[str, str], fold: int
) -> tuple[Preprocessor, Matrix, Matrix]:
    data, (train, held) = validator.data, validator.parts[fold]
    rows = validator.folds[fold][0]
    preprocessor = Preprocessor(validator.encoder, choices, validator.seed)
    preprocessor.fit(train, data.y[rows], data.patients[rows], data.grouped)
    return preprocessor, preprocessor.transform(train), preprocessor.transform(held)


def _fit_fold(
    validator: Validator,
    candidate: Candidate,
    hyperparameters: dict[str, Any],
    X: Matrix,
    fold: int,
    stop: StopCheck | None,
) -> Model:
    data, rows = validator.data, validator.folds[fold][0]
    if stop is not None:
        stop({})
    model = build(candidate, data.task, validator.seed, hyperparameters, data.details)
    return model.fit(X, data.answers[rows], patients=data.patients[rows], stop=stop)


def summary(
    outcomes: Outcomes, patients: Ints, seed: int, names: tuple[str, ...]
) -> dict[str, dict[str, float | None]]:
    """Each metric with its 95% interval, patients resampled."""
    point = score_all(outcomes, np.ones((1, outcomes.n)), names)
    blocks = [score_all(outcomes, weights, names) for weights in resamples(patients, RESAMPLES, seed)]
    result: dict[str, dict[str, float | None]] = {}
    for name in names:
        drawn = np.concatenate([block[name] for block in blocks])
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (np.nan, np.nan)
        result[name] = {"value": _number(point[name][0]), "low": _number(low), "high": _number(high)}
    return result


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def metrics_of(task: str) -> tuple[str, ...]:
    """The names of a task's metrics."""
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)
