"""The portal's pages of jobs: list, one job with live progress, cancel, retry, nodes."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from jobs import nodes, queries, services
from jobs.models import Job, State
from jobs.profiles import PROFILES

PAGE = 50
LOG_LINES = 200


def job_of(request: HttpRequest, pk: UUID) -> Job:
    """The job, if it is of the person's organisation; else 404."""
    job: Job = get_or_404(Job.objects.select_related("requested_by", "node", "retry_of"), actor_of(request), pk=pk)
    return job


@require_GET
@requires(Permission.VIEW_JOBS)
def job_list(request: HttpRequest) -> HttpResponse:
    """The organisation's jobs, newest first; `?state=` filters, `?before=<job>` goes to older ones."""
    jobs = queries.jobs_of(actor_of(request).organisation)
    state = request.GET.get("state", "")
    rows = queries.filtered(jobs, state)
    before = request.GET.get("before", "")
    if before:
        rows = queries.older_than(rows, get_or_404(Job.objects, actor_of(request), pk=uuid_or_none(before)))
    shown = list(rows[: PAGE + 1])
    more, shown = len(shown) > PAGE, shown[:PAGE]
    places = queries.positions(shown)
    base = f"{request.path}?state={state}" if state in queries.FILTERS else f"{request.path}?"
    context = {
        "rows": [{"job": job, "place": places.get(job.pk)} for job in shown],
        "state": state,
        "filters": [("", _("all")), (queries.LIVE, _("waiting or running")), *State.choices],
        "previous_url": base.rstrip("?") if before else "",
        "next_url": f"{base}&before={shown[-1].pk}".replace("?&", "?") if more else "",
    }
    return render(request, "jobs/list.html", context)


def uuid_or_none(text: str) -> UUID | None:
    """What is not a UUID finds nothing, so the page answers 404."""
    try:
        return UUID(text)
    except ValueError:
        return None


@require_GET
@requires(Permission.VIEW_JOBS)
def job_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One job: progress, result, errors, log."""
    job = job_of(request, pk)
    lines = list(job.log.order_by("-pk")[:LOG_LINES])[::-1]
    profile = PROFILES.get(job.profile)
    retries = list(job.retries.order_by("created_at"))
    return render(request, "jobs/detail.html", {"job": job, "lines": lines, "profile": profile, "retries": retries})


@require_GET
@requires(Permission.VIEW_JOBS)
def job_progress(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The live part alone, asked for by htmx until the job is over; then the whole page is loaded again, once."""
    job = job_of(request, pk)
    if not getattr(request, "htmx", False):
        return redirect("jobs:detail", pk=job.pk)
    response = render(request, "jobs/_progress.html", {"job": job})
    if queries.is_over(job):
        response["HX-Refresh"] = "true"
    return response


@require_POST
@requires(Permission.MANAGE_JOBS)
def job_cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    job = job_of(request, pk)
    try:
        job = services.cancel(actor=actor_of(request), job=job)
    except services.NotPossible as error:
        messages.warning(request, str(error))
    else:
        ended = job.state == State.CANCELLED
        messages.success(request, _("The job is cancelled.") if ended else _("The job is being stopped."))
    return redirect("jobs:detail", pk=job.pk)


@require_POST
@requires(Permission.MANAGE_JOBS)
def job_retry(request: HttpRequest, pk: UUID) -> HttpResponse:
    job = job_of(request, pk)
    try:
        again = services.retry(actor=actor_of(request), job=job)
    except services.NotPossible as error:
        messages.warning(request, str(error))
        return redirect("jobs:detail", pk=job.pk)
    messages.success(request, _("The job is queued again."))
    return redirect(reverse("jobs:detail", args=[again.pk]))


@require_GET
@requires(Permission.MANAGE_ORGANISATION)
def node_list(request: HttpRequest) -> HttpResponse:
    """The computers that work: what they have, when they were last heard of, what runs on them."""
    rows = queries.node_rows(actor_of(request).organisation)
    profiles = [{"profile": p, "possible": nodes.could_run(p)} for p in PROFILES.values()]
    return render(request, "jobs/nodes.html", {"rows": rows, "profiles": profiles})
