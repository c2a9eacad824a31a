"""From a table and a recipe to what candidates learn from: labelled rows, codes, patients, schema."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.cells import sort_classes
from engine.columns import categories_of, numbers_of, present_in
from engine.encoding import Encoded, Encoder
from engine.errors import EngineError
from engine.files import Files
from engine.frozen import TooSlow
from engine.metrics import METRICS, Floats, Ints
from engine.recipe import Recipe
from engine.schema import FILE_KINDS, Kind, Role, Schema, describe_column, infer_schema
from engine.split import patient_codes
from engine.tasks import special
from engine.transformers import TRANSFORMERS

if TYPE_CHECKING:
    from engine.tasks.base import Task

FEWEST_PATIENTS = 5  # a category of fewer patients is not kept: it could name one
MOST_CLASSES = 10  # whole numbers with at most this many different values are classes, else an amount


@dataclass(frozen=True)
class TrainingData:
    """Labelled rows only. `y`: codes 0..k-1 or numbers, as floats; `patients`: codes from 0.

    The tasks of `engine.tasks` have their labels in `targets` and what they decided once in `details`; their `y` is one
    number per record that guides preprocessing and balances folds.
    """

    frame: pd.DataFrame
    schema: Schema
    task: str
    classes: NDArray[Any]
    y: Floats
    patients: Ints
    unlabelled: int
    files: Files = field(default_factory=Files)
    targets: NDArray[Any] | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def classify(self) -> bool:
        """Whether this is classification."""
        return self.task == "classification"

    @property
    def grouped(self) -> bool:
        """Whether `y` are codes without an order."""
        return self.classify or self.task == "multilabel"

    @property
    def answers(self) -> NDArray[Any]:
        """What candidates learn: class codes as whole numbers, numbers, or the task's own targets."""
        if self.targets is not None:
            return self.targets
        return self.y.astype(np.int64) if self.classify else self.y

    def work(self, candidate: str) -> int:
        """How many rows a candidate is fitted on."""
        task = special(self.task)
        return len(self.y) if task is None else task.rows(self, candidate)

    def encode(self) -> tuple[Encoder, Encoded]:
        """The feature columns as blocks. Frozen features that turn out to take too long are left out."""
        encoder = Encoder.settled(self.schema, self.frame, self.files)
        while True:
            try:
                return encoder, encoder.from_frame(self.frame, self.files)
            except TooSlow as slow:
                encoder = encoder.without_weights(slow.kind)
                if self.files.allowance is not None:
                    self.files.allowance.give_up(slow.kind)

    def only_table(self) -> TrainingData:
        """The same records without texts and without the columns whose cells are files: quickly encoded."""
        slow = {Kind.TEXT, *FILE_KINDS}
        kept = tuple(column for column in self.schema.columns if column.kind not in slow)
        return replace(self, schema=Schema(kept))


def check_columns(frame: pd.DataFrame, recipe: Recipe) -> None:
    """Raises EngineError when a column that the recipe names is missing or columns share a name."""
    if not frame.columns.is_unique:
        twice = str(frame.columns[frame.columns.duplicated()][0])
        raise EngineError("column_duplicate", f"Two columns are called “{twice}”.", {"column": twice})
    for name in (*recipe.answers, recipe.patient, *recipe.columns, *recipe.ignore, *recipe.rates):
        if name is not None and name not in frame.columns:
            raise EngineError("column_missing", f"There is no column “{name}”.", {"column": name})


def task_of(labels: list[Any], recipe: Recipe) -> str:
    """Classification or regression, as the recipe says or the labels look."""
    if recipe.task != "auto":
        return recipe.task
    if recipe.columns.get(recipe.target) in (Kind.CATEGORY.value, Kind.TEXT.value):
        return "classification"
    parsed, odd = numbers_of(labels)
    if any(problem == "not_a_number" for _, problem in odd) or any(
        isinstance(v, (bool, np.bool_)) for v in labels
    ):
        return "classification"
    numbers = set(np.unique(parsed[np.isfinite(parsed)]).tolist())
    whole = all(number.is_integer() for number in numbers)
    return "classification" if whole and len(numbers) <= MOST_CLASSES else "regression"


def labels_of(series: pd.Series[Any], task: str, keep_words: bool = False) -> list[Any]:
    """Each row's label as a class name or number; None where it is missing."""
    if task == "classification":
        return list(categories_of(series.tolist(), keep_words))
    numbers = numbers_of(series.tolist())[0]
    return [number if math.isfinite(number) else None for number in numbers.tolist()]


def patients_of(frame: pd.DataFrame, patient: str | None) -> Ints:
    """Patients numbered from 0; without a patient column, or in a row without a patient, each row is its own."""
    if patient is None or patient not in frame.columns:
        return np.arange(len(frame))
    names = categories_of(frame[patient].tolist())
    return patient_codes(
        np.array([(i, "") if n is None else (-1, n) for i, n in enumerate(names)], dtype="object,object")
    )


def prepare(frame: pd.DataFrame, recipe: Recipe, files: Files | None = None) -> TrainingData:
    """Raises EngineError when a column is missing, or nothing is labelled."""
    frame = frame.rename(columns=str)
    check_columns(frame, recipe)
    own = special(recipe.task)
    if own is not None:
        return _prepare_special(frame, recipe, own, files or Files())
    present = present_in(frame[recipe.target].tolist(), recipe.keep_words)
    task = task_of(present, recipe)
    labels = labels_of(frame[recipe.target], task, recipe.keep_words)
    rows = [i for i, label in enumerate(labels) if label is not None]
    if not rows:
        raise EngineError("no_labels", f"No row has a value in “{recipe.target}”.", {"column": recipe.target})
    labelled = frame.iloc[rows].reset_index(drop=True)
    labels = [labels[i] for i in rows]
    draft = infer_schema(labelled, target=recipe.target, patient=recipe.patient, keep_words=recipe.keep_words)
    patient = next((c.name for c in draft.columns if c.role is Role.PATIENT), None)
    patients = patients_of(labelled, patient)
    classes: NDArray[Any] = np.array([])
    y = np.array(labels, dtype=float) if task == "regression" else np.zeros(len(labels))
    if task == "classification":
        names = sort_classes(set(labels))
        code = {name: i for i, name in enumerate(names)}
        classes, y = np.array(names), np.array([code[label] for label in labels], dtype=float)
    schema = _final_schema(labelled, recipe, draft, patients)
    return TrainingData(
        labelled, schema, task, classes, y, patients, len(frame) - len(rows), files or Files()
    )


def _prepare_special(frame: pd.DataFrame, recipe: Recipe, task: Task, files: Files) -> TrainingData:
    rows, truth, classes, details = task.read(frame, recipe)
    if not len(rows):
        raise EngineError("no_labels", f"No row has a value in “{recipe.target}”.", {"column": recipe.target})
    labelled = frame.iloc[rows].reset_index(drop=True)
    draft = infer_schema(labelled, target=recipe.target, patient=recipe.patient, keep_words=recipe.keep_words)
    patient = next((c.name for c in draft.columns if c.role is Role.PATIENT), None)
    patients = patients_of(labelled, patient)
    schema = _final_schema(labelled, recipe, draft, patients)
    guide = task.guide(truth, patients, details)
    return TrainingData(
        labelled, schema, task.name, np.array(classes), guide, patients, len(frame) - len(rows), files, truth, details
    )


def _final_schema(frame: pd.DataFrame, recipe: Recipe, draft: Schema, patients: Ints) -> Schema:
    columns = []
    for column in draft.columns:
        chosen = recipe.columns.get(column.name)
        role = column.role
        if column.name in recipe.answers:
            role = Role.TARGET
        elif column.name in recipe.ignore:
            role = Role.IGNORE
        elif role is Role.IGNORE and chosen is not None and column.missing_share < 1.0:
            role = Role.FEATURE  # the user said what it is, so it is meant to be used
        kind = column.kind if chosen is None else Kind(chosen)
        if role is Role.FEATURE:
            spec = describe_column(
                column.name, frame[column.name], kind, minimum_patients=FEWEST_PATIENTS, patients=patients,
                keep_words=recipe.keep_words,
            )  # fmt: skip
            columns.append(replace(spec, role=role, rate=recipe.rates.get(column.name)))
        else:  # nothing of the target's, the patients' or the ignored columns' values is kept
            columns.append(
                replace(
                    column, kind=kind, role=role, categories=None, minimum=None, maximum=None, quantiles=None
                )
            )
    return Schema(tuple(columns))


def unsupported(schema: Schema) -> list[str]:
    """Feature columns whose kind no transformer handles yet."""
    return [column.name for column in schema.features if column.kind not in TRANSFORMERS]


def metric_of(recipe: Recipe, task: str, classes: int) -> str:
    """What validation maximises. Raises EngineError when the metric is not one of this task."""
    from engine.metrics import AUTO

    if recipe.metric == "auto" and special(task) is not None:
        return AUTO[task]
    if recipe.metric == "auto":
        return AUTO["regression" if task == "regression" else "binary" if classes == 2 else "multi"]
    if task not in METRICS[recipe.metric].tasks:
        raise EngineError(
            "metric_wrong_task",
            f"“{recipe.metric}” is no metric of {task}.",
            {"metric": recipe.metric, "task": task},
        )
    return recipe.metric
