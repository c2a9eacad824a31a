"""The search: candidates are tried within the budget, judged by patient-grouped validation, and the best is fitted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from engine import registry
from engine.assembly import Assembler, Contender
from engine.candidates.base import Curve
from engine.candidates.ensemble import greedy_weights
from engine.checks import Problem, check, left_out, refuse, unreadable_files
from engine.copies import one_side
from engine.errors import EngineError, Stopped
from engine.files import Files, Folder
from engine.fitted import Fitted
from engine.metrics import METRICS, gain, score
from engine.modalities import what_each_adds
from engine.plan import Plan, Trial, make_plans
from engine.positive import default_positive
from engine.recipe import Recipe
from engine.schema import Kind
from engine.split import LARGE, Fold, folds
from engine.suspicion import without
from engine.tasks import special
from engine.time_order import forward_folds
from engine.training_data import TrainingData, metric_of, prepare
from engine.transformers.text import COMPONENTS
from engine.validation import Validator

FROZEN_SHARE = 0.5  # of the budget at most for the features of pretrained networks
EMPTY_CURVE: Curve = {"epoch": [], "train_loss": [], "validation_loss": []}


@dataclass(frozen=True)
class Progress:
    """How far a search is. `fraction` runs from 0 to 1; `step` is check, trial, fit, ensemble or done."""

    fraction: float
    step: str
    message: str
    candidate: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    eta_seconds: float | None = None


@dataclass
class CandidateResult:
    """What became of one candidate. `status` is done, failed, skipped or stopped; `reason` says why or with what limit."""

    name: str
    label: str
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    metric: str = ""
    validation_score: float | None = None
    validation_interval: tuple[float | None, float | None] = (None, None)
    fit_seconds: float = 0.0
    status: str = "skipped"
    reason: str = ""
    curve: Curve = field(default_factory=lambda: {name: [] for name in EMPTY_CURVE})
    fitted: Fitted | None = None


@dataclass
class Search:
    """All candidates, the best of them, the reference to compare with, and what was noticed in the data.

    `left_out`: [{column, code, why, params}] of the suspicious columns that nothing was learned from.
    """

    best: Fitted
    candidates: list[CandidateResult]
    baseline: CandidateResult
    problems: list[Problem]
    unlabelled: int
    modalities: dict[str, Any] | None = None  # what each adds: see engine.modalities
    left_out: list[dict[str, Any]] = field(default_factory=list)


OnProgress = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


def fit(
    frame: pd.DataFrame,
    recipe: Recipe,
    *,
    files: Folder = None,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
) -> Fitted:
    """The best candidate of `fit_candidates`."""
    return fit_candidates(frame, recipe, files=files, on_progress=on_progress, should_stop=should_stop).best


def fit_candidates(
    frame: pd.DataFrame,
    recipe: Recipe,
    *,
    files: Folder = None,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
) -> Search:
    """Try the recipe's candidates on training data (never give it the locked test split).

    `files`: the folder below which texts in columns of files name them (see engine.files).
    Rows without a label are left out and counted. Raises EngineError with the first problem that forbids training,
    or when no candidate could be fitted; Stopped when `should_stop()` answers True.
    """
    watch = Watch(on_progress, should_stop)
    watch.say(0.0, "check", "Checking the data")
    given = Files.of(files)
    if given.seconds is None:
        given = replace(given, seconds=FROZEN_SHARE * recipe.time_budget)
    data = prepare(frame, recipe, given)
    problems = check(frame, recipe, files=files)
    refuse(problems)
    suspicious = left_out(problems)
    data = without(data, {str(each["column"]) for each in suspicious})
    metric = metric_of(recipe, data.task, len(data.classes))
    threads = 1 if len(data.y) < LARGE else None
    with threadpool_limits(limits=threads):
        run = _Run(data, recipe, metric, watch)
        found = run.search(problems + unreadable_files(run.encoded.issues))
    found.left_out = suspicious
    for result in found.candidates:
        if result.fitted is not None:
            result.fitted.training["left_out"] = suspicious
    return found


def splits_of(data: TrainingData, recipe: Recipe) -> list[Fold]:
    """The folds of the search: forward in time where the recipe says so, else by patient; copies stay together."""
    if recipe.split_by is not None:
        return forward_folds(data, recipe)
    return folds(data.y, data.task, one_side(data), recipe.seed)


class Watch:
    """Tells progress, and asks whether to stop."""

    def __init__(self, on_progress: OnProgress | None, should_stop: ShouldStop | None) -> None:
        self.on_progress, self.should_stop = on_progress, should_stop
        self.started = time.monotonic()
        self.fraction = 0.0

    def ask(self) -> None:
        """Raises Stopped when the caller says so."""
        if self.should_stop is not None and self.should_stop():
            raise Stopped

    def say(
        self, fraction: float, step: str, message: str, candidate: str | None = None, **detail: Any
    ) -> None:
        """One progress report; the fraction never goes back."""
        self.ask()
        self.fraction = max(self.fraction, min(fraction, 1.0))
        if self.on_progress is not None:
            gone = time.monotonic() - self.started
            eta = gone * (1.0 - self.fraction) / self.fraction if self.fraction > 0.02 else None
            self.on_progress(Progress(self.fraction, step, message, candidate, detail, eta))


class _Run:
    """One search over prepared data."""

    def __init__(self, data: TrainingData, recipe: Recipe, metric: str, watch: Watch) -> None:
        self.data, self.recipe, self.metric, self.watch = data, recipe, metric, watch
        self.encoder, self.encoded = data.encode()
        self.positive = positive_code(data, recipe)
        splits = splits_of(data, recipe)
        self.validator = Validator(
            data, self.encoder, self.encoded, splits, metric, self.positive, recipe.seed, recipe
        )
        self.assembler = Assembler(self.validator, recipe)
        self.deadline = time.process_time() + recipe.time_budget
        self.done, self.total = 0.0, 1.0

    def search(self, problems: list[Problem]) -> Search:
        plans = make_plans(self.data, self.recipe, self._widths(), len(self.validator.folds))
        self.total = sum(plan.seconds for plan in plans if plan.trials) * 1.1 + 0.05
        results, contenders = [], []
        for position, plan in enumerate(plans):
            result, contender = self._candidate(plan, len(plans) - position)
            results.append(result)
            if contender is not None:
                contenders.append(contender)
        if not contenders:
            reasons = "; ".join(f"{r.name}: {r.reason}" for r in results)
            raise EngineError(
                "nothing_fitted", f"No candidate could be fitted ({reasons}).", {"reasons": reasons}
            )
        best = self._best_single(contenders, results)
        if len(contenders) > 1 and (not self.recipe.candidates or "ensemble" in self.recipe.candidates):
            best = self._ensemble(contenders, results, best)
        baseline = self._baseline()
        adds = what_each_adds(
            self.validator, contenders, best.candidate, self.recipe.time_budget, lambda _: self.watch.ask()
        )
        if adds is not None:
            best.validation["modalities"] = adds
        best.training["baseline"] = {"metric": self.metric, "value": baseline.validation_score}
        self.watch.say(1.0, "done", "Finished", best.candidate)
        return Search(best, results, baseline, problems, self.data.unlabelled, adds)

    def _widths(self) -> tuple[int, int]:
        """About how many features a row has that are not 0, and how many a dense model sees."""
        table = sum(1 + len(spec.categories or ()) for spec in self.data.schema.features)
        texts = self.encoded.blocks.get(Kind.TEXT)
        if texts is None:
            return table, table
        return table + sum(column.nnz for column in texts) // self.encoded.n, table + COMPONENTS

    def _candidate(self, plan: Plan, left: int) -> tuple[CandidateResult, Contender | None]:
        result = CandidateResult(plan.candidate.name, plan.candidate.label, metric=self.metric)
        if plan.reason:
            result.reason = plan.reason
            return result, None
        began = time.monotonic()
        try:
            contender = self._try(
                plan, time.process_time() + (self.deadline - time.process_time()) / left, result
            )
        except Stopped:
            raise
        except (ArithmeticError, ValueError, RuntimeError, MemoryError, np.linalg.LinAlgError) as error:
            result.status, result.reason = "failed", f"{type(error).__name__}: {error}"
            return result, None
        self._report(result, contender)
        result.fit_seconds = time.monotonic() - began
        return result, contender

    def _try(self, plan: Plan, deadline: float, result: CandidateResult) -> Contender:
        name, choices, best, chosen = plan.candidate.name, dict(plan.first), None, plan.given
        for number, trial in enumerate(plan.trials):
            if best is not None and time.process_time() > deadline:
                result.reason = (
                    f"stopped after {number} of {len(plan.trials)} trials: the time budget was used up"
                )
                break
            hyperparameters, tried = self._changed(trial, chosen, choices, plan.given)
            outcome = self.validator.run(plan.candidate, hyperparameters, tried, self._tick(plan, number))
            if best is None or outcome.beats(best):
                best, chosen, choices = outcome, hyperparameters, tried
            self.done += plan.seconds / (len(plan.trials) + 1)
            self.watch.say(
                self.done / self.total, "trial", f"{plan.candidate.label}: trial {number + 1} of {len(plan.trials)}",
                name, trial=number + 1, trials=len(plan.trials), score=self._plain(best.mean), curve=outcome.curve,
            )  # fmt: skip
        assert best is not None
        member = self.assembler.member(plan.candidate, chosen, choices, self._tick(plan, len(plan.trials)))
        self.done += plan.seconds / (len(plan.trials) + 1)
        self.watch.say(self.done / self.total, "fit", f"{plan.candidate.label}: fitted on all records", name)
        return Contender(name, [member], [(1.0, best)], best.rows, best.raw)

    @staticmethod
    def _changed(
        trial: Trial, chosen: dict[str, Any], choices: dict[str, str], given: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        if trial.move is not None:
            return chosen, {**choices, trial.move[0]: trial.move[1]}
        return {**trial.hyperparameters, **given}, choices

    def _tick(self, plan: Plan, number: int) -> Callable[[Curve], None]:
        base, share = self.done, plan.seconds / (len(plan.trials) + 1)

        def tick(curve: Curve) -> None:
            self.watch.ask()
            if curve.get("epoch"):
                part = 0.5 * share * min(curve["epoch"][-1] / 60.0, 1.0)
                message = f"{plan.candidate.label}: epoch {int(curve['epoch'][-1])}"
                self.watch.say(
                    (base + part) / self.total,
                    "epoch",
                    message,
                    plan.candidate.name,
                    trial=number + 1,
                    trials=len(plan.trials),
                    curve=curve,
                )

        return tick

    def _plain(self, gained: float) -> float | None:
        if not np.isfinite(gained):
            return None
        return gained if METRICS[self.metric].better == "higher" else -gained

    def _report(self, result: CandidateResult, contender: Contender) -> Fitted:
        fitted = self.assembler.assemble(contender, self.metric)
        own = fitted.validation
        result.hyperparameters, result.preprocessing = fitted.hyperparameters, fitted.preprocessing
        result.validation_score = own["value"]
        result.validation_interval = (own["low"], own["high"])
        result.status, result.fitted = "done", fitted
        if len(contender.members) == 1:
            result.curve = contender.members[0].model.curve
        return fitted

    def _best_single(self, contenders: list[Contender], results: list[CandidateResult]) -> Fitted:
        gains = {c.name: self.validator.gain(c.raw, c.rows) for c in contenders}
        winner = max(gains, key=lambda name: gains[name])
        fitted = next(result.fitted for result in results if result.name == winner)
        assert fitted is not None
        return fitted

    def _ensemble(
        self, contenders: list[Contender], results: list[CandidateResult], single: Fitted
    ) -> Fitted:
        self.watch.say(0.95, "ensemble", "Weighting the candidates", "ensemble")
        spec = registry.get("ensemble")
        result = CandidateResult("ensemble", spec.label, metric=self.metric)
        results.append(result)
        given = registry.validate("ensemble", self.recipe.hyperparameters.get("ensemble", {}))
        rounds = given.get("rounds", spec.defaults()["rounds"])
        began = time.monotonic()
        rows = contenders[0].rows
        weights = greedy_weights(
            [c.raw for c in contenders], lambda raw: self.validator.gain(raw, rows), rounds
        )
        combined = self.assembler.combine(contenders, weights)
        if combined is None:
            result.reason = "one candidate alone does as well"
            return single
        fitted = self._report(result, combined)
        result.fit_seconds = time.monotonic() - began
        alone = next(c for c in contenders if c.name == single.candidate)
        if self.recipe.candidates == ("ensemble",) or self.assembler.clearly_better(combined, alone):
            return fitted
        result.reason = "not better than the best single candidate beyond chance"
        return single

    def _baseline(self) -> CandidateResult:
        spec = registry.get("baseline")
        rows = np.concatenate([held for _, held in self.validator.folds])
        y, own = self.data.y, special(self.data.task)
        raw = np.full(len(rows), y.mean())
        if self.data.classify:
            shares = np.bincount(y.astype(np.int64), minlength=len(self.data.classes)) / len(y)
            raw = np.tile(shares, (len(rows), 1))
        if own is not None:
            raw = own.baseline(self.data, len(rows))
        outcomes = self.validator.outcomes(raw, rows)
        value = score(outcomes, self.metric)
        return CandidateResult(
            "baseline",
            spec.label,
            metric=self.metric,
            status="done",
            validation_score=self._plain(gain(self.metric, value)),
        )


def positive_code(data: TrainingData, recipe: Recipe) -> int:
    """The code of the positive class: the recipe's, else the one that its name or its rarity tells (two classes)."""
    if not data.classify or (recipe.positive is None and len(data.classes) != 2):
        return 1
    if recipe.positive is None:
        return default_positive(data.classes, np.bincount(data.y.astype(np.int64), minlength=2))
    found = np.flatnonzero(data.classes == recipe.positive)
    if not len(found):
        raise EngineError(
            "positive_unknown",
            f"“{recipe.positive}” is no class of “{recipe.target}”.",
            {"positive": recipe.positive, "column": recipe.target},
        )
    return int(found[0])
