"""Pages: the frozen versions of a data set, freezing one, downloading one."""

from uuid import UUID

from django.contrib import messages
from django.core.files.storage import default_storage
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from accounts import audit
from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets.api import FREEZE_LIMIT
from datasets.models import DatasetVersion
from datasets.versions import FreezeRefused, freeze
from datasets.views.datasets import dataset_of


@require_safe
@requires(Permission.VIEW_DATA)
def version_list(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The frozen versions with their hashes and counts."""
    dataset = dataset_of(request, pk)
    context = {
        "dataset": dataset,
        "versions": dataset.versions.select_related("created_by")[:200],
        "can_freeze": dataset.record_count <= FREEZE_LIMIT,
    }
    return render(request, "datasets/versions.html", context)


@require_http_methods(["POST"])
@requires(Permission.WRITE_DATA)
def freeze_dataset(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Freeze what the data set holds now."""
    dataset = dataset_of(request, pk)
    if dataset.record_count > FREEZE_LIMIT:
        messages.error(request, _("So many records are frozen by the job of a training run: start one."))
        return redirect("datasets:versions", pk)
    try:
        version = freeze(actor=actor_of(request), dataset=dataset)
        messages.success(
            request, _("What the data set holds now is version %(number)d.") % {"number": version.number}
        )
    except FreezeRefused as error:
        messages.error(request, str(error))
    return redirect("datasets:versions", pk)


@require_safe
@requires(Permission.EXPORT_DATA)
def download(request: HttpRequest, pk: UUID, version: UUID) -> HttpResponse:
    """The version's Parquet file."""
    dataset = dataset_of(request, pk)
    found: DatasetVersion = get_or_404(
        DatasetVersion.objects.select_related("file"), actor_of(request), pk=version, dataset=dataset
    )
    if found.file is None:
        messages.error(request, _("The records of this version have been erased."))
        return redirect("datasets:versions", pk)
    audit.record(actor_of(request), "version.downloaded", found, dataset=str(pk), records=found.record_count)
    return FileResponse(  # type: ignore[return-value]
        default_storage.open(found.file.path, "rb"),
        as_attachment=True,
        filename=f"{found.content_hash[:12]}.parquet",
        content_type="application/vnd.apache.parquet",
    )
