"""What a job's own process does besides the job: niceness, signals, and watching itself when nobody else does."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings

from jobs import limits
from jobs.context import JobContext
from jobs.executors.base import CANCELLED, conclude
from jobs.lease import ADOPTED
from jobs.profiles import PROFILES
from jobs.runner import NOT_MINE, run_job

LOST_GRACE = 5.0  # seconds that a handler has to notice that its job was taken; then the process ends itself
EXIT_NOT_MINE = 3
EXIT_LOST = 75
EXIT_LIMIT = 70
OOM_SCORE = "500"  # when memory runs out, the kernel ends a job before the database or the portal


class Watch:
    """Called with the context before the handler starts; then at each beat."""

    def __init__(self, *, always: bool) -> None:
        self.always = always
        self.parent = os.getppid()
        self.context: JobContext | None = None
        self.limits: limits.Limits | None = None
        self.lost_since: float | None = None
        self.cancelled_since: float | None = None
        self.asked = False

    def __call__(self, context: JobContext) -> Callable[[], None]:
        self.context = context
        profile = PROFILES.get(context.job.profile, PROFILES["medium"])
        with suppress(OSError):
            os.nice(profile.niceness)
        self.limits = limits.Limits(os.getpid(), profile)
        if self.asked:
            context.interrupted.set()
        return self.beat

    def on_signal(self, number: int, frame: Any) -> None:
        """SIGTERM: stop at the next safe point."""
        self.asked = True
        if self.context is not None:
            self.context.interrupted.set()

    def beat(self) -> None:
        """In the heartbeat's thread: end this process when the job is no longer ours, or unwatched and overdue."""
        assert self.context is not None
        if self.context.lost.is_set():
            self.lost_since = self.lost_since or monotonic()
            if monotonic() - self.lost_since > LOST_GRACE:
                os._exit(EXIT_LOST)
        elif (self.always or os.getppid() != self.parent) and (reason := self.overdue()):
            peak = self.limits.peak_mb if self.limits is not None else 0.0
            job, owner = self.context.job, self.context.owner.removesuffix(ADOPTED)
            conclude(job, owner, reason, f"Peak memory {peak:.0f} MB; ended by itself.")
            os._exit(EXIT_LIMIT)

    def overdue(self) -> str | None:
        """What the executor would end this process for: a limit, or a cancellation that the handler does not hear."""
        assert self.context is not None and self.limits is not None
        if self.context.cancelled.is_set():
            self.cancelled_since = self.cancelled_since or monotonic()
            if monotonic() - self.cancelled_since > settings.JOBS_GRACE_SECONDS:
                return CANCELLED
        return self.limits.exceeded()


def main(job_id: UUID, owner: str, *, watch_itself: bool) -> int:
    """Run one job in this process. The exit code is 0 whenever the row says how the job stands."""
    watch = Watch(always=watch_itself)
    signal.signal(signal.SIGTERM, watch.on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor, which asks by SIGTERM
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    Path(settings.DATA_DIR, "jobs").mkdir(parents=True, exist_ok=True)
    outcome = run_job(job_id, owner, beating=True, watch=watch)
    return EXIT_NOT_MINE if outcome == NOT_MINE else 0
