"""Pages of runs: the list, one run with its live progress, starting, cancelling, retrying, repeating."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets.models import Dataset
from jobs import services as jobs
from training import charts, problems, queries, services
from training.forms import StartForm
from training.gate import reason_text
from training.models import TrainingRun

LOG_LINES = 50


@require_GET
@requires(Permission.VIEW_MODELS)
def runs(request: HttpRequest) -> HttpResponse:
    """The organisation's runs, newest first."""
    actor = actor_of(request)
    rows = TrainingRun.objects.for_organisation(actor.organisation).select_related(
        "job", "dataset", "requested_by"
    )
    page = Paginator(rows, 25).get_page(request.GET.get("page"))
    datasets = Dataset.objects.for_organisation(actor.organisation).filter(archived_at=None)[:20]
    return render(request, "training/runs.html", {"page": page, "datasets": datasets, **pager(page)})


def pager(page: Any) -> dict[str, Any]:
    """What components/pagination.html wants."""
    return {
        "previous_url": f"?page={page.previous_page_number()}" if page.has_previous() else "",
        "next_url": f"?page={page.next_page_number()}" if page.has_next() else "",
    }


def live_context(run: TrainingRun) -> dict[str, Any]:
    """What changes while a run is under way."""
    job = queries.current_job(run)
    candidates = list(run.candidates.all())
    curves = [c for row in candidates if (c := charts.learning(row.name, row.curve)) is not None]
    log = list(job.log.order_by("-pk")[:LOG_LINES])[::-1] if job else []
    return {
        "run": run,
        "job": job,
        "candidates": candidates,
        "curves": curves,
        "log": log,
        "live": bool(job and not job.is_terminal),
    }


@require_GET
@requires(Permission.VIEW_MODELS)
def run(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One run: how far it is, its candidates, its versions, what was found before it started."""
    rows = TrainingRun.objects.select_related("job", "dataset", "version", "requested_by", "repeat_of")
    row = get_or_404(rows, actor_of(request), pk=pk)
    versions = [
        {"version": v, "reasons": [reason_text(r) for r in v.gate_reasons]}
        for v in row.versions.select_related("model").defer(*queries.HEAVY).order_by("number")
    ]
    context = live_context(row) | {
        "versions": versions,
        "problems": [problems.retold(p) for p in row.problems],
    }
    return render(request, "training/run.html", context)


@require_GET
@requires(Permission.VIEW_MODELS)
def run_live(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The part of the page that asks for itself again while the run is under way."""
    row = get_or_404(TrainingRun.objects.select_related("job"), actor_of(request), pk=pk)
    return render(request, "training/_live.html", live_context(row))


@requires(Permission.TRAIN)
def start(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Train with no choice made, or with any."""
    actor = actor_of(request)
    dataset = get_or_404(Dataset.objects, actor, pk=pk)
    form = StartForm(request.POST if request.method == "POST" else None, dataset=dataset)
    found: list[dict[str, Any]] = []
    if request.method == "POST" and form.is_valid():
        try:
            made = services.start_run(
                actor=actor,
                dataset=dataset,
                target=form.cleaned_data["target"] or None,
                options=form.options(),
            )
        except services.RunRefused as refused:
            found = refused.problems
        else:
            return redirect("training:run", pk=made.pk)
    status = 422 if found or form.errors else 200
    context = {
        "dataset": dataset,
        "form": form,
        "problems": found,
        "advanced": bool(form.errors) or "advanced" in request.GET,
    }
    return render(request, "training/start.html", context, status=status)


@require_POST
@requires(Permission.TRAIN)
def repeat(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The same recipe on the same records."""
    actor = actor_of(request)
    row = get_or_404(TrainingRun.objects.select_related("version", "dataset"), actor, pk=pk)
    try:
        again = services.repeat_run(actor=actor, run=row)
    except services.RunRefused as refused:
        for problem in refused.problems:
            messages.error(request, problem["message"])
        return redirect("training:run", pk=pk)
    return redirect("training:run", pk=again.pk)


@require_POST
@requires(Permission.TRAIN)
def cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask the run to stop."""
    actor = actor_of(request)
    row = get_or_404(TrainingRun.objects.select_related("job"), actor, pk=pk)
    job = queries.current_job(row)
    try:
        if job is not None:
            jobs.cancel(actor=actor, job=job)
            messages.info(request, _("The run has been asked to stop."))
    except jobs.NotPossible as error:
        messages.warning(request, str(error))
    return redirect("training:run", pk=pk)


@require_POST
@requires(Permission.TRAIN)
def retry(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Run it again after it failed or was cancelled."""
    actor = actor_of(request)
    row = get_or_404(TrainingRun.objects.select_related("job"), actor, pk=pk)
    job = queries.current_job(row)
    try:
        if job is not None:
            again = jobs.retry(actor=actor, job=job)
            if again.payload["run"] != str(row.pk):  # the same work was started anew meanwhile, as another run
                return redirect("training:run", pk=again.payload["run"])
            services.adopt_job(run=row, job=again)
    except jobs.NotPossible as error:
        messages.warning(request, str(error))
    return redirect("training:run", pk=pk)
