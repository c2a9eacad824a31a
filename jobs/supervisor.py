"""`manage.py worker`: keeps django-q2's clusters alive, beats for the node, reaps, and stops everything cleanly."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from time import monotonic, sleep
from types import FrameType

import psutil
from django.conf import settings
from django.db import DatabaseError, connection

from jobs import nodes, reaper
from jobs.lease import due
from jobs.models import Job, State
from jobs.profiles import PROFILES
from jobs.schedules import ensure

logger = logging.getLogger(__name__)

TICK = 0.5
STEADY_SECONDS = 60.0  # a cluster that has run so long did not die of its start
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CLUSTER_EXIT_SECONDS = 10.0
try:
    LIBC: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
except OSError:
    LIBC = None


def die_with_parent() -> None:
    """In the cluster's process before it starts: a supervisor that is killed takes its cluster along, gently."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Cluster:
    """One queue's `qcluster`, in a session of its own so that its processes can be ended together."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.node = nodes.register(queue)
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.early_deaths = 0
        self.stalls = 0
        self.next_start = 0.0
        self.stalled_since: float | None = None

    def start(self) -> None:
        self.started_at = monotonic()
        self.stalled_since = None
        self.process = subprocess.Popen(  # noqa: S603  our own command line
            # The checks import every view of the portal, which a cluster never calls: most of its start.
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster", "--skip-checks"],
            env={**os.environ, "Q_CLUSTER_NAME": self.queue, nodes.ENVIRONMENT: str(self.node.pk), "AIMASS_DISPATCH": "queue"},
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        logger.info("Cluster of queue %s started (process %s)", self.queue, self.process.pid)

    def ensure_running(self) -> None:
        """Start it, or start it again after it has died; the pause grows while it keeps dying."""
        if self.process is not None:
            if self.process.poll() is None:
                return
            logger.error("Cluster of queue %s has died (%s)", self.queue, self.process.returncode)
            self.kill()
            self.early_deaths = self.early_deaths + 1 if monotonic() - self.started_at < STEADY_SECONDS else 0
            self.next_start = monotonic() + min(30.0, 0.5 * 2.0 ** min(self.early_deaths, 6))
            self.process = None
        if monotonic() >= self.next_start:
            self.start()

    def kill(self) -> None:
        """End all that is left of it. The jobs' processes are in sessions of their own and go on."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stalled(self) -> bool:
        """Work lies waiting that this node could do, and the cluster does not take it up: it is dead though it runs.

        The patience doubles with each restart in a row, so that a slow host's cluster is not killed while it starts.
        """
        if not self.leaves_work_lying():
            self.stalled_since, self.stalls = None, 0
            return False
        self.stalled_since = self.stalled_since or monotonic()
        patience = settings.JOBS_STALL_SECONDS * 2.0 ** min(self.stalls, 5)
        if monotonic() - self.stalled_since <= patience:
            return False
        self.stalls += 1
        return True

    def leaves_work_lying(self) -> bool:
        running = Job.objects.filter(node=self.node, state=State.RUNNING).count()
        if running >= settings.Q_CLUSTER["workers"]:
            return False
        free, total = nodes.free_of(self.node), nodes.total_of(self.node)
        waiting = Job.objects.filter(due(), queue=self.queue).values_list("profile", "executor").distinct()
        return any(
            executor != "local" or free.fits(PROFILES.get(name, PROFILES["medium"]), whole=total)
            for name, executor in waiting
        )


class Supervisor:
    """One process for all queues of this host."""

    def __init__(self, queues: list[str]) -> None:
        self.queues = queues
        self.stop_asked = False
        self.clusters: list[Cluster] = []

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.on_signal)
        if LIBC is not None:  # orphaned jobs of a killed worker become our children, so that we can end them too
            LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        ensure()
        self.clusters = [Cluster(queue) for queue in self.queues]
        every, last = min(5.0, settings.JOBS_LEASE_SECONDS / 2), 0.0
        while not self.stop_asked:
            for cluster in self.clusters:
                cluster.ensure_running()
            if monotonic() - last >= every:
                last = monotonic()
                self.look_after()
            self.bury()
            sleep(TICK)
        self.shut_down()
        return 0

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop_asked = True

    def look_after(self) -> None:
        """Beat, reap, and restart a cluster that is dead though it runs. A database that is away is waited for."""
        try:
            for cluster in self.clusters:
                nodes.beat(cluster.node.pk)
            reaper.reap()
            nodes.forget_old()
            for cluster in self.clusters:
                if cluster.stalled():
                    logger.error("Cluster of queue %s leaves work lying and is restarted", cluster.queue)
                    cluster.kill()
        except DatabaseError as error:
            logger.warning("The supervisor cannot reach the database: %s", type(error).__name__)
            connection.close()

    def bury(self) -> None:
        """Collect ended orphans that became our children."""
        own = {cluster.process.pid for cluster in self.clusters if cluster.process is not None}
        with suppress(psutil.Error):
            for child in psutil.Process().children():
                with suppress(psutil.Error, ChildProcessError):
                    if child.pid not in own and child.status() == psutil.STATUS_ZOMBIE:
                        os.waitpid(child.pid, os.WNOHANG)

    def shut_down(self) -> None:
        """Take no more jobs, let running ones reach a safe point and go back into the queue, end the clusters."""
        logger.info("The worker is stopping")
        with suppress(DatabaseError):
            for cluster in self.clusters:
                nodes.stop(cluster.node.pk)
        jobs = job_processes()
        for process in jobs:
            with suppress(psutil.Error):
                process.terminate()
        alive = [cluster.process for cluster in self.clusters if cluster.process is not None]
        for cluster_process in alive:
            with suppress(ProcessLookupError):
                cluster_process.terminate()
        psutil.wait_procs(jobs, timeout=settings.JOBS_GRACE_SECONDS)
        for process in job_processes():
            with suppress(psutil.Error):
                process.kill()
        give_up = monotonic() + CLUSTER_EXIT_SECONDS
        while any(p.poll() is None for p in alive) and monotonic() < give_up:
            sleep(TICK / 5)
        for cluster in self.clusters:
            cluster.kill()


def job_processes() -> list[psutil.Process]:
    """The jobs' processes below this one, orphans included, with all that they have started."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "run_job" in process.cmdline():
                found |= {p.pid: p for p in (process, *process.children(recursive=True))}
    return list(found.values())
