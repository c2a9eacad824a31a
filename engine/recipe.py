"""The recipe: everything that decides a fit, as one immutable, JSON-able value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from engine.errors import EngineError
from engine.schema import Kind

CHOICES: dict[str, tuple[str, ...]] = {
    "task": ("auto", "classification", "regression", "ordinal", "multilabel", "survival"),
    "grade_cost": ("absolute", "squared", "exact"),
    "scaling": ("search", "none", "minmax", "symmetric", "zscore"),
    "normalisation": ("search", "none", "l2", "yeo-johnson", "quantile"),
    "imputation": ("search", "mode", "mean", "median", "label_mean"),
    "outliers": ("search", "none", "clip", "mean", "median"),
    "feature_selection": ("search", "none", "variance", "univariate", "model"),
    "decision": ("auto", "largest", "prior"),
    "sets": ("auto", "all", "class"),
}
POINTS: dict[str, tuple[float, float]] = {  # what an operating point may ask for, and between which limits
    "sensitivity": (0.0, 1.0),
    "specificity": (0.0, 1.0),
    "cost_of_miss": (0.0, 1e6),
}
STEPS = ("scaling", "normalisation", "imputation", "outliers", "feature_selection")


@dataclass(frozen=True)
class Recipe:
    """`Recipe(target="y")` alone is complete; "search" lets validation decide, "auto" the data.

    `rates`: samples per second of the signal columns whose files do not tell it.
    `split_by`: a date or number column; validation then goes forward in time. `coverage`: what prediction sets and
    intervals of numbers promise; `sets`: one limit for "all" classes or one for each "class" ("auto": the latter when a class is
    covered less than promised). `abstain`: the share that is referred to a specialist. `operating_point` (two
    classes): {"sensitivity": 0.95}, {"specificity": 0.9} or {"cost_of_miss": 5}; empty: the largest Youden index.
    `decision` (several classes): by the "largest" probability or by probability over "prior". `allow_leaks`: use columns
    that look as if they gave the answer away, too.
    `order`: the grades of an ordinal target, the least first (numbers need none); `grade_cost`: whether a miss costs by
    its distance in grades, its square, or the same for all. `targets`: the columns of several labels, of which `target`
    is one; without them `target` holds lists of labels, split at `separator` (default: any of ; ； | 、 and line ends).
    `event`: whether the event was seen at the time that `target` tells (survival); `horizon`: the time by which risk
    is told, in the target's unit.
    """

    target: str
    patient: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    rates: dict[str, float] = field(default_factory=dict)
    task: str = "auto"
    positive: str | None = None
    scaling: str = "search"
    normalisation: str = "search"
    imputation: str = "search"
    outliers: str = "search"
    feature_selection: str = "search"
    candidates: tuple[str, ...] = ()
    hyperparameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    metric: str = "auto"
    time_budget: float = 60.0
    seed: int = 0
    allow_leaks: bool = False
    keep_words: bool = False  # “none” and “NA” are classes and categories like others; only empty cells are missing
    split_by: str | None = None
    coverage: float = 0.95
    sets: str = "auto"
    abstain: float = 0.0
    operating_point: dict[str, float] = field(default_factory=dict)
    decision: str = "auto"
    order: tuple[str, ...] = ()
    grade_cost: str = "absolute"
    targets: tuple[str, ...] = ()
    separator: str | None = None
    event: str | None = None
    horizon: float | None = None

    def __post_init__(self) -> None:
        for name in ("ignore", "order", "targets"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "candidates", tuple(self.candidates))
        self._check_choices()
        self._check_candidates()
        self._check_numbers()
        self._check_promises()
        self._check_task()

    @property
    def answers(self) -> tuple[str, ...]:
        """The columns that hold the answer: the target and what belongs to it."""
        others = [name for name in self.targets if name != self.target]
        return (self.target, *others, *(() if self.event is None else (self.event,)))

    def _check_task(self) -> None:
        """The fields of one task are refused with another; with "auto" they say which task is meant."""
        owned = {"ordinal": ("order",), "multilabel": ("targets", "separator"), "survival": ("event", "horizon")}
        given = {task: next((n for n in names if getattr(self, n) not in ((), None)), None) for task, names in owned.items()}
        meant = [task for task, name in given.items() if name is not None]
        for task in meant:
            if self.task not in ("auto", task) or len(meant) > 1:
                raise _invalid(str(given[task]), f"belongs to the task {task}")
        if self.task == "auto" and meant:
            object.__setattr__(self, "task", meant[0])
        if self.task == "survival" and self.event is None:
            raise _invalid("event", "is required: the column that tells whether the event was seen")
        if self.event is not None and self.event == self.target:
            raise _invalid("event", "must be another column than the target")
        if len(set(self.order)) != len(self.order) or len(self.order) == 1:
            raise _invalid("order", "must list at least two different grades")
        horizon = self.horizon
        number = isinstance(horizon, (int, float)) and not isinstance(horizon, bool)
        if horizon is not None and not (number and 0 < horizon < float("inf")):
            raise _invalid("horizon", "must be a number above 0")

    def _check_choices(self) -> None:
        if not isinstance(self.target, str) or not self.target:
            raise _invalid("target", "must name a column")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise _invalid(name, f"must be one of {', '.join(allowed)}")
        kinds = [kind.value for kind in Kind]
        for column, kind in self.columns.items():
            if kind not in kinds:
                raise _invalid("columns", f"gives “{column}” the unknown kind “{kind}”")

    def _check_candidates(self) -> None:
        from engine import registry

        for name in (*self.candidates, *self.hyperparameters):
            registry.get(name)
        for name, values in self.hyperparameters.items():
            registry.validate(name, values)
        if self.metric != "auto":
            from engine.metrics import METRICS

            if self.metric not in METRICS:
                raise _invalid("metric", f"must be auto or one of {', '.join(METRICS)}")

    def _check_numbers(self) -> None:
        if not isinstance(self.keep_words, bool):
            raise _invalid("keep_words", "must be true or false")
        if isinstance(self.time_budget, bool) or not isinstance(self.time_budget, (int, float)):
            raise _invalid("time_budget", "must be a number of seconds")
        if not 0 < self.time_budget <= 7 * 86400:
            raise _invalid("time_budget", "must lie between 0 and 604800 seconds")
        for column, rate in self.rates.items():
            number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
            if not number or not 0 < rate <= 1e9:
                raise _invalid("rates", f"must give “{column}” a number of samples per second above 0")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise _invalid("seed", "must be a whole number from 0 to 4294967295")

    def _check_promises(self) -> None:
        if self.split_by is not None and (not isinstance(self.split_by, str) or self.split_by == self.target):
            raise _invalid("split_by", "must name a column of dates or numbers")
        if not _number(self.coverage) or not 0.5 <= self.coverage < 1.0:
            raise _invalid("coverage", "must lie between 0.5 and 1")
        if not _number(self.abstain) or not 0.0 <= self.abstain <= 0.9:
            raise _invalid("abstain", "must lie between 0 and 0.9")
        asked = self.operating_point
        if not isinstance(asked, dict) or len(asked) > 1 or not set(asked) <= set(POINTS):
            raise _invalid("operating_point", f"must hold nothing or one of {', '.join(POINTS)}")
        for name, value in asked.items():
            low, high = POINTS[name]
            if not _number(value) or not low < value < high:
                raise _invalid("operating_point", f"asks for a {name} that does not lie between {low:g} and {high:g}")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form; `from_dict` turns it back."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["ignore"], data["candidates"] = list(self.ignore), list(self.candidates)
        data["order"], data["targets"] = list(self.order), list(self.targets)
        data["columns"], data["rates"] = dict(self.columns), dict(self.rates)
        data["operating_point"] = dict(self.operating_point)
        data["hyperparameters"] = {name: dict(values) for name, values in self.hyperparameters.items()}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Raises EngineError naming an unknown key ("recipe_unknown_key") or a wrong value ("recipe_invalid")."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise EngineError("recipe_unknown_key", f"A recipe has no “{unknown[0]}”.", {"key": unknown[0]})
        if "target" not in data:
            raise _invalid("target", "is required")
        return cls(**data)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _invalid(name: str, why: str) -> EngineError:
    return EngineError("recipe_invalid", f"Recipe: “{name}” {why}.", {"key": name, "why": why})
