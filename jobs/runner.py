"""The one entry point that runs a job: `run_job(id, owner)`, behind `manage.py run_job`, safe to call twice."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.utils import translation
from django.utils.functional import Promise

from jobs import lease, texts
from jobs.clean import clean_json, clean_text
from jobs.context import JobContext, JobError, JobStopped, LeaseLost, remove_folder
from jobs.handlers import resolve
from jobs.heartbeat import Heartbeat
from jobs.models import Job, State
from jobs.settling import settle
from jobs.traces import describe

logger = logging.getLogger(__name__)

NOT_MINE = "not mine"
LOST = "lost"
REQUEUED = "requeued"
INTERRUPTED = "interrupted"
RETRYABLE = (*lease.TRANSIENT, ConnectionError, TimeoutError)


def run_job(
    job_id: UUID | str,
    owner: str,
    *,
    beating: bool = False,
    watch: Callable[[JobContext], Callable[[], None]] | None = None,
) -> str:
    """Claim the job (or adopt the claim made for this owner), run its handler, end it once, settle it.

    `beating` keeps the lease by a thread with its own connection (a process of its own); without it the lease is
    extended whenever the handler reports. `watch` is called with the context before the handler starts and returns
    what the heartbeat's thread calls at each beat.
    Returns the terminal state, or "not mine", "lost", "requeued", "interrupted". Raises nothing that a handler raised.
    """
    job_id = UUID(str(job_id))
    holder = lease.patiently(lambda: lease.adopt(job_id, owner)) or owner
    if holder == owner and not lease.patiently(lambda: lease.claim(job_id, owner)):
        return NOT_MINE
    job = Job.objects.select_related("organisation", "requested_by").get(pk=job_id)
    context = JobContext(job, owner=holder, beating=beating)
    with translation.override(texts.language_of(job)):
        on_beat = watch(context) if watch is not None else None
        with Heartbeat(context, on_beat) if beating else nullcontext():
            outcome = perform(context)
    if outcome in State.values:
        settle(job_id, holder)
        remove_folder(job_id)
    return outcome


def perform(context: JobContext) -> str:
    """Call the handler and write the end that its outcome asks for."""
    try:
        context.stop_if_asked()
        result = resolve(context.job.task).function(context)
        return end(context, State.DONE, result=clean_json(result or {}), fraction=1.0, step="", message="")
    except LeaseLost:
        return LOST
    except BaseException as error:
        context.look()
        if context.lost.is_set():
            return LOST
        if context.cancelled.is_set():
            return end(context, State.CANCELLED)
        if context.interrupted.is_set():
            back = lease.requeue(context.job.pk, context.owner, context.attempt, delay=0, give_back=True)
            return INTERRUPTED if back else LOST
        if not isinstance(error, Exception):
            raise
        return fail_or_retry(context, error)


def fail_or_retry(context: JobContext, error: Exception) -> str:
    """Back into the queue when another attempt may help and one is left; otherwise failed, with both texts."""
    # Type and frames alone go to the log and to the row: a message may quote a patient's value.
    logger.error("Job %s (%s) attempt %s: %s", context.job.pk, context.job.task, context.attempt, type(error).__name__)
    engineer = describe(error)
    person: str | Promise = texts.UNEXPECTED
    again = isinstance(error, RETRYABLE) and not isinstance(error, IntegrityError)
    if isinstance(error, JobError):
        person, again = error.person, error.retry
        engineer = error.engineer or engineer
    elif isinstance(error, MemoryError):
        person = texts.OUT_OF_MEMORY
    elif isinstance(error, JobStopped):
        engineer = "The handler raised JobStopped though nobody had asked it to stop.\n" + engineer
    values: dict[str, Any] = {"error_person": clean_text(person, 4000), "error_engineer": clean_text(engineer, 20_000)}
    if again and context.attempt < context.job.max_attempts:
        delay = lease.backoff(context.attempt)
        back = lease.requeue(context.job.pk, context.owner, context.attempt, delay=delay, **values)
        return REQUEUED if back else LOST
    return end(context, State.FAILED, **values)


def end(context: JobContext, state: State, **values: Any) -> str:
    """The fenced finish: a job that was taken from us keeps what its new holder writes."""
    if lease.finish(context.job.pk, context.owner, context.attempt, state, **values):
        return state.value
    return LOST
