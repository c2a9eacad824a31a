"""What all readers share: the refusal, the options and the shape of a batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import pyarrow as pa

Cell = str | int | float | date | None
BATCH = 25_000
MAX_COLUMNS = 2_000


class ReadError(ValueError):
    """A file that cannot be read as a table. The text is for the person; `code` for programs."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Batch:
    """Rows in the file's order; `first` is the file's number of the first of them, counting from 1, header included."""

    first: int
    rows: list[list[Cell]]

    @property
    def count(self) -> int:
        return len(self.rows)


@dataclass
class ColumnBatch:
    """The same by columns: each cell as it is written in a text file."""

    first: int
    columns: list[pa.StringArray]

    @property
    def count(self) -> int:
        return len(self.columns[0])


class Table(Protocol):
    """An open table. `described` holds what was found out: format, encoding, delimiter, sheet, ..."""

    described: dict[str, Any]

    def batches(self, skip: int = 0, size: int = BATCH) -> Iterator[Batch]:
        """The rows after the first `skip`, at most `size` at a time. Raises ReadError."""

    def wholesale(self, skip: int, size: int, width: int) -> Iterator["Batch | ColumnBatch"]:
        """The same as `batches`, by columns where that is quicker; `width` is the header's number of cells."""

    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""
