"""Which waiting job is next on this node: the oldest due one whose profile fits what is free."""

import logging
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

from django.db import transaction
from django.utils import timezone

from jobs import executors, lease, nodes
from jobs.models import Job, Node
from jobs.profiles import PROFILES

logger = logging.getLogger(__name__)

LOOK_AT = 50  # waiting jobs that are looked at for one that fits
HOLD_AFTER = timedelta(minutes=10)  # a large job that has waited so long is no longer overtaken by smaller ones


def pick(queues: list[str], node: Node) -> tuple[Job, str] | None:
    """Claim the next job for this node; returns it with the claim's owner, or None when nothing fits.

    The host's node rows are locked meanwhile, so that two workers of one host never promise the same memory twice.
    """
    with transaction.atomic():
        list(Node.objects.select_for_update().filter(name=node.name).order_by("pk"))
        if nodes.stopping(node.pk):
            return None
        total, free = nodes.total_of(node), nodes.free_of(node)
        for job in Job.objects.filter(lease.due(), queue__in=queues).order_by("created_at", "pk")[:LOOK_AT]:
            profile = PROFILES.get(job.profile, PROFILES["medium"])
            local = job.executor == "local"
            if local and not free.fits(profile, whole=total):
                if total.fits(profile, whole=total) and timezone.now() - job.created_at > HOLD_AFTER:
                    return None
                continue
            owner = f"{node.name}/{uuid4().hex}"
            gpus = list(free.gpus[: profile.gpus]) if local else []
            if lease.claim(job.pk, owner, node_id=node.pk, gpus=gpus):
                job.refresh_from_db()
                return job, owner
    return None


def drain(queues: list[str], node: Node, *, interrupted: Callable[[], bool] | None = None) -> int:
    """Run jobs one after the other until nothing that fits is waiting. Returns how many were run."""
    leave = interrupted or (lambda: nodes.stopping(node.pk))
    count = 0
    while not leave() and (picked := lease.patiently(lambda: pick(queues, node))) is not None:
        job, owner = picked
        logger.info("Job %s (%s) attempt %s starts", job.pk, job.task, job.attempt)
        executors.run(job, owner, interrupted=leave)
        count += 1
    return count
