"""Compute nodes: what this host has, what is free of it, and when it was last heard of."""

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.lease import after
from jobs.models import Job, Node, State
from jobs.profiles import LIGHT, PROFILES, Profile

ENVIRONMENT = "AIMASS_NODE_ID"  # tells a cluster's processes which node they belong to


@dataclass(frozen=True)
class Resources:
    """Processors, memory in MB, and indices of GPUs."""

    cpus: int
    memory_mb: int
    gpus: tuple[int, ...]

    def fits(self, profile: Profile, *, whole: "Resources | None" = None) -> bool:
        """Whether the profile's needs are met. More threads than the whole node has are cut down to what it has."""
        threads = min(profile.threads, whole.cpus) if whole else profile.threads
        return self.cpus >= threads and self.memory_mb >= profile.memory_mb and len(self.gpus) >= profile.gpus


def cgroup_memory_mb() -> int | None:
    """The container's memory limit, where there is one."""
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 2**60:
            return int(text) // 1024**2
    return None


@cache
def host_resources() -> Resources:
    """What this host has; AIMASS_NODE_CPUS, AIMASS_NODE_MEMORY_MB and AIMASS_NODE_GPUS say otherwise. No torch needed."""
    total = psutil.virtual_memory().total // 1024**2
    memory = settings.JOBS_NODE_MEMORY_MB or min(total, cgroup_memory_mb() or total)
    cpus = settings.JOBS_NODE_CPUS or len(os.sched_getaffinity(0))
    found = len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()])
    gpus = found if settings.JOBS_NODE_GPUS is None else settings.JOBS_NODE_GPUS
    return Resources(cpus, memory, tuple(range(gpus)))


def host_name() -> str:
    return (settings.JOBS_NODE_NAME or socket.gethostname())[:200]


def register(queue: str) -> Node:
    """This process as a node that works on a queue; the same process registers once."""
    have = host_resources()
    node, _created = Node.objects.update_or_create(
        name=host_name(),
        queue=queue,
        pid=os.getpid(),
        defaults={
            "cpus": have.cpus,
            "memory_mb": have.memory_mb,
            "gpus": len(have.gpus),
            "heartbeat_at": Now(),
            "stopped_at": None,
        },
    )
    node.refresh_from_db()
    return node


def current(queue: str) -> Node:
    """The node that this process belongs to: its supervisor's, or (a bare qcluster) one of its own."""
    number = os.environ.get(ENVIRONMENT, "")
    node = Node.objects.filter(pk=int(number)).first() if number.isdigit() else None
    return node or register(queue)


def beat(node_id: int) -> None:
    Node.objects.filter(pk=node_id).update(heartbeat_at=Now())


def stop(node_id: int) -> None:
    """This node takes no more jobs."""
    Node.objects.filter(pk=node_id).update(stopped_at=Now(), heartbeat_at=Now())


def stopping(node_id: int) -> bool:
    return not Node.objects.filter(pk=node_id, stopped_at=None).exists()


def live() -> QuerySet[Node]:
    """Nodes that were heard of lately and have not been stopped."""
    return Node.objects.filter(stopped_at=None, heartbeat_at__gte=after(-settings.JOBS_NODE_SILENT_SECONDS))


def forget_old() -> int:
    """Remove nodes that have been silent for a week, so that the page shows what is there."""
    return Node.objects.filter(heartbeat_at__lt=after(-7 * 86400)).delete()[0]


def total_of(node: Node) -> Resources:
    return Resources(node.cpus, node.memory_mb, tuple(range(node.gpus)))


def free_of(node: Node) -> Resources:
    """What is left on the node's host. Short work does not wait for processors that a training uses, only for memory."""
    cpus, memory, gpus = node.cpus, node.memory_mb, set(range(node.gpus))
    running = Job.objects.filter(node__name=node.name, state=State.RUNNING, executor="local")
    for name, queue, taken in running.values_list("profile", "queue", "gpus"):
        used = PROFILES.get(name, PROFILES["medium"])
        if queue == node.queue or LIGHT not in (queue, node.queue):
            cpus -= min(used.threads, node.cpus)
        memory -= used.memory_mb
        gpus -= set(taken)
    return Resources(max(0, cpus), max(0, memory), tuple(sorted(gpus)))


def has_gpu() -> bool:
    """Whether any live node has a GPU."""
    return live().filter(gpus__gt=0).exists()


def largest_fitting() -> Profile | None:
    """The profile with the most memory that some live node could run when idle; None when no node is known."""
    nodes = list(live())
    fitting = [p for p in PROFILES.values() if any(total_of(n).fits(p, whole=total_of(n)) for n in nodes)]
    return max(fitting, key=lambda p: p.memory_mb, default=None)


def could_run(profile: Profile) -> bool:
    """Whether some live node could run the profile when idle. True when no node is known, as one may yet start."""
    nodes = list(live())
    return not nodes or any(total_of(node).fits(profile, whole=total_of(node)) for node in nodes)


def waits_for_a_larger(job: Job) -> bool:
    """Whether a waiting job would wait for ever with the computers that work now. Ray finds its own."""
    profile = PROFILES.get(job.profile)
    if job.state != State.QUEUED or job.executor != "local" or profile is None:
        return False
    return not could_run(profile)
