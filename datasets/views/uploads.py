"""Uploading: choose a file, look at the preview and correct it, watch the import, read the report."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import audit
from accounts.actor import Actor, actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets import intake
from datasets.forms_uploads import ColumnForm, ConfirmForm, ReadingForm, UploadForm
from datasets.models import Dataset, Kind, Upload
from datasets.storage import limit_text
from datasets.tus.protocol import ADVISED_PIECE
from datasets.views import transfers


@require_http_methods(["GET", "POST"])
@requires(Permission.WRITE_DATA)
def upload_file(request: HttpRequest) -> HttpResponse:
    """Choose a file; what is wrong with it is said here."""
    actor = actor_of(request)
    choices = Dataset.objects.for_organisation(actor.organisation).filter(archived_at=None)
    if request.method == "POST":
        form = UploadForm(request.POST, request.FILES, datasets=choices)
        if form.is_valid():
            file = form.cleaned_data["file"]
            try:
                upload = intake.receive(
                    actor=actor, file=file, name=file.name, dataset=form.cleaned_data["dataset"]
                )
                return redirect("datasets:preview", upload.pk)
            except intake.IntakeRefused as error:
                form.add_error("file", str(error))
    else:
        form = UploadForm(datasets=choices, initial={"dataset": _asked_for(request, choices)})
    limit = limit_text(settings.MAX_UPLOAD_BYTES)
    return render(
        request,
        "datasets/uploads/upload.html",
        {"form": form, "limit": limit, "limit_bytes": settings.MAX_UPLOAD_BYTES, "piece_bytes": ADVISED_PIECE,
         "unfinished": transfers.unfinished(actor), "texts": transfers.texts(limit)},
    )


def _asked_for(request: HttpRequest, choices: Any) -> Any:
    """The data set of `?dataset=`, when it is one of the choices."""
    try:
        return choices.filter(pk=request.GET.get("dataset") or None).first()
    except (ValueError, ValidationError):
        return None


@require_http_methods(["GET", "POST"])
@requires(Permission.VIEW_DATA)
def preview(request: HttpRequest, pk: Any) -> HttpResponseBase:
    """What was found out, to be corrected; the button imports or, with other reading options, looks again."""
    actor = actor_of(request)
    upload = get_or_404(Upload.objects.select_related("dataset", "job"), actor, pk=pk)
    if upload.state != Upload.State.PREVIEW:
        return redirect("datasets:upload_report", upload.pk)
    if request.method == "POST":
        return _change(request, actor, upload)
    return _page(request, upload)


@requires(Permission.WRITE_DATA)
def _change(request: HttpRequest, actor: Actor, upload: Upload) -> HttpResponseBase:
    columns = [ColumnForm(c, c["place"], request.POST) for c in upload.preview["columns"]]
    reading, confirming = ReadingForm(request.POST, upload=upload), ConfirmForm(request.POST)
    forms = [*columns, reading, confirming]
    if not all([form.is_valid() for form in forms]):
        return _page(request, upload, columns, reading, confirming, status=422)
    choices = [form.choice() for form in columns]
    try:
        if request.POST.get("action") == "preview":
            changed = reading.settings()
            kept = [] if _reads_differently(upload, changed) else choices
            intake.preview_again(actor=actor, upload=upload, settings=changed, columns=kept)
            return redirect("datasets:preview", upload.pk)
        intake.confirm(
            actor=actor,
            upload=upload,
            new_dataset_name=confirming.cleaned_data["new_dataset_name"] or None,
            columns=choices,
            keep_good_rows=confirming.cleaned_data["keep_good_rows"] != "no",
            looked=confirming.cleaned_data["looked"],
        )
    except intake.IntakeRefused as error:
        confirming.add_error(None, str(error))
    except ValidationError as error:
        confirming.add_error(None, error.messages)
    else:
        return redirect("datasets:upload_report", upload.pk)
    return _page(request, upload, columns, reading, confirming, status=422)


def _reads_differently(upload: Upload, changed: dict[str, Any]) -> bool:
    """Other columns may come out, so that the choices made for these no longer fit."""
    shown = {
        **upload.options["settings"],
        **{k: upload.options[k] for k in ("member", "sheet") if k in upload.options},
    }
    return any(shown.get(key) != value for key, value in changed.items())


def _page(
    request: HttpRequest,
    upload: Upload,
    columns: list[ColumnForm] | None = None,
    reading: ReadingForm | None = None,
    confirming: ConfirmForm | None = None,
    status: int = 200,
) -> HttpResponse:
    shown = upload.preview
    places = {c["name"]: c["place"] for c in shown["columns"]}
    context = {
        "upload": upload,
        "preview": shown,
        "columns": columns or [ColumnForm(c, c["place"]) for c in shown["columns"]],
        "reading": reading or ReadingForm(upload=upload),
        "confirming": confirming
        or ConfirmForm(
            initial={
                "new_dataset_name": upload.original_name.rsplit(".", 1)[0][:150],
                "keep_good_rows": "yes",
            }
        ),
        "changed": [
            {"name": c["name"], "kind": Kind(c["kind"]).label, "found": Kind(c["found"]).label}
            for c in shown["changes"]["changed"]
        ],
        "attention": [{**w, "place": places.get(w.get("column"))} for w in shown["warnings"]],
        "has_target": any(c["role"] == "target" for c in shown["columns"]),
    }
    return render(request, "datasets/uploads/preview.html", context, status=status)


@require_GET
@requires(Permission.VIEW_DATA)
def upload_report(request: HttpRequest, pk: Any) -> HttpResponse:
    """The import while it runs, and what became of the rows after it."""
    upload = get_or_404(
        Upload.objects.select_related("dataset", "job", "refused_file"), actor_of(request), pk=pk
    )
    if upload.state == Upload.State.PREVIEW:
        return redirect("datasets:preview", upload.pk)
    return render(
        request,
        "datasets/uploads/report.html",
        {"upload": upload, "job": upload.job, "report": upload.report},
    )


@require_GET
@requires(Permission.VIEW_DATA)
def refused(request: HttpRequest, pk: Any) -> HttpResponseBase:
    """The refused rows as CSV: file, row, column, reason."""
    actor = actor_of(request)
    upload = get_or_404(Upload.objects.select_related("refused_file"), actor, pk=pk)
    if upload.refused_file is None:
        raise Http404
    audit.record(actor, "upload.refused_rows_read", upload, rows=upload.rows_refused)
    stream = default_storage.open(upload.refused_file.path, "rb")
    return FileResponse(
        stream, as_attachment=True, filename="refused-rows.csv", content_type="text/csv; charset=utf-8"
    )


@require_POST
@requires(Permission.WRITE_DATA)
def discard(request: HttpRequest, pk: Any) -> HttpResponse:
    """Give up an upload that waits for its confirmation."""
    actor = actor_of(request)
    upload = get_or_404(Upload.objects, actor, pk=pk)
    try:
        intake.discard(actor=actor, upload=upload)
    except intake.IntakeRefused as error:
        messages.error(request, str(error))
        return redirect("datasets:upload_report", upload.pk)
    messages.success(request, _("The upload was discarded; nothing was imported."))
    return redirect("datasets:list")
