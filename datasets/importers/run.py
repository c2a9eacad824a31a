"""One import from file to records: batch by batch, each a fenced transaction that also moves the checkpoint."""

import csv
import io
import os
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from datasets import storage
from datasets.cells.arriving import SHARE, Arriving
from datasets.importers import bulk
from datasets.importers.after import let_go, without_rows
from datasets.importers.ahead import ahead
from datasets.importers.columnwise import Wholesale
from datasets.importers.convert import Converted, Converter, Refusal, Source
from datasets.importers.rows import Rows
from datasets.importing.erased import Erased
from datasets.joining.fitting import Fitting
from datasets.masking.rows import Masker, added
from datasets.models import Column, Dataset, Record, Upload
from datasets.readers.base import BATCH, Batch, ColumnBatch
from datasets.readers.formulas import safe_cell
from datasets.readers.table import AnyTable, open_table
from datasets.records import FILE_KINDS
from jobs.handlers import JobContext, JobError

REPORTED = 100_000  # refused rows in the downloadable report; more are only counted
LATE_KEPT = 100_000  # rows that name DICOM which has not arrived, to be tried again: see importing.late
REMOVE = 2_000
CHARACTERS = (
    32_000_000  # of column names in a batch's values: tables of very many columns come in smaller batches
)
PROGRESS = ["rows_read", "rows_added", "rows_duplicate", "rows_refused", "report", "record_from", "record_to"]
Done = tuple[Batch | ColumnBatch, Converted, float]


class Import:
    """The import of one upload by one attempt of its job."""

    def __init__(self, context: JobContext, upload: Upload) -> None:
        assert upload.dataset is not None
        self.context, self.upload, self.dataset = context, upload, upload.dataset
        self.options = upload.options
        self.refused_path = context.folder / "refused.csv"
        with_files = upload.options.get("files") or self._columns_of_files()
        self.files: Arriving | None = Arriving(context, upload) if with_files else None
        self.erased, self.fitting = Erased(None), Fitting(upload)
        self.begun = 0.0  # how much of the progress the files have taken

    def run(self) -> None:
        """Import from the checkpoint on. Raises JobError, JobStopped, LeaseLost."""
        self._prepare()
        if self.upload.deliveries.exists():  # of an importer; a person has the file in their hands
            self.erased = Erased(self.dataset)  # now that it is being imported nobody is erased
            if self.files is not None:
                self.files.tried_again = True
        with storage.local(self.upload.file) as path, open_table(path, self.options) as table:
            if self.files is not None:
                self._take_in_files(self.files, path, table)
            if not self.options.get("keep_good_rows", True) and not self.report.get("checked"):
                self._check(table)
            self._import(table)
        self._finish()

    def _take_in_files(self, files: Arriving, path: Path, table: AnyTable) -> None:
        files.take_in(path, table, {given["place"]: column for given, column in self._columns_of_files()})
        self.begun = SHARE
        with self.context.fenced():
            self.upload.report = {**self.report, "files": files.report}
            self.upload.save(update_fields=["report"])

    def _columns_of_files(self) -> list[tuple[dict[str, Any], Column]]:
        columns = {c.name: c for c in self.dataset.columns.all() if c.kind in FILE_KINDS}
        return [(given, columns[given["name"]]) for given in self.options["columns"] if given["name"] in columns]

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = self.upload.report
        return report

    def _prepare(self) -> None:
        """Start at the checkpoint; from nothing when this is another job, or its report has got lost with its host."""
        upload = self.upload
        refused = int(self.report.get("refused_bytes", 0))
        size = self.refused_path.stat().st_size if self.refused_path.exists() else 0
        if upload.job_id != self.context.job.pk or "next" not in self.report or size < refused:
            while remove_rows(upload, self.context):
                self.context.stop_if_asked()
            with self.context.fenced():
                upload.job, upload.state, upload.finished_at = self.context.job, Upload.State.IMPORTING, None
                upload.rows_read = upload.rows_added = upload.rows_duplicate = upload.rows_refused = 0
                upload.record_from = upload.record_to = None
                upload.report = {"next": self.options["skip"], "refused_bytes": 0}
                upload.refused_file = None
                upload.save()
            refused = 0
        if refused == 0:
            self._start_report()
        else:
            with self.refused_path.open("rb+") as stream:
                stream.truncate(refused)

    def _start_report(self) -> None:
        head = _csv_bytes([[_("file"), _("row"), _("column"), _("reason")]])
        self.refused_path.write_bytes(b"\xef\xbb\xbf" + head)

    def converter(self) -> Wholesale:
        """The converter for the confirmed columns, whose kinds and limits are the data set's."""
        columns = {c.name: c for c in self.dataset.columns.all()}
        sources = [
            Source(
                place=given["place"],
                column=columns[given["name"]],
                decimal=given.get("decimal", "."),
                thousands=given.get("thousands", ""),
                date_order=given.get("date_order", "ymd"),
                future=bool(given.get("future")),
                keep_words=bool(given.get("keep_words")),
                files=self.files,
            )
            for given in self.options["columns"]
            if given["name"] in columns
        ]
        found = {s.column.name for s in sources}
        pad = self.options["format"] in ("xlsx", "parquet")
        rows = Converter(
            self.dataset,
            sources,
            self.options["width"],
            pad=pad,
            absent=[n for n in columns if n not in found],
        )
        return Wholesale(rows)

    def _batches(self, table: AnyTable, skip: int) -> Iterator[Done]:
        """Each batch, what becomes of it and how much of the file has been read, made ahead in another thread."""
        made = ahead(self._converted(table, skip, self.converter(), Masker.of(self.dataset, self.options)))
        with closing(made):  # type: ignore[type-var]
            for done in made:
                self.context.stop_if_asked()
                yield done[0], self.fitting.of(done[1]), done[2]

    def _converted(self, table: AnyTable, skip: int, converter: Wholesale, masker: Masker) -> Iterator[Done]:
        size = max(100, min(BATCH, CHARACTERS // converter.names_length))
        for batch in table.wholesale(skip, size, self.options["width"]):
            masked, counts = masker.batch(batch)
            done = self._without_erased(converter.convert(masked))
            done.masked = counts
            yield batch, done, table.fraction()

    def _without_erased(self, done: Converted) -> Converted:
        rows = done.rows
        assert isinstance(rows, Rows)
        if not self.erased.hashes:
            return done
        places = [place for place, key in enumerate(rows.keys.to_pylist()) if key and key in self.erased]
        if not places:
            return done
        return Converted(rows.without(places), done.refusals, done.refused, done.empty, len(places))

    def _check(self, table: AnyTable) -> None:
        """With "all or nothing" the whole file is looked through first; one wrong row stops it."""
        refused = read = 0
        for batch, done, fraction in self._batches(table, self.options["skip"]):
            refused, read = refused + done.refused, read + batch.count - done.empty
            self._write(done.refusals, durable=False)
            self.context.progress(self.begun + (1 - self.begun) * fraction / 2, _("Checking"))
        if refused:
            self._fail_check(refused, read)
        self.report["checked"] = True

    def _fail_check(self, refused: int, read: int) -> None:
        with self.context.fenced():
            self.upload.rows_refused, self.upload.rows_read = refused, read
            self._keep_report()
            self.upload.save(update_fields=["rows_refused", "rows_read", "refused_file", "report"])
        text = _(
            "%(count)d rows were refused, so nothing was imported. Download the report, correct the file and upload it again."
        )
        raise JobError(text % {"count": refused}, engineer="all-or-nothing import with refused rows")

    def _import(self, table: AnyTable) -> None:
        start = self.begun + (1 - self.begun) * (0.5 if self.report.get("checked") else 0.0)
        bulk.tune()
        for batch, done, fraction in self._batches(table, self.report["next"]):
            size = self._write(done.refusals)
            with self.context.fenced():
                self._record(batch, done, size)
            rows = self.upload.rows_added
            text = _("%(count)s records added") % {"count": f"{rows:,}"}
            self.context.progress(start + (1 - start) * fraction * 0.99, _("Importing"), text)

    def _record(self, batch: Batch | ColumnBatch, done: Converted, size: int) -> None:
        """Within the fence: the rows, the counters and the checkpoint, all or none."""
        upload, rows = self.upload, done.rows
        assert isinstance(rows, Rows)
        inserted = bulk.insert(upload, rows)
        report = {**self.report, "next": batch.first - 1 + batch.count, "refused_bytes": size}
        report["empty_rows"] = report.get("empty_rows", 0) + done.empty
        if self.files is not None and self.files.tried_again and (late := self._late(done.refusals)):
            report["late"] = [*report.get("late", []), *late][:LATE_KEPT]
        if done.masked:
            report["masked"] = added(report.get("masked", {}), done.masked)
        if done.erased:
            report["erased_rows"] = report.get("erased_rows", 0) + done.erased
        if inserted.added < len(rows):
            twice, before, examples = bulk.duplicates(upload, rows, inserted.first - 1)
            report["duplicates_in_file"] = report.get("duplicates_in_file", 0) + twice
            report["duplicates_in_dataset"] = report.get("duplicates_in_dataset", 0) + before
            report["duplicate_rows"] = (report.get("duplicate_rows", []) + examples)[:20]
        if inserted.added:
            upload.record_from = inserted.first if upload.record_from is None else upload.record_from
            upload.record_to = inserted.last
            if self.files is not None:
                columns = [column for _given, column in self._columns_of_files()]
                self.files.point(upload, columns, inserted.first, inserted.last)
        upload.rows_read += batch.count - done.empty
        upload.rows_added += inserted.added
        upload.rows_duplicate += len(rows) - inserted.added
        upload.rows_refused += done.refused
        upload.report = report
        upload.save(update_fields=PROGRESS)
        Dataset.objects.filter(pk=self.dataset.pk).update(
            record_count=F("record_count") + inserted.added,
            test_count=F("test_count") + inserted.test,
            updated_at=timezone.now(),
        )

    def _late(self, refusals: list[Refusal]) -> list[int]:
        """The numbers of rows that nothing is wrong with but that what they name has not arrived."""
        assert self.files is not None
        late = {r.row for r in refusals if r.reason in self.files.late}
        return sorted(late - {r.row for r in refusals if r.reason not in self.files.late})

    def _write(self, refusals: list[Refusal], durable: bool = True) -> int:
        """Append to the report; its size, which the checkpoint remembers."""
        with self.refused_path.open("ab") as stream:
            if refusals and stream.tell() < 64 * 1024 * 1024:
                name = self.upload.original_name
                rows = [
                    [name, str(r.row), r.column, r.reason]
                    for r in sorted(refusals, key=lambda r: r.row)[:REPORTED]
                ]
                stream.write(_csv_bytes(rows))
            stream.flush()
            if durable and refusals:
                os.fsync(stream.fileno())
            return stream.tell()

    def _keep_report(self) -> None:
        if self.upload.rows_refused:
            self.upload.refused_file = storage.store(
                organisation=self.upload.organisation, file=Path(self.refused_path)
            )

    def _finish(self) -> None:
        with self.context.fenced():
            self._keep_report()
            self.upload.state, self.upload.finished_at = Upload.State.IMPORTED, timezone.now()
            self.upload.preview = without_rows(self.upload.preview)
            self.upload.save(update_fields=["refused_file", "state", "finished_at", "preview"])
            if not self.report.get("late"):  # late rows are read from the file again
                let_go(self.upload)


def _csv_bytes(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[safe_cell(c) for c in row] for row in rows])
    return text.getvalue().encode("utf-8", "replace")


def remove_rows(upload: Upload, context: JobContext | None = None) -> int:
    """Remove some of the upload's records and lower the counts by them; how many. Call it until it gives 0."""
    assert upload.dataset_id is not None
    with transaction.atomic(), context.fenced() if context is not None else nullcontext():
        span = Upload.objects.filter(pk=upload.pk).values_list("record_from", "record_to").first()
        if span is None or None in span:
            return 0
        found = Record.objects.filter(upload=upload, id__gte=span[0], id__lte=span[1]).order_by("-id")
        rows = list(found.values_list("id", "split")[:REMOVE])
        Record.objects.filter(pk__in=[pk for pk, _split in rows]).delete()
        if rows:  # the next call need not look here again
            Upload.objects.filter(pk=upload.pk).update(record_to=rows[-1][0] - 1)
        Dataset.objects.filter(pk=upload.dataset_id).update(
            record_count=F("record_count") - len(rows),
            test_count=F("test_count") - sum(split == "test" for _pk, split in rows),
            updated_at=timezone.now(),
        )
    return len(rows)
