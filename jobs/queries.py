"""Reads for the pages and the API: jobs of an organisation, and what is told about one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, F, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from accounts.models import Organisation
from jobs.models import TERMINAL, Job, Node, State

LIVE = "live"
FILTERS = (LIVE, *State.values)


def jobs_of(organisation: Organisation | None) -> Any:
    """The organisation's jobs, newest first, with who asked for them."""
    return Job.objects.for_organisation(organisation).select_related("requested_by").order_by("-created_at", "-pk")


def filtered(jobs: Any, state: str) -> Any:
    """Only jobs in a state; "live": those that wait or run; anything else: all."""
    if state == LIVE:
        return jobs.exclude(state__in=TERMINAL)
    return jobs.filter(state=state) if state in State.values else jobs


def older_than(jobs: Any, job: Job) -> Any:
    """Those after this one in the list."""
    return jobs.filter(Q(created_at__lt=job.created_at) | Q(created_at=job.created_at, pk__lt=job.pk))


def positions(jobs: list[Job]) -> dict[UUID, int]:
    """The place in its queue (1 is next) of each waiting job, in one query whatever their number."""
    waiting = {job.pk for job in jobs if job.state == State.QUEUED}
    if not waiting:
        return {}
    queues = {job.queue for job in jobs if job.pk in waiting}
    place = Window(RowNumber(), partition_by=F("queue"), order_by=[F("created_at").asc(), F("pk").asc()])
    ranked = Job.objects.filter(state=State.QUEUED, queue__in=queues).annotate(place=place).order_by()
    return {pk: number for pk, number in ranked.values_list("pk", "place") if pk in waiting}


def eta_seconds(job: Job, now: datetime | None = None) -> int | None:
    """Seconds until a running job is done, by its progress so far; None when that is not known."""
    if job.state != State.RUNNING or job.eta_at is None:
        return None
    return max(0, round((job.eta_at - (now or timezone.now())).total_seconds()))


def is_over(job: Job) -> bool:
    """Ended with its side effects done: a page that shows it need not look again."""
    return job.is_terminal and job.settled_at is not None


@dataclass(frozen=True)
class NodeRow:
    """A node and what runs on it, as one organisation may see it: others' jobs are only counted."""

    node: Node
    is_live: bool
    own_jobs: list[Job]
    other_jobs: int


def node_rows(organisation: Organisation | None) -> list[NodeRow]:
    """All nodes, the latest heard of first."""
    from jobs.nodes import live

    alive = set(live().values_list("pk", flat=True))
    running = Q(jobs__state=State.RUNNING)
    nodes: QuerySet[Any] = Node.objects.annotate(running=Count("jobs", filter=running)).order_by("-heartbeat_at", "-pk")
    own: dict[int, list[Job]] = {}
    for job in jobs_of(organisation).filter(state=State.RUNNING, node__isnull=False):
        own.setdefault(job.node_id, []).append(job)
    return [
        NodeRow(node, node.pk in alive, own.get(node.pk, []), node.running - len(own.get(node.pk, [])))
        for node in nodes[:200]
    ]
