"""The search: candidates are tried within the budget, judged by patient-grouped validation, and the best is fitted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from joblib import parallel_config
from threadpoolctl import threadpool_limits

import engine.clock
from engine import pipelines
from engine.assembly import Assembler, Contender
from engine.candidates.base import Curve
from engine.checks import problems_of, unreadable_files
from engine.choice import Choice, baseline_of
from engine.clock import READING, Clock, Deadline, OutOfTime
from engine.copies import one_side
from engine.doubts import left_out
from engine.errors import EngineError, Stopped
from engine.files import Files, Folder
from engine.findings import CandidateResult, OnProgress, Search, ShouldStop, Watch
from engine.fitted import Fitted, Member
from engine.frozen import MARGIN, Allowance
from engine.heap import give_back
from engine.metrics import METRICS
from engine.modalities import what_each_adds
from engine.plan import Plan, make_plans
from engine.positive import default_positive
from engine.problems import Problem, refuse
from engine.recipe import Recipe
from engine.sampling import affordable, readable, sampled
from engine.schema import Kind
from engine.split import Fold, folds
from engine.suspicion import without
from engine.time_order import forward_folds
from engine.training_data import TrainingData, metric_of, prepare
from engine.transformers.text import COMPONENTS
from engine.tuning import Found, Stop, Tuner, plain
from engine.validation import Validator

FROZEN_SHARE = 0.5  # of the budget at most for the features of pretrained networks
REPEATED_FROM = 20.0  # seconds of budget
VERY_SMALL, REPEATS = 300, 3  # records up to which settings are compared on several ways of making the folds
REPORT_FIXED, REPORT_PER_ROW = 0.15, 4e-5  # seconds that calibration and intervals of one candidate take at first guess


def fit(
    frame: pd.DataFrame,
    recipe: Recipe,
    *,
    files: Folder = None,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
    cores: int | None = None,
) -> Fitted:
    """The best candidate of `fit_candidates`."""
    return fit_candidates(
        frame, recipe, files=files, on_progress=on_progress, should_stop=should_stop, cores=cores
    ).best


def fit_candidates(
    frame: pd.DataFrame,
    recipe: Recipe,
    *,
    files: Folder = None,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
    cores: int | None = None,
) -> Search:
    """Try the recipe's candidates on training data (never give it the locked test split).

    `files`: the folder below which texts in columns of files name them (see engine.files).
    `cores` above 1 starts that many processes for the folds; None leaves it to joblib's configuration (by default one
    process: each further one takes some 250 MB). The numbers are the same with any number of cores. The recipe's budget
    in seconds is kept; where the machine was too slow for what had been planned, `cuts` says what was left out.
    Rows without a label are left out and counted. Raises EngineError with the first problem that forbids training,
    or when no candidate could be fitted; Stopped when `should_stop()` answers True.
    """
    own = pipelines.of(recipe.task)
    if own is not None:
        return own.fit_candidates(frame, recipe, on_progress=on_progress, should_stop=should_stop)
    watch, clock = Watch(on_progress, should_stop), Clock(recipe.time_budget)
    watch.say(0.0, "check", "Checking the data")
    rows = len(frame)
    frame = readable(affordable(frame, recipe), recipe, clock)
    given = Files.of(files)
    if given.allowance is None:
        seconds = FROZEN_SHARE * recipe.time_budget if given.seconds is None else given.seconds
        given = replace(given, seconds=seconds, allowance=Allowance(seconds, MARGIN * engine.clock.STRETCH))
    data = prepare(frame, recipe, given)
    problems = problems_of(data, frame, recipe)
    refuse(problems)
    if len(frame) < rows:
        problems.append(sampled(len(frame), rows))
    suspicious = left_out(problems)
    data = without(data, {str(each["column"]) for each in suspicious})
    metric = metric_of(recipe, data.task, len(data.classes))
    with threadpool_limits(limits=1), used_cores(cores):
        run = _Run(data, recipe, metric, watch, clock)
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


class _Run:
    """One search over prepared data."""

    def __init__(self, data: TrainingData, recipe: Recipe, metric: str, watch: Watch, clock: Clock) -> None:
        self.data, self.recipe, self.metric, self.watch, self.clock = data, recipe, metric, watch, clock
        self.encoder, self.encoded = data.encode()
        for given_up in () if data.files.allowance is None else data.files.allowance.cuts:
            clock.cut(given_up)
        self.positive = positive_code(data, recipe)
        give_back()
        splits = splits_of(data, recipe)
        own = len(splits)
        if len(data.y) <= VERY_SMALL and recipe.time_budget >= REPEATED_FROM and recipe.split_by is None:
            # one way of dealing few patients into folds says little: settings see several
            for repeat in range(1, REPEATS):
                splits = splits + splits_of(data, replace(recipe, seed=(recipe.seed + repeat) % 2**32))
        self.validator = Validator(
            data, self.encoder, self.encoded, splits, metric, self.positive, recipe.seed, recipe, own
        )
        self.assembler = Assembler(self.validator, recipe)
        self.trials: list[dict[str, Any]] = []
        self.report_seconds = REPORT_FIXED + REPORT_PER_ROW * sum(len(held) for _, held in splits[:own])
        self.report_seconds *= max(1.0, clock.pace.get(READING, 1.0))
        self.done, self.total, self.ceiling = 0.0, 1.0, 1.0
        self.must = False

    def search(self, problems: list[Problem]) -> Search:
        plans = make_plans(self.data, self.recipe, self._widths(), len(self.validator.folds))
        self.total = sum(plan.seconds for plan in plans if plan.trials) * 1.1 + 0.05
        outcome: dict[str, CandidateResult] = {}
        contenders: list[Contender] = []
        self.must = sum(bool(plan.trials) for plan in plans) == 1
        for plan, deadline, tail in self._in_turn(plans):
            result, contender = self._candidate(plan, deadline, tail)
            give_back()
            outcome[plan.candidate.name] = result
            if contender is not None:
                contenders.append(contender)
        for plan in self._quickest(plans, outcome) if not contenders else ():
            self.must = True  # the budget is used up, and there would be no model at all
            outcome[plan.candidate.name], contender = self._candidate(plan, self.clock.limit, 0.0)
            if contender is not None:
                contenders.append(contender)
                break
        results = [outcome[plan.candidate.name] for plan in plans]
        contenders.sort(key=lambda c: [plan.candidate.name for plan in plans].index(c.name))
        if not contenders:
            reasons = "; ".join(f"{r.name}: {r.reason}" for r in results)
            raise EngineError(
                "nothing_fitted", f"No candidate could be fitted ({reasons}).", {"reasons": reasons}
            )
        choice = Choice(self.validator, self.assembler, self.recipe, self._report)
        best = choice.single(contenders, results)
        if len(contenders) > 1 and (not self.recipe.candidates or "ensemble" in self.recipe.candidates):
            self.watch.say(0.95, "ensemble", "Weighting the candidates", "ensemble")
            best = choice.ensemble(contenders, results, best)
            give_back()
        baseline = baseline_of(self.validator)
        adds = what_each_adds(
            self.validator, contenders, best.candidate, self.recipe.time_budget, lambda _: self.watch.ask()
        )
        if adds is not None:
            best.validation["modalities"] = adds
        best.training["baseline"] = {"metric": self.metric, "value": baseline.validation_score}
        for result in results:
            if result.fitted is not None:
                of_all = result.fitted is best or result.name == "ensemble"
                result.fitted.training |= self._account(self.trials if of_all else result.trials)
        self.watch.say(1.0, "done", "Finished", best.candidate)
        cuts = list(self.clock.cuts)
        return Search(best, results, baseline, problems, self.data.unlabelled, adds, self.trials, cuts)

    def _in_turn(self, plans: list[Plan]) -> Iterator[tuple[Plan, float, float]]:
        """The quickest first, so that there is always something to give back; each with its share of the time left.

        Yields the plan, the moment until which it may start trials, and the seconds that what comes after it needs.
        """
        waiting = self._quickest(plans, {})
        while waiting:
            plan = waiting.pop(0)
            tail = self.report_seconds * (2 + bool(waiting))
            seconds = [other.seconds for other in (plan, *waiting)]
            share = max(plan.seconds / sum(seconds), 0.5 / len(seconds)) if sum(seconds) > 0 else 1.0
            free = self.clock.left() - self.report_seconds * (2 + sum(bool(other.trials) for other in waiting))
            yield plan, time.monotonic() + max(free, 0.0) * share, tail

    @staticmethod
    def _quickest(plans: list[Plan], outcome: Mapping[str, CandidateResult]) -> list[Plan]:
        """The quickest first; of those that had their turn only what there was no time for."""
        left = [
            plan for plan in plans
            if plan.candidate.name not in outcome or (plan.trials and outcome[plan.candidate.name].status == "skipped")
        ]  # fmt: skip
        return sorted(left, key=lambda plan: plan.seconds / max(plan.runs, 1))

    def _account(self, trials: list[dict[str, Any]]) -> dict[str, Any]:
        """What was tried, and whether the same search elsewhere would give the same numbers to the last digit."""
        return {"trials": trials, "repeatable": not self.clock.cuts, "cuts": list(self.clock.cuts)}

    def _widths(self) -> tuple[int, int]:
        """About how many features a row has that are not 0, and how many a dense model sees."""
        table = sum(1 + len(spec.categories or ()) for spec in self.data.schema.features)
        texts = self.encoded.blocks.get(Kind.TEXT)
        if texts is None:
            return table, table
        return table + sum(column.nnz for column in texts) // self.encoded.n, table + COMPONENTS

    def _candidate(self, plan: Plan, deadline: float, tail: float) -> tuple[CandidateResult, Contender | None]:
        result = CandidateResult(plan.candidate.name, plan.candidate.label, metric=self.metric)
        if plan.reason:
            result.reason = plan.reason
            return result, None
        began, first = time.monotonic(), len(self.trials)
        try:
            contender = self._try(plan, deadline, tail, result)
        except Stopped:
            raise
        except OutOfTime:
            result.reason = "the time budget was used up"
            self.clock.cut(f"{plan.candidate.name}: {result.reason}")
            return result, None
        except (ArithmeticError, ValueError, RuntimeError, MemoryError, np.linalg.LinAlgError) as error:
            result.status, result.reason = "failed", f"{type(error).__name__}: {error}"
            return result, None
        result.trials = self.trials[first:]
        self._report(result, contender)
        result.fit_seconds = time.monotonic() - began
        return result, contender

    def _try(self, plan: Plan, deadline: float, tail: float, result: CandidateResult) -> Contender:
        """Raises OutOfTime when there was no time for even one trial."""
        count, done = plan.runs + 1, [0]

        def told(estimated: float, best: Found | None, curve: Curve) -> None:
            done[0] += 1
            number = min(done[0], plan.runs)
            self.done = min(self.done + plan.seconds / count, self.ceiling)
            self.watch.say(
                self.done / self.total, "trial", f"{plan.candidate.label}: trial {number} of {plan.runs}",
                plan.candidate.name, trial=number, trials=plan.runs,
                score=None if best is None else self._plain(best.result.mean), curve=curve,
            )  # fmt: skip

        self.ceiling = self.done + plan.seconds * plan.runs / count
        ask = self._tick(plan, plan.runs)
        tuner = Tuner(self.validator, plan, self.clock, deadline, tail, ask, self.trials, told, must=self.must)
        found = tuner.tune()
        result.reason = tuner.ended
        member = self._member(plan, found, ask, tail)
        self.done = self.ceiling + plan.seconds / count
        self.watch.say(
            self.done / self.total, "fit", f"{plan.candidate.label}: fitted on all records", plan.candidate.name
        )
        kept = self.validator.kept(found.result)
        return Contender(plan.candidate.name, [member], [(1.0, kept)], kept.rows, kept.raw)

    def _member(self, plan: Plan, found: Found, ask: Callable[[Curve], None], tail: float) -> Member:
        """Fitted on all records; where there is no time left for that, the first fold's model, which saw most of them."""
        name, estimated = plan.candidate.name, plan.cost(found.hyperparameters)
        began = time.monotonic()
        if self.clock.seconds_for(name, estimated) + tail <= self.clock.left():
            try:
                stop = Stop(ask, Deadline(self.clock.limit - tail))
                return self.assembler.member(plan.candidate, found.hyperparameters, found.choices, stop)
            except OutOfTime:
                pass
            finally:
                self.clock.note(name, estimated, time.monotonic() - began)
        self.clock.cut(f"{name}: the model of the first validation split was kept, as there was no time for a last fit")
        preprocessor, model = found.result.pairs[0]
        hyperparameters = {**plan.candidate.defaults(), **found.hyperparameters}
        return Member(name, hyperparameters, preprocessor, model)

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
        return plain(gained, METRICS[self.metric].better)

    def _report(self, result: CandidateResult, contender: Contender) -> Fitted:
        began = time.monotonic()
        fitted = self.assembler.assemble(contender, self.metric)
        self.report_seconds = max(self.report_seconds, 1.2 * (time.monotonic() - began))
        own = fitted.validation
        result.hyperparameters, result.preprocessing = fitted.hyperparameters, fitted.preprocessing
        result.validation_score = own["value"]
        result.validation_interval = (own["low"], own["high"])
        result.status, result.fitted = "done", fitted
        if len(contender.members) == 1:
            result.curve = contender.members[0].model.curve
        return fitted


def used_cores(cores: int | None) -> Any:
    """joblib's configuration for so many processes; None leaves what the caller has configured."""
    if cores is None:
        return nullcontext()
    if cores <= 1:
        return parallel_config(backend="sequential")
    return parallel_config(backend="loky", n_jobs=cores, inner_max_num_threads=1)


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
