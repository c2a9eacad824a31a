"""Rows of raw cells into records: each different cell is made canonical once, by the same rules as a single record."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from datasets.importers.rows import Row, Rows
from datasets.masking.rows import Counts
from datasets.models import Column, Dataset, Kind, Role
from datasets.readers import dates, missing, numbers
from datasets.readers.base import Batch, Cell
from datasets.readers.formulas import as_meant
from datasets.records import FILE_KINDS, coerce, label_text
from datasets.splitting import splits_for

REMEMBERED = 100_000  # different cells of one column that are kept from one batch to the next
REMEMBERED_CHARACTERS = 2_000_000


@dataclass(frozen=True)
class Source:
    """Where a data set's column is found in the file and how it is written there."""

    place: int
    column: Column
    decimal: str = "."
    thousands: str = ""
    date_order: str = "ymd"
    future: bool = False
    keep_words: bool = False
    files: Any = None  # the upload's files (cells.arriving.Arriving), where it brings some

    def value(self, raw: Cell) -> Any:
        """The canonical value of a cell; raises ValueError with a text for the person."""
        spelled = missing.spelling(raw)
        if spelled is not None and not (spelled and self.keep_words):
            return None
        raw = as_meant(raw)
        if self.files is not None and self.column.kind in FILE_KINDS:
            return coerce(self.column, self.files.value(self.column, raw))
        if isinstance(raw, str):
            if self.column.kind == Kind.NUMBER:
                return coerce(self.column, self._number(raw))
            if self.column.kind == Kind.DATE:
                raw = self._date(raw)
        value = coerce(self.column, raw)
        if (
            self.column.kind == Kind.DATE
            and not self.future
            and value[:10] > timezone.localdate().isoformat()
        ):
            raise ValueError(_("%(value)s is in the future") % {"value": value[:10]})
        return value

    def _number(self, raw: str) -> float:
        text = raw.strip()
        if numbers.INFINITE.fullmatch(text):
            raise ValueError(_("infinity is not a possible value"))
        number = numbers.parse(text, self.decimal, self.thousands)
        if number is None and not self.decimal and numbers.look_like_number(text):
            raise ValueError(
                _("“%(value)s” can be read in two ways: choose the decimal sign") % {"value": text[:40]}
            )
        if number is None:
            raise ValueError(_("“%(value)s” is not a number") % {"value": text[:40]})
        if number in (float("inf"), float("-inf")):
            raise ValueError(_("infinity is not a possible value"))
        return number

    def _date(self, raw: str) -> str:
        iso = dates.parse(raw, self.date_order)
        if iso is None and not self.date_order and dates.look_like_date(raw):
            raise ValueError(
                _("“%(value)s” can be read in two ways: choose the order of day and month")
                % {"value": raw.strip()[:40]}
            )
        if iso is None:
            raise ValueError(_("“%(value)s” is not a date") % {"value": raw.strip()[:40]})
        return iso


class Bad(str):
    """Stands in a list of fragments for a cell that is refused: its text is the reason."""

    __slots__ = ()


class Fragments(dict[Cell, Any]):
    """Raw cell → '"name":value' as JSON, None for a missing value, Bad for a wrong one. Computed once per different cell."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.start = json.dumps(source.column.name, ensure_ascii=False) + ":"
        self.characters = 0
        self.bad = False

    def __missing__(self, raw: Cell) -> Any:
        try:
            value = self.source.value(raw)
        except ValueError as error:
            self.bad = True
            return Bad(error)  # not remembered, so that `bad` tells of each batch
        made = None if value is None else self.start + json.dumps(value, ensure_ascii=False)
        self.characters += len(made or "")
        self[raw] = made
        return made

    def trim(self) -> None:
        """Keep memory bounded."""
        if len(self) > REMEMBERED or self.characters > REMEMBERED_CHARACTERS:
            self.clear()
            self.characters = 0
        self.bad = False


class Labels(dict[Cell, str | None]):
    """Raw cell → the text that lists and splits use."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __missing__(self, raw: Cell) -> str | None:
        text = label_text(self.source.value(raw))
        if len(self) > REMEMBERED:
            self.clear()
        self[raw] = text
        return text


@dataclass(frozen=True)
class Refusal:
    row: int
    column: str
    reason: str


@dataclass
class Converted:
    """What became of a batch: rows as (row number, values as JSON, patient key, label, hash, split), or by columns."""

    rows: list[Row] | Rows
    refusals: list[Refusal]
    refused: int
    empty: int
    erased: int = 0  # of patients who were erased and whom an importer would bring back
    masked: Counts = field(default_factory=dict)  # identifiers in the texts of the batch


class Converter:
    """Turns batches into records of one data set."""

    def __init__(
        self,
        dataset: Dataset,
        sources: Sequence[Source],
        width: int,
        *,
        pad: bool,
        absent: Sequence[str] = (),
    ) -> None:
        self.dataset, self.width, self.pad = dataset, width, pad
        # In the order of names, so that the joined fragments are the canonical JSON that row hashes are made of.
        self.sources = sorted(sources, key=lambda s: s.column.name)
        self.fragments = [Fragments(s) for s in self.sources]
        self.nulls = [f.start + "null" for f in self.fragments]
        self.tail = "".join(f",{json.dumps(name, ensure_ascii=False)}:null" for name in absent)
        self.patient = next((Labels(s) for s in self.sources if s.column.role == Role.PATIENT), None)
        self.target = next((Labels(s) for s in self.sources if s.column.role == Role.TARGET), None)

    def convert(self, batch: Batch) -> Converted:
        """Values equal to `records.coerce`'s, hashes to `records.row_hash`'s, splits to `splitting.split_for`'s."""
        refusals: list[Refusal] = []
        numbers_, rows, empty = self._shaped(batch, refusals)
        refused = len(refusals)
        if not rows:
            return Converted([], refusals, refused, empty)
        columns = list(zip(*rows, strict=True))
        made = [[memo[raw] for raw in columns[memo.source.place]] for memo in self.fragments]
        good: Sequence[int] = range(len(rows))
        if any(memo.bad for memo in self.fragments):
            good = self._good(made, numbers_, refusals)
            refused += len(rows) - len(good)
            made = [[fragments[i] for i in good] for fragments in made]
            numbers_ = [numbers_[i] for i in good]
        bodies = [",".join(filter(None, row)) for row in zip(*made, strict=True)]
        if "" in bodies:  # nothing but missing values: refused, like a single record that is empty
            kept = [i for i, body in enumerate(bodies) if body]
            refusals += [
                Refusal(numbers_[i], "", _("the record is empty"))
                for i, body in enumerate(bodies)
                if not body
            ]
            refused += len(bodies) - len(kept)
            made = [[fragments[i] for i in kept] for fragments in made]
            numbers_, bodies, good = (
                [numbers_[i] for i in kept],
                [bodies[i] for i in kept],
                [good[i] for i in kept],
            )
        whole = [
            [null if f is None else f for f in fragments] if None in fragments else fragments
            for fragments, null in zip(made, self.nulls, strict=True)
        ]
        values = ["{" + ",".join(row) + self.tail + "}" for row in zip(*whole, strict=True)]
        rows_made = self._keyed(numbers_, bodies, values, columns, good)
        for memo in self.fragments:
            memo.trim()
        return Converted(rows_made, refusals, refused, empty)

    def _keyed(
        self,
        row_numbers: Sequence[int],
        bodies: list[str],
        values: list[str],
        columns: list[tuple[Cell, ...]],
        good: Sequence[int],
    ) -> list[Row]:
        salt = self.dataset.split_salt.encode()
        hashes = [
            blake2b(("{" + b + "}").encode("utf-8", "surrogatepass"), key=salt, digest_size=16).hexdigest()
            for b in bodies
        ]
        keys = [""] * len(bodies)
        if self.patient is not None:
            column, patients = columns[self.patient.source.place], self.patient
            keys = [(patients[column[i]] or "")[:100] for i in good]
        labels: list[str | None] = [None] * len(bodies)
        if self.target is not None:
            column, targets = columns[self.target.source.place], self.target
            labels = [targets[column[i]] for i in good]
        splits = splits_for(self.dataset, [k or h for k, h in zip(keys, hashes, strict=True)])
        return list(zip(row_numbers, values, keys, labels, hashes, splits.tolist(), strict=True))

    def _shaped(self, batch: Batch, refusals: list[Refusal]) -> tuple[list[int], list[list[Cell]], int]:
        """Rows of the header's width with their numbers; ragged ones are refused, blank ones only counted."""
        width, rows, empty = self.width, batch.rows, 0
        if all(len(row) == width for row in rows) and all(map(_any_text, rows)):
            return list(range(batch.first, batch.first + len(rows))), rows, 0
        row_numbers, kept = [], []
        for number, row in enumerate(rows, batch.first):
            if not _any_text(row):
                empty += 1
                continue
            if len(row) > width and not _any_text(row[width:]):
                row = row[:width]
            elif len(row) < width and self.pad:
                row = row + [None] * (width - len(row))
            if len(row) != width:
                text = _("the row has %(count)d cells, the header %(width)d") % {
                    "count": len(row),
                    "width": width,
                }
                refusals.append(Refusal(number, "", text))
                continue
            row_numbers.append(number)
            kept.append(row)
        return row_numbers, kept, empty

    def _good(self, made: list[list[Any]], row_numbers: Sequence[int], refusals: list[Refusal]) -> list[int]:
        """The places of rows without a wrong cell; each wrong cell of the others is a refusal."""
        wrong: set[int] = set()
        for memo, fragments in zip(self.fragments, made, strict=True):
            if memo.bad:
                for i, fragment in enumerate(fragments):
                    if type(fragment) is Bad:
                        wrong.add(i)
                        refusals.append(Refusal(row_numbers[i], memo.source.column.name, str(fragment)))
        return [i for i in range(len(row_numbers)) if i not in wrong]


def _any_text(row: Sequence[Cell]) -> bool:
    """Whether a row holds anything at all; quick, as it is asked of every row."""
    for cell in row:  # noqa: SIM110 - a loop is twice as quick as any()
        if cell is not None and (not isinstance(cell, str) or (cell and not cell.isspace())):
            return True
    return False
