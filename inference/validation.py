"""Checking records against a version's columns in plain Python: a thousand of them in a few milliseconds."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from django.utils.translation import gettext as _

from datasets.masking import known as masking
from datasets.masking import texts
from inference.errors import RecordsInvalid

MAX_RECORDS = 1000
MAX_TEXT = 100_000
MAX_CATEGORY = 1_000
MAX_PATIENT_KEY = 100
MAX_ERRORS = 100  # in one answer
MAX_UNKNOWN = 20  # columns named in warnings of one record
FILE_KINDS = ("image", "volume", "video", "signal")
FORM_KINDS = ("number", "category", "text", "date", *FILE_KINDS)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "nat", "?", "-", "不详"})  # as engine.cells


_identifies = lru_cache(maxsize=1_000)(masking.identifies)


class Refused(ValueError):
    """A cell that cannot be taken: a text for the person and a stable code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _MISSING_WORDS)


def _storable(value: str, limit: int) -> str:
    if len(value) > limit:
        raise Refused("too_long", _("Longer than %(limit)d characters.") % {"limit": limit})
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused("invalid", _("Contains a character that cannot be stored.")) from None
    if "\x00" in value:
        raise Refused("invalid", _("Contains a character that cannot be stored."))
    return value


def check_number(value: Any) -> float | int | None:
    """A finite number; a text that is one is taken as one. Raises Refused."""
    kind = type(value)
    if kind is int or kind is float:
        if -1e300 < value < 1e300:
            return value  # type: ignore[no-any-return]
        raise Refused("not_a_number", _("This number is too large."))
    if _is_missing(value):
        return None
    number = math.nan
    if kind is str and "_" not in value:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
    if not math.isfinite(number) or abs(number) > 1e300:
        raise Refused("not_a_number", _("Enter a number, such as 63 or 5.4."))
    return number


def check_category(value: Any) -> Any:
    """A text, a number or true/false. Raises Refused."""
    if _is_missing(value):
        return None
    if isinstance(value, str):
        return _storable(value, MAX_CATEGORY)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return check_number(value)
    raise Refused("invalid", _("Enter a text or a number, not a list or an object."))


def check_text(value: Any) -> str | None:
    """A text. Raises Refused."""
    if value is None:
        return None
    if isinstance(value, str):
        return _storable(value, MAX_TEXT) if value.strip() else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(check_number(value))
    raise Refused("invalid", _("Enter a text."))


def check_date(value: Any) -> str | None:
    """An ISO date such as 2026-05-31, with or without a time. Raises Refused."""
    if _is_missing(value):
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, str) and len(value) <= 40 and value.isascii():
        try:
            datetime.fromisoformat(value.strip())
        except ValueError:
            pass
        else:
            return value.strip()
    raise Refused("not_a_date", _("Enter a date as year-month-day, such as 2026-05-31."))


def check_file(value: Any) -> str | None:
    """The SHA-256 of an uploaded file. Whether it is there is asked afterwards, for all records at once. Raises Refused."""
    if _is_missing(value):
        return None
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return value
    raise Refused("file", _("Give the id of an uploaded file, or send the file with the request."))


CHECKS: dict[str, Callable[[Any], Any]] = {
    "number": check_number,
    "category": check_category,
    "text": check_text,
    "date": check_date,
    **dict.fromkeys(FILE_KINDS, check_file),
}


def _check_of(column: Mapping[str, Any]) -> Callable[[Any], Any]:
    """The check of a column's cells. A word such as “none” that training took as a category is one here too."""
    check = CHECKS[column["kind"]]
    words = {c for c in column.get("categories") or () if c.lower() in _MISSING_WORDS}
    if not words:
        return check
    return lambda value: value.strip() if isinstance(value, str) and value.strip() in words else check(value)


@dataclass(frozen=True)
class Checked:
    """Records ready for the model: values, the patients they belong to, and columns that the model does not know."""

    records: list[dict[str, Any]]
    patients: list[str]
    warnings: dict[int, list[dict[str, Any]]]


@dataclass(frozen=True)
class Columns:
    """A version's columns, compiled once."""

    features: tuple[dict[str, Any], ...]
    patient: str | None
    text: str | None
    ignored: frozenset[str]
    checks: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    numbers: frozenset[str] = frozenset()
    files: dict[str, str] = field(default_factory=dict)  # columns of files → their kinds
    texts: frozenset[str] = frozenset()
    telling: frozenset[str] = frozenset()  # columns of the data set that say who the patient is

    @classmethod
    def of(cls, schema: Mapping[str, Any], telling: frozenset[str] = frozenset()) -> "Columns":
        """From `ModelVersion.schema`, which is `engine.Schema.to_dict()`. `telling`: see the field."""
        columns = schema.get("columns", [])
        features = tuple(c for c in columns if c.get("role", "feature") == "feature" and c["kind"] in FORM_KINDS)
        texts = [c["name"] for c in features if c["kind"] == "text"] or [
            c["name"] for c in features if c["kind"] in FILE_KINDS
        ]
        return cls(
            features=features,
            patient=next((c["name"] for c in columns if c.get("role") == "patient"), None),
            text=texts[0] if len(texts) == 1 else None,
            ignored=frozenset(c["name"] for c in columns) - {c["name"] for c in features},
            checks={c["name"]: _check_of(c) for c in features},
            numbers=frozenset(c["name"] for c in features if c["kind"] == "number"),
            texts=frozenset(c["name"] for c in features if c["kind"] == "text" and c["name"] not in telling),
            telling=telling,
            files={c["name"]: c["kind"] for c in features if c["kind"] in FILE_KINDS},
        )

    def check(self, records: Sequence[Any], prefix: str = "records", patient: str = "") -> Checked:
        """All records or none, identifiers in texts masked as in training. `patient`: whose they are, where no column says it.

        Raises RecordsInvalid, which names each wrong cell as `records[3].age`.
        """
        errors: list[dict[str, str]] = []
        clean: list[dict[str, Any]] = []
        patients, warnings = [], {}
        known: set[Any] = set()  # categories that were looked at already; they repeat from record to record
        for index, given in enumerate(records):
            where = f"{prefix}[{index}]" if prefix == "records" else prefix
            record, own, strange = self._check_one(given, where, errors, known)
            clean.append(self._masked(record, given, [own, patient]) if self.texts else record)
            patients.append(own or patient)
            if strange:
                warnings[index] = strange
            if len(errors) >= MAX_ERRORS:
                break
        if errors:
            raise RecordsInvalid(errors)
        return Checked(clean, patients, warnings)

    def _check_one(
        self, given: Any, where: str, errors: list[dict[str, str]], known: set[Any]
    ) -> tuple[dict[str, Any], str, list[dict[str, Any]]]:
        found = len(errors)
        if type(given) is str:
            given = self._from_text(given, where, errors)
        if not isinstance(given, Mapping):
            errors.append(_error(where, _("Give an object of column and value, or a text."), "invalid"))
            return {}, "", []
        record: dict[str, Any] = {}
        patient = ""
        strange: list[dict[str, Any]] = []
        checks, numbers = self.checks, self.numbers
        for name, value in given.items():
            kind = type(value)
            if kind is float or kind is int:  # the usual cases, without a call
                if name in numbers and -1e300 < value < 1e300:
                    record[name] = value
                    continue
            elif kind is str and (name, value) in known:
                record[name] = value
                continue
            check = checks.get(name)
            try:
                if check is not None:
                    value = check(value)
                    if value is not None:
                        record[name] = value
                        if kind is str and check is check_category:
                            known.add((name, value))
                elif name == self.patient:
                    patient = _patient_key(value)
                elif name not in self.ignored and len(strange) < MAX_UNKNOWN:
                    strange.append(_unknown(name))
            except Refused as error:
                errors.append(_error(f"{where}.{_shown(name)}", error.message, error.code))
        if not record and len(errors) == found:
            errors.append(_error(where, _("The record is empty: give at least one value of the model's columns."), "empty"))
        return record, patient, strange

    def _masked(self, record: dict[str, Any], given: Any, patients: list[str]) -> dict[str, Any]:
        """Known are the patients, and what was sent under a name that says so, also where the model has no such column."""
        told: list[Any] = list(patients)
        if isinstance(given, Mapping):
            told += [
                value
                for name, value in given.items()
                if name not in self.texts and (name in self.telling or (isinstance(name, str) and _identifies(name)))
            ]
        own = masking.told(told)
        return {
            name: texts.mask(value, own).text if name in self.texts and isinstance(value, str) else value
            for name, value in record.items()
        }

    def _from_text(self, text: str, where: str, errors: list[dict[str, str]]) -> Any:
        if self.text is None:
            message = _("A bare text needs a model with exactly one text column; give an object of column and value.")
            errors.append(_error(where, message, "invalid"))
            return {}
        return {self.text: text}


def _error(field_name: str, message: str, code: str) -> dict[str, str]:
    return {"field": field_name, "message": message, "code": code}


def _shown(name: str) -> str:
    """A column name as it may be repeated in an answer."""
    return name[:200].encode("utf-8", "replace").decode().replace("\x00", "?")


def _unknown(name: str) -> dict[str, Any]:
    shown = _shown(name)
    message = _("The model has no column “%(column)s”; it was left out.") % {"column": shown}
    return {"code": "unknown_column", "column": shown, "value": None, "low": None, "high": None, "message": message}


def _patient_key(value: Any) -> str:
    value = check_category(value)
    if value is None:
        return ""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return _storable(text.strip(), MAX_PATIENT_KEY)
