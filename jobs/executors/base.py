"""Attending to a job's process from outside: limits, cancellation, shutdown, and what to write when it just dies."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from django.conf import settings
from django.db import DatabaseError

from jobs import lease, limits, texts
from jobs.clean import clean_text
from jobs.context import remove_folder
from jobs.models import TERMINAL, Job, State
from jobs.settling import release, settle

logger = logging.getLogger(__name__)

CANCELLED = "cancelled"
INTERRUPTED = "interrupted"
LOST = "lost"


class NotStarted(Exception):
    """The executor could not start the process; the text is for the engineer."""


class Execution(Protocol):
    """A started process, wherever it runs."""

    def alive(self) -> bool:
        """Waits a moment for the end; whether it still runs."""

    def over_limit(self) -> str | None:
        """"memory" or "time" when the profile's limit is exceeded."""

    def ask_to_stop(self) -> None:
        """Ask politely: the handler may reach a safe point."""

    def kill(self) -> None:
        """End all its processes now."""

    def post_mortem(self) -> str:
        """What the engineer wants to know about how it ended."""


def attend(job: Job, owner: str, start: Callable[[], Execution], interrupted: Callable[[], bool]) -> None:
    """Start, watch to the end, and write the end when the process could not write it itself."""
    try:
        execution = start()
    except (NotStarted, OSError) as error:
        conclude(job, owner, None, f"The process could not be started: {error}")
        return
    reason, deadline = None, 0.0
    while execution.alive():
        if reason is None:
            reason = why_stop(job, owner, execution, interrupted)
            if reason in (limits.MEMORY, limits.TIME):
                execution.kill()
            elif reason is not None:
                execution.ask_to_stop()
                deadline = monotonic() + settings.JOBS_GRACE_SECONDS
        elif monotonic() > deadline:
            execution.kill()
    if reason is None and quietly(interrupted):
        reason = INTERRUPTED
    conclude(job, owner, reason, execution.post_mortem())


def quietly(interrupted: Callable[[], bool]) -> bool:
    """Whether the node is stopping; a database that does not answer says no."""
    try:
        return interrupted()
    except DatabaseError:
        return False


def why_stop(job: Job, owner: str, execution: Execution, interrupted: Callable[[], bool]) -> str | None:
    """The reason to end the process before it ends itself, if there is one. Keeps the lease until the process has it."""
    if limit := execution.over_limit():
        return limit
    try:
        if Job.objects.filter(pk=job.pk, owner=owner, state=State.RUNNING).update(lease_until=lease.deadline()):
            pass  # not yet adopted by its process
        row = Job.objects.filter(pk=job.pk).values_list("state", "owner", "attempt", "cancel_requested_at").first()
        if row is None or (row[0] == State.RUNNING and (row[1].rstrip(lease.ADOPTED), row[2]) != (owner, job.attempt)):
            return LOST
        if row[0] == State.QUEUED:
            return LOST
        if row[0] == State.RUNNING and row[3] is not None:
            return CANCELLED
        return INTERRUPTED if interrupted() else None
    except DatabaseError:
        logger.warning("The database did not answer while attending to job %s", job.pk)
        return None


def conclude(job: Job, owner: str, reason: str | None, engineer: str) -> None:
    """When the process is gone: a job that it left running is ended or queued again; an ended one is settled."""
    for holder in (owner, owner + lease.ADOPTED):
        write_end(job, holder, reason, engineer)
    state = Job.objects.filter(pk=job.pk).values_list("state", flat=True).first()
    if state is None or state in TERMINAL:
        release(job.pk, owner, owner + lease.ADOPTED)  # its process may have died while settling
        settle(job.pk)
        remove_folder(job.pk)


def write_end(job: Job, holder: str, reason: str | None, engineer: str) -> bool:
    """One compare-and-set, by the reason; 0 rows when the process wrote the end itself or the job was taken over."""
    values: dict[str, Any] = {"error_engineer": clean_text(engineer, 20_000)}
    if reason == CANCELLED:
        return lease.finish(job.pk, holder, job.attempt, State.CANCELLED, **values)
    if reason == INTERRUPTED:
        return lease.requeue(job.pk, holder, job.attempt, delay=0, give_back=True)
    final = {limits.MEMORY: texts.OUT_OF_MEMORY, limits.TIME: texts.OUT_OF_TIME}.get(str(reason))
    if final is None and job.attempt < job.max_attempts:
        return lease.requeue(job.pk, holder, job.attempt, delay=lease.backoff(job.attempt), **values)
    values["error_person"] = texts.in_language(job, final or texts.DIED)
    return lease.finish(job.pk, holder, job.attempt, State.FAILED, **values)
