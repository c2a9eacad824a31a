"""Tables as text: CSV, TSV and their relatives, with the delimiter found out."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from django.utils.translation import gettext as _

from datasets.readers import blocks, encodings, numbers
from datasets.readers.base import BATCH, MAX_COLUMNS, Batch, Cell, ColumnBatch, ReadError

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_CHARACTERS = 200_000
csv.field_size_limit(2_000_000)  # a note of 200,000 characters fits; an unclosed quotation mark is found soon


def best_delimiter(text: str, complete: bool = True) -> str:
    """The delimiter under which most rows have as many cells as the first; for a single column one that is not in it."""
    scores = {}
    for delimiter in DELIMITERS:
        try:
            rows = [
                row
                for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
                if any(c.strip() for c in row)
            ]
        except csv.Error:
            continue
        rows = rows[:500] if complete or len(rows) < 2 else rows[: min(500, len(rows) - 1)]
        counts = Counter(len(row) for row in rows)
        if not counts:
            continue
        # Some titles may stand above the table: the commonest width is the table's.
        width, agreeing = max(counts.items(), key=lambda item: (item[1], item[0]))
        header = len(rows[0]) == width
        if width > 1 and not (width == 2 and not header and _decimal_comma(delimiter, rows)):
            scores[delimiter] = (header, round(agreeing / len(rows), 1), width)
    if scores:
        return max(scores, key=lambda d: scores[d])
    return next((d for d in DELIMITERS if d not in text), ",")


def _decimal_comma(delimiter: str, rows: list[list[str]]) -> bool:
    """Whether what looks like two cells below a header of one is a number such as 1,5."""
    two = [row for row in rows if len(row) == 2]
    return delimiter == "," and all(numbers.look_like_number(",".join(row).strip()) for row in two)


class DelimitedTable:
    """Rows of a text file. Options: encoding, delimiter."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self.path = path
        self.size = max(1, path.stat().st_size)
        self._raw: IO[bytes] | None = None
        certain = True
        encoding = options.get("encoding") or ""
        if not encoding:
            encoding, certain = encodings.detect(path)
        elif encoding not in encodings.ENCODINGS or not encodings.decodes(path, encoding):
            raise ReadError("encoding", _("The file cannot be read as “%(name)s”.") % {"name": encoding[:40]})
        with path.open(encoding=encoding, newline="") as stream:
            sample = stream.read(SAMPLE_CHARACTERS)
        if not sample.strip():
            raise ReadError("empty", _("The file is empty."))
        if "\x00" in sample and not encodings.few_zeros(sample):
            raise encodings._not_text()
        delimiter = options.get("delimiter") or best_delimiter(sample, len(sample) < SAMPLE_CHARACTERS)
        if delimiter not in DELIMITERS:
            raise ReadError("delimiter", _("Choose comma, semicolon, tab or vertical bar as delimiter."))
        self.average = max(
            1.0, len(sample.encode("utf-8")) / max(1, sample.count("\n") or sample.count("\r"))
        )
        self.described: dict[str, Any] = {
            "format": "tsv" if delimiter == "\t" else "csv",
            "encoding": encoding,
            "encoding_certain": certain,
            "delimiter": delimiter,
        }

    def row_estimate(self) -> int:
        scale = 2 if self.described["encoding"].startswith("utf-16") else 1
        return max(1, round(self.size / self.average / scale))

    def fraction(self) -> float:
        return (
            min(1.0, self._raw.tell() / self.size) if self._raw is not None and not self._raw.closed else 0.0
        )

    def batches(self, skip: int = 0, size: int = BATCH) -> Iterator[Batch]:
        with (
            self.path.open("rb") as raw,
            io.TextIOWrapper(raw, self.described["encoding"], newline="") as text,
        ):
            self._raw = raw
            reader = csv.reader(text, delimiter=self.described["delimiter"])
            number = 0
            try:
                for _row in islice(reader, skip):
                    number += 1
                while rows := list(islice(reader, size)):
                    if max(map(len, rows)) > MAX_COLUMNS:
                        raise ReadError("too_many_columns", _("A row has more than 2,000 cells."))
                    cells: list[list[Cell]] = rows  # type: ignore[assignment]
                    yield Batch(number + 1, cells)
                    number += len(rows)
            except csv.Error as error:
                raise blocks.unclosed(number) from error

    def wholesale(self, skip: int, size: int, width: int) -> Iterator[Batch | ColumnBatch]:
        with (
            self.path.open("rb") as raw,
            io.TextIOWrapper(raw, self.described["encoding"], newline="") as text,
        ):
            self._raw = raw
            yield from blocks.batches(text, self.described["delimiter"], width, skip, size)
