"""The recipe: everything that decides a fit, as one immutable, JSON-able value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from engine.errors import EngineError
from engine.schema import Kind

CHOICES: dict[str, tuple[str, ...]] = {
    "task": ("auto", "classification", "regression"),
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

    `split_by`: a date or number column; validation then goes forward in time. `coverage`: what prediction sets and
    intervals of numbers promise; `sets`: one limit for "all" classes or one for each "class" ("auto": the latter when a class is
    covered less than promised). `abstain`: the share that is referred to a specialist. `operating_point` (two
    classes): {"sensitivity": 0.95}, {"specificity": 0.9} or {"cost_of_miss": 5}; empty: the largest Youden index.
    `decision` (several classes): by the "largest" probability or by probability over "prior". `allow_leaks`: use columns
    that look as if they gave the answer away, too.
    """

    target: str
    patient: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "ignore", tuple(self.ignore))
        object.__setattr__(self, "candidates", tuple(self.candidates))
        self._check_choices()
        self._check_candidates()
        self._check_numbers()
        self._check_promises()

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
        data["columns"], data["operating_point"] = dict(self.columns), dict(self.operating_point)
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
