"""Puts right what nobody is left to put right: expired leases, lost bells, ends without their side effects."""

import logging
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from jobs import bell, lease, texts
from jobs.lease import after, backoff, due
from jobs.models import TERMINAL, Job, State
from jobs.settling import settle

logger = logging.getLogger(__name__)
LIMIT = 200  # rows put right in one round


def reap() -> dict[str, int]:
    """One round; safe to run anywhere at any time, by several at once. Returns what was done."""
    done = {"requeued": 0, "ended": 0}
    expired = Job.objects.filter(state=State.RUNNING, lease_until__lt=Now()).order_by("lease_until")
    for job in expired.select_related("requested_by")[:LIMIT]:
        if outcome := release_expired(job):
            done[outcome] += 1
    done["settled"] = settle_ended()
    done["rung"] = ring_lost_bells()
    return done


def release_expired(job: Job) -> str:
    """Re-queue one expired job, or end it when cancelled or out of attempts. Returns "requeued", "ended" or "": neither.

    Compare-and-set on owner and attempt, and still expired: a holder that comes back in time keeps it. A row that
    somebody has locked is left for a later round: a holder that was frozen inside its fence would hold the reaper up,
    and with it every other job, until the server ends its session (AIMASS_IDLE_TRANSACTION_SECONDS).
    """
    with transaction.atomic():
        if not list(Job.objects.select_for_update(skip_locked=True).filter(pk=job.pk).values_list("pk")):
            return ""
        return release_locked(job)


def release_locked(job: Job) -> str:
    row = lease.held(job.pk, job.owner, job.attempt).filter(lease_until__lt=Now())
    clear: dict[str, Any] = {"lease_until": None, "eta_at": None, "gpus": []}
    engineer = f"The lease of {job.owner} ran out in attempt {job.attempt} of {job.max_attempts}."
    if row.exclude(cancel_requested_at=None).update(state=State.CANCELLED, finished_at=Now(), **clear):
        return "ended"
    if job.attempt >= job.max_attempts:
        person = texts.in_language(job, texts.LEASE_RAN_OUT)
        failed = row.update(state=State.FAILED, finished_at=Now(), error_person=person, error_engineer=engineer, **clear)
        return "ended" if failed else ""
    again = after(backoff(job.attempt))
    if not row.update(state=State.QUEUED, owner="", node=None, not_before=again, error_engineer=engineer, **clear):
        return ""
    logger.warning("Job %s: %s It is queued again.", job.pk, engineer)
    return "requeued"


def settle_ended() -> int:
    """Repeat the side effects of ended jobs until they have succeeded; those being settled elsewhere are left alone."""
    free = Q(settling_until=None) | Q(settling_until__lt=Now())
    pending = Job.objects.filter(free, state__in=TERMINAL, settled_at=None).order_by("finished_at")
    return sum(settle(pk) for pk in pending.values_list("pk", flat=True)[:LIMIT])


def ring_lost_bells() -> int:
    """Ring for each queue that has due jobs and no unheard bell."""
    if settings.JOBS_DISPATCH == "embedded":
        return 0
    queues = Job.objects.filter(due()).order_by().values_list("queue", flat=True).distinct()
    rung = 0
    for queue in queues:
        if not bell.waiting(queue):
            bell.ring(queue)
            rung += 1
    return rung
