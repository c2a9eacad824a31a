"""Pictures of records' files for the portal's pages."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts import audit
from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets.cells import pictures
from datasets.cells.models import RecordFile
from datasets.cells.showing import not_now, picture_response
from datasets.models import Column


@require_safe
@requires(Permission.VIEW_DATA)
def record_picture(request: HttpRequest, pk: UUID, record: int, file: int, size: str) -> HttpResponse:
    """One file of one record as a picture."""
    actor = actor_of(request)
    rows = RecordFile.objects.select_related("file__cell", "record")
    row: Any = get_or_404(rows, actor, pk=file, record=record, record__dataset=pk)
    kind = Column.objects.filter(dataset=pk, name=row.column).values_list("kind", flat=True).first()
    if size not in pictures.SIZES:
        raise Http404
    if size == "page":
        audit.record(actor, "record.file_read", row.record, dataset=str(pk), column=row.column)
    try:
        return picture_response(pictures.drawn(row.file.cell, kind or row.file.cell.kind, size))
    except pictures.NotDrawn:
        raise Http404 from None
    except ConnectionError:
        return not_now()
