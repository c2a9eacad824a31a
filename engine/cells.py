"""Single cells: what counts as missing, as a number, as a category, as a text and as a date."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd

MISSING = float("nan")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST = 1e30  # no measurement is larger, and squares of larger ones overflow: as good as infinite
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "nat", "?", "-", "不详"})


def is_missing(value: Any, keep_words: bool = False) -> bool:
    """True for None, NaN, NaT, pandas' NA and the usual spellings of a missing value.

    With `keep_words` a word such as “none” is a value, and only an empty text is missing.
    """
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, str):
        text = value.strip()
        return not text if keep_words else text.lower() in MISSING_WORDS
    return isinstance(value, np.floating) and bool(np.isnan(value))


def to_number(value: Any) -> tuple[float, str | None]:
    """The number in a cell and what was wrong with it: None, "not_a_number" or "infinite" (both become NaN)."""
    if type(value) is float:  # the common case first: serving one record must be quick
        return (MISSING, "infinite") if abs(value) > LARGEST else (value, None)
    if is_missing(value):
        return MISSING, None
    if isinstance(value, str):
        value = value.strip()
    try:
        number = float(value)
    except (TypeError, ValueError):
        return MISSING, "not_a_number"
    except OverflowError:
        return MISSING, "infinite"
    if abs(number) > LARGEST:
        return MISSING, "infinite"
    return number, None


def to_category(value: Any, keep_words: bool = False) -> str | None:
    """A category as text, or None when missing (see `is_missing`). 1, 1.0 and "1" are the same category."""
    if isinstance(value, str):
        text = value.strip()
        return None if is_missing(text, keep_words) else text
    if is_missing(value):
        return None
    if isinstance(value, (bool, np.bool_)):
        return "True" if value else "False"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def to_text(value: Any) -> str | None:
    """Free text, or None when missing. Halves of characters (lone surrogates), which nothing can encode, become “?”."""
    if not isinstance(value, str):
        if is_missing(value):
            return None
        value = str(value)
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")
    return value if value.strip() else None


def to_days(value: Any) -> tuple[float, str | None]:
    """A date as days since 1970-01-01 (UTC), and "not_a_date" when there is something else in the cell."""
    if is_missing(value):
        return MISSING, None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            parsed = pd.to_datetime(value.strip(), errors="coerce")
            if parsed is pd.NaT:
                return MISSING, "not_a_date"
            value = parsed.to_pydatetime()
    if isinstance(value, datetime):  # pandas' Timestamp is one too
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (moment - EPOCH).total_seconds() / 86400.0, None
    if isinstance(value, date):
        return float((value - EPOCH.date()).days), None
    if isinstance(value, np.datetime64):
        return float((value - np.datetime64(0, "s")) / np.timedelta64(1, "D")), None
    return MISSING, "not_a_date"


def sort_classes(classes: set[str]) -> list[str]:
    """Classes in a stable order: by number when all are numbers, else by text."""
    numbers = {name: to_number(name)[0] for name in classes}
    if any(math.isnan(number) for number in numbers.values()):
        return sorted(classes)
    return sorted(classes, key=lambda name: (numbers[name], name))
