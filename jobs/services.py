"""Submitting, cancelling and retrying jobs."""

from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from jobs import bell
from jobs.clean import clean_json, clean_text
from jobs.lease import after
from jobs.models import Job, State
from jobs.profiles import Profile, profile_of
from jobs.settling import settle

LIVE = (State.QUEUED, State.RUNNING)


class NotPossible(Exception):
    """What was asked cannot be done in the job's state; the text is for the person."""


def submit(
    *,
    actor: Actor,
    task: str,
    title: str,
    title_params: dict[str, str] | None = None,
    payload: dict[str, Any],
    profile: str | Profile = "small",
    key: str | None = None,
    subject_url: str = "",
    max_attempts: int = 3,
    delay_seconds: float = 0,
) -> Job:
    """Queue a job and ring for a worker once the surrounding transaction has committed.

    `task` is the dotted name of a function marked `@handler`. `title` is a translatable text in English (gettext_noop) with
    places for `title_params`. A live job with the same `key` is returned instead.
    """
    chosen = profile if isinstance(profile, Profile) else profile_of(profile)
    for _attempt in range(5):
        if key and (live := live_job(actor, key)) is not None:
            return live
        try:
            with transaction.atomic():
                job = _create(
                    actor, task, (title, title_params or {}), payload, chosen, key, subject_url, max_attempts
                )
                if delay_seconds > 0:
                    Job.objects.filter(pk=job.pk).update(not_before=after(delay_seconds))
                audit.record(actor, "job.submitted", job, task=task, profile=chosen.name)
                transaction.on_commit(lambda: bell.ring(chosen.queue), robust=True)
        except IntegrityError:
            if not key:
                raise
            continue  # another request was faster with this key: return its job, or try again if that has just ended
        return job
    raise RuntimeError(f"job key {key!r} is taken and released too quickly")


def live_job(actor: Actor, key: str) -> Job | None:
    """The organisation's live job with this key."""
    return Job.objects.for_organisation(actor.organisation).filter(key=key, state__in=LIVE).first()


def _create(
    actor: Actor,
    task: str,
    title: tuple[str, dict[str, str]],
    payload: dict[str, Any],
    profile: Profile,
    key: str | None,
    subject_url: str,
    max_attempts: int,
    retry_of: Job | None = None,
) -> Job:
    assert actor.organisation is not None, "a job belongs to an organisation"
    return Job.objects.create(
        organisation=actor.organisation,
        task=task,
        title=clean_text(title[0], 200),
        title_params=clean_json(title[1]),
        payload=clean_json(payload),
        profile=profile.name,
        queue=profile.queue,
        executor=settings.JOBS_EXECUTOR,
        key=key,
        subject_url=subject_url,
        max_attempts=max_attempts,
        requested_by=actor.user,
        retry_of=retry_of,
    )


@transaction.atomic
def cancel(*, actor: Actor, job: Job) -> Job:
    """A waiting job is cancelled at once; a running one is asked to stop, and made to when it does not. Safe to repeat."""
    ended = Job.objects.filter(pk=job.pk, state=State.QUEUED).update(
        state=State.CANCELLED, cancel_requested_at=Now(), finished_at=Now(), not_before=None
    )
    if ended:
        transaction.on_commit(lambda: _settle_quietly(job), robust=True)
    elif not Job.objects.filter(pk=job.pk, state=State.RUNNING).update(cancel_requested_at=Now()):
        job.refresh_from_db()
        if job.state == State.CANCELLED:
            return job
        raise NotPossible(_("This job has already ended, so it cannot be cancelled."))
    audit.record(actor, "job.cancelled", job)
    job.refresh_from_db()
    return job


def _settle_quietly(job: Job) -> None:
    settle(job.pk)


@transaction.atomic
def retry(*, actor: Actor, job: Job) -> Job:
    """A new job with the same work as a failed or cancelled one; what has been retried already stands for its newest retry.

    A live one, also another with the same key, is returned instead: a second click queues nothing.
    """
    job = _newest_retry(job)
    if job.state in LIVE:
        return job
    if job.state not in (State.FAILED, State.CANCELLED):
        raise NotPossible(_("Only a failed or cancelled job can be retried, and not what has succeeded since."))
    if job.key and (same := live_job(actor, job.key)) is not None:
        return same
    profile = profile_of(job.profile)
    try:
        with transaction.atomic():
            again = _create(
                actor, job.task, (job.title, job.title_params), job.payload, profile, job.key, job.subject_url,
                job.max_attempts, job,
            )  # fmt: skip
    except IntegrityError:
        if job.key and (same := live_job(actor, job.key)) is not None:  # submitted at this very moment
            return same
        raise
    audit.record(actor, "job.retried", again, original=str(job.pk))
    transaction.on_commit(lambda: bell.ring(profile.queue), robust=True)
    return again


def _newest_retry(job: Job) -> Job:
    """The end of the job's chain of retries, as it is now, locked so that nobody else adds to it."""
    newest = Job.objects.select_for_update().get(pk=job.pk)
    while (later := newest.retries.select_for_update().order_by("-created_at", "-pk").first()) is not None:
        newest = later
    return newest


def queue_position(job: Job) -> int | None:
    """How many jobs of its queue are before it, plus one; None when it is not waiting."""
    if job.state != State.QUEUED:
        return None
    before = Q(created_at__lt=job.created_at) | Q(created_at=job.created_at, pk__lt=job.pk)
    return Job.objects.filter(before, queue=job.queue, state=State.QUEUED).count() + 1
