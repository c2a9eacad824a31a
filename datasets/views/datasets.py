"""Pages: the list of data sets, one data set, its columns, renaming, archiving, export."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets import panels, queries, services
from datasets.columns import Plan, change_columns, plan
from datasets.export import CONTENT_TYPES, ExportRefused, export
from datasets.forms import KIND_MEANINGS, ROLE_MEANINGS, ColumnForm, DatasetForm, ExportForm
from datasets.models import Dataset, Kind, Role
from datasets.records import FILE_KINDS


def dataset_of(request: HttpRequest, pk: UUID) -> Dataset:
    """The data set, if it is of the person's organisation; else 404."""
    dataset: Dataset = get_or_404(Dataset.objects, actor_of(request), pk=pk)
    return dataset


def url_or_none(name: str, *args: Any) -> str | None:
    """The address of a page of an app above, if that app has it."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return None


def show_errors(request: HttpRequest, error: ValidationError) -> None:
    for text in error.messages:
        messages.error(request, text)


@require_safe
@requires(Permission.VIEW_DATA)
def dataset_list(request: HttpRequest) -> HttpResponse:
    """All data sets of the organisation; with ?archived=1 those put away."""
    archived = request.GET.get("archived") == "1"
    rows = queries.datasets_of(actor_of(request).organisation, archived=archived)
    return render(
        request,
        "datasets/list.html",
        {"datasets": rows[:500], "archived": archived, "upload_url": url_or_none("datasets:upload")},
    )


@require_safe
@requires(Permission.VIEW_DATA)
def detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One data set: what is in it, its columns, what to do next."""
    dataset = dataset_of(request, pk)
    columns = list(dataset.columns.all())
    context = {
        "dataset": dataset,
        "columns": columns,
        "target": next((c for c in columns if c.role == Role.TARGET), None),
        "patient": next((c for c in columns if c.role == Role.PATIENT), None),
        "has_pictures": any(c.kind in FILE_KINDS and c.role != Role.IGNORE for c in columns),
        "train_count": dataset.record_count - dataset.test_count,
        "uploads": dataset.uploads.select_related("created_by")[:5],
        "latest_version": dataset.versions.first(),
        "panels": panels.draw(request, dataset),
        "importers": dataset.importers.only("name", "paused", "failing_since")[:10],
        "upload_url": url_or_none("datasets:upload"),
        "train_url": url_or_none("training:start", dataset.pk),
    }
    return render(request, "datasets/detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.WRITE_DATA)
def change(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Rename or describe a data set."""
    dataset = dataset_of(request, pk)
    form = DatasetForm(
        request.POST or None, instance=Dataset(name=dataset.name, description=dataset.description)
    )
    if request.method == "POST" and form.is_valid():
        try:
            services.change_dataset(
                actor=actor_of(request),
                dataset=dataset,
                name=form.cleaned_data["name"],
                description=form.cleaned_data["description"],
            )
            return redirect("datasets:detail", pk)
        except ValidationError as error:
            form.add_error(None, error.messages)
            dataset.refresh_from_db()
    return render(request, "datasets/change.html", {"dataset": dataset, "form": form})


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.WRITE_DATA)
def archive(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Put a data set away, or bring it back, after asking."""
    dataset = dataset_of(request, pk)
    if request.method == "POST":
        try:
            if dataset.archived_at is None:
                services.archive_dataset(actor=actor_of(request), dataset=dataset)
                messages.success(request, _("“%(name)s” has been archived.") % {"name": dataset.name})
            else:
                services.restore_dataset(actor=actor_of(request), dataset=dataset)
                messages.success(request, _("“%(name)s” is back.") % {"name": dataset.name})
        except ValidationError as error:
            show_errors(request, error)
        return redirect("datasets:list")
    return render(request, "datasets/archive.html", {"dataset": dataset})


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.WRITE_DATA)
def columns(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Kinds, roles and limits of all columns; what rewrites records is asked for once more."""
    dataset = dataset_of(request, pk)
    rows = list(dataset.columns.all())
    forms = [ColumnForm(request.POST or None, instance=column, prefix=f"c{column.pk}") for column in rows]
    context: dict[str, Any] = {
        "dataset": dataset,
        "forms": forms,
        "kinds": [(Kind(k).label, text) for k, text in KIND_MEANINGS.items()],
        "roles": [(Role(r).label, text) for r, text in ROLE_MEANINGS.items()],
    }
    if request.method == "POST" and all(form.is_valid() for form in forms):
        changes = [{"name": form.instance.name, **form.cleaned_data} for form in forms]
        try:
            made = plan(dataset, changes)
            if made.rewrites and dataset.record_count and request.POST.get("confirmed") != "yes":
                context |= {"consequences": consequences(dataset, made), "hidden": _hidden(request)}
                return render(request, "datasets/columns_confirm.html", context)
            made = change_columns(actor=actor_of(request), dataset=dataset, changes=changes)
        except ValidationError as error:
            show_errors(request, error)
        else:
            if made.changed:
                messages.success(request, _("The columns have been changed."))
            return redirect("datasets:detail", pk)
    return render(request, "datasets/columns.html", context)


def _hidden(request: HttpRequest) -> list[tuple[str, str]]:
    return [
        (k, v)
        for k, v in request.POST.items()
        if isinstance(v, str) and k not in ("csrfmiddlewaretoken", "confirmed")
    ]


def consequences(dataset: Dataset, made: Plan) -> list[str]:
    """What the change does to the records that are there, in plain words."""
    texts = [
        _("Every value of “%(name)s” is rewritten as %(kind)s.")
        % {"name": column.name, "kind": column.get_kind_display()}
        for column in made.kinds
    ]
    if made.target:
        texts.append(_("Every record's label is taken anew from the new target column."))
    if made.deal:
        texts.append(_("All patients are dealt anew to training and to the locked test split."))
    texts.append(
        _("%(count)d records are rewritten; frozen versions stay as they are.")
        % {"count": dataset.record_count}
    )
    return texts


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.EXPORT_DATA)
def export_dataset(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask for the format, then stream the file."""
    dataset = dataset_of(request, pk)
    form = ExportForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data
        try:
            pieces = export(
                actor=actor_of(request),
                dataset=dataset,
                form=chosen["form"],
                split=chosen["split"],
                with_ids=chosen["with_ids"],
            )
        except ExportRefused as error:
            form.add_error("form", str(error))
        else:
            name = slugify(dataset.name, allow_unicode=False) or "records"
            headers = {"Content-Disposition": f'attachment; filename="{name}.{chosen["form"]}"'}
            return StreamingHttpResponse(  # type: ignore[return-value]
                pieces, content_type=CONTENT_TYPES[chosen["form"]], headers=headers
            )
    return render(request, "datasets/export.html", {"dataset": dataset, "form": form})
