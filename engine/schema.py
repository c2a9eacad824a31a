"""The schema of a table: each column's name, kind, role and what its values look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.cells import to_days, to_number
from engine.columns import categories_of, numbers_of, present_in
from engine.errors import EngineError

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Kind(StrEnum):
    """What the cells of a column hold."""

    NUMBER = "number"
    CATEGORY = "category"
    TEXT = "text"
    IMAGE = "image"
    VOLUME = "volume"
    VIDEO = "video"
    SIGNAL = "signal"
    DATE = "date"


class Role(StrEnum):
    """What a column is for."""

    FEATURE = "feature"
    TARGET = "target"
    PATIENT = "patient"
    IGNORE = "ignore"


@dataclass(frozen=True)
class ColumnSpec:
    """One column. Free text is never kept here; `quantiles` are those of QUANTILES, dates are in days.

    `rate` (Hz): that of a signal whose files do not tell it.
    """

    name: str
    kind: Kind
    role: Role = Role.FEATURE
    categories: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    quantiles: tuple[float, ...] | None = None
    missing_share: float = 0.0
    rate: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form; `from_dict` turns it back."""
        rate = {} if self.rate is None else {"rate": self.rate}
        return {
            "name": self.name, "kind": self.kind.value, "role": self.role.value,
            "categories": None if self.categories is None else list(self.categories),
            "minimum": self.minimum, "maximum": self.maximum,
            "quantiles": None if self.quantiles is None else list(self.quantiles),
            "missing_share": self.missing_share, **rate,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ColumnSpec:
        """Raises EngineError ("schema_invalid") for an unknown kind, role or key."""
        try:
            values = dict(data)
            values["kind"], values["role"] = Kind(values["kind"]), Role(values.get("role", "feature"))
            for key in ("categories", "quantiles"):
                values[key] = None if values.get(key) is None else tuple(values[key])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError("schema_invalid", f"This is not a column: {error}.") from error


@dataclass(frozen=True)
class Schema:
    """The columns of a table in their order."""

    columns: tuple[ColumnSpec, ...] = field(default_factory=tuple)

    def __getitem__(self, name: str) -> ColumnSpec:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(column.name == name for column in self.columns)

    def with_role(self, role: Role) -> tuple[ColumnSpec, ...]:
        """The columns that have this role."""
        return tuple(column for column in self.columns if column.role == role)

    @property
    def features(self) -> tuple[ColumnSpec, ...]:
        """The columns a model may learn from."""
        return self.with_role(Role.FEATURE)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form; `from_dict` turns it back."""
        return {"columns": [column.to_dict() for column in self.columns]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        """Raises EngineError ("schema_invalid") when the form is another one."""
        if not isinstance(data.get("columns"), (list, tuple)):
            raise EngineError("schema_invalid", "A schema needs a list of columns.")
        return cls(tuple(ColumnSpec.from_dict(column) for column in data["columns"]))


FILE_KINDS = {
    Kind.IMAGE: (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"),
    Kind.VOLUME: (".dcm", ".nii", ".nii.gz", ".nrrd", ".mha"),
    Kind.VIDEO: (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpeg", ".mpg", ".m4v", ".wmv", ".gif"),
    Kind.SIGNAL: (".edf", ".bdf", ".dat", ".hea", ".csv", ".tsv", ".npy"),
}
LONGEST_SIDE = 8  # a flat array this many times longer than high is a signal, else a picture
PATIENT_NAMES = frozenset(
    {
        "patient",
        "patient_id",
        "patientid",
        "patient_no",
        "mrn",
        "subject",
        "subject_id",
        "subjectid",
        "person_id",
    }
    | {"pid", "id", "case_id", "患者", "患者id", "患者编号", "病人", "病人id", "病历号", "住院号", "编号"}
)
TARGET_NAMES = frozenset(
    {
        "target",
        "diagnosis",
        "label",
        "outcome",
        "class",
        "y",
        "num",
        "disease",
        "诊断",
        "标签",
        "结局",
        "结果",
    }
)


def infer_schema(
    frame: pd.DataFrame, *, target: str | None = None, patient: str | None = None, keep_words: bool = False
) -> Schema:
    """The kinds and the likely roles of the columns of a table. `keep_words`: see `engine.cells.is_missing`.

    Raises EngineError ("column_missing") when `target` or `patient` is not a column.
    """
    frame = frame.rename(columns=str)
    for name in (target, patient):
        if name is not None and name not in frame.columns:
            raise EngineError("column_missing", f"There is no column “{name}”.", {"column": name})
    columns = [describe_column(str(name), frame[name], keep_words=keep_words) for name in frame.columns]
    found_target = target if target is not None else _first_named(columns, TARGET_NAMES)
    found_patient = patient if patient is not None else _likely_patient(frame, columns, found_target)
    return Schema(tuple(_with_likely_role(c, frame[c.name], found_target, found_patient) for c in columns))


def describe_column(
    name: str,
    series: pd.Series[Any],
    kind: Kind | None = None,
    *,
    minimum_patients: int = 1,
    patients: np.ndarray[Any, Any] | None = None,
    keep_words: bool = False,
) -> ColumnSpec:
    """What a column looks like, in its own or the given kind.

    Categories seen in fewer than `minimum_patients` patients (rows, when `patients` is None) are left out.
    """
    values = series.tolist()
    present = present_in(values, keep_words)
    kind = kind or _kind_of(series, present)
    missing = 1.0 - len(present) / len(values) if values else 0.0
    if kind is Kind.CATEGORY:
        return ColumnSpec(
            name, kind, categories=_categories(values, patients, minimum_patients, keep_words), missing_share=missing
        )
    if kind in (Kind.NUMBER, Kind.DATE):
        parse = to_number if kind is Kind.NUMBER else to_days
        numbers = numbers_of(present, parse)[0]
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers):
            quantiles = tuple(float(q) for q in np.quantile(numbers, QUANTILES))
            return ColumnSpec(
                name,
                kind,
                minimum=float(numbers.min()),
                maximum=float(numbers.max()),
                quantiles=quantiles,
                missing_share=1.0 - len(numbers) / len(values),
            )
        missing = 1.0
    return ColumnSpec(name, kind, missing_share=missing)


def _categories(
    values: list[Any], patients: np.ndarray[Any, Any] | None, minimum: int, keep_words: bool
) -> tuple[str, ...]:
    names = categories_of(values, keep_words)
    known = {name: code for code, name in enumerate(sorted({name for name in names if name is not None}))}
    codes = np.array([known[name] if name is not None else -1 for name in names], dtype=np.int64)
    who = np.arange(len(codes)) if patients is None else np.asarray(patients)
    who = np.unique(who, return_inverse=True)[1] if patients is not None else who
    pairs = np.unique(codes[codes >= 0] * (len(who) + 1) + who[codes >= 0]) // (len(who) + 1)
    enough = np.bincount(pairs, minlength=len(known)) >= minimum
    return tuple(name for name, code in known.items() if enough[code])


def _kind_of(series: pd.Series[Any], present: list[Any]) -> Kind:
    if pd.api.types.is_bool_dtype(series.dtype):
        return Kind.CATEGORY
    if pd.api.types.is_numeric_dtype(series.dtype):
        return Kind.NUMBER
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return Kind.DATE
    if isinstance(series.dtype, pd.CategoricalDtype) or not present:
        return Kind.CATEGORY
    return _kind_of_objects(present)


def _kind_of_objects(present: list[Any]) -> Kind:
    sample = present[:: max(1, len(present) // 2000)]
    if all(isinstance(value, (bool, np.bool_)) for value in sample):
        return Kind.CATEGORY
    if (sources := _kind_of_sources(sample)) is not None:
        return sources
    if sum(to_number(value)[1] is None for value in sample) >= 0.95 * len(sample):
        return Kind.NUMBER
    texts = [str(value).strip() for value in sample]
    for kind, endings in FILE_KINDS.items():
        if all(text.lower().endswith(endings) for text in texts):
            return kind
    if _all_dates(sample):
        return Kind.DATE
    distinct = len({str(value).strip() for value in present})
    length = sum(map(len, texts)) / len(texts)
    return Kind.CATEGORY if length <= 60 and distinct <= max(20, 0.05 * len(present)) else Kind.TEXT


def _kind_of_sources(sample: list[Any]) -> Kind | None:
    """The kind of cells that are arrays, or paths (a folder is a series of slices); None when they are neither."""
    if all(isinstance(value, np.ndarray) for value in sample):
        shape = sample[0].shape
        if len(shape) == 3:
            return Kind.IMAGE if shape[2] in (3, 4) else Kind.VOLUME
        if len(shape) == 2 and max(shape) <= LONGEST_SIDE * min(shape):
            return Kind.IMAGE
        return Kind.SIGNAL if len(shape) in (1, 2) else Kind.VIDEO
    if all(isinstance(value, Path) for value in sample) and all(value.is_dir() for value in sample[:20]):
        return Kind.VOLUME
    return None


def _all_dates(sample: list[Any]) -> bool:
    probe = sample[:200]
    if not all(_looks_like_date(value) for value in probe):
        return False
    return sum(to_days(value)[1] is None for value in probe) >= 0.95 * len(probe)


def _looks_like_date(value: Any) -> bool:
    if not isinstance(value, str):
        return hasattr(value, "year")
    return 8 <= len(value.strip()) <= 32 and value.strip()[:1].isdigit() and any(c in value for c in "-/.")


def looks_like_identifier(series: pd.Series[Any], kind: Kind) -> bool:
    """Different in (nearly) every row and short: a name tag, nothing to learn from."""
    cells = present_in(series.tolist())
    if len(cells) < 20 or len(set(cells)) < 0.95 * len(cells):
        return False
    if kind is Kind.NUMBER and not np.all(numbers_of(cells)[0] % 1 == 0):
        return False
    present = [value for value in categories_of(cells) if value is not None]
    if len(present) < 20 or len(set(present)) < 0.95 * len(present):
        return False
    if kind is Kind.NUMBER:
        numbers = numbers_of(present)[0]
        whole = bool(np.all(np.isfinite(numbers)) and np.all(numbers == np.round(numbers)))
        return whole and bool(np.ptp(numbers) <= 1.05 * len(numbers) or numbers.min() >= 10**5)
    return kind in (Kind.TEXT, Kind.CATEGORY) and all(
        " " not in v and len(v) <= 40 and v.isascii() for v in present
    )


def _first_named(columns: Iterable[ColumnSpec], names: frozenset[str]) -> str | None:
    return next((column.name for column in columns if column.name.strip().lower() in names), None)


def _likely_patient(frame: pd.DataFrame, columns: list[ColumnSpec], target: str | None) -> str | None:
    for column in columns:
        named = column.name != target and column.name.strip().lower() in PATIENT_NAMES
        if named and frame[column.name].nunique() >= 0.1 * len(frame):
            return column.name
    return None


def _with_likely_role(
    column: ColumnSpec, series: pd.Series[Any], target: str | None, patient: str | None
) -> ColumnSpec:
    if column.name == target:
        return replace(column, role=Role.TARGET)
    if column.name == patient:
        return replace(column, role=Role.PATIENT)
    empty = column.missing_share >= 1.0
    if empty or looks_like_identifier(series, column.kind):
        return replace(column, role=Role.IGNORE)
    return column
