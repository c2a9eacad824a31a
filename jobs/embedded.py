"""The SDK's portal in one process: a thread starts each job's subprocess itself, with no django-q2 and no worker."""

import atexit
import logging
import threading
from time import monotonic, sleep

from django.conf import settings
from django.db import DatabaseError, connections

from jobs import dispatch, nodes, reaper
from jobs.models import Job, State
from jobs.profiles import QUEUES

logger = logging.getLogger(__name__)

QUEUE = "embedded"
BEAT_EVERY = 10.0
IDLE_POLL = 0.5  # seconds between two looks while queued jobs wait for their time

_lock = threading.Lock()
_stop = threading.Event()
_again = threading.Event()
_thread: threading.Thread | None = None
_registered = False


def wake() -> None:
    """Start the thread, or tell the running one that there is more."""
    global _thread, _registered
    with _lock:
        _again.set()
        if _thread is None or not _thread.is_alive():
            if not _registered:
                atexit.register(shut_down)
                _registered = True
            _thread = threading.Thread(target=work, name="jobs-embedded", daemon=True)
            _thread.start()


def work() -> None:
    """Run what is queued until nothing is left, including what waits for its next attempt."""
    global _thread
    try:
        node = nodes.register(QUEUE)
        pulse = Pulse(node.pk)
        while not _stop.is_set():
            _again.clear()
            try:
                reaper.reap()
                pulse()
                dispatch.drain(list(QUEUES), node, interrupted=pulse)
                left = Job.objects.filter(state__in=(State.QUEUED, State.RUNNING)).exists()
            except DatabaseError as error:
                logger.warning("The embedded queue cannot reach the database: %s", type(error).__name__)
                left = True
            with _lock:
                if not left and not _again.is_set():
                    _thread = None
                    return
            if not _again.is_set():
                sleep(IDLE_POLL)
        nodes.stop(node.pk)
    finally:
        connections.close_all()


class Pulse:
    """Asked often by whoever attends to a job: beats for the node now and then, answers whether to stop."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.last = float("-inf")

    def __call__(self) -> bool:
        if monotonic() - self.last > BEAT_EVERY:
            self.last = monotonic()
            nodes.beat(self.node_id)
        return _stop.is_set()


def shut_down() -> None:
    """When the program ends: running jobs go back into the queue; the next embedded portal takes them up."""
    _stop.set()
    thread = _thread
    if thread is not None and thread.is_alive():
        thread.join(settings.JOBS_GRACE_SECONDS + 5)
