"""The plan of a search: which candidates, which trials in which order, as many as the time budget allows.

What is tried follows from estimated, not measured, times: so the same data, recipe and seed try the same things on
a fast and on a busy machine, and give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine import registry
from engine.recipe import STEPS, Recipe
from engine.registry import Candidate
from engine.schema import Kind
from engine.training_data import TrainingData, metric_of
from engine.transformers import TRANSFORMERS
from engine.transformers.files import FileTransformer

FEWEST_FOR_NETWORK = 100
FEWEST_SECONDS_FOR_NETWORK = 10.0
FILES_SHARE = 0.35  # of the budget for the first trial of a network that looks at files
PLANNED_SHARE = 0.5  # of the budget; the rest is for slower machines, reading, calibration and the ensemble
CELLS_A_SECOND = 60_000  # of budget: cells that are read and checked in about a quarter of it
RARE = 0.6  # a class with less than this part of an even share is rare
PROPER = frozenset(["log_loss", "brier", "calibration_error"])
MOST_SHARE = 0.7  # a candidate whose first trial alone would take more of the budget is skipped

_PLAIN = {"scaling": "zscore", "normalisation": "none", "imputation": "median", "outliers": "none",
          "feature_selection": "none"}  # fmt: skip
FIRST: dict[str, dict[str, str]] = {
    "linear": _PLAIN,
    "network": {**_PLAIN, "outliers": "clip"},
    "boosting": {**_PLAIN, "scaling": "none", "imputation": "native"},
    "forest": {**_PLAIN, "scaling": "none"},
    "additive": {**_PLAIN, "outliers": "clip"},
}
MOVES: dict[str, tuple[tuple[str, str], ...]] = {
    "linear": (("normalisation", "yeo-johnson"), ("outliers", "clip"), ("feature_selection", "univariate"),
               ("normalisation", "quantile"), ("feature_selection", "model"), ("imputation", "mode"),
               ("imputation", "label_mean"), ("imputation", "mean"), ("scaling", "minmax"), ("scaling", "symmetric"),
               ("outliers", "median"), ("normalisation", "l2"), ("feature_selection", "variance")),
    "boosting": (("feature_selection", "model"), ("imputation", "median"), ("feature_selection", "univariate")),
    "forest": (("feature_selection", "model"), ("imputation", "mode")),
    "additive": (("feature_selection", "univariate"), ("feature_selection", "model"), ("imputation", "mode")),
    "network": (("normalisation", "quantile"), ("normalisation", "yeo-johnson"), ("feature_selection", "model"),
                ("imputation", "mode"), ("scaling", "symmetric")),
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """A change to the best settings so far: hyperparameters or one preprocessing step."""

    hyperparameters: Mapping[str, Any]
    move: tuple[str, str] | None = None
    on_best: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is a setting of its own, not a change to the best so far."""
        return self.move is None and not self.on_best


@dataclass
class Plan:
    """The trials of one candidate; `seconds` is their estimated cost including the final fit."""

    candidate: Candidate
    given: dict[str, Any]
    first: dict[str, str]
    trials: list[Trial]
    seconds: float
    reason: str = ""
    cost: Callable[[Mapping[str, Any]], float] = lambda hyperparameters: 0.01

    @property
    def runs(self) -> int:
        """How many trials are planned."""
        return len(self.trials)


def make_plans(data: TrainingData, recipe: Recipe, widths: tuple[int, int], n_folds: int) -> list[Plan]:
    """A plan for every candidate that is to be tried; one without trials is skipped, with its reason."""
    with_files = row_seconds(data) > 0
    names = [name for name in recipe.candidates if not registry.get(name).combines] or [
        c.name
        for c in registry.CANDIDATES.values()
        if not c.reference and not c.combines and (with_files or not c.model.wants_tensors)
    ]
    share = PLANNED_SHARE * recipe.time_budget / len(names)
    plans = [_plan(registry.get(name), data, recipe, widths, n_folds, share) for name in names]
    _trim(plans, recipe.time_budget, recipe)
    return plans


def _plan(
    c: Candidate, data: TrainingData, recipe: Recipe, widths: tuple[int, int], n_folds: int, share: float
) -> Plan:
    given = registry.validate(c.name, recipe.hyperparameters.get(c.name, {}))
    plan = Plan(c, given, first_choices(c.name, recipe, data), [], 0.0)
    asked = c.name in recipe.candidates
    if not c.can(data.task):
        plan.reason = f"cannot do {data.task}"
    elif c.name == "network" and not asked and len(data.y) < FEWEST_FOR_NETWORK:
        plan.reason = f"fewer than {FEWEST_FOR_NETWORK} labelled records"
    elif c.name == "network" and not asked and recipe.time_budget < FEWEST_SECONDS_FOR_NETWORK:
        plan.reason = "would take longer than the time budget allows"  # loading torch alone takes several
    elif c.name == "additive" and not asked and not _numeric(data):
        plan.reason = "there is no number that a curve could be drawn for"
    if not plan.reason:
        _fill(plan, data, widths[c.model.wants_dense], n_folds, share, asked, recipe)
    return plan


def _fill(
    plan: Plan, data: TrainingData, width: int, n_folds: int, share: float, asked: bool, recipe: Recipe
) -> None:
    rows, classes, model = data.work(plan.candidate.name), max(len(data.classes), 1), plan.candidate.model

    files = {"row_seconds": row_seconds(data)} if model.wants_tensors else {}

    def cost(hyperparameters: Mapping[str, Any]) -> float:
        return model.cost(rows, width, classes, {**hyperparameters, **plan.given, **files})

    plan.cost = cost
    queue = _trials(plan, data, width, recipe, FILES_SHARE * recipe.time_budget / (n_folds + 1))
    prices = {i: cost(trial.hyperparameters) * (n_folds + 1) for i, trial in enumerate(queue) if trial.plain}
    first = next((i for i, price in prices.items() if price <= share), min(prices, key=lambda i: prices[i]))
    queue = [queue[first], *queue[:first], *queue[first + 1 :]]
    plan.seconds = prices[first]
    if plan.seconds > MOST_SHARE * recipe.time_budget and not asked:
        plan.reason = "would take longer than the time budget allows"
        return
    plan.trials = queue[:1]
    for trial in queue[1 : most_trials(rows)]:
        price = cost(trial.hyperparameters if trial.plain else queue[0].hyperparameters) * n_folds
        if plan.seconds + price > share:
            continue
        plan.trials.append(trial)
        plan.seconds += price


def most_trials(rows: int) -> int:
    """Trials of one candidate: choosing among many on few records finds luck, not skill."""
    return 6 if rows < 300 else 10 if rows < 1_000 else 20


def _trim(plans: list[Plan], most: float, recipe: Recipe) -> None:
    """Candidates that together would take too long: the dearest are left out, never the last one nor one asked for."""
    going = [plan for plan in plans if plan.trials]
    while len(going) > 1 and sum(plan.seconds for plan in going) > most:
        dearest = max(going, key=lambda plan: plan.seconds)
        going.remove(dearest)
        if dearest.candidate.name not in recipe.candidates:
            dearest.trials, dearest.reason = [], "would take longer than the time budget allows"


def _numeric(data: TrainingData) -> bool:
    return any(spec.kind in (Kind.NUMBER, Kind.DATE) for spec in data.schema.features)


def row_seconds(data: TrainingData) -> float:
    """About how long the files of one record take in one training step of a network."""
    kinds = [spec.kind for spec in data.schema.features]
    return sum(files.seconds for kind, files in TRANSFORMERS.items() if issubclass(files, FileTransformer)
               for found in kinds if found is kind)  # fmt: skip


def _trials(plan: Plan, data: TrainingData, width: int, recipe: Recipe, seconds: float) -> list[Trial]:
    found: list[Trial] = []
    model, sizes = plan.candidate.model, (data.task, len(data.y), width, len(data.classes))
    wished = (
        model.budgeted_trials(*sizes, row_seconds(data), seconds) if model.wants_tensors else model.trials(*sizes)
    )
    for values in wished:
        trial = Trial({name: value for name, value in values.items() if name not in plan.given})
        if trial not in found:
            found.append(trial)
    moves = [
        Trial({}, move) for move in MOVES.get(plan.candidate.name, ()) if _worthwhile(move, data, recipe)
    ]
    if _unbalanced(plan, data, recipe):
        moves.insert(0, Trial({"class_weight": "balanced"}, on_best=True))
    split = max(1, len(found) - 1)
    return found[:split] + moves[:2] + found[split:] + moves[2:]


def _unbalanced(plan: Plan, data: TrainingData, recipe: Recipe) -> bool:
    """Whether counting rare classes more could help: there is one, and the metric does not ask for probabilities."""
    can = {h.name for h in plan.candidate.hyperparameters} - set(plan.given)
    if not data.classify or "class_weight" not in can or metric_of(recipe, data.task, len(data.classes)) in PROPER:
        return False
    shares = np.bincount(data.y.astype(np.int64), minlength=len(data.classes)) / len(data.y)
    return bool(shares.min() < RARE / len(data.classes))


def _worthwhile(move: tuple[str, str], data: TrainingData, recipe: Recipe) -> bool:
    """Only steps that the recipe leaves open and that have something to work on."""
    kinds = {spec.kind for spec in data.schema.features}
    if getattr(recipe, move[0]) != "search":
        return False
    if move[0] == "feature_selection":
        return not (
            move[1] == "model" and Kind.TEXT in kinds
        )  # a forest over thousands of n-grams takes too long
    return bool(kinds & {Kind.NUMBER, Kind.DATE}) or (
        move == ("imputation", "mode") and Kind.CATEGORY in kinds
    )


def first_choices(name: str, recipe: Recipe, data: TrainingData) -> dict[str, str]:
    """The preprocessing to begin with: what the recipe fixes, else what usually suits the candidate."""
    choices = dict(FIRST.get(name, _PLAIN))
    for step in STEPS:
        if getattr(recipe, step) != "search":
            choices[step] = getattr(recipe, step)
    choices["text"] = "dense" if registry.get(name).model.wants_dense else "sparse"
    if registry.get(name).model.wants_tensors:
        choices["tensors"] = "yes"
    return choices
