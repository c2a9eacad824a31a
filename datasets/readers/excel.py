"""XLSX, read row by row. Dates come as dates, error cells as their text, numbers stored as text stay text."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from django.utils.translation import gettext as _
from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from datasets.readers.base import BATCH, MAX_COLUMNS, Batch, Cell, ReadError

BROKEN = (
    InvalidFileException,
    zipfile.BadZipFile,
    KeyError,
    ValueError,
    ParseError,
    TypeError,
    AttributeError,
    IndexError,
    EOFError,
)


def cell_of(value: Any) -> Cell:
    """A cell in the forms that all readers give: bool as text, a midnight as its date, a duration as text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.date() if value.time() == time() and value.tzinfo is None else value
    if isinstance(value, int | float | date):
        return value
    if isinstance(value, time | timedelta):
        return str(value)
    return str(value)


class ExcelTable:
    """Rows of one sheet. Option: sheet (by name; the first otherwise)."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self.path = path
        with self._open() as book:
            names = [s.title for s in book.worksheets]
            wanted = options.get("sheet") or ""
            if not names:
                raise ReadError("empty", _("The workbook has no sheet with cells."))
            if wanted and wanted not in names:
                raise ReadError(
                    "no_sheet", _("The workbook has no sheet “%(name)s”.") % {"name": wanted[:100]}
                )
            self.sheet = wanted or names[0]
            self.total = book[self.sheet].max_row or 0
        self._done = 0
        self.described: dict[str, Any] = {"format": "xlsx", "sheet": self.sheet, "sheets": names}

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """The workbook; whatever openpyxl stumbles over becomes a ReadError."""
        # An open file: openpyxl refuses paths whose name does not end in .xlsx.
        with self.path.open("rb") as stream:
            try:
                book = load_workbook(stream, read_only=True, data_only=True)
                try:
                    yield book
                finally:
                    book.close()
            except ReadError:
                raise
            except BROKEN as error:
                text = _("The Excel file is damaged. Open it, save it again as .xlsx and upload that.")
                raise ReadError("damaged", text) from error

    def row_estimate(self) -> int:
        return max(0, self.total - 1)

    def fraction(self) -> float:
        return min(1.0, self._done / self.total) if self.total else 0.0

    def wholesale(self, skip: int, size: int, width: int) -> Iterator[Batch]:
        return self.batches(skip, size)

    def batches(self, skip: int = 0, size: int = BATCH) -> Iterator[Batch]:
        number, rows = skip, []
        for row in self._rows(skip):
            rows.append(row)
            if len(rows) == size:
                yield Batch(number + 1, rows)
                number, rows = number + len(rows), []
                self._done = number
        if rows:
            yield Batch(number + 1, rows)

    def _rows(self, skip: int) -> Iterator[list[Cell]]:
        with self._open() as book:
            for values in book[self.sheet].iter_rows(min_row=skip + 1, values_only=True):
                row = [cell_of(v) for v in values]
                while row and row[-1] is None:
                    row.pop()
                if len(row) > MAX_COLUMNS:
                    raise ReadError("too_many_columns", _("A row has more than 2,000 cells."))
                yield row
