"""A source's values as the texts that a row is made of."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

LONGEST = 1_000_000  # characters in one cell
ROWS = 1000  # in one piece
HEAVY = 8_000_000  # characters in one piece

Row = Mapping[str, str | None]


def text_of(value: Any) -> str | None:
    """A cell's text; None where there is no value. Raises ValueError for what is no text: bytes, or far too long."""
    text = _text(value)
    if text is not None and len(text) > LONGEST:
        raise ValueError("too long")
    return text


def _text(value: Any) -> str | None:
    match value:
        case None | "":
            return None
        case str():
            return value.replace("\0", "")
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value) if math.isfinite(value) else None
        case Decimal():
            return format(value, "f") if value.is_finite() else None
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return str(value.total_seconds())
        case bytes() | bytearray() | memoryview():
            raise ValueError("bytes")
        case dict() | list() | tuple():
            return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str) if value else None
        case _:
            return str(value)


def digest(row: Row) -> int:
    """64 bits that tell a row from another, the same in every process."""
    text = json.dumps(row, ensure_ascii=False, sort_keys=True)
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


class Together:
    """How many rows and which, whatever their order, in two numbers."""

    def __init__(self, count: int = 0, total: int = 0) -> None:
        self.count, self.total = count, total

    def add(self, row: Row) -> None:
        self.count += 1
        self.total = (self.total + digest(row)) % 2**64

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Together) and (self.count, self.total) == (other.count, other.total)

    def __hash__(self) -> int:
        return hash((self.count, self.total))

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Together:
        made = cls()
        for row in rows:
            made.add(row)
        return made


def weight(item: Any) -> int:
    """The characters of a row; of anything else nothing worth counting."""
    return sum(len(value) for value in item.values() if value is not None) if isinstance(item, Mapping) else 0


def batches(items: Iterable[Any], size: int = ROWS, most: int = HEAVY) -> Iterator[Sequence[Any]]:
    """In lists of at most so many, and of few where they are large."""
    batch: list[Any] = []
    heavy = 0
    for item in items:
        batch.append(item)
        heavy += weight(item)
        if len(batch) == size or heavy >= most:
            yield batch
            batch, heavy = [], 0
    if batch:
        yield batch
