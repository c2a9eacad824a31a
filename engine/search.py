"""The search: candidates are tried within the budget, judged by patient-grouped validation, and the best is fitted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pandas as pd
from joblib import parallel_config
from threadpoolctl import threadpool_limits

import engine.clock
from engine import pipelines
from engine.assembly import Assembler, Contender
from engine.checks import problems_of, unreadable_files
from engine.choice import Choice, baseline_of
from engine.clock import READING, Clock
from engine.copies import one_side
from engine.doubts import left_out
from engine.errors import EngineError
from engine.files import Files, Folder
from engine.findings import CandidateResult, OnProgress, Search, ShouldStop, Watch
from engine.fitted import Fitted
from engine.frozen import MARGIN, Allowance
from engine.heap import give_back
from engine.modalities import what_each_adds
from engine.plan import Plan, make_plans
from engine.positive import positive_code
from engine.problems import Problem, refuse
from engine.recipe import Recipe
from engine.sampling import affordable, readable, sampled
from engine.schema import Kind
from engine.split import Fold, folds
from engine.suspicion import without
from engine.time_order import forward_folds
from engine.training_data import TrainingData, metric_of, prepare
from engine.transformers.text import COMPONENTS
from engine.turns import Turns
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
        seconds = REPORT_FIXED + REPORT_PER_ROW * sum(len(held) for _, held in splits[:own])
        self.turns = Turns(self.validator, self.assembler, watch, clock, seconds * max(1.0, clock.pace.get(READING, 1.0)))

    def search(self, problems: list[Problem]) -> Search:
        plans = make_plans(self.data, self.recipe, self._widths(), len(self.validator.folds))
        self.turns.total = sum(plan.seconds for plan in plans if plan.trials) * 1.1 + 0.05
        outcome: dict[str, CandidateResult] = {}
        contenders: list[Contender] = []
        self.turns.must = sum(bool(plan.trials) for plan in plans) == 1
        for plan, deadline, tail in self._in_turn(plans):
            result, contender = self.turns.take(plan, deadline, tail)
            give_back()
            outcome[plan.candidate.name] = result
            if contender is not None:
                contenders.append(contender)
        for plan in self._quickest(plans, outcome) if not contenders else ():
            self.turns.must = True  # the budget is used up, and there would be no model at all
            outcome[plan.candidate.name], contender = self.turns.take(plan, self.clock.limit, 0.0)
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
        choice = Choice(self.validator, self.assembler, self.recipe, self.turns.report)
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
                result.fitted.training |= self._account(self.turns.trials if of_all else result.trials)
        self.watch.say(1.0, "done", "Finished", best.candidate)
        cuts = list(self.clock.cuts)
        return Search(best, results, baseline, problems, self.data.unlabelled, adds, self.turns.trials, cuts)

    def _in_turn(self, plans: list[Plan]) -> Iterator[tuple[Plan, float, float]]:
        """The quickest first, so that there is always something to give back; each with its share of the time left.

        Yields the plan, the moment until which it may start trials, and the seconds that what comes after it needs.
        """
        waiting = self._quickest(plans, {})
        while waiting:
            plan = waiting.pop(0)
            tail = self.turns.report_seconds * (2 + bool(waiting))
            seconds = [other.seconds for other in (plan, *waiting)]
            share = max(plan.seconds / sum(seconds), 0.5 / len(seconds)) if sum(seconds) > 0 else 1.0
            free = self.clock.left() - self.turns.report_seconds * (2 + sum(bool(other.trials) for other in waiting))
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


def used_cores(cores: int | None) -> Any:
    """joblib's configuration for so many processes; None leaves what the caller has configured."""
    if cores is None:
        return nullcontext()
    if cores <= 1:
        return parallel_config(backend="sequential")
    return parallel_config(backend="loky", n_jobs=cores, inner_max_num_threads=1)
