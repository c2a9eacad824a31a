"""From the winning settings to a fitted model: fit on all records, calibrate, find the threshold, measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.calibration import Calibrator, conformal_quantile
from engine.candidates.base import StopCheck
from engine.combining import Combination, Stack
from engine.decisions import choose_point, class_reaches, price_of, referral_limit, uncertainty, undercovered
from engine.fitted import Fitted, Member
from engine.metrics import METRICS, Floats, Ints, Outcomes, score_all
from engine.novelty import Novelty
from engine.preprocessing.pipeline import Preprocessor
from engine.recipe import STEPS, Recipe
from engine.registry import Candidate
from engine.split import resamples
from engine.tasks import special
from engine.tasks.models import build
from engine.validation import RESAMPLES, TrialResult, Validator, metrics_of, summary

BACKGROUND = 32
ONE_ERROR = 0.8413  # of a normal distribution lies below its mean plus one deviation


@dataclass
class Contender:
    """A candidate (or combination) with its out-of-fold predictions `raw` of the records `rows`."""

    name: str
    members: list[Member]
    results: list[tuple[float, TrialResult]]
    rows: Ints
    raw: Floats
    stack: Stack | None = None


class Assembler:
    """Shares what all candidates of a search have in common."""

    def __init__(self, validator: Validator, recipe: Recipe) -> None:
        self.validator, self.recipe, self.data = validator, recipe, validator.data
        self.novelty = Novelty(validator.encoder).fit(validator.encoded, self.data.patients, recipe.seed)
        self.background = validator.encoder.background(validator.encoded, BACKGROUND, recipe.seed)

    def member(
        self,
        candidate: Candidate,
        hyperparameters: dict[str, Any],
        choices: dict[str, str],
        stop: StopCheck | None,
    ) -> Member:
        """Preprocessing and model fitted on all labelled records."""
        data, validator = self.data, self.validator
        preprocessor = Preprocessor(validator.encoder, choices, validator.seed)
        preprocessor.fit(validator.encoded, data.y, data.patients, data.grouped)
        model = build(candidate, data.task, validator.seed, hyperparameters, data.details)
        X = preprocessor.transform(validator.encoded)
        model.fit(X, data.answers, patients=data.patients, stop=stop)
        return Member(candidate.name, {**candidate.defaults(), **hyperparameters}, preprocessor, model)

    def combine(self, contenders: Sequence[Contender], found: Combination) -> Contender | None:
        """The combination of the contenders; None when one of them has all the weight."""
        used = [(c, float(w)) for c, w in zip(contenders, found.weights, strict=True) if w != 0]
        if len(used) < 2:
            return None
        members = [
            Member(m.candidate, m.hyperparameters, m.preprocessor, m.model, w)
            for c, w in used
            for m in c.members
        ]
        results = [(w, c.results[0][1]) for c, w in used]
        return Contender("ensemble", members, results, used[0][0].rows, found.raw, found.stack)

    def assemble(self, contender: Contender, metric: str) -> Fitted:
        """Calibration, threshold, prediction sets and validation figures, all from out-of-fold predictions."""
        data, rows = self.data, contender.rows
        truth, patients = data.y[rows], np.unique(data.patients[rows], return_inverse=True)[1]
        fitted = Fitted(
            self.recipe, data.schema, data.task, data.classes, metric, contender.name, _hyperparameters(contender),
            _preprocessing(contender), self.validator.encoder, contender.members, Calibrator(), self.novelty,
            reach=float("inf"), spread=self.validator.spread(contender.results, contender.stack), background=self.background,
            out_of_fold=(rows, contender.raw), stack=contender.stack, details=dict(data.details),
        )  # fmt: skip
        own = special(data.task)
        outcomes: Outcomes
        if own is not None:
            outcomes = own.finish(fitted, self.validator, contender)
        elif data.classify:
            outcomes = self._calibrate(fitted, contender.raw, truth.astype(np.int64), patients)
        else:
            fitted.reach = conformal_quantile(np.abs(truth - contender.raw), patients, self.recipe.coverage)
            outcomes = Outcomes(truth, contender.raw)
        self._describe(fitted, outcomes, patients, metric)
        if self.recipe.abstain > 0:
            strange = self.novelty.score(self.validator.encoder.take(self.validator.encoded, rows))
            unsure = uncertainty(fitted, outcomes.probabilities, strange)
            fitted.referral = referral_limit(unsure, strange, patients, self.recipe.abstain)
        return fitted

    def _calibrate(self, fitted: Fitted, raw: Floats, truth: Ints, patients: Ints) -> Outcomes:
        fitted.calibrator.fit(raw, truth, patients, self.recipe.seed)
        p = fitted.calibrator.apply(raw)
        self._promise(fitted, 1.0 - p[np.arange(len(p)), truth], truth, patients)
        if p.shape[1] == 2:
            code, wanted = self.validator.positive, self.recipe.operating_point
            fitted.operating_point = choose_point(
                p[:, code], truth == code, str(fitted.classes_[code]), patients, wanted
            )
        weights = self.validator.weights(p.shape[1])
        if weights is not None:
            fitted.decision = price_of(p, truth, weights)
        return Outcomes(truth, fitted.decide(p), p, self.validator.positive)

    def _promise(self, fitted: Fitted, scores: Floats, truth: Ints, patients: Ints) -> None:
        """The limits of the prediction sets: one for all classes, or each class its own."""
        coverage, k = self.recipe.coverage, len(fitted.classes_)
        fitted.reach = conformal_quantile(scores, patients, coverage)
        short = undercovered(scores, truth, patients, fitted.reach, coverage)
        if self.recipe.sets == "class" or (self.recipe.sets == "auto" and short):
            fitted.reaches = class_reaches(scores, truth, patients, k, coverage)

    def _describe(self, fitted: Fitted, outcomes: Outcomes, patients: Ints, metric: str) -> None:
        measured = summary(outcomes, patients, self.recipe.seed, metrics_of(fitted.task))
        method = self._method()
        fitted.validation = {"metric": metric, **measured[metric], "n": outcomes.n, "patients": int(patients.max()) + 1,
                             "method": method, "metrics": measured}  # fmt: skip
        y, own = self.data.y, special(fitted.task)
        if own is not None:
            prior = own.prior(self.data)
        elif fitted.classify:
            prior = (np.bincount(y.astype(np.int64), minlength=len(fitted.classes_)) / len(y)).tolist()
        else:
            prior = [float(y.mean())]
        fitted.training = {"n": len(y), "patients": int(self.data.patients.max()) + 1, "prior": prior,
                           "unlabelled": self.data.unlabelled}  # fmt: skip

    def _method(self) -> str:
        folds, column = self.validator.own, self.recipe.split_by
        if column is not None:
            steps = f"{folds} steps forward in time" if folds > 1 else "one step forward in time"
            return f"{steps} by “{column}”, each judged on later records of other patients"
        return f"{folds}-fold cross-validation by patient" if folds > 1 else "one held-out fifth of the patients"

    def clearly_better(self, one: Contender, other: Contender) -> bool:
        """Whether `one` is better than `other` by more than a standard error: in 84% of the resamples of the patients.

        The one-standard-error rule (Breiman et al. 1984, Classification and Regression Trees, section 3.4.3): within it the
        simpler one is taken.
        """
        rows, metric = one.rows, self.validator.metric
        patients = np.unique(self.data.patients[rows], return_inverse=True)[1]
        a, b = self.validator.outcomes(one.raw, rows), self.validator.outcomes(other.raw, rows)
        better = []
        for weights in resamples(patients, RESAMPLES, self.recipe.seed):
            difference = score_all(a, weights, (metric,))[metric] - score_all(b, weights, (metric,))[metric]
            better.append(difference > 0 if METRICS[metric].better == "higher" else difference < 0)
        return bool(np.mean(np.concatenate(better)) >= ONE_ERROR)


def _hyperparameters(contender: Contender) -> dict[str, Any]:
    if len(contender.members) == 1:
        return contender.members[0].hyperparameters
    return {"method": "mean" if contender.stack is None else "stack",
            "weights": {member.candidate: member.weight for member in contender.members},
            **{member.candidate: member.hyperparameters for member in contender.members}}  # fmt: skip


def _preprocessing(contender: Contender) -> dict[str, Any]:
    each = {m.candidate: {step: m.preprocessor.choices[step] for step in STEPS} for m in contender.members}
    return each[contender.members[0].candidate] if len(each) == 1 else each
