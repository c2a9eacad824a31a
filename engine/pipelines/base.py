"""What every pipeline offers to the engine's public functions, and what a model made by one adds to Fitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import pandas as pd

from engine.errors import EngineError
from engine.files import Folder
from engine.fitted import Fitted
from engine.metrics import Floats, Metric
from engine.preprocessing.steps import Arrays
from engine.recipe import Recipe
from engine.registry import Hyperparameter
from engine.schema import ColumnSpec, Kind, Role, Schema, describe_column
from engine.training_data import check_columns

if TYPE_CHECKING:
    from engine.evaluation import Report
    from engine.explanation import Reasons
    from engine.findings import OnProgress, Search, ShouldStop
    from engine.problems import Problem


@dataclass(frozen=True)
class Setting(Hyperparameter):
    """One setting of a task; `type` may also be "column" (the name of a column, or None)."""

    @property
    def limits(self) -> str:
        """The allowed values in words."""
        return "the name of a column" if self.type == "column" else super().limits

    def clean(self, value: Any) -> Any:
        """The value in its own type; ValueError when it is outside the limits."""
        if self.type != "column":
            return super().clean(value)
        if value is not None and (not isinstance(value, str) or not value):
            raise ValueError
        return value


class Pipeline(ABC):
    """One task from table to model. Stateless: everything learned is in the model that `fit_candidates` gives."""

    name: ClassVar[str]
    settings: ClassVar[tuple[Setting, ...]]
    metrics: ClassVar[dict[str, Metric]]
    auto: ClassVar[str]  # the metric that validation chooses by, unless the recipe says another

    def setting(self, recipe: Recipe, name: str) -> Any:
        """The recipe's value, or the default."""
        default = next(setting.default for setting in self.settings if setting.name == name)
        return recipe.settings.get(name, default)

    def metric(self, recipe: Recipe) -> str:
        """The metric that validation chooses by."""
        return self.auto if recipe.metric == "auto" else recipe.metric

    def check_columns(self, frame: pd.DataFrame, recipe: Recipe) -> None:
        """Raises EngineError ("column_missing") when a column that the recipe or a setting names is not there."""
        check_columns(frame, recipe)
        for setting in self.settings:
            column = self.setting(recipe, setting.name) if setting.type == "column" else None
            if column is not None and column not in frame.columns:
                raise EngineError("column_missing", f"There is no column “{column}”.", {"column": column})

    @abstractmethod
    def check(self, frame: pd.DataFrame, recipe: Recipe) -> list[Problem]:
        """All problems, errors first; may raise EngineError for what can't even be read."""

    @abstractmethod
    def fit_candidates(
        self, frame: pd.DataFrame, recipe: Recipe, *, on_progress: OnProgress | None, should_stop: ShouldStop | None
    ) -> Search:
        """As engine.fit_candidates."""

    @abstractmethod
    def evaluate(
        self, fitted: Any, frame: pd.DataFrame, groups: Sequence[str], bootstrap: int, seed: int
    ) -> Report:
        """As engine.evaluate."""

    @abstractmethod
    def explain(self, fitted: Any, records: Sequence[Mapping[str, Any]]) -> list[Reasons]:
        """As engine.explain."""

    @abstractmethod
    def scores(self, predictions: Mapping[str, Any], weights: Floats) -> dict[str, Floats]:
        """Every metric for each row of `weights` (B, n), from what a report stores as `predictions` of n records."""

    @abstractmethod
    def restore(self, fitted: Fitted, state: Mapping[str, Any], arrays: Arrays) -> Fitted:
        """The inverse of `PipelineFitted.state` and `.own_arrays`."""


@dataclass
class PipelineFitted(Fitted):
    """A model of a pipeline: Fitted's contract, with state of its own. `task` is the pipeline's name."""

    def state(self) -> dict[str, Any]:
        """JSON beyond that of Fitted."""
        return {}

    def own_arrays(self) -> Arrays:
        """Arrays beyond those of Fitted."""
        return {}

    def predict_records(self, records: Sequence[Mapping[str, Any]], *, files: Folder = None) -> Any:
        """Predict dictionaries, one per record; a missing key is a missing value."""
        frame = pd.DataFrame.from_records([dict(record) for record in records], index=range(len(records)))
        return self.predict(frame, files=files)

    def try_out(self) -> None:
        """An empty record is predicted, as the first thing after loading. Raises ValueError when no answer comes."""
        found = self.predict_records([{}])
        if len(found.value) != 1 or not np.isfinite(found.ood_score).all():
            raise ValueError("predictions are no numbers")


PipelineFittedType = TypeVar("PipelineFittedType", bound=PipelineFitted)


def adopt(cls: type[PipelineFittedType], fitted: Fitted, **own: Any) -> PipelineFittedType:
    """The same model as a `cls`, with what that adds."""
    return cls(**{f.name: getattr(fitted, f.name) for f in fields(Fitted)} | own)


def schema_of(frame: pd.DataFrame, roles: Mapping[str, tuple[Kind, Role]]) -> Schema:
    """The table's columns: those of `roles` as it says, all others ignored. Nothing of their values is kept."""
    columns = []
    for name in frame.columns:
        if name in roles:
            kind, role = roles[name]
            missing = describe_column(name, frame[name], Kind.TEXT).missing_share
            columns.append(ColumnSpec(name, kind, role, missing_share=missing))
        else:
            columns.append(ColumnSpec(name, describe_column(name, frame[name]).kind, Role.IGNORE))
    return Schema(tuple(columns))
