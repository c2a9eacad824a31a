"""Rows that named DICOM which had not arrived: they are tried again by the importer's later runs, until they come in.

An import refuses such a row and keeps its number (`Upload.report["late"]`). A run looks which of them name something now, writes
these into a table of their own and takes their numbers away, in one transaction; so each becomes one row, whatever is killed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from datasets import storage
from datasets.importers.after import let_go
from datasets.importing.lots import READ_AS
from datasets.importing.models import Importer
from datasets.importing.values import text_of
from datasets.joining import naming
from datasets.models import Dataset, Kind, Upload
from datasets.readers.base import Cell
from datasets.readers.table import open_table
from datasets.records import FILE_KINDS

Numbered = tuple[int, Sequence[Cell]]


@dataclass(frozen=True)
class Ready:
    """Rows of an upload that can be taken now, as a table."""

    upload: Upload
    numbers: tuple[int, ...]
    rows: tuple[Sequence[Cell], ...]

    @property
    def options(self) -> dict[str, Any]:
        """How the table is read: as the upload was, but for the place of its columns, and for rows that must all be right."""
        columns, telling = self.upload.options["columns"], self.upload.options.get("telling", [])
        placed = [{**c, "place": place} for place, c in enumerate([*columns, *telling])]
        kept, told = placed[: len(columns)], placed[len(columns) :]
        return {**READ_AS, "width": len(placed), "settings": {}, "columns": kept, "telling": told, "keep_good_rows": True}

    def write(self, stream: IO[bytes]) -> None:
        columns = [*self.upload.options["columns"], *self.upload.options.get("telling", [])]
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([c.get("source_name") or c["name"] for c in columns])
        for row in self.rows:
            writer.writerow([_text(row[c["place"]]) if c["place"] < len(row) else "" for c in columns])
        text.detach()

    def taken(self) -> None:
        """Within the fence: the rows are waited for no more."""
        upload = Upload.objects.select_for_update().get(pk=self.upload.pk)
        left = sorted(set(upload.report.get("late", ())) - set(self.numbers))
        upload.report = {key: value for key, value in upload.report.items() if key != "late"} | ({"late": left} if left else {})
        upload.save(update_fields=["report"])
        if not left:
            let_go(upload)


def _text(cell: Cell) -> str:
    return text_of(cell) or ""


def waiting(importer: Importer) -> Any:
    """The uploads with such rows."""
    rows = Upload.objects.filter(deliveries__run__importer=importer, state=Upload.State.IMPORTED, report__has_key="late")
    return rows.exclude(file__path="").select_related("file", "organisation").distinct()


def count(importer: Importer) -> int:
    """How many rows wait."""
    return sum(len(report["late"]) for _pk, report in waiting(importer).values_list("pk", "report"))


def ready(importer: Importer, dataset: Dataset) -> Iterator[Ready]:
    """What of them names something now, or is wrong for another reason, which their import then tells."""
    kinds = dict(dataset.columns.filter(kind__in=FILE_KINDS).values_list("name", "kind"))
    for upload in list(waiting(importer).filter(dataset=dataset)):
        given = [(c["place"], kinds[c["name"]] == Kind.VOLUME) for c in upload.options["columns"] if c["name"] in kinds]
        rows, received = _rows(upload), naming.Received(upload.organisation)
        received.look_up(
            (uid, whole) for _number, row in rows for place, whole in given if (uid := _uid(row, place)) is not None
        )
        found = [(number, row) for number, row in rows if not _still_late(received, row, given)]
        if found:
            yield Ready(upload, tuple(number for number, _row in found), tuple(row for _number, row in found))


def _rows(upload: Upload) -> list[Numbered]:
    wanted, found = set(upload.report["late"]), []
    with storage.local(upload.file) as path, open_table(path, upload.options) as table:
        for batch in table.batches(upload.options["skip"]):
            numbered: Iterator[tuple[int, Sequence[Cell]]] = enumerate(batch.rows, batch.first)
            found += [(number, row) for number, row in numbered if number in wanted]
    return found


def _still_late(received: naming.Received, row: Sequence[Cell], given: Sequence[tuple[int, bool]]) -> bool:
    for place, whole in given:
        uid = _uid(row, place)
        try:
            if uid is not None:
                received.find(uid, whole)
        except naming.Late:
            return True
        except ValueError:  # its import says so
            continue
    return False


def _uid(row: Sequence[Cell], place: int) -> str | None:
    return naming.uid_of(row[place]) if place < len(row) else None
