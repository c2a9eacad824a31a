"""Who holds a job: claim, adoption, heartbeat, fence and finish, each one compare-and-set on the Job row.

Times come from the database's clock, so that nodes with wrong clocks cannot steal from each other.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import sleep
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from jobs.models import Job, State

Result = TypeVar("Result")
TRANSIENT: tuple[type[DatabaseError], ...] = (OperationalError, InterfaceError)  # type: ignore[assignment]
TRIES = 6
ADOPTED = "+"  # an owner that ends so is a claim that its process has taken up


class LeaseLost(Exception):
    """This process no longer holds the job: whatever it made is to be thrown away."""


def after(seconds: float) -> Any:
    """The database's time so many seconds from now."""
    return Now() + timedelta(seconds=seconds)


def deadline() -> Any:
    """When a lease taken now ends."""
    return after(settings.JOBS_LEASE_SECONDS)


def due() -> Q:
    """Queued jobs whose time has come."""
    return Q(state=State.QUEUED) & (Q(not_before=None) | Q(not_before__lte=Now()))


def patiently(action: Callable[[], Result]) -> Result:
    """Repeat an idempotent write while the database is busy or restarting; inside a transaction there is no second try."""
    for attempt in range(TRIES):
        try:
            return action()
        except TRANSIENT:
            if connection.in_atomic_block or attempt == TRIES - 1:
                raise
            connection.close()
            sleep(min(5.0, 0.1 * 2**attempt) * (0.5 + random.random()))  # noqa: S311  spreads retries, no secret
    raise AssertionError("unreachable")


def held(job_id: UUID, owner: str, attempt: int) -> Any:
    """The row, only while this owner still runs this attempt of it."""
    return Job.objects.filter(pk=job_id, owner=owner, attempt=attempt, state=State.RUNNING)


def claim(job_id: UUID, owner: str, *, node_id: int | None = None, gpus: list[int] | None = None) -> bool:
    """Take a queued job, or one whose lease has run out; the attempt is counted here. False: someone else has it."""
    free = Q(state=State.QUEUED) | Q(state=State.RUNNING, lease_until__lt=Now(), attempt__lt=F("max_attempts"))
    return bool(
        Job.objects.filter(free, pk=job_id).update(
            state=State.RUNNING,
            owner=owner,
            node_id=node_id,
            gpus=gpus or [],
            lease_until=deadline(),
            attempt=F("attempt") + 1,
            started_at=Now(),
            not_before=None,
            fraction=0.0,
            step="",
            message="",
            eta_at=None,
            error_person="",
            error_engineer="",
        )
    )


def adopt(job_id: UUID, owner: str) -> str | None:
    """A process takes up the claim made for it, once: a second process with the same claim gets None."""
    mine = owner + ADOPTED
    row = Job.objects.filter(pk=job_id, owner=owner, state=State.RUNNING)
    return mine if row.update(owner=mine, lease_until=deadline()) else None


def extend(job_id: UUID, owner: str, attempt: int, **progress: Any) -> bool:
    """The heartbeat: push the lease on, carrying progress. False: we lost it."""
    return bool(held(job_id, owner, attempt).update(lease_until=deadline(), **progress))


@contextmanager
def fenced(job_id: UUID, owner: str, attempt: int) -> Iterator[None]:
    """A transaction that commits only while the lease is ours; the row stays locked until then, so nobody can take it."""
    with transaction.atomic():
        if not extend(job_id, owner, attempt):
            raise LeaseLost(f"job {job_id} attempt {attempt}")
        yield
        extend(job_id, owner, attempt)


def finish(job_id: UUID, owner: str, attempt: int, state: State, **values: Any) -> bool:
    """The one end of a job, committed alone. False: we lost it, throw the output away."""
    return patiently(
        lambda: bool(
            held(job_id, owner, attempt).update(
                state=state, finished_at=Now(), lease_until=None, eta_at=None, gpus=[], **values
            )
        )
    )


def requeue(job_id: UUID, owner: str, attempt: int, *, delay: float, give_back: bool = False, **values: Any) -> bool:
    """Back into the queue after `delay` seconds. `give_back`: the attempt was interrupted by us and does not count.

    What a person has cancelled ends here instead: it would only wait for its next attempt to be cancelled by it.
    """
    if give_back:
        values["attempt"] = F("attempt") - 1
    free: dict[str, Any] = {"lease_until": None, "eta_at": None, "gpus": []}

    def write() -> bool:
        mine = held(job_id, owner, attempt)
        if mine.exclude(cancel_requested_at=None).update(state=State.CANCELLED, finished_at=Now(), **free):
            return True
        return bool(mine.update(state=State.QUEUED, owner="", node=None, not_before=after(delay), **free, **values))

    return patiently(write)


def backoff(attempt: int) -> float:
    """Seconds to wait before the next attempt: 10, 40, 160, ... at most a quarter of an hour."""
    return min(900.0, settings.JOBS_BACKOFF_SECONDS * 4.0 ** max(0, attempt - 1))
