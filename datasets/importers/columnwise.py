"""The quick converter: batches by columns become records as `Converter` would make them, row by row."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.utils.translation import gettext as _

from datasets.importers.convert import Converted, Converter, Refusal
from datasets.importers.rows import Rows
from datasets.importers.wholesale import ColumnMaker, Made, blank, hashes_of, tests_of
from datasets.models import Role
from datasets.readers.base import Batch, ColumnBatch


class Wholesale:
    """Converts both kinds of batches; equal cells give equal records either way."""

    def __init__(self, converter: Converter) -> None:
        self.converter = converter
        self.makers = [ColumnMaker(source) for source in converter.sources]

    @property
    def names_length(self) -> int:
        """How many characters of each row's JSON are its columns' names."""
        return len("".join(self.converter.nulls) + self.converter.tail) + 1

    def convert(self, batch: Batch | ColumnBatch) -> Converted:
        """What becomes of a batch, its rows by columns."""
        if isinstance(batch, Batch):
            done = self.converter.convert(batch)
            assert isinstance(done.rows, list)
            return Converted(Rows.of(done.rows), done.refusals, done.refused, done.empty)
        numbers = np.arange(batch.first, batch.first + len(batch.columns[0]), dtype=np.int64)
        columns = batch.columns
        empty = blank(columns)
        if empty.any():
            numbers, columns = numbers[~empty], [c.filter(pa.array(~empty)) for c in columns]
        made = [maker.make(columns[maker.source.place]) for maker in self.makers]
        refusals = [
            Refusal(int(numbers[place]), maker.source.column.name, reason)
            for maker, column in zip(self.makers, made, strict=True)
            for place, reason in column.refused.items()
        ]
        good = np.ones(len(numbers), dtype=bool)
        for column in made:
            good[list(column.refused)] = False
        if made and len(numbers):
            nothing = self._nothing(made) & good
            refusals += [Refusal(int(n), "", _("the record is empty")) for n in numbers[nothing]]
            good &= ~nothing
        refused = int(len(good) - good.sum())
        rows = self._rows(numbers, made, good)
        return Converted(rows, refusals, refused, int(empty.sum()))

    def _nothing(self, made: list[Made]) -> Any:
        """Which rows hold nothing but missing values."""
        found = pc.is_null(made[0].fragments).to_numpy(False)
        for column in made[1:]:
            if not found.any():
                break
            found = found & pc.is_null(column.fragments).to_numpy(False)
        return found

    def _rows(self, numbers: Any, made: list[Made], good: Any) -> Rows:
        if not made or not good.any():
            return Rows.of([])
        mask = None if good.all() else pa.array(good)
        fragments = [m.fragments if mask is None else m.fragments.filter(mask) for m in made]
        bodies = pc.binary_join_element_wise(*fragments, ",", null_handling="skip")
        whole = bodies
        if any(f.null_count for f in fragments):
            filled = [
                f.fill_null(null) if f.null_count else f
                for f, null in zip(fragments, self.converter.nulls, strict=True)
            ]
            whole = pc.binary_join_element_wise(*filled, ",")
        values = pc.binary_join_element_wise("{", whole, self.converter.tail + "}", "")
        count = len(values)
        none = pa.nulls(count, pa.string())
        texts = {
            maker.source.column.role: m.texts if mask is None else m.texts.filter(mask)
            for maker, m in zip(self.makers, made, strict=True)
            if maker.named
        }
        keys = texts.get(Role.PATIENT, none).fill_null("")
        hashes = hashes_of(self.converter.dataset, bodies)
        test = tests_of(self.converter.dataset, keys, hashes)
        return Rows(numbers[good], values, keys, texts.get(Role.TARGET, none), hashes, test)
