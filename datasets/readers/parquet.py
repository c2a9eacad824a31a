"""Parquet, read by row groups; its columns' names are its header."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from django.utils.translation import gettext as _

from datasets.readers.base import BATCH, MAX_COLUMNS, Batch, Cell, ReadError
from datasets.readers.excel import cell_of


class ParquetTable:
    """Rows of a Parquet file; row 1 is the header, as in the other formats."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self.path = path
        with self._open() as file:
            self.names = [str(name) for name in file.schema_arrow.names if name != "__index_level_0__"]
            self.total = file.metadata.num_rows
            nested = [f.name for f in file.schema_arrow if pa.types.is_nested(f.type)]
        if nested:
            raise ReadError(
                "nested_column",
                _("Column “%(name)s” holds lists or structures, not single values.")
                % {"name": nested[0][:100]},
            )
        if not self.names or len(self.names) > MAX_COLUMNS:
            raise ReadError("too_many_columns", _("The file has no columns, or more than 2,000."))
        self._done = 0
        self.described: dict[str, Any] = {"format": "parquet"}

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path, memory_map=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ReadError("damaged", _("The Parquet file is damaged or incomplete.")) from error

    def row_estimate(self) -> int:
        return int(self.total)

    def fraction(self) -> float:
        return min(1.0, self._done / self.total) if self.total else 0.0

    def wholesale(self, skip: int, size: int, width: int) -> Iterator[Batch]:
        return self.batches(skip, size)

    def batches(self, skip: int = 0, size: int = BATCH) -> Iterator[Batch]:
        header: list[Cell] = list(self.names)
        if skip == 0:
            yield Batch(1, [header])
        number = 1
        with self._open() as file:
            try:
                for batch in file.iter_batches(batch_size=size, columns=self.names):
                    last = number + batch.num_rows
                    if last > skip:
                        part = batch.slice(max(0, skip - number))
                        columns = [_cells(column) for column in part.columns]
                        yield Batch(
                            last - part.num_rows + 1, [list(row) for row in zip(*columns, strict=True)]
                        )
                    number = last
                    self._done = number
            except (pa.ArrowException, OSError) as error:
                raise ReadError("damaged", _("The Parquet file is damaged or incomplete.")) from error


def _cells(column: pa.Array) -> list[Cell]:
    if (
        pa.types.is_integer(column.type)
        or pa.types.is_string(column.type)
        or pa.types.is_large_string(column.type)
    ):
        plain: list[Cell] = column.to_pylist()
        return plain
    if pa.types.is_floating(column.type):
        return [None if v is None or math.isnan(v) else v for v in column.to_pylist()]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    values = column.to_pylist()
    if pa.types.is_decimal(column.type):
        return [None if v is None else float(v) for v in values]
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [None if v is None else v.decode("utf-8", "replace") for v in values]
    return [cell_of(v) for v in values]
