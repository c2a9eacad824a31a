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
from datasets.viewer import answers
from inference import drawing, marks, serving
from inference.errors import DiagnosisRefused
from inference.files import DiagnosisFile
from inference.reasons import reasons_for

REASONS = "reasons"


@require_safe
@requires(Permission.VIEW_DIAGNOSES)
def look(request: HttpRequest, pk: UUID, file: int) -> HttpResponse:
    """What there is to look at in one file, and where its reasons lie; `?planes=all`: also what needs all of it to be read."""
    row, kind = _row(request, pk, file)

    def heat(found: dict[str, Any]) -> dict[str, Any]:
        try:
            regions = reasons_for(row.diagnosis)["regions"].get(row.column)
            if regions is None:
                return {}
            fitted = serving.fitted_of(row.diagnosis.model_version)
        except DiagnosisRefused:
            return {}
        return marks.of_planes(regions, found, drawing.millimetres_of(fitted, kind, row.column))

    return answers.about(row.file.cell, kind, whole=request.GET.get("planes") == "all", heat=heat)


@require_safe
@requires(Permission.VIEW_DIAGNOSES)
def frame(request: HttpRequest, pk: UUID, file: int, plane: str, index: int) -> HttpResponse:
    """One frame of one file."""
    row, kind = _row(request, pk, file)
    return answers.frame(row.file.cell, kind, plane, index)


def _row(request: HttpRequest, pk: UUID, file: int) -> tuple[Any, str]:
    """The file, if it is of the person's organisation, and the kind of its column. That it is read is audited."""
    actor = actor_of(request)
    row: Any = get_or_404(_rows(), actor, pk=file, diagnosis=pk)
    answers.read_once(
        request, row, lambda: audit.record(actor, "diagnosis.file_read", row.diagnosis, column=row.column)
    )
    return row, _kind(row)


def _rows() -> Any:
    return DiagnosisFile.objects.select_related("file__cell", "diagnosis__model_version__model", "diagnosis__organisation")


def _kind(row: DiagnosisFile) -> str:
    """Of the column that the file was given for."""
    return str(serving.servable(row.diagnosis.model_version_id).columns.files.get(row.column, row.file.cell.kind))


@require_safe
@requires(Permission.VIEW_DIAGNOSES)
def picture(request: HttpRequest, pk: UUID, file: int, size: str) -> HttpResponse:
    """One file of one diagnosis: small, as a page shows it, or with its reasons."""
    actor = actor_of(request)
    row: Any = get_or_404(_rows(), actor, pk=file, diagnosis=pk)
    if size not in {*pictures.SIZES, REASONS}:
        raise Http404
    kind = _kind(row)
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
