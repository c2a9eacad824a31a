"""Page: a data set's pictures by label, so that what a label looks like, and what does not belong to it, is seen at once."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from accounts import audit
from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.views_base import requires
from datasets import queries
from datasets.cells import showing, store
from datasets.forms import GalleryForm
from datasets.models import Kind, Role
from datasets.views.datasets import dataset_of
from datasets.views.records import page_urls

AT_ONCE = 24  # pictures on a page: four rows of six


@require_safe
@requires(Permission.VIEW_DATA)
def gallery(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The pictures of one column, of one label or of all, newest first."""
    dataset = dataset_of(request, pk)
    columns = list(dataset.columns.all())
    of_files = [column for column in store.file_columns(columns) if column.role != Role.IGNORE]
    if not of_files:
        return render(request, "datasets/gallery.html", {"dataset": dataset})
    target = next((c for c in columns if c.role == Role.TARGET), None)
    labels = queries.labels(dataset) if target is not None and target.kind != Kind.TEXT else []
    form = GalleryForm(of_files, labels if len(labels) < 50 else [], target is not None, request.GET)
    asked, column = form.asked()
    cursor, trail = request.GET.get("cursor", ""), request.GET.get("trail", "")
    try:
        page = queries.page(dataset, asked, cursor=cursor, size=AT_ONCE)
    except queries.BadCursor:
        return redirect("datasets:gallery", pk)
    audit.record(actor_of(request), "records.listed", dataset, count=len(page.records), filters=asked.names)
    files = showing.pointers(page.records, [column])
    context: dict[str, Any] = {
        "dataset": dataset, "form": form, "asked": asked, "page": page, "column": column, "target": target,
        "pictures": [(record, showing.cell(record, column, files)) for record in page.records],
        **page_urls(request, cursor, trail, page.next),
    }  # fmt: skip
    return render(request, "datasets/gallery.html", context)
