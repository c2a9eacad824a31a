"""Pictures of diagnoses' files, as they are and with the reasons drawn on them."""

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
from datasets.cells.showing import not_now, picture_response
from inference import drawing, serving
from inference.errors import DiagnosisRefused
from inference.files import DiagnosisFile
from inference.reasons import reasons_for

REASONS = "reasons"


@require_safe
@requires(Permission.VIEW_DIAGNOSES)
def picture(request: HttpRequest, pk: UUID, file: int, size: str) -> HttpResponse:
    """One file of one diagnosis: small, as a page shows it, or with its reasons."""
    actor = actor_of(request)
    rows = DiagnosisFile.objects.select_related("file__cell", "diagnosis__model_version__model", "diagnosis__organisation")
    row: Any = get_or_404(rows, actor, pk=file, diagnosis=pk)
    if size not in {*pictures.SIZES, REASONS}:
        raise Http404
    kind = serving.servable(row.diagnosis.model_version_id).columns.files.get(row.column, row.file.cell.kind)
    if size != "thumb":
        audit.record(actor, "diagnosis.file_read", row.diagnosis, column=row.column)
    try:
        return picture_response(_drawn(row, kind, size))
    except (pictures.NotDrawn, DiagnosisRefused):
        raise Http404 from None
    except ConnectionError:
        return not_now()


def _drawn(row: DiagnosisFile, kind: str, size: str) -> bytes:
    cell = row.file.cell
    if size != REASONS:
        return pictures.drawn(cell, kind, size)
    found = reasons_for(row.diagnosis)["regions"].get(row.column)
    if found is None:
        raise pictures.NotDrawn("no reasons")
    return drawing.drawn(cell, kind, found, serving.fitted_of(row.diagnosis.model_version), row.column)
