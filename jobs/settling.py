"""What follows a job's end: its handler's settle function, then the signal; repeated until both have succeeded."""

import logging
from typing import Any
from uuid import UUID

from django.db.models.functions import Now
from django.utils import translation

from jobs.handlers import UnknownHandler, resolve_settle
from jobs.models import TERMINAL, Job
from jobs.signals import job_settled
from jobs.texts import language_of

logger = logging.getLogger(__name__)


def settle(job_id: UUID) -> bool:
    """Run a terminal job's side effects and mark it settled. False: something failed, the reaper will repeat it."""
    job = Job.objects.select_related("organisation", "requested_by").filter(pk=job_id, state__in=TERMINAL).first()
    if job is None:
        return False
    if job.settled_at is not None:
        return True
    try:
        with translation.override(language_of(job)):
            run_side_effects(job)
    except Exception as error:
        logger.error("Job %s (%s) could not be settled: %s", job.pk, job.task, type(error).__name__)
        return False
    Job.objects.filter(pk=job.pk, settled_at=None).update(settled_at=Now())
    return True


def run_side_effects(job: Job) -> None:
    """The settle function and the signal's receivers; each step of theirs is a transaction of its own, safe to repeat.

    Never one transaction around them all: ranking a run's versions takes minutes, and SQLite would keep everybody else
    from writing for as long.
    """
    try:
        function: Any = resolve_settle(job.task)
    except UnknownHandler:
        function = None  # a job whose handler has gone has nothing to settle
    if function is not None:
        function(job)
    job_settled.send(sender=Job, job=job)
