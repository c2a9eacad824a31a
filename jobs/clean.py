"""Makes what handlers report fit for a JSON column: no NaN, no NUL, no foreign number types."""

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any


def clean_text(text: Any, limit: int) -> str:
    """At most `limit` characters, without the NUL that PostgreSQL refuses. Lazy translations are resolved here."""
    return str(text).replace("\x00", "")[:limit]


def clean_json(value: Any) -> Any:
    """The same value in plain JSON types. NaN and infinity become null; numpy scalars become numbers."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return str(value).replace("\x00", "")
    if isinstance(value, Mapping):
        return {str(key): clean_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean_json(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return clean_json(value.tolist())
    return clean_text(value, 2000)
