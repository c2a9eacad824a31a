"""All records of a data set as CSV, Excel or Parquet, or as a zip with their files: streamed, safe in a spreadsheet, audited."""

import csv
import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from django.core.files.storage import default_storage
from django.utils.translation import gettext as _
from openpyxl import Workbook

from accounts import audit
from accounts.actor import Actor
from datasets import parquet, temporary
from datasets.cells.folder import stored
from datasets.cells.models import RecordFile
from datasets.models import Dataset
from datasets.readers.formulas import safe_cell
from datasets.records import FILE_KINDS
from datasets.versions import columns_of, rows_of

CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "parquet": "application/vnd.apache.parquet",
    "zip": "application/zip",
}
XLSX_ROWS = 100_000
ENDINGS = {
    "png": ".png", "jpeg": ".jpg", "tiff": ".tif", "bmp": ".bmp", "webp": ".webp", "gif": ".gif", "dicom": ".dcm",
    "nifti": ".nii", "nifti.gz": ".nii.gz", "mp4": ".mp4", "avi": ".avi", "mov": ".mov", "mkv": ".mkv", "mpeg": ".mpg",
    "npy": ".npy", "edf": ".edf", "bdf": ".bdf", "csv": ".csv", "tsv": ".tsv",
}  # fmt: skip
CHUNK = 2_000


class ExportRefused(ValueError):
    """The data set cannot be exported so; the text says what to do instead."""


def export(
    *, actor: Actor, dataset: Dataset, form: str, split: str = "", with_ids: bool = False
) -> Iterator[bytes]:
    """The file's bytes, piece by piece. Raises ExportRefused (before the first piece)."""
    if form not in CONTENT_TYPES:
        raise ExportRefused(_("Choose CSV, Excel, Parquet or ZIP."))
    if form == "xlsx" and dataset.record_count > XLSX_ROWS:
        limit = f"{XLSX_ROWS:,}"
        raise ExportRefused(
            _("An Excel file can take %(limit)s records here: export CSV or Parquet.") % {"limit": limit}
        )
    audit.record(
        actor, "dataset.exported", dataset, form=form, split=split or "all", records=dataset.record_count
    )
    columns = columns_of(dataset)
    files = _Files(dataset, columns)
    rows = (files.named(row) for row in rows_of(dataset) if not split or row[2] == split)
    if form == "zip":
        return _zip(files, _csv(columns, rows, with_ids))
    return {"csv": _csv, "xlsx": _xlsx, "parquet": _parquet}[form](columns, rows, with_ids)


class _Files:
    """The files of the rows that are exported, called by their hash and the ending of their format.

    So a table names them without a sender's name, and a zip of both is imported again as the same records.
    """

    def __init__(self, dataset: Dataset, columns: list[dict[str, Any]]) -> None:
        self.columns = [c["name"] for c in columns if c["kind"] in FILE_KINDS]
        self.endings: dict[str, str] = {}
        self.used: dict[str, None] = {}
        self.organisation = dataset.organisation
        if self.columns:
            rows = RecordFile.objects.filter(record__dataset=dataset).values_list("file__sha256", "file__cell__form")
            self.endings = {sha256: ENDINGS.get(form or "", "") for sha256, form in rows.distinct().iterator()}

    def named(self, row: parquet.Row) -> parquet.Row:
        values = dict(row[3])
        for name in self.columns:
            if values.get(name):
                self.used[values[name]] = None
                values[name] += self.endings.get(values[name], "")
        return (*row[:3], values) if self.columns else row


def _zip(files: _Files, table: Iterator[bytes]) -> Iterator[bytes]:
    """table.csv, and the files that it names under files/: what an upload takes again."""
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            with archive.open(zipfile.ZipInfo("table.csv"), "w", force_zip64=True) as target:
                for piece in table:
                    target.write(piece)
            for sha256, path in stored(files.organisation, files.used).items():
                name = f"files/{sha256}{files.endings.get(sha256, '')}"
                with default_storage.open(path, "rb") as source, archive.open(zipfile.ZipInfo(name), "w") as target:
                    shutil.copyfileobj(source, target)
        stream.seek(0)
        while piece := stream.read(65536):
            yield piece


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
    with temporary.folder("exporting-") as folder:
        path = folder / "records.xlsx"
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
