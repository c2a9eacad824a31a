"""Validation by patient: one trial fitted on every fold, its out-of-fold predictions and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from engine.calibration import logit
from engine.candidates.base import Curve, Matrix, Model, StopCheck
from engine.combining import Stack
from engine.decisions import choose_point, class_weights, decide_by
from engine.encoding import Encoded, Encoder
from engine.metrics import METRICS, NEEDS_DECISION, Floats, Ints, Outcomes, gain, score, score_all
from engine.preprocessing.pipeline import Preprocessor
from engine.recipe import Recipe
from engine.registry import Candidate
from engine.split import Fold, deal, resamples, strata_of
from engine.tasks import special
from engine.tasks.models import build
from engine.training_data import TrainingData

RESAMPLES, FEWEST_RESAMPLES, MOST_RESAMPLED = 200, 50, 2_000_000  # the last: records times resamples
MOST_SPREAD = 2_000  # records on which the models of the folds are compared


@dataclass
class TrialResult:
    """`raw` are the predictions of the validation rows `rows`, in that order; `folds` says which folds were done.

    `share` below 1: each model saw only that share of its training patients, so it is only to be compared with its like.
    """

    rows: Ints
    raw: Floats
    fold_gains: Floats
    pairs: list[tuple[Preprocessor, Model]]
    curve: Curve
    folds: tuple[int, ...] = ()
    share: float = 1.0
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        """The mean gain over folds."""
        return float(np.mean(self.fold_gains))

    def beats(self, other: TrialResult) -> bool:
        """Better by more than a quarter of the standard error of the folds' differences, so as not to chase noise.

        Folds share most of their training records; the error is widened for that (Nadeau & Bengio 2003,
        doi:10.1023/A:1024068626366).
        """
        difference = self.fold_gains - other.fold_gains
        if not np.all(np.isfinite(difference)):
            return self.mean > other.mean
        count = len(difference)
        widened = 1.0 / count + 1.0 / max(count - 1, 1)
        error = float(np.std(difference, ddof=1)) * np.sqrt(widened) if count > 1 else 0.0
        return float(np.mean(difference)) > 0.25 * error + 1e-9

    def on(self, folds: Sequence[int]) -> float:
        """The mean gain over these folds alone."""
        places = [self.folds.index(fold) for fold in folds]
        return float(np.mean(self.fold_gains[places]))

    def joined(self, other: TrialResult) -> TrialResult:
        """This one's folds and then the other's."""
        return TrialResult(
            np.concatenate([self.rows, other.rows]), np.concatenate([self.raw, other.raw]),
            np.concatenate([self.fold_gains, other.fold_gains]), self.pairs + other.pairs, self.curve,
            self.folds + other.folds, seconds=self.seconds + other.seconds,
        )  # fmt: skip


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
    own: int = 0  # the folds whose predictions are kept (0: all); those after them are repeats, which only compare trials

    def __post_init__(self) -> None:
        self.own = self.own or len(self.folds)
        self.parts = [
            (self.encoder.take(self.encoded, train), self.encoder.take(self.encoded, held))
            for train, held in self.folds
        ]
        self.remembered: tuple[dict[str, str], dict[int, tuple[Preprocessor, Matrix, Matrix]]] = ({}, {})

    @property
    def every(self) -> tuple[int, ...]:
        """The numbers of all folds."""
        return tuple(range(len(self.folds)))

    def matrices(
        self, choices: dict[str, str], folds: Sequence[int] | None = None
    ) -> list[tuple[Preprocessor, Matrix, Matrix]]:
        """For every fold (or those given) the preprocessing learned on its training rows, and both matrices."""
        wanted = self.every if folds is None else folds
        if self.remembered[0] != choices:
            self.remembered = (dict(choices), {})
        made = self.remembered[1]
        for fold in wanted:
            if fold not in made:
                made[fold] = _matrices(self, choices, fold)
        return [made[fold] for fold in wanted]

    def run(
        self,
        candidate: Candidate,
        hyperparameters: dict[str, Any],
        choices: dict[str, str],
        stop: StopCheck | None,
        folds: Sequence[int] | None = None,
        share: float = 1.0,
    ) -> TrialResult:
        """Fit on every fold (or those given) and predict the rows left out.

        Through joblib, whose configured backend decides where; one inner thread each, so that nothing is oversubscribed.
        `share` below 1 trains on that share of the fold's training patients.
        """
        wanted = self.every if folds is None else tuple(folds)
        matrices = self.matrices(choices, wanted)
        if stop is not None:
            stop({})
        inner = stop if shares_memory() else elsewhere(stop)
        jobs = (
            delayed(fit_one)(
                build(candidate, self.data.task, self.seed, hyperparameters, self.data.details),
                *self._training(fold, matrix[1], share), inner,
            )
            for fold, matrix in zip(wanted, matrices, strict=True)
        )  # fmt: skip
        models: list[Model] = list(Parallel()(jobs))
        return self.judged(wanted, matrices, models, share)

    def judged(
        self, folds: tuple[int, ...], matrices: Sequence[tuple[Preprocessor, Matrix, Matrix]], models: list[Model],
        share: float = 1.0,
    ) -> TrialResult:  # fmt: skip
        """How good these models, one per fold, are on the rows left out."""
        raws = [model.raw(X_held) for model, (_, _, X_held) in zip(models, matrices, strict=True)]
        gains = [self.gain(raw, self.folds[fold][1]) for raw, fold in zip(raws, folds, strict=True)]
        pairs = [(matrix[0], model) for matrix, model in zip(matrices, models, strict=True)]
        rows = np.concatenate([self.folds[fold][1] for fold in folds])
        return TrialResult(
            rows, np.concatenate(raws), np.array(gains), pairs, models[0].curve, folds, share
        )

    def _training(self, fold: int, X: Matrix, share: float) -> tuple[Matrix, NDArray[Any], Ints]:
        rows = self.folds[fold][0]
        y, patients = self.data.answers[rows], self.data.patients[rows]
        if share >= 1.0:
            return X, y, patients
        codes = np.unique(patients, return_inverse=True)[1]
        kept = np.flatnonzero(deal(codes, strata_of(self.data.y[rows], self.data.task), round(1.0 / share), self.seed) == 0)
        return X[kept], y[kept], patients[kept]

    def kept(self, result: TrialResult) -> TrialResult:
        """Without the repeats: each validation row once, in the order of the folds."""
        if len(result.folds) == self.own:
            return result
        end = sum(len(held) for _, held in self.folds[: self.own])
        return TrialResult(
            result.rows[:end], result.raw[:end], result.fold_gains[: self.own], result.pairs[: self.own], result.curve,
            result.folds[: self.own],
        )  # fmt: skip

    def _sample(self) -> Encoded:
        """Enough records to see how far models differ."""
        if self.encoded.n <= MOST_SPREAD:
            return self.encoded
        rows = np.random.default_rng(self.seed).choice(self.encoded.n, MOST_SPREAD, replace=False)
        return self.encoder.take(self.encoded, np.sort(rows))

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

    def spread(self, members: list[tuple[float, TrialResult]], stack: Stack | None = None) -> float:
        """How much the model would differ had other patients been seen: the delete-a-group jackknife's standard error
        of the log odds (Kott 2001, J. Official Statistics 17), root mean square over records; 0 for one split. Steps
        forward in time leave out no group each: there the models' own variance stands for it."""
        count = self.own
        if count < 2 or not self.data.classify:
            return 0.0
        by_fold, encoded = [], self._sample()
        for k in range(count):
            raws = [result.pairs[k][1].raw(result.pairs[k][0].transform(encoded)) for _, result in members]
            if stack is not None:
                by_fold.append(logit(stack.apply(raws)))
            else:
                total = np.stack([weight * raw for (weight, _), raw in zip(members, raws, strict=True)]).sum(axis=0)
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


def fit_one(
    model: Model, X: Matrix, y: NDArray[Any], patients: Ints, stop: StopCheck | None
) -> Model:
    """One fit, with one inner thread: a second one spins while others work, and made boosting ten times slower here."""
    if stop is not None:
        stop({})
    with threadpool_limits(limits=1):
        return model.fit(X, y, patients=patients, stop=stop)


def shares_memory() -> bool:
    """Whether joblib's configured backend runs in this process, where progress can be told from within a fit."""
    backend, jobs = get_active_backend()
    return jobs == 1 or bool(getattr(backend, "uses_threads", False))


def elsewhere(stop: StopCheck | None) -> StopCheck | None:
    """What of a stop check can be sent to another process: its deadline."""
    return getattr(stop, "deadline", None)


def summary(
    outcomes: Outcomes, patients: Ints, seed: int, names: tuple[str, ...]
) -> dict[str, dict[str, float | None]]:
    """Each metric with its 95% interval, patients resampled."""
    point = score_all(outcomes, np.ones((1, outcomes.n)), names)
    drawn_times = int(np.clip(MOST_RESAMPLED / max(outcomes.n, 1), FEWEST_RESAMPLES, RESAMPLES))
    blocks = [score_all(outcomes, weights, names) for weights in resamples(patients, drawn_times, seed)]
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
