"""Rows of a table on their way into a data set: the identifiers in their texts are masked before anything is made of them.

A row's own identifiers are the cells of the columns that say who the patient is, also of those that are not kept. The reader's
cells are replaced, so that what follows (both converters, hashes, splits) sees masked texts and knows nothing of it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets.masking import known, texts
from datasets.masking.columns import is_masked, tells
from datasets.models import Dataset
from datasets.readers.base import Batch, Cell, ColumnBatch
from datasets.records import MAX_TEXT

Counts = dict[str, dict[str, int]]  # column → kind of identifier → how many; "cells": in how many cells
# A text that holds none of these holds nothing that a label or its form gives away (see labels: colon, digit, at).
# Characters beyond ASCII may be folded to them.
TELLING = r"[:=@0-9]|[^\x00-\x7F]"


class Masker:
    """Masks batches of rows. `masked`: place → name of the columns whose texts are masked; `telling`: places of who it is."""

    def __init__(self, masked: Mapping[int, str], telling: Sequence[int]) -> None:
        self.masked, self.telling = dict(masked), list(telling)

    @classmethod
    def of(cls, dataset: Dataset, options: Mapping[str, Any]) -> "Masker":
        """For an upload's options: the texts that are kept, by all columns that say who the patient is, kept or not."""
        columns = {column.name: column for column in dataset.columns.all()}
        kept = [(given["place"], columns[given["name"]]) for given in options["columns"] if given["name"] in columns]
        telling = {place for place, column in kept if tells(column)}
        telling |= {given["place"] for given in options.get("telling", ())}
        return cls({place: column.name for place, column in kept if is_masked(column)}, sorted(telling))

    def batch(self, batch: Batch | ColumnBatch) -> tuple[Batch | ColumnBatch, Counts]:
        """The batch with masked texts, and what was masked."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in self.masked.values()}
        if self.masked:
            batch = self._rows(batch, counts) if isinstance(batch, Batch) else self._columns(batch, counts)
        return batch, {name: dict(found) for name, found in counts.items() if found}

    def _rows(self, batch: Batch, counts: dict[str, Counter[str]]) -> Batch:
        rows = []
        for row in batch.rows:
            own = known.told(row[place] for place in self.telling if place < len(row))
            for place, name in self.masked.items():
                if place < len(row) and (text := _masked(row[place], own, counts[name])) is not None:
                    row = [*row[:place], text, *row[place + 1 :]]
            rows.append(row)
        return Batch(batch.first, rows)

    def _columns(self, batch: ColumnBatch, counts: dict[str, Counter[str]]) -> ColumnBatch:
        columns, telling = list(batch.columns), [batch.columns[place].to_pylist() for place in self.telling]
        for place, name in self.masked.items():
            cells = columns[place].to_pylist()
            among: Sequence[int] = range(len(cells))
            if not telling:
                among = pc.indices_nonzero(pc.match_substring_regex(columns[place], TELLING).fill_null(False)).to_pylist()
            found: dict[int, str] = {}
            for i in among:
                own = known.told([column[i] for column in telling])
                if (text := _masked(cells[i], own, counts[name])) is not None:
                    found[i] = text
            if found:
                columns[place] = pa.array([found.get(i, cell) for i, cell in enumerate(cells)], pa.string())
        return ColumnBatch(batch.first, columns)


def added(before: Counts, more: Counts) -> Counts:
    """The sum of two counts."""
    names = [*before, *(name for name in more if name not in before)]
    return {name: dict(Counter(before.get(name, {})) + Counter(more.get(name, {}))) for name in names}


def _masked(cell: Cell, own: tuple[str, ...], counts: Counter[str]) -> str | None:
    """The masked text of a cell; None where nothing is to be masked."""
    if cell is None or not (text := str(cell).strip()) or len(text) > MAX_TEXT:
        return None  # what is too long is refused
    done = texts.mask(text, own)
    if not done.spans:
        return None
    counts["cells"] += 1
    counts.update(done.counts)
    return done.text
