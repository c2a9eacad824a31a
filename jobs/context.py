"""What a handler is given: its payload, a private folder, progress, the log, the stop sign and the fence."""

import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.functional import Promise

from jobs import lease
from jobs.clean import clean_json, clean_text
from jobs.lease import LeaseLost
from jobs.models import Job, JobLog, State

__all__ = ["JobContext", "JobError", "JobStopped", "LeaseLost"]

WRITE_EVERY = 0.5  # seconds between two writes of progress, unless the step changes
TRUST_ETA_AFTER = 0.02  # of the work done in this attempt; before that a guess would jump about


class JobStopped(Exception):
    """Raised by `stop_if_asked`: the person cancelled, the node is shutting down, or the lease is lost."""


class JobError(Exception):
    """A failure that was foreseen: what the person can do, what the engineer wants to know, whether to try again."""

    own_text = True  # see jobs.traces

    def __init__(self, person: str | Promise, *, engineer: str = "", retry: bool = False) -> None:
        super().__init__(engineer or "see the text for the person")
        self.person = person
        self.engineer = engineer
        self.retry = retry


def folder_of(job_id: Any) -> Path:
    """The job's private folder. It survives a killed attempt and is removed when the job has ended."""
    return Path(settings.DATA_DIR) / "jobs" / str(job_id)


def remove_folder(job_id: Any) -> None:
    """Delete the job's folder with all in it, also folders that its attempt had made read-only."""
    top = folder_of(job_id)
    for folder, below, _files in os.walk(top):
        for name in below:
            with suppress(OSError):
                Path(folder, name).chmod(0o700)
    shutil.rmtree(top, ignore_errors=True)


class JobContext:
    """One attempt of one job, as its handler sees it."""

    def __init__(self, job: Job, *, owner: str, beating: bool = False) -> None:
        self.job = job
        self.owner = owner
        self.attempt: int = job.attempt
        self.payload: dict[str, Any] = job.payload
        self.cancelled = threading.Event()
        self.interrupted = threading.Event()
        self.lost = threading.Event()
        self._beating = beating  # a thread keeps the lease and sets the events
        self._began = monotonic()
        self._first: tuple[float, float] | None = None  # (time, fraction) at the first report of this attempt
        self._written = 0.0
        self._step = ""

    @property
    def folder(self) -> Path:
        """A private folder for checkpoints; write a file under another name and rename it, as an attempt may be killed."""
        path = folder_of(self.job.pk)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def progress(
        self, fraction: float, step: str | Promise = "", message: str | Promise = "", detail: Mapping[str, Any] | None = None
    ) -> None:
        """Report how far the work is (0..1), which step runs, a short message and detail for charts. Cheap to call often."""
        now = monotonic()
        fraction = min(1.0, max(0.0, float(fraction))) if fraction == fraction else 0.0
        if self._first is None:
            self._first = (now, fraction)
        changed = str(step) != self._step or detail is not None
        if not changed and now - self._written < WRITE_EVERY and fraction < 1.0:
            return
        self._written, self._step = now, str(step)
        values: dict[str, Any] = {"fraction": fraction, "step": clean_text(step, 100), "message": clean_text(message, 300)}
        values["eta_at"] = self._eta(now, fraction)
        if detail is not None:
            values["detail"] = clean_json(detail)
        if not lease.extend(self.job.pk, self.owner, self.attempt, **values):
            self.lost.set()

    def _eta(self, now: float, fraction: float) -> Any:
        """When the rest is done at the rate of this attempt so far (a resumed attempt starts above zero)."""
        assert self._first is not None
        began, start = self._first if self._first[1] > TRUST_ETA_AFTER else (self._began, 0.0)
        done, elapsed = fraction - start, now - began
        if done < TRUST_ETA_AFTER or elapsed <= 0:
            return None
        return timezone.now() + timedelta(seconds=min(30 * 86400, elapsed / done * (1.0 - fraction)))

    def log(self, text: str | Promise) -> None:
        """One line for the person who watches. Never a patient's data."""
        JobLog.objects.create(job_id=self.job.pk, attempt=self.attempt, text=clean_text(text, 500))

    def should_stop(self) -> bool:
        """Whether to end soon: cancelled, interrupted, or no longer ours."""
        if not self._beating:
            self.look()
        return self.cancelled.is_set() or self.interrupted.is_set() or self.lost.is_set()

    def look(self) -> None:
        """Read the row: has a person cancelled, has someone else taken the job?"""
        row = Job.objects.filter(pk=self.job.pk).values_list("state", "owner", "attempt", "cancel_requested_at").first()
        if row is None or row[:3] != (State.RUNNING, self.owner, self.attempt):
            self.lost.set()
        elif row[3] is not None:
            self.cancelled.set()

    def stop_if_asked(self) -> None:
        """Raise JobStopped when `should_stop()`. Call it where stopping leaves nothing half-done."""
        if self.should_stop():
            raise JobStopped

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """A transaction that commits only while this attempt still holds the job. Wrap every write before the end in it."""
        try:
            with lease.fenced(self.job.pk, self.owner, self.attempt):
                yield
        except LeaseLost:
            self.lost.set()
            raise
