"""The thread that keeps a running job's lease, on a database connection of its own."""

import logging
import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import DatabaseError, connections

from jobs import lease
from jobs.context import JobContext

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds between two looks at the row: how soon a cancellation is noticed


class Heartbeat:
    """`with Heartbeat(context):` extends the lease every quarter of it and sets the context's events.

    `on_beat` is called at each beat, also after the lease is lost.
    """

    def __init__(self, context: JobContext, on_beat: Callable[[], None] | None = None) -> None:
        self.context = context
        self.on_beat = on_beat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job-heartbeat", daemon=True)
        self._extended = monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=settings.JOBS_LEASE_SECONDS)

    def _run(self) -> None:
        try:
            while not self._stop.wait(min(LOOK_EVERY, settings.JOBS_LEASE_SECONDS / 4)):
                if not self.context.lost.is_set():
                    self._beat()
                if self.on_beat is not None:
                    self.on_beat()
        finally:
            connections.close_all()

    def _beat(self) -> None:
        try:
            self.context.look()
            if monotonic() - self._extended >= settings.JOBS_LEASE_SECONDS / 4:
                if not lease.extend(self.context.job.pk, self.context.owner, self.context.attempt):
                    self.context.lost.set()
                self._extended = monotonic()
        except DatabaseError as error:
            # A busy or restarting database: the lease has room for several more tries.
            logger.warning("Heartbeat of job %s: %s", self.context.job.pk, type(error).__name__)
            connections.close_all()
