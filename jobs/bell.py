"""Rings django-q2: a bell only says “look into this queue”; which job is next is read from the rows."""

import logging

from django.conf import settings
from django.db import DatabaseError

logger = logging.getLogger(__name__)

TASK = "jobs.tasks.execute"


def ring(queue: str) -> None:
    """Wake whoever works on this queue. A lost bell is harmless: the workers' supervisors ring again."""
    if settings.JOBS_DISPATCH == "embedded":
        from jobs.embedded import wake

        wake()
        return
    from django_q.tasks import async_task

    try:
        # -1: no limit of django-q2's own; a job's time limit is watched by its executor.
        async_task(TASK, queue, cluster=queue, timeout=-1, task_name=f"bell for {queue}")
    except DatabaseError:
        logger.exception("The bell of queue %s could not be rung; the supervisor will", queue)


def waiting(queue: str) -> bool:
    """Whether a bell for this queue lies unheard."""
    from django.utils import timezone
    from django_q.models import OrmQ

    return OrmQ.objects.filter(key=queue, lock__lte=timezone.now()).exists()
