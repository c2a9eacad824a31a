"""The recipe: everything that decides a fit, as one immutable, JSON-able value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from engine import pipelines
from engine.errors import EngineError
from engine.schema import Kind

CHOICES: dict[str, tuple[str, ...]] = {
    "task": ("auto", "classification", "regression", *pipelines.TASKS),
    "scaling": ("search", "none", "minmax", "symmetric", "zscore"),
    "normalisation": ("search", "none", "l2", "yeo-johnson", "quantile"),
    "imputation": ("search", "mode", "mean", "median", "label_mean"),
    "outliers": ("search", "none", "clip", "mean", "median"),
    "feature_selection": ("search", "none", "variance", "univariate", "model"),
}
STEPS = ("scaling", "normalisation", "imputation", "outliers", "feature_selection")


@dataclass(frozen=True)
class Recipe:
    """`Recipe(target="y")` alone is complete; "search" lets validation decide, "auto" the data."""

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
    settings: dict[str, Any] = field(default_factory=dict)  # of the task: see engine.pipelines

    def __post_init__(self) -> None:
        object.__setattr__(self, "ignore", tuple(self.ignore))
        object.__setattr__(self, "candidates", tuple(self.candidates))
        self._check_choices()
        self._check_candidates()
        self._check_numbers()
        object.__setattr__(self, "settings", pipelines.clean_settings(self.task, self.settings))

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

            own = pipelines.of(self.task)
            known = METRICS if own is None else own.metrics
            if self.metric not in known:
                raise _invalid("metric", f"must be auto or one of {', '.join(known)}")

    def _check_numbers(self) -> None:
        if isinstance(self.time_budget, bool) or not isinstance(self.time_budget, (int, float)):
            raise _invalid("time_budget", "must be a number of seconds")
        if not 0 < self.time_budget <= 7 * 86400:
            raise _invalid("time_budget", "must lie between 0 and 604800 seconds")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise _invalid("seed", "must be a whole number from 0 to 4294967295")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form; `from_dict` turns it back."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["ignore"], data["candidates"] = list(self.ignore), list(self.candidates)
        data["columns"], data["settings"] = dict(self.columns), dict(self.settings)
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


def _invalid(name: str, why: str) -> EngineError:
    return EngineError("recipe_invalid", f"Recipe: “{name}” {why}.", {"key": name, "why": why})
