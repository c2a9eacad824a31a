"""Columns and rows that would flatter a model: what gives the answer away, and what says more about the files than the patient.

Suspicious columns are left out unless the recipe allows them; each is said with its reason, so that a person can look.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.columns import categories_of as whole_column
from engine.columns import missing_in
from engine.copies import feature_codes, row_codes
from engine.leaks import leaking_columns
from engine.metrics import Floats, Ints
from engine.recipe import Recipe
from engine.schema import ColumnSpec, Kind, Role, Schema
from engine.subgroups import is_site
from engine.tasks import special
from engine.training_data import TrainingData

MIRRORS = 0.8  # kappa (or share of variance) from which what is missing tells the label
ONE_SOURCE = 0.8  # kappa from which a hospital or a device tells the label
PURE_PATIENTS = 20  # patients of a value that all have the same label before that is no accident
STRONGEST = ("leak", "source_per_class", "leak_missing", "leak_afterwards")
CODED = re.compile(r"[A-Za-z]{0,4}[-_/]?\d{4,}")

# Known only after what is to be told: written down at discharge, after death, at follow-up, after an operation.
AFTERWARDS = re.compile(
    r"discharge[ _-]?(date|time|day|status|diagnosis|summary|disposition)|(date|time|day)[ _-]?(of[ _-]?)?discharge"
    r"|death|deceased|(^|[^a-z])(died|dod|outcome|autopsy|follow[ _-]?up|survival|mortality|prognosis)([^a-z]|$)"
    r"|post[ _-]?op|after[ _-]?(treatment|surgery|therapy|operation)|(treatment|therapy)[ _-]?(response|result)"
    r"|出院|死亡|结局|随访|预后|术后|治疗后|转归|尸检|生存",
    re.IGNORECASE,
)
PERHAPS_AFTERWARDS = re.compile(
    r"(^|[^a-z])(treatment|therapy|surgery|operation|prescribed|prescription|medication|procedure)([^a-z]|$)"
    r"|治疗|手术|用药|处方",
    re.IGNORECASE,
)
BEFORE = re.compile(
    r"family|history|previous|prior|(^|[^a-z])(past|before|pre)([^a-z]|$)|mother|father|parent|家族|既往|病史|术前|父|母",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Suspicion:
    """`code` says what is suspicious; `leave_out` whether the column is left out unless it is allowed."""

    code: str
    column: str | None
    leave_out: bool
    params: dict[str, Any] = field(default_factory=dict)


def suspicions(data: TrainingData, recipe: Recipe, part: TrainingData | None = None) -> list[Suspicion]:
    """All of them; a column is named once, for the strongest reason.

    `part`: the rows in which columns that give the answer away are looked for (None: all). What depends on every row
    being there (copies, codes that come again, places with one class) is always looked for in all.
    """
    part = data if part is None else part
    own = special(data.task)
    if own is not None:
        return _special(own.plain(data), recipe)
    found: dict[str | None, Suspicion] = {}
    for each in (*_leaks(part, recipe), *_sources(part, recipe), *_missing(part, recipe), *_afterwards(part)):
        found.setdefault(each.column, each)
    rows = [*_pure_sources(data, recipe, found), *_coded(data, recipe), *_contradictions(data)]
    return [*found.values(), *rows]


def _special(parts: list[TrainingData], recipe: Recipe) -> list[Suspicion]:
    """Of a task that is several plain ones: each thing once, a column for the strongest reason. Alike rows with other
    labels are no contradiction there: one of two may only have been followed for a shorter time."""
    found: dict[str, Suspicion] = {}
    for each in (each for part in parts for each in suspicions(part, recipe)):
        known = None if each.column is None else found.get(each.column)
        if each.column is not None and (known is None or _rank(each) < _rank(known)):
            found[each.column] = each
    return list(found.values())


def _rank(each: Suspicion) -> int:
    return STRONGEST.index(each.code) if each.code in STRONGEST else len(STRONGEST)


def without(data: TrainingData, columns: set[str]) -> TrainingData:
    """The same records, without learning from these columns; nothing of their values is kept."""
    if not columns:
        return data
    specs = [
        replace(c, role=Role.IGNORE, categories=None, minimum=None, maximum=None, quantiles=None)
        if c.name in columns and c.role is Role.FEATURE
        else c
        for c in data.schema.columns
    ]
    return replace(data, schema=Schema(tuple(specs)))


def _leaks(data: TrainingData, recipe: Recipe) -> Iterator[Suspicion]:
    """Near-perfect alone. A hospital or device, or any category whose every value has one label, is a source."""
    for name, share in leaking_columns(data, recipe.seed):
        percent = round(100 * share)
        code = "source_per_class" if is_site(name) else "leak"
        yield Suspicion(code, name, True, {"percent": percent})


def _sources(data: TrainingData, recipe: Recipe) -> Iterator[Suspicion]:
    """Hospitals, wards and devices that nearly tell the class: the model would learn the place, not the disease."""
    if not data.classify:
        return
    for spec in data.schema.features:
        if spec.kind in (Kind.CATEGORY, Kind.NUMBER, Kind.TEXT) and is_site(spec.name):
            values = categories_of(data, recipe, spec)
            share = _kappa_of_values(values, data)
            if share >= ONE_SOURCE:
                yield Suspicion("source_per_class", spec.name, True, {"percent": round(100 * share)})


def categories_of(data: TrainingData, recipe: Recipe, spec: ColumnSpec) -> NDArray[Any]:
    """(n,) the cells as categories, "" where missing."""
    cells = whole_column(data.frame[spec.name].tolist(), recipe.keep_words)
    return np.array([cell or "" for cell in cells], dtype=object)


def _kappa_of_values(values: NDArray[Any], data: TrainingData) -> float:
    """Cohen's kappa of the label with its commonest in each value, each patient judged by the others of that value.

    Values of one patient are judged by each other: to a model they are all “another place”.
    """
    y = data.y.astype(np.int64)
    codes = np.unique(values.astype(str), return_inverse=True)[1]
    counts = np.zeros((int(codes.max()) + 1, len(data.classes)))
    np.add.at(counts, (codes, y), 1.0)
    own = np.zeros((int(data.patients.max()) + 1, len(data.classes)))
    np.add.at(own, (data.patients, y), 1.0)  # a patient's records nearly always share the place
    others = np.maximum(counts[codes] - own[data.patients], 0.0)
    guess = others.argmax(axis=1)
    alone = np.flatnonzero(others.sum(axis=1) == 0)
    if len(alone):
        own[:] = 0.0
        np.add.at(own, (data.patients[alone], y[alone]), 1.0)
        rest = own[data.patients[alone]]
        guess[alone] = np.where(len(alone) > rest.sum(axis=1), (own.sum(axis=0) - rest).argmax(axis=1), np.bincount(y).argmax())
    return kappa(y, guess)


def kappa(a: Ints, b: Ints) -> float:
    """Cohen's kappa of two codings (Cohen 1960, doi:10.1177/001316446002000104)."""
    chance = sum(float(np.mean(a == c)) * float(np.mean(b == c)) for c in np.unique(a))
    return (float(np.mean(a == b)) - chance) / (1.0 - chance) if chance < 1.0 else 0.0


def _missing(data: TrainingData, recipe: Recipe) -> Iterator[Suspicion]:
    """Filled in for one class and empty for the others (or the other way round)."""
    for spec in data.schema.features:
        gone = missing_in(data.frame[spec.name].tolist(), recipe.keep_words)
        if not 0.02 <= gone.mean() <= 0.98:
            continue
        share = _mirrored(gone, data)
        if share >= MIRRORS:
            yield Suspicion("leak_missing", spec.name, True, {"percent": round(100 * share)})


def _mirrored(gone: NDArray[np.bool_], data: TrainingData) -> float:
    if data.classify:
        y = data.y.astype(np.int64)
        return max(
            abs(kappa((y == c).astype(np.int64), gone.astype(np.int64))) for c in range(len(data.classes))
        )
    return _between(gone, data.y)


def _between(gone: NDArray[np.bool_], y: Floats) -> float:
    """The share of the variance that lies between filled and empty cells."""
    spread = float(((y - y.mean()) ** 2).sum())
    means = gone.sum() * (y[gone].mean() - y.mean()) ** 2 + (~gone).sum() * (y[~gone].mean() - y.mean()) ** 2
    return float(means / spread) if spread > 0 else 0.0


def _afterwards(data: TrainingData) -> Iterator[Suspicion]:
    """By name alone: cells can't tell when they were written."""
    for spec in data.schema.features:
        if BEFORE.search(spec.name):
            continue
        if AFTERWARDS.search(spec.name):
            yield Suspicion("leak_afterwards", spec.name, True)
        elif PERHAPS_AFTERWARDS.search(spec.name):
            yield Suspicion("perhaps_afterwards", spec.name, False)


def _pure_sources(data: TrainingData, recipe: Recipe, found: dict[str | None, Suspicion]) -> Iterator[Suspicion]:
    """A hospital or device from which only one class came, though the others see several."""
    if not data.classify:
        return
    for spec in data.schema.columns:
        if spec.role in (Role.TARGET, Role.PATIENT) or not is_site(spec.name) or spec.name in found:
            continue
        values = categories_of(data, recipe, spec)
        for value, rows in _rows_by(values).items():
            patients = len(np.unique(data.patients[rows]))
            labels = np.unique(data.y[rows])
            rest = float(np.mean(np.delete(data.y, rows) == labels[0])) if len(rows) < len(data.y) else 1.0
            if value and len(labels) == 1 and patients >= PURE_PATIENTS and rest < 0.9:
                params = {"value": value, "count": patients, "label": str(data.classes[int(labels[0])])}
                yield Suspicion("source_one_class", spec.name, False, params)


def _rows_by(values: NDArray[Any]) -> dict[str, Ints]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, value in enumerate(values.tolist()):
        rows[value].append(row)
    return {value: np.array(own, dtype=np.int64) for value, own in rows.items()}


def _coded(data: TrainingData, recipe: Recipe) -> Iterator[Suspicion]:
    """Codes that come again, where no column says which records are one patient's."""
    if data.schema.with_role(Role.PATIENT):
        return
    for spec in data.schema.columns:
        if spec.role is Role.TARGET or spec.kind not in (Kind.CATEGORY, Kind.TEXT):
            continue
        present = [value for value in categories_of(data, recipe, spec).tolist() if value]
        if len(present) < 20 or not all(CODED.fullmatch(value) for value in present[:500]):
            continue
        distinct = len(set(present))
        if 0.1 * len(present) <= distinct < 0.95 * len(present):
            yield Suspicion("patient_suspected", spec.name, False, {"count": distinct, "total": len(present)})


def _contradictions(data: TrainingData) -> Iterator[Suspicion]:
    """Rows alike in every column whose labels differ: one of them is wrong, or what decides is not in the table."""
    if not data.classify:
        return
    alike = row_codes(feature_codes(data.frame, data.schema), len(data.y))
    count = len(data.classes)
    seen = np.unique(alike * count + data.y.astype(np.int64)) // count  # each different row, once for each label
    rows = int((np.bincount(seen)[alike] > 1).sum())
    if rows:
        yield Suspicion("duplicates_contradict", None, False, {"count": rows})
