"""Pages: the importers, one of them with its history, one run; run now, pause."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts.actor import actor_of
from accounts.paging import page
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets.arrivals import services as arrivals
from datasets.arrivals.models import Arrival
from datasets.importing import late, opening, queries, refusals, services, together, waiting
from datasets.importing.base import SourceError
from datasets.importing.models import Importer, ImporterRun

FAULTY_SHOWN = 100  # of a run's records or files that could not be taken; REST has those that are kept


def importer_of(request: HttpRequest, pk: Any) -> Importer:
    rows = Importer.objects.select_related("dataset", "organisation", "look_job").defer("cursor")
    found: Importer = get_or_404(rows, actor_of(request), pk=pk)
    return found


def kind_label(importer: Importer) -> str:
    """In words; the bare name where this installation has it no more."""
    try:
        return str(opening.kind_of(importer.kind).label)
    except SourceError:
        return importer.kind


@require_safe
@requires(Permission.VIEW_DATA)
def importers(request: HttpRequest) -> HttpResponse:
    """All of them, each with its standing and its last run."""
    rows = queries.with_last_run(Importer.objects.for_organisation(actor_of(request).organisation).select_related("dataset"))
    listed = [
        {"importer": row, "kind": kind_label(row), "standing": queries.standing(row, row.last_state)}
        for row in rows[: services.MOST]
    ]
    return render(request, "datasets/importers/list.html", {"rows": listed})


@require_safe
@requires(Permission.VIEW_DATA)
def importer(request: HttpRequest, pk: Any) -> HttpResponse:
    """One importer in a glance: last run, next run, what came lately, and its history."""
    row = importer_of(request, pk)
    runs = page(request, row.runs.select_related("job"), size=20)
    last = runs.rows[0] if runs.rows and not runs.previous_url else row.runs.first()
    context = {
        "importer": row, "kind": kind_label(row), "runs": runs, "last": last, "came": queries.came_lately(row),
        "job": queries.live_job(row), "settings": queries.shown_settings(row), "late": late.count(row),
        "standing": queries.standing(row, last.state if last else None), "together": together.notes(row),
    }  # fmt: skip
    return render(request, "datasets/importers/importer.html", context)


@require_safe
@requires(Permission.VIEW_DATA)
def importer_run(request: HttpRequest, pk: Any, run: int) -> HttpResponse:
    """One run: its counts, what could not be taken and why, the uploads and arrivals that it made."""
    found = get_or_404(ImporterRun.objects.select_related("importer", "job"), actor_of(request), pk=run, importer=pk)
    deliveries = found.deliveries.select_related("upload", "upload__refused_file")[:200]
    made = arrivals.with_counts(Arrival.objects.filter(deliveries__run=found))[:200]
    context = {
        "importer": found.importer, "run": found, "deliveries": deliveries, "arrivals": made,
        "faulty": found.faulty[:FAULTY_SHOWN], "more": max(0, found.faulty_count - len(found.faulty[:FAULTY_SHOWN])),
        "refused": refusals.first(found) if found.rows_refused else [],
        "waits": waiting.texts(found.waiting),
    }  # fmt: skip
    return render(request, "datasets/importers/run.html", context)


@require_POST
@requires(Permission.WRITE_DATA)
def importer_start(request: HttpRequest, pk: Any) -> HttpResponse:
    """Run now."""
    row = importer_of(request, pk)
    try:
        services.run_now(actor=actor_of(request), importer=row)
    except services.ImporterRefused as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, _("It looks for new data now."))
    return redirect("datasets:importer", row.pk)


@require_POST
@requires(Permission.WRITE_DATA)
def importer_pause(request: HttpRequest, pk: Any) -> HttpResponse:
    """Pause, or let it go on (`paused` is "yes" or "no")."""
    row = importer_of(request, pk)
    paused = request.POST.get("paused") == "yes"
    services.pause(actor=actor_of(request), importer=row, paused=paused)
    messages.success(request, _("Paused: it runs no more until somebody lets it go on.") if paused else _("It goes on."))
    return redirect("datasets:importer", row.pk)
