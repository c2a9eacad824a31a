"""Pages that set an importer up: its kind, its settings, the test with the mapping, its schedule; and its end."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.actor import Actor, actor_of
from accounts.permissions import Permission
from accounts.views_base import posted, requires
from datasets import intake
from datasets.forms_uploads import ColumnForm, ConfirmForm
from datasets.importing import opening, said, services, together
from datasets.importing.base import Source, SourceError
from datasets.importing.forms import ImporterForm, ScheduleForm, source_form, to_ask_again
from datasets.importing.models import Importer, Treatment
from datasets.importing.views import importer_of
from datasets.models import Dataset, Kind

FORMS = ["GET", "HEAD", "POST"]


def _datasets(actor: Actor) -> Any:
    return Dataset.objects.for_organisation(actor.organisation).filter(archived_at=None).order_by("name")


def _told_of(source: type[Source]) -> dict[str, Any]:
    """For a page: a template would call the class."""
    return {"kind": source.kind, "label": source.label, "explained": source.explained}


def _told(form: Any, error: ValidationError) -> None:
    for name, texts in error.message_dict.items():
        for text in texts:
            form.add_error(name if name in form.fields else None, text)


@require_safe
@requires(Permission.MANAGE_ORGANISATION)
def importer_kinds(request: HttpRequest) -> HttpResponse:
    """Where data can come from."""
    return render(request, "datasets/importers/kinds.html", {"kinds": [_told_of(source) for source in opening.kinds().values()]})


@require_http_methods(FORMS)
@requires(Permission.MANAGE_ORGANISATION)
def importer_add(request: HttpRequest, kind: str) -> HttpResponse:
    """The settings of a new one; what follows is its test."""
    source = opening.kinds().get(kind)
    if source is None:
        raise Http404
    actor, sent = actor_of(request), posted(request)
    own = ImporterForm(sent, source=source, datasets=_datasets(actor), new=True, initial={"dataset": request.GET.get("dataset")})
    form = source_form(source, actor.organisation, sent, kept={}, secrets={})
    if sent is not None and own.is_valid() & form.is_valid():
        try:
            row = services.add_importer(
                actor=actor, name=own.cleaned_data["name"], kind=kind, settings=form.cleaned_data, zone=settings.TIME_ZONE,
                treatment=own.cleaned_data.get("treatment", Treatment.ROWS), dataset=own.cleaned_data["dataset"],
            )  # fmt: skip
        except ValidationError as error:
            _told(own, error)
        else:
            return redirect("datasets:importer_look", row.pk)
    context = {"source": _told_of(source), "own": own, "form": form}
    return render(request, "datasets/importers/settings.html", context, status=422 if sent is not None else 200)


@require_http_methods(FORMS)
@requires(Permission.MANAGE_ORGANISATION)
def importer_settings(request: HttpRequest, pk: Any) -> HttpResponse:
    """Other settings. Secrets are never shown; left empty, they stay."""
    actor, sent, row = actor_of(request), posted(request), importer_of(request, pk)
    try:
        source = opening.kind_of(row.kind)
    except SourceError as error:
        messages.error(request, str(error))
        return redirect("datasets:importer", row.pk)
    initial = {"name": row.name, "treatment": row.treatment, "dataset": row.dataset_id}
    own = ImporterForm(sent, source=source, datasets=_datasets(actor), new=False, initial=initial)
    form = source_form(source, actor.organisation, sent, kept=row.settings, secrets=row.secrets)
    valid = sent is not None and own.is_valid() & form.is_valid()
    for name in to_ask_again(source, row.settings, form.cleaned_data, sent, row.secrets) if valid and sent is not None else ():
        form.add_error(name, _("Enter it again: what was changed says where it is sent."))
        valid = False
    if valid:
        own_data = own.cleaned_data
        try:
            services.change_importer(
                actor=actor, importer=row, name=own_data["name"], settings=form.cleaned_data, dataset=own_data["dataset"],
                treatment=own_data.get("treatment", Treatment.ROWS), from_beginning=own_data["from_beginning"],
            )  # fmt: skip
        except ValidationError as error:
            _told(own, error)
        else:
            return redirect("datasets:importer_look", row.pk)
    context = {"source": _told_of(source), "own": own, "form": form, "importer": row}
    return render(request, "datasets/importers/settings.html", context, status=422 if sent is not None else 200)


@require_POST
@requires(Permission.MANAGE_ORGANISATION)
def importer_test(request: HttpRequest, pk: Any) -> HttpResponse:
    """Test the connection, with a preview."""
    row = importer_of(request, pk)
    services.submit_look(actor=actor_of(request), importer=row)
    return redirect("datasets:importer_look", row.pk)


@require_http_methods(FORMS)
@requires(Permission.MANAGE_ORGANISATION)
def importer_look(request: HttpRequest, pk: Any) -> HttpResponse:
    """What the test found; of rows, which field goes into which column."""
    row = importer_of(request, pk)
    preview = row.look.get("preview")
    columns = [ColumnForm(c, c["place"], posted(request)) for c in preview["columns"]] if preview else []
    confirming = ConfirmForm(posted(request), initial={"new_dataset_name": row.name, "keep_good_rows": "yes"})
    valid = request.method == "POST" and all([form.is_valid() for form in [*columns, confirming]])
    if valid and _mapped(request, row, columns, confirming):
        messages.success(request, _("Saved. Now say when it runs."))
        return redirect("datasets:importer_schedule", row.pk)
    context = {
        "importer": row, "look": row.look, "job": row.look_job, "preview": preview, "columns": columns, "confirming": confirming,
        "together": together.notes(row), "said": said.found(row.look),
        "changed": [
            {"name": c["name"], "kind": Kind(c["kind"]).label, "found": Kind(c["found"]).label}
            for c in (preview or {}).get("changes", {}).get("changed", [])
        ],
    }  # fmt: skip
    return render(request, "datasets/importers/look.html", context, status=422 if request.method == "POST" else 200)


def _mapped(request: HttpRequest, row: Importer, columns: list[ColumnForm], confirming: ConfirmForm) -> bool:
    try:
        services.confirm_mapping(
            actor=actor_of(request), importer=row, columns=[form.choice() for form in columns],
            new_dataset_name=confirming.cleaned_data["new_dataset_name"],
            keep_good_rows=confirming.cleaned_data["keep_good_rows"] != "no",
        )  # fmt: skip
    except (services.ImporterRefused, intake.IntakeRefused) as refused:
        confirming.add_error(None, str(refused))
    except ValidationError as error:
        confirming.add_error(None, error.messages)
    else:
        return True
    return False


@require_http_methods(FORMS)
@requires(Permission.MANAGE_ORGANISATION)
def importer_schedule(request: HttpRequest, pk: Any) -> HttpResponse:
    """When it runs by itself, and when its silence is told."""
    row = importer_of(request, pk)
    initial = {name: getattr(row, name) for name in ("schedule", "every", "at", "zone", "quiet_days")}
    form = ScheduleForm(posted(request), initial=initial)
    if form.is_bound and form.is_valid():
        services.set_schedule(actor=actor_of(request), importer=row, **form.cleaned_data)
        messages.success(request, _("Saved."))
        return redirect("datasets:importer", row.pk)
    context = {"importer": row, "form": form}
    return render(request, "datasets/importers/schedule.html", context, status=422 if form.is_bound else 200)


@require_http_methods(FORMS)
@requires(Permission.MANAGE_ORGANISATION)
def importer_remove(request: HttpRequest, pk: Any) -> HttpResponse:
    """End it, after asking."""
    row = importer_of(request, pk)
    if request.method == "POST":
        services.remove_importer(actor=actor_of(request), importer=row)
        messages.success(request, _("“%(name)s” is removed. What it brought stays.") % {"name": row.name})
        return redirect("datasets:importers")
    return render(request, "datasets/importers/remove.html", {"importer": row})
