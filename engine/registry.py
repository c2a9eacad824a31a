"""The one dictionary of candidates, the decorator that fills it, and the check of hyperparameters."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import EngineError
from engine.schema import Kind
from engine.tasks import REDUCED

if TYPE_CHECKING:
    from engine.candidates.base import Model

    ModelType = TypeVar("ModelType", bound=type[Model])


@dataclass(frozen=True)
class Hyperparameter:
    """One setting of a candidate. `type` is int, float, bool or choice."""

    name: str
    type: str
    default: Any
    meaning: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For forms: name, type, default, meaning and limits."""
        return {
            "name": self.name, "type": self.type, "default": self.default, "meaning": self.meaning,
            "low": self.low, "high": self.high,
            "choices": None if self.choices is None else list(self.choices),
        }  # fmt: skip

    @property
    def limits(self) -> str:
        """The allowed values in words."""
        if self.type == "choice":
            return "one of " + ", ".join(str(choice) for choice in self.choices or ())
        if self.type == "bool":
            return "true or false"
        return f"{'a whole number' if self.type == 'int' else 'a number'} from {self.low:g} to {self.high:g}"

    def clean(self, value: Any) -> Any:
        """The value in its own type; ValueError when it is outside the limits."""
        if self.type == "choice":
            if value not in (self.choices or ()):
                raise ValueError
            return value
        if self.type == "bool":
            if not isinstance(value, bool):
                raise ValueError
            return value
        number = self._number(value, whole=self.type == "int")
        return int(number) if self.type == "int" else number

    def _number(self, value: Any, *, whole: bool) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError
        if whole and float(value) != math.floor(value):
            raise ValueError
        low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        if not low <= value <= high:
            raise ValueError
        return float(value)


@dataclass(frozen=True)
class Candidate:
    """A kind of model that can be tried. `reference` ones are only there to be compared with."""

    name: str
    label: str
    description: str
    tasks: tuple[str, ...]
    kinds: tuple[Kind, ...]
    hyperparameters: tuple[Hyperparameter, ...]
    model: type[Model]
    reference: bool = False
    combines: bool = False

    def can(self, task: str) -> bool:
        """Whether it can do a task, itself or put as questions of yes or no (`engine.tasks`).

        Survival repeats a record for every stretch of time; files and table together (a Bundle) are not repeated.
        """
        if task == "survival" and self.model.wants_tensors:
            return task in self.tasks
        return task in self.tasks or (task in REDUCED and "classification" in self.tasks)

    def defaults(self) -> dict[str, Any]:
        """Every hyperparameter with its default."""
        return {h.name: h.default for h in self.hyperparameters}


CANDIDATES: dict[str, Candidate] = {}


def candidate(
    name: str, *, label: str, description: str, tasks: tuple[str, ...] = ("classification", "regression"),
    kinds: tuple[Kind, ...] = (Kind.NUMBER, Kind.CATEGORY, Kind.DATE, Kind.TEXT),
    hyperparameters: tuple[Hyperparameter, ...] = (), reference: bool = False, combines: bool = False,
) -> Callable[[ModelType], ModelType]:  # fmt: skip
    """Class decorator: puts a model into CANDIDATES under its name."""

    def register(model: ModelType) -> ModelType:
        if name in CANDIDATES:
            raise ValueError(f"two candidates are called {name}")
        CANDIDATES[name] = Candidate(
            name, label, description, tasks, kinds, hyperparameters, model, reference, combines
        )
        return model

    return register


def _load() -> None:
    importlib.import_module("engine.candidates")


def get(name: str) -> Candidate:
    """The candidate of that name. Raises EngineError ("candidate_unknown")."""
    _load()
    if name not in CANDIDATES:
        known = ", ".join(CANDIDATES)
        raise EngineError(
            "candidate_unknown", f"There is no candidate “{name}”; there are {known}.", {"candidate": name}
        )
    return CANDIDATES[name]


def validate(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The given hyperparameters in their own types.

    Raises EngineError naming candidate, hyperparameter and limits ("hyperparameter_unknown", "hyperparameter_invalid").
    """
    known = {h.name: h for h in get(name).hyperparameters}
    cleaned: dict[str, Any] = {}
    for key, value in values.items():
        params = {"candidate": name, "hyperparameter": key, "value": value}
        if key not in known:
            raise EngineError(
                "hyperparameter_unknown", f"Candidate “{name}” has no hyperparameter “{key}”.", params
            )
        try:
            cleaned[key] = known[key].clean(value)
        except (TypeError, ValueError):
            limits = known[key].limits
            message = f"Candidate “{name}”: “{key}” must be {limits}."
            raise EngineError("hyperparameter_invalid", message, {**params, "limits": limits}) from None
    return cleaned


def describe() -> list[dict[str, Any]]:
    """All candidates and their hyperparameters as JSON, for forms and documentation."""
    _load()
    return [
        {
            "name": c.name, "label": c.label, "description": c.description, "tasks": list(c.tasks),
            "kinds": [kind.value for kind in c.kinds], "reference": c.reference,
            "hyperparameters": [h.to_dict() for h in c.hyperparameters],
        }
        for c in CANDIDATES.values()
    ]  # fmt: skip
