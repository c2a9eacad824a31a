"""The one desk of this process: begun by the first question, shared by all threads, ended when nobody asks for a while.

Starting a desk takes seconds, so it is kept; a process that never sees a file never has one.
"""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

from datasets.arrivals.desk import Desk

SECONDS = 100.0  # for one question, while somebody waits for a page
WAIT = 60.0  # for the questions of others
IDLE = 600.0  # without a question, then the process ends


class Busy(ConnectionError):
    """Others are being answered: ask again later. (Jobs are tried again after a ConnectionError.)"""


class _Shared:
    def __init__(self) -> None:
        self.lock = threading.RLock()  # the same thread may ask while it has the desk: DICOM within an arrival
        self.desk = Desk(seconds=SECONDS)
        self.used = monotonic()
        self.watched = False

    def end(self, *, unless_used_for: float = 0.0) -> bool:
        """End the process if nobody has asked for so long; whether it is ended."""
        if not self.lock.acquire(blocking=False):
            return False
        try:
            if monotonic() - self.used < unless_used_for:
                return False
            self.desk.end()
            self.watched = False
            return True
        finally:
            self.lock.release()

    def watch(self) -> None:
        """In a thread of its own, as long as there is a process."""
        while not self.end(unless_used_for=IDLE):
            sleep(max(1.0, IDLE - (monotonic() - self.used)))


_shared = _Shared()


@contextmanager
def shared(*, seconds: float = SECONDS) -> Iterator[Desk]:
    """The desk, for this thread alone while the block lasts; `seconds` for each question. Raises Busy."""
    own = _shared
    if not own.lock.acquire(timeout=WAIT):
        raise Busy("the process that looks at files is busy")
    try:
        before, own.desk.seconds = own.desk.seconds, seconds
        if not own.watched:
            own.watched = True
            threading.Thread(target=own.watch, name="desk-watch", daemon=True).start()
        try:
            yield own.desk
        finally:
            own.desk.seconds, own.used = before, monotonic()
    finally:
        own.lock.release()


def _forked() -> None:
    """A forked child has neither the right to its parent's desk nor the thread that may hold its lock."""
    global _shared
    _shared.desk.leave()
    _shared = _Shared()


atexit.register(lambda: _shared.desk.end())
os.register_at_fork(after_in_child=_forked)
