"""All records of a data set as CSV, Excel or Parquet: streamed, safe to open in a spreadsheet, audited."""

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from django.utils.translation import gettext as _
from openpyxl import Workbook

from accounts import audit
from accounts.actor import Actor
from datasets import parquet
from datasets.models import Dataset
from datasets.readers.formulas import safe_cell
from datasets.versions import columns_of, rows_of

CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "parquet": "application/vnd.apache.parquet",
}
XLSX_ROWS = 100_000
CHUNK = 2_000


class ExportRefused(ValueError):
    """The data set cannot be exported so; the text says what to do instead."""


def export(
    *, actor: Actor, dataset: Dataset, form: str, split: str = "", with_ids: bool = False
) -> Iterator[bytes]:
    """The file's bytes, piece by piece. Raises ExportRefused (before the first piece)."""
    if form not in CONTENT_TYPES:
        raise ExportRefused(_("Choose CSV, Excel or Parquet."))
    if form == "xlsx" and dataset.record_count > XLSX_ROWS:
        limit = f"{XLSX_ROWS:,}"
        raise ExportRefused(
            _("An Excel file can take %(limit)s records here: export CSV or Parquet.") % {"limit": limit}
        )
    audit.record(
        actor, "dataset.exported", dataset, form=form, split=split or "all", records=dataset.record_count
    )
    columns = columns_of(dataset)
    rows = (row for row in rows_of(dataset) if not split or row[2] == split)
    return {"csv": _csv, "xlsx": _xlsx, "parquet": _parquet}[form](columns, rows, with_ids)


def _header(columns: list[dict[str, Any]], with_ids: bool) -> list[str]:
    return [*([parquet.RECORD, parquet.SPLIT] if with_ids else []), *(c["name"] for c in columns)]


def _cells(columns: list[dict[str, Any]], row: parquet.Row, with_ids: bool) -> list[Any]:
    return [*([row[0], row[2]] if with_ids else []), *(safe_cell(row[3].get(c["name"])) for c in columns)]


def _csv(columns: list[dict[str, Any]], rows: Iterator[parquet.Row], with_ids: bool) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    buffer.write("\ufeff")  # Excel reads UTF-8 only when it is told so
    writer.writerow([safe_cell(name) for name in _header(columns, with_ids)])
    for number, row in enumerate(rows, 1):
        writer.writerow(_cells(columns, row, with_ids))
        if number % CHUNK == 0:
            yield _drain(buffer)
    yield _drain(buffer)


def _drain(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _xlsx(columns: list[dict[str, Any]], rows: Iterator[parquet.Row], with_ids: bool) -> Iterator[bytes]:
    book = Workbook(write_only=True)
    sheet = book.create_sheet("records")
    sheet.append([safe_cell(name) for name in _header(columns, with_ids)])
    for row in rows:
        sheet.append([_printable(cell) for cell in _cells(columns, row, with_ids)])
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        path = Path(folder) / "records.xlsx"
        book.save(path)
        with path.open("rb") as stream:
            while piece := stream.read(65536):
                yield piece


def _printable(value: Any) -> Any:
    """Excel refuses control characters, and more than 32,767 characters in a cell."""
    if not isinstance(value, str):
        return value
    return "".join(c for c in value if c >= " " or c in "\t\n\r")[:32_767]


class _Sink(io.RawIOBase):
    """A file that is only ever written to, whose bytes are taken away as they come."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.pieces.append(bytes(data))
        self.position += len(self.pieces[-1])
        return len(self.pieces[-1])

    def tell(self) -> int:
        return self.position

    def take(self) -> bytes:
        taken, self.pieces = b"".join(self.pieces), []
        return taken


def _parquet(columns: list[dict[str, Any]], rows: Iterator[parquet.Row], with_ids: bool) -> Iterator[bytes]:
    """Parquet holds types, not cells of a spreadsheet: nothing is changed in its values."""
    schema = parquet.schema_of(columns)
    if not with_ids:
        schema = pa.schema([schema.field(c["name"]) for c in columns])
    sink = _Sink()
    file: IO[bytes] = sink  # type: ignore[assignment]
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in parquet.batches(rows, columns):
            writer.write_batch(batch.select(schema.names))
            yield sink.take()
    yield sink.take()
