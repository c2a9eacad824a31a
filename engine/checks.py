"""What is wrong or doubtful about a table before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from engine import pipelines, registry
from engine.cells import is_missing, to_category, to_number
from engine.errors import EngineError
from engine.leaks import leaking_columns
from engine.recipe import Recipe
from engine.schema import Kind, Role, looks_like_identifier
from engine.training_data import TrainingData, metric_of, prepare, unsupported

FEWEST_RECORDS, FEW_RECORDS = 20, 100
FEWEST_PATIENTS, FEW_PATIENTS = 10, 50


@dataclass(frozen=True)
class Problem:
    """`severity` "error" forbids training. `params` are those of the English `message`, for translation by `code`."""

    code: str
    severity: str
    column: str | None
    message: str
    params: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {"code": self.code, "severity": self.severity, "column": self.column, "message": self.message,
                "params": self.params}  # fmt: skip


def _problem(code: str, severity: str, column: str | None, template: str, **params: Any) -> Problem:
    values = {"column": column, **params} if column is not None else params
    return Problem(code, severity, column, template.format(**values), values)


def refuse(problems: list[Problem]) -> None:
    """Raises EngineError with the first error among the problems."""
    for problem in problems:
        if problem.severity == "error":
            raise EngineError(problem.code, problem.message, problem.params)


def check(frame: pd.DataFrame, recipe: Recipe) -> list[Problem]:
    """All problems, errors first. Never raises: what can't be prepared is itself a problem."""
    own = pipelines.of(recipe.task)
    try:
        if own is not None:
            return own.check(frame.rename(columns=str), recipe)
        data = prepare(frame, recipe)
        metric_of(recipe, data.task, len(data.classes))
    except EngineError as error:
        return [Problem(error.code, "error", error.params.get("column"), error.message, error.params)]
    found = [*_labels(frame, data, recipe), *_amount(data), *_recipe(data, recipe), *_patients(data, recipe)]
    if not any(problem.severity == "error" for problem in found):
        found += [*_columns(frame, data, recipe), *_leaks(data, recipe)]
    return sorted(found, key=lambda problem: problem.severity != "error")


def _labels(frame: pd.DataFrame, data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
    target = recipe.target
    if data.unlabelled:
        yield _problem(
            "labels_missing",
            "warning",
            target,
            "{count} of {total} rows have no value in “{column}” and are left out.",
            count=data.unlabelled,
            total=len(frame),
        )
    if not data.classify:
        if float(np.ptp(data.y)) == 0:
            yield _problem(
                "one_class",
                "error",
                target,
                "“{column}” has the same value in every row; there is nothing to learn.",
            )
        return
    if len(data.classes) < 2:
        yield _problem(
            "one_class",
            "error",
            target,
            "“{column}” has only the class “{value}”; there is nothing to tell apart.",
            value=str(data.classes[0]),
        )
        return
    if len(data.classes) > max(2, len(data.y) // 4):
        yield _problem(
            "too_many_classes",
            "error",
            target,
            "“{column}” has {count} classes in {total} rows; is it an amount, or a text?",
            count=len(data.classes),
            total=len(data.y),
        )
        return
    for code, name in enumerate(data.classes.tolist()):
        patients = len(set(data.patients[data.y == code].tolist()))
        if patients < 2:
            yield _problem(
                "class_too_small",
                "error",
                target,
                "The class “{value}” of “{column}” has {count} patient; at least 2 "
                "are needed to learn and to check.",
                value=name,
                count=patients,
            )
        elif patients < 10:
            yield _problem(
                "class_small",
                "warning",
                target,
                "The class “{value}” of “{column}” has only {count} patients; its figures will be uncertain.",
                value=name,
                count=patients,
            )


def _amount(data: TrainingData) -> Iterator[Problem]:
    n, patients = len(data.y), int(data.patients.max()) + 1
    if n < FEWEST_RECORDS:
        yield _problem(
            "too_few_records",
            "error",
            None,
            "Only {count} labelled records; at least {least} are needed.",
            count=n,
            least=FEWEST_RECORDS,
        )
    elif n < FEW_RECORDS:
        yield _problem(
            "few_records",
            "warning",
            None,
            "Only {count} labelled records; with fewer than {least} every figure is uncertain.",
            count=n,
            least=FEW_RECORDS,
        )
    if patients < min(FEWEST_PATIENTS, n):
        yield _problem(
            "too_few_patients",
            "error",
            None,
            "Only {count} patients; at least {least} are needed.",
            count=patients,
            least=FEWEST_PATIENTS,
        )
    elif patients < min(FEW_PATIENTS, n):
        yield _problem(
            "few_patients",
            "warning",
            None,
            "Only {count} patients; with fewer than {least} every figure is uncertain.",
            count=patients,
            least=FEW_PATIENTS,
        )
    usable = [column for column in data.schema.features if column.name not in unsupported(data.schema)]
    if not usable:
        yield _problem("no_features", "error", None, "There is no column to learn from.")


def _recipe(data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
    if recipe.positive is not None and data.classify and recipe.positive not in data.classes:
        yield _problem(
            "positive_unknown",
            "error",
            recipe.target,
            "“{value}” is no class of “{column}”.",
            value=recipe.positive,
        )
    for name in recipe.candidates:
        if data.task not in registry.get(name).tasks:
            yield _problem(
                "candidate_wrong_task",
                "error",
                None,
                "The candidate “{candidate}” cannot do {task}.",
                candidate=name,
                task=data.task,
            )
    for name in unsupported(data.schema):
        yield _problem(
            "kind_not_used",
            "warning",
            name,
            "“{column}” holds {kind} data, which this version does not use yet; it is left out.",
            kind=data.schema[name].kind.value,
        )


def _patients(data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
    guessed = [c.name for c in data.schema.with_role(Role.PATIENT)]
    if recipe.patient is None and guessed:
        yield _problem(
            "patient_guessed",
            "warning",
            guessed[0],
            "“{column}” looks like the patient's number: it keeps each "
            "patient's records together and is not learned from.",
        )
    if not data.classify:
        return
    labels: dict[int, set[float]] = {}
    for patient, label in zip(data.patients.tolist(), data.y.tolist(), strict=True):
        labels.setdefault(patient, set()).add(label)
    contradicting = sum(len(found) > 1 for found in labels.values())
    if contradicting:
        yield _problem(
            "patient_contradicts",
            "warning",
            recipe.target,
            "{count} patients have records with different values in “{column}”.",
            count=contradicting,
        )


def _columns(frame: pd.DataFrame, data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
    for column in data.schema.columns:
        if column.role is Role.IGNORE and column.name not in recipe.ignore:
            code = "column_empty" if column.missing_share >= 1.0 else "column_identifier"
            text = (
                "“{column}” is empty and left out."
                if code == "column_empty"
                else "“{column}” looks like an identifier and is left out."
            )
            yield _problem(code, "warning", column.name, text)
        if column.role is not Role.FEATURE:
            continue
        if (
            column.kind is not Kind.NUMBER
            and column.name in recipe.columns
            and looks_like_identifier(data.frame[column.name], column.kind)
        ):
            yield _problem(
                "column_identifier_used",
                "warning",
                column.name,
                "“{column}” looks like an identifier; nothing general can be learned from it.",
            )
        if column.kind is Kind.NUMBER:
            problems = Counter(to_number(cell)[1] for cell in data.frame[column.name].tolist())
            for code, text in (
                ("infinite", "{count} values of “{column}” are infinite and count as missing."),
                ("not_a_number", "{count} values of “{column}” are no numbers and count as missing."),
            ):
                if problems[code]:
                    yield _problem(f"values_{code}", "warning", column.name, text, count=problems[code])
    yield from _duplicates(data)


def _duplicates(data: TrainingData) -> Iterator[Problem]:
    names = [column.name for column in data.schema.features]
    rows = Counter(zip(*(map(_plain, data.frame[name].tolist()) for name in names), strict=True))
    copies = sum(count - 1 for count in rows.values())
    if copies:
        yield _problem(
            "duplicates",
            "warning",
            None,
            "{count} rows repeat another row in every column; the same patient on both "
            "sides of a split would flatter the figures.",
            count=copies,
        )


def _plain(cell: Any) -> str | None:
    return None if is_missing(cell) else to_category(cell)


def _leaks(data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
    severity = "warning" if recipe.allow_leaks else "error"
    for name, score in leaking_columns(data, recipe.seed):
        yield _problem(
            "leak",
            severity,
            name,
            "“{column}” alone gives the answer away (it explains {percent} % of what there is to "
            "explain). Is it written down after the diagnosis? Leave it out, or allow it.",
            percent=round(100 * score),
        )
