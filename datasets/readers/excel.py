"""XLSX, read row by row. Dates come as dates, error cells as their text, numbers stored as text stay text."""

import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from django.utils.translation import gettext as _
from openpyxl import load_workbook
from openpyxl.utils import column_index_from_string
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

PIECE = 1024 * 1024
LOOKED_AT = 200 * PIECE  # of a sheet's XML, which takes two or three seconds
# A formula without the value that a spreadsheet stores beside it; an empty text is stored as an empty value.
UNCALCULATED = re.compile(
    rb'<c r="([A-Z]{1,3})[0-9]+"(?![^>]*t="str")[^>]*><f[^>]*(?:/>|>[^<]*</f>)(?:<v ?/>|<v></v>)?</c>'
)
MERGED = re.compile(rb'<mergeCell ref="[A-Z]{1,3}[0-9]+:[A-Z]{1,3}([0-9]{1,7})"')


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
            self.sheet = wanted or _likeliest(book.worksheets)
            self.total = book[self.sheet].max_row or 0
            self._xml = book[self.sheet]._worksheet_path
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
                raise _damaged() from error

    def row_estimate(self) -> int:
        return max(0, self.total - 1)

    def fraction(self) -> float:
        return min(1.0, self._done / self.total) if self.total else 0.0

    def lost(self, skip: int) -> tuple[Counter[int], int]:
        """(place of a column → its formulas without a stored result, merged cells below row `skip`).

        Both are read as missing. Reads the sheet's XML, as openpyxl tells neither of a sheet too large to hold.
        """
        formulas: Counter[int] = Counter()
        merged = 0
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._xml) as stream:
                for xml in _pieces(stream):
                    formulas.update(column_index_from_string(c.decode()) - 1 for c in UNCALCULATED.findall(xml))
                    merged += sum(int(last) > skip for last in MERGED.findall(xml))
        except (*BROKEN, zlib.error) as error:
            raise _damaged() from error
        return formulas, merged

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


def _damaged() -> ReadError:
    return ReadError("damaged", _("The Excel file is damaged. Open it, save it again as .xlsx and upload that."))


def _likeliest(sheets: list[Any]) -> str:
    """The first sheet with cells, one that is shown rather than one that is hidden."""
    full = [s for s in sheets if any(v is not None for row in s.iter_rows(max_row=50, values_only=True) for v in row)]
    shown = [s for s in full if s.sheet_state == "visible"]
    return str([*shown, *full, *sheets][0].title)


def _pieces(stream: Any) -> Iterator[bytes]:
    """The XML in pieces that end before a cell begins, as far as it is looked at."""
    kept, count = b"", 0
    while count < LOOKED_AT and (piece := stream.read(PIECE)):
        count += len(piece)
        kept += piece
        cut = max(kept.rfind(b"<c "), kept.rfind(b"<mergeCell "))
        cut = cut if cut > 0 else len(kept)  # no cell is so long: nothing to keep together
        yield kept[:cut]
        kept = kept[cut:]
    yield kept
