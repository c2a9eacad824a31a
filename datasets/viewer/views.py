"""A record's file for the viewer of the portal's pages."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts import audit
from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets.cells.models import RecordFile
from datasets.models import Column
from datasets.viewer import answers


@require_safe
@requires(Permission.VIEW_DATA)
def record_look(request: HttpRequest, pk: UUID, record: int, file: int) -> HttpResponse:
    """What there is to look at; `?planes=all`: also the planes that need all of the file to be read."""
    row, kind = _row(request, pk, record, file)
    return answers.about(row.file.cell, kind, whole=request.GET.get("planes") == "all")


@require_safe
@requires(Permission.VIEW_DATA)
def record_frame(request: HttpRequest, pk: UUID, record: int, file: int, plane: str, index: int) -> HttpResponse:
    """One frame of one file."""
    row, kind = _row(request, pk, record, file)
    return answers.frame(row.file.cell, kind, plane, index)


def _row(request: HttpRequest, pk: UUID, record: int, file: int) -> tuple[Any, str]:
    """The file, if it is of the person's organisation, and the kind of its column. That it is read is audited."""
    actor = actor_of(request)
    rows = RecordFile.objects.select_related("file__cell", "record")
    row: Any = get_or_404(rows, actor, pk=file, record=record, record__dataset=pk)
    kind = Column.objects.filter(dataset=pk, name=row.column).values_list("kind", flat=True).first()
    answers.read_once(
        request, row, lambda: audit.record(actor, "record.file_read", row.record, dataset=str(pk), column=row.column)
    )
    return row, kind or row.file.cell.kind
