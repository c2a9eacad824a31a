"""Frozen records as Parquet: written and read in chunks, so that memory stays bounded, and hashed row by row."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets.models import Kind

if TYPE_CHECKING:
    import pandas as pd  # loaded where a frame is made: every process of the site imports this module

# Beside the data set's own columns, whose names can be anything but these.
RECORD, PATIENT, SPLIT = "aimass:record", "aimass:patient", "aimass:split"
CHUNK = 20_000

# (record id, patient key, split, values)
Row = tuple[int, str, str, dict[str, Any]]


def schema_of(columns: Sequence[dict[str, Any]]) -> pa.Schema:
    """Record id, patient key and split, then each column: numbers as float64, all else as text."""
    fields = [pa.field(RECORD, pa.int64()), pa.field(PATIENT, pa.string()), pa.field(SPLIT, pa.string())]
    fields += [
        pa.field(c["name"], pa.float64() if c["kind"] == Kind.NUMBER else pa.string()) for c in columns
    ]
    return pa.schema(fields)


def cell(kind: str, value: Any) -> Any:
    """A stored value as the Parquet column of this kind wants it."""
    if value is None:
        return None
    return float(value) if kind == Kind.NUMBER else str(value)


def columnar(rows: Sequence[Row], columns: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """Rows turned into lists by column: record id, patient key, split, then the data set's columns."""
    data: list[list[Any]] = [[row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]]
    return data + [[cell(c["kind"], row[3].get(c["name"])) for row in rows] for c in columns]


def batches(rows: Iterable[Row], columns: Sequence[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Rows as record batches of CHUNK rows."""
    schema, rows = schema_of(columns), iter(rows)
    while some := list(islice(rows, CHUNK)):
        data = columnar(some, columns)
        arrays = [pa.array(values, type=field.type) for values, field in zip(data, schema, strict=True)]
        yield pa.record_batch(arrays, schema=schema)


class Writer:
    """Writes rows chunk by chunk; afterwards `.content_hash`, `.count`, `.test_count` and `.patient_count` are known.

    The hash is SHA-256 over the columns and then one line of canonical JSON for each row, so that it does not depend on
    how the rows came in chunks, nor on the version of Parquet.
    """

    def __init__(self, path: Path, columns: Sequence[dict[str, Any]]) -> None:
        self.columns = columns
        self.schema = schema_of(columns)
        self._file = pq.ParquetWriter(path, self.schema, compression="zstd")
        self._digest = hashlib.sha256(json.dumps(list(columns), sort_keys=True).encode())
        self._waiting: list[Row] = []
        self._patients: set[int] = set()
        self.count = self.test_count = self.patient_count = 0

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._waiting.append(row)
            if len(self._waiting) >= CHUNK:
                self._flush()

    def _flush(self) -> None:
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        data = columnar(rows, self.columns)
        arrays = [pa.array(values, type=field.type) for values, field in zip(data, self.schema, strict=True)]
        self._file.write_batch(pa.record_batch(arrays, schema=self.schema))
        self._digest.update(
            "".join(
                json.dumps(line, separators=(",", ":")) + "\n" for line in zip(*data, strict=True)
            ).encode()
        )
        self.count += len(rows)
        self.test_count += data[2].count("test")
        for key in data[1]:
            if key:
                # 8 bytes a patient instead of the key itself: a million patients stay small in memory.
                self._patients.add(hash(key))
            else:
                self.patient_count += 1

    def close(self) -> None:
        self._flush()
        self._file.close()
        self.patient_count += len(self._patients)
        self.content_hash = self._digest.hexdigest()


def read(
    file: IO[bytes], columns: Sequence[dict[str, Any]], split: str | None, rows: int
) -> "Iterator[pd.DataFrame]":
    """Frames of at most `rows` rows; index = record id; number → float64, the others → object with None."""
    names = [RECORD, SPLIT, *(c["name"] for c in columns)]
    for batch in pq.ParquetFile(file).iter_batches(batch_size=rows, columns=names):
        if split is not None:
            batch = batch.filter(pc.equal(batch.column(SPLIT), split))
        if batch.num_rows:
            yield to_frame(batch, columns)


def to_frame(batch: pa.RecordBatch, columns: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    """One batch as a data frame of the given columns."""
    import pandas as pd

    index = pd.Index(batch.column(RECORD).to_numpy(zero_copy_only=False), name="record")
    data = {
        c["name"]: pd.Series(
            batch.column(c["name"]).to_numpy(zero_copy_only=False), index=index, dtype="float64"
        )
        if c["kind"] == Kind.NUMBER
        else pd.Series(batch.column(c["name"]).to_pylist(), index=index, dtype=object)
        for c in columns
    }
    return pd.DataFrame(data, index=index, columns=[c["name"] for c in columns])


def empty_frame(columns: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    """No rows, but the columns with their types."""
    schema = schema_of(columns)
    return to_frame(pa.record_batch([pa.array([], type=f.type) for f in schema], schema=schema), columns)


def without(file: IO[bytes], path: Path, record_ids: set[int]) -> int:
    """Copy the file to `path` without these records, chunk by chunk; how many rows were left out."""
    source = pq.ParquetFile(file)
    removed = 0
    gone = pa.array(sorted(record_ids), type=pa.int64())
    with pq.ParquetWriter(path, source.schema_arrow, compression="zstd") as target:
        for batch in source.iter_batches(batch_size=CHUNK):
            kept = batch.filter(pc.invert(pc.is_in(batch.column(RECORD), value_set=gone)))
            removed += batch.num_rows - kept.num_rows
            target.write_batch(kept)
    return removed
