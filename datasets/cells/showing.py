"""Files of records as pages and the REST API show them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.urls import reverse

from datasets.cells import notes, store
from datasets.cells.models import RecordFile
from datasets.models import Column, Kind, Record

LOOKED_THROUGH = (Kind.IMAGE, Kind.VOLUME, Kind.VIDEO, Kind.SIGNAL)  # kinds that the viewer knows


@dataclass(frozen=True)
class Shown:
    """A cell of a page whose value is a file: what it was called, its kind, and where its picture is."""

    name: str
    kind: str
    kind_label: str
    thumb: str
    picture: str
    look: str = ""  # what the viewer asks first
    notes: tuple[str, ...] = ()  # what was made of several files
    is_file: bool = True


def pointers(records: Iterable[Record], columns: Sequence[Column]) -> dict[tuple[int, str], RecordFile]:
    """(record id, column) → which file it is; one query, none without columns of files."""
    if not store.file_columns(columns):
        return {}
    rows = RecordFile.objects.filter(record__in=[record.pk for record in records]).select_related("file__cell")
    return {(row.record_id, row.column): row for row in rows}


def cell(record: Record, column: Column, found: dict[tuple[int, str], RecordFile]) -> Any:
    """What a page shows in a cell: the value, or the file."""
    value = record.values.get(column.name)
    row = found.get((record.pk, column.name))
    if row is None or value is None:
        return value
    where = [record.dataset_id, record.pk, row.pk]
    thumb, picture = (reverse("datasets:record_picture", args=[*where, size]) for size in ("thumb", "page"))
    look = reverse("datasets:record_look", args=where) if column.kind in LOOKED_THROUGH else ""
    said = tuple(notes.texts(row.file.cell.notes))
    return Shown(row.name, column.kind, column.get_kind_display(), thumb, picture, look, said)


def picture_response(content: bytes) -> HttpResponse:
    """A patient's picture: never kept by a browser or a proxy, never taken for anything but a picture."""
    response = HttpResponse(content, content_type="image/png")
    response["Cache-Control"] = "no-store, private"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Disposition"] = "inline"
    return response


def not_now() -> HttpResponse:
    """The desk that draws is busy: the browser may ask again."""
    response = HttpResponse(status=503)
    response["Retry-After"] = "10"
    response["Cache-Control"] = "no-store, private"
    return response
