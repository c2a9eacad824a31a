"""What follows a job's end: its handler's settle function, then the signal; repeated until both have succeeded."""

import logging
from typing import Any
from uuid import UUID, uuid4

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import translation

from jobs.context import remove_folder
from jobs.handlers import UnknownHandler, resolve_settle
from jobs.lease import after
from jobs.models import TERMINAL, Job
from jobs.signals import job_settled
from jobs.texts import language_of

logger = logging.getLogger(__name__)

CLAIM_SECONDS = 900.0  # ranking many versions on large test splits takes minutes; each step may safely be repeated


def settle(job_id: UUID, owner: str = "") -> bool:
    """Run a terminal job's side effects and mark it settled; one process at a time does so.

    `owner` is who ran the job, so that `release` frees a claim whose process has died. False: something failed, the
    reaper will repeat it, or another process is settling it now.
    """
    claim = owner or f"settling/{uuid4().hex}"
    if not claimed(job_id, claim):
        return Job.objects.filter(pk=job_id).exclude(settled_at=None).exists()
    job = Job.objects.select_related("organisation", "requested_by").get(pk=job_id)
    try:
        with translation.override(language_of(job)):
            run_side_effects(job)
    except Exception as error:
        logger.error("Job %s (%s) could not be settled: %s", job.pk, job.task, type(error).__name__)
        release(job_id, claim)
        return False
    Job.objects.filter(pk=job.pk, settled_at=None).update(settled_at=Now(), settling_until=None, settling_by="")
    # Here too, as nobody else may be left to: a killed attempt's checkpoints may hold what patients' records hold.
    remove_folder(job_id)
    return True


def claimed(job_id: UUID, claim: str) -> bool:
    """Compare-and-set: this process alone settles the job, until it has or the claim has run out."""
    free = Q(settling_until=None) | Q(settling_until__lt=Now())
    row = Job.objects.filter(free, pk=job_id, state__in=TERMINAL, settled_at=None)
    return bool(row.update(settling_until=after(CLAIM_SECONDS), settling_by=claim))


def release(job_id: UUID, *claims: str) -> None:
    """Give the claim back, if it is one of these: its process has failed, or is gone."""
    Job.objects.filter(pk=job_id, settling_by__in=claims).update(settling_until=None, settling_by="")


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
