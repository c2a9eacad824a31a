"""Text read in blocks: a block without quotation marks is split into whole columns at once, others row by row.

Both ways count rows alike, as `csv.reader` does, so that an import resumes at the same row whichever way it came there.
"""

import csv
import io
from collections.abc import Iterator
from typing import TextIO

import pyarrow as pa
from django.utils.translation import gettext as _
from pyarrow import csv as arrow_csv

from datasets.readers.base import MAX_COLUMNS, Batch, Cell, ColumnBatch, ReadError

PIECE = 4_000_000  # characters


class Lines:
    """A text's lines, taken from blocks that end where lines end. `simple()` says whether a block needs no csv.reader."""

    def __init__(self, text: TextIO) -> None:
        self.text, self.carry = text, ""
        self.block = io.StringIO()
        self.length = 0

    def next_block(self) -> str:
        """The next whole lines, "" at the end of the text."""
        block = self.carry
        while piece := self.text.read(PIECE):
            block += piece
            # A carriage return at the very end may be half of a line end.
            cut = block.rfind("\n") + 1 or block.rfind("\r", 0, len(block) - 1) + 1
            if cut:
                self.carry = block[cut:]
                return block[:cut]
        self.carry = ""
        return block

    def begin(self, block: str) -> None:
        self.block, self.length = io.StringIO(block, newline=""), len(block)

    @property
    def finished(self) -> bool:
        """Whether the block's lines have all been given: after a row, the next block begins with a new one."""
        return self.block.tell() >= self.length

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.block.readline()
        if not line:
            self.begin(self.next_block())
            line = self.block.readline()
        if not line:
            raise StopIteration
        return line


def is_simple(block: str) -> bool:
    """Whether every line is a row and every delimiter separates cells."""
    return '"' not in block and "\x00" not in block and block.count("\r") == block.count("\r\n")


def batches(text: TextIO, delimiter: str, width: int, skip: int, size: int) -> Iterator[Batch | ColumnBatch]:
    """The rows after the first `skip`, at most `size` at a time; `width` is the header's. Raises ReadError."""
    lines, number = Lines(text), 0
    while block := lines.next_block():
        if is_simple(block):
            count = block.count("\n") + (not block.endswith("\n"))
            dropped = max(0, min(count, skip - number))
            number += dropped
            if dropped == count:
                continue
            columns = _columns(block.split("\n", dropped)[-1] if dropped else block, delimiter, width)
            if columns is not None:
                rows = len(columns[0])
                step = max(
                    1, -(-rows // max(1, round(rows / size)))
                )  # no small rest: each batch is a transaction
                for start in range(0, rows, step):
                    part = [column.slice(start, step) for column in columns]
                    yield ColumnBatch(number + 1, part)
                    number += len(part[0])
                continue
            block = block.split("\n", dropped)[-1] if dropped else block
        lines.begin(block)
        for batch in _rows(lines, delimiter, number, skip, size):
            if batch.rows:
                yield batch
            number = batch.first - 1 + len(batch.rows)


def _columns(block: str, delimiter: str, width: int) -> list[pa.StringArray] | None:
    """Each column's cells as they are written; None when some row has another number of cells."""
    names = [str(i) for i in range(width)]
    content = block.encode("utf-8")
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(content),
            arrow_csv.ReadOptions(use_threads=False, block_size=len(content) + 1, column_names=names),
            arrow_csv.ParseOptions(
                delimiter=delimiter, quote_char=False, escape_char=False, ignore_empty_lines=False
            ),
            arrow_csv.ConvertOptions(
                check_utf8=False, strings_can_be_null=False, column_types=dict.fromkeys(names, pa.string())
            ),
        )
    except pa.ArrowInvalid:
        return None
    return [column.combine_chunks() for column in table.columns]


def _rows(lines: Lines, delimiter: str, number: int, skip: int, size: int) -> Iterator[Batch]:
    """Rows by csv.reader until one ends where a block ends. Gives an empty batch when all of them are skipped."""
    reader = csv.reader(lines, delimiter=delimiter)
    rows: list[list[Cell]] = []
    try:
        for row in reader:
            if number < skip:
                number += 1
            else:
                if len(row) > MAX_COLUMNS:
                    raise ReadError("too_many_columns", _("A row has more than 2,000 cells."))
                rows.append(row)  # type: ignore[arg-type]
            if lines.finished:
                break
            if len(rows) == size:
                yield Batch(number + 1, rows)
                number, rows = number + len(rows), []
    except csv.Error as error:
        raise unclosed(number + len(rows)) from error
    yield Batch(number + 1, rows)


def unclosed(row: int) -> ReadError:
    return ReadError(
        "unclosed_quote",
        _("After row %(row)d a cell is too long: perhaps a quotation mark is opened there and never closed.")
        % {"row": row},
    )
