"""What is wrong or doubtful about a table before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from engine import pipelines, registry
from engine.cells import is_missing
from engine.columns import numbers_of
from engine.copies import feature_codes, row_codes, shared
from engine.doubts import LEAKAGE, left_out, suspicious, to_be_looked_at
from engine.errors import EngineError, FileRefused
from engine.files import Files, Folder, source_of
from engine.problems import Problem, make_problem
from engine.recipe import Recipe
from engine.schema import FILE_KINDS, Kind, Role, looks_like_identifier
from engine.suspicion import without
from engine.tasks import special
from engine.time_order import forward_folds, times_of
from engine.training_data import TrainingData, metric_of, prepare, unsupported
from engine.transformers import TRANSFORMERS, Issue

FEWEST_RECORDS, FEW_RECORDS = 20, 100
FEWEST_PATIENTS, FEW_PATIENTS = 10, 50


def check(frame: pd.DataFrame, recipe: Recipe, *, files: Folder = None) -> list[Problem]:
    """All problems, errors first. Never raises: what can't be prepared is itself a problem.

    Files are looked for below `files`, not decoded: what can't be read comes to light in training.
    """
    own = pipelines.of(recipe.task)
    try:
        if own is not None:
            return own.check(frame.rename(columns=str), recipe)
        return problems_of(prepare(frame, recipe, Files.of(files)), frame, recipe)
    except EngineError as error:
        return [Problem(error.code, "error", error.params.get("column"), error.message, error.params)]


def problems_of(data: TrainingData, frame: pd.DataFrame, recipe: Recipe) -> list[Problem]:
    """All problems of a frame that is already prepared, errors first.

    What takes long is looked for in at most `MOST_CHECKED` rows (whole patients, drawn by the recipe's seed, with all rows
    of a rare class), and a problem says so. Raises EngineError for a metric or a time column that can't be used.
    """
    metric_of(recipe, data.task, len(data.classes))
    if recipe.split_by is not None:
        times_of(data.frame, recipe)
    found = [*_labels(frame, data, recipe), *_amount(data), *_recipe(data, recipe), *_patients(data, recipe)]
    found += _files(data)
    if not any(problem.severity == "error" for problem in found):
        part = to_be_looked_at(data, recipe)
        found += [*_columns(frame, data, recipe), *suspicious(data, part, recipe), *_time(data, recipe)]
        if part is not data:
            text = "Columns that give the answer away were looked for in {count} of {total} rows."
            found.append(make_problem("checked_part", "warning", None, text, count=len(part.y), total=len(data.y)))
    return sorted(found, key=lambda problem: problem.severity != "error")


def _labels(frame: pd.DataFrame, data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
    target = recipe.target
    if data.unlabelled:
        yield make_problem(
            "labels_missing",
            "warning",
            target,
            "{count} of {total} rows have no value in “{column}” and are left out.",
            count=data.unlabelled,
            total=len(frame),
        )
    own = special(data.task)
    if own is not None:
        yield from own.problems(frame, data, recipe)
        return
    if not data.classify:
        if float(np.ptp(data.y)) == 0:
            yield make_problem(
                "one_class",
                "error",
                target,
                "“{column}” has the same value in every row; there is nothing to learn.",
            )
        return
    if len(data.classes) < 2:
        yield make_problem(
            "one_class",
            "error",
            target,
            "“{column}” has only the class “{value}”; there is nothing to tell apart.",
            value=str(data.classes[0]),
        )
        return
    if len(data.classes) > max(2, len(data.y) // 4):
        yield make_problem(
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
            yield make_problem(
                "class_too_small",
                "error",
                target,
                "The class “{value}” of “{column}” has {count} patient; at least 2 "
                "are needed to learn and to check.",
                value=name,
                count=patients,
            )
        elif patients < 10:
            yield make_problem(
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
        yield make_problem(
            "too_few_records",
            "error",
            None,
            "Only {count} labelled records; at least {least} are needed.",
            count=n,
            least=FEWEST_RECORDS,
        )
    elif n < FEW_RECORDS:
        yield make_problem(
            "few_records",
            "warning",
            None,
            "Only {count} labelled records; with fewer than {least} every figure is uncertain.",
            count=n,
            least=FEW_RECORDS,
        )
    if patients < min(FEWEST_PATIENTS, n):
        yield make_problem(
            "too_few_patients",
            "error",
            None,
            "Only {count} patients; at least {least} are needed.",
            count=patients,
            least=FEWEST_PATIENTS,
        )
    elif patients < min(FEW_PATIENTS, n):
        yield make_problem(
            "few_patients",
            "warning",
            None,
            "Only {count} patients; with fewer than {least} every figure is uncertain.",
            count=patients,
            least=FEW_PATIENTS,
        )
    usable = [column for column in data.schema.features if column.name not in unsupported(data.schema)]
    if not usable:
        yield make_problem("no_features", "error", None, "There is no column to learn from.")


def _recipe(data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
    if recipe.positive is not None and data.classify and recipe.positive not in data.classes:
        yield make_problem(
            "positive_unknown",
            "error",
            recipe.target,
            "“{value}” is no class of “{column}”.",
            value=recipe.positive,
        )
    for name in recipe.candidates:
        if not registry.get(name).can(data.task):
            yield make_problem(
                "candidate_wrong_task",
                "error",
                None,
                "The candidate “{candidate}” cannot do {task}.",
                candidate=name,
                task=data.task,
            )
    for name in unsupported(data.schema):
        yield make_problem(
            "kind_not_used",
            "warning",
            name,
            "“{column}” holds {kind} data, which this version does not use yet; it is left out.",
            kind=data.schema[name].kind.value,
        )


def _files(data: TrainingData) -> Iterator[Problem]:
    for column in data.schema.features:
        if column.kind not in FILE_KINDS or column.kind not in TRANSFORMERS:
            continue
        cells = data.frame[column.name].tolist()
        if data.files.folder is None and any(isinstance(c, str) and not is_missing(c) for c in cells):
            yield make_problem(
                "files_folder_missing",
                "error",
                column.name,
                "“{column}” names files, but no folder was given in which they lie.",
            )
            continue
        codes = Counter(_trouble(cell, data.files) for cell in cells)
        for code, text in _FILE_PROBLEMS.items():
            if codes[code]:
                yield make_problem(f"values_{code}", "warning", column.name, text, count=codes[code])


def _trouble(cell: Any, files: Files) -> str | None:
    try:
        source_of(cell, files.folder)
    except FileRefused as refused:
        return refused.code
    return None


def unreadable_files(issues: Iterable[Issue]) -> list[Problem]:
    """What decoding the training files brought to light, one problem for each column."""
    counts = Counter(issue.column for issue in issues if issue.code == "file_unreadable")
    text = _FILE_PROBLEMS["file_unreadable"]
    return [make_problem("values_file_unreadable", "warning", name, text, count=n) for name, n in counts.items()]


_FILE_PROBLEMS = {
    "file_refused": "{count} files of “{column}” lie outside the given folder; they were not opened and count as missing.",
    "file_missing": "{count} files of “{column}” are not there and count as missing.",
    "file_unreadable": "{count} files of “{column}” can't be read and count as missing.",
}


def _patients(data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
    guessed = [c.name for c in data.schema.with_role(Role.PATIENT)]
    if recipe.patient is None and guessed:
        yield make_problem(
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
        yield make_problem(
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
            yield make_problem(code, "warning", column.name, text)
        if column.role is not Role.FEATURE:
            continue
        if (
            column.kind is not Kind.NUMBER
            and column.name in recipe.columns
            and looks_like_identifier(data.frame[column.name], column.kind)
        ):
            yield make_problem(
                "column_identifier_used",
                "warning",
                column.name,
                "“{column}” looks like an identifier; nothing general can be learned from it.",
            )
        if column.kind is Kind.NUMBER:
            odd = numbers_of(data.frame[column.name].tolist())[1]
            problems = Counter(problem for _, problem in odd)
            for code, text in (
                ("infinite", "{count} values of “{column}” are infinite and count as missing."),
                ("not_a_number", "{count} values of “{column}” are no numbers and count as missing."),
            ):
                if problems[code]:
                    yield make_problem(f"values_{code}", "warning", column.name, text, count=problems[code])
    yield from _duplicates(data)


def _duplicates(data: TrainingData) -> Iterator[Problem]:
    codes = feature_codes(data.frame, data.schema)
    copies = len(data.y) - 1 - int(row_codes(codes, len(data.y)).max()) if codes else 0
    if copies:
        yield make_problem(
            "duplicates",
            "warning",
            None,
            "{count} rows repeat another row in every column; the same patient on both "
            "sides of a split would flatter the figures.",
            count=copies,
        )


def _time(data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
    """Whether validation can go forward in time by the recipe's column."""
    if recipe.split_by is None:
        return
    missing = int(np.isnan(times_of(data.frame, recipe)).sum())
    if missing:
        yield make_problem(
            "time_missing", "warning", recipe.split_by,
            "{count} rows have no time in “{column}”: the final model learns from them, but no validation does.",
            count=missing,
        )  # fmt: skip
    try:
        forward_folds(data, recipe)
    except EngineError as error:
        yield Problem(error.code, "error", recipe.split_by, error.message, error.params)


def leak_report(frame: pd.DataFrame, recipe: Recipe, test: pd.DataFrame | None = None) -> list[Problem]:
    """What would flatter a model of this table: the part of `check` that speaks of leaks, identifiers, copies and time.

    With the `test` rows, also how many of them are copies of training rows and how many patients are on both sides.
    """
    found = [problem for problem in check(frame, recipe) if problem.code in LEAKAGE]
    if test is None:
        return found
    try:
        data = prepare(frame, recipe)
    except EngineError:
        return found
    rows, patients = shared(without(data, {str(each["column"]) for each in left_out(found)}), test, recipe)
    if rows:
        found.append(
            make_problem("test_copies", "warning", None, "{count} of {total} test rows are copies of training rows: a model that "
                     "has seen them is judged too kindly.", count=rows, total=len(test))
        )  # fmt: skip
    if patients:
        found.append(
            make_problem("test_patients", "warning", None, "{count} patients are both in the training and in the test rows.",
                     count=patients)
        )  # fmt: skip
    return found
