"""How much memory and time a job's processes use, against what its profile allows."""

from time import monotonic

import psutil

from jobs.profiles import Profile

MEMORY = "memory"
TIME = "time"


def tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants that still exist."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def resident_mb(pid: int) -> float:
    """Resident memory of the process tree in MB. (Virtual memory says nothing: torch maps far more than it uses.)"""
    total = 0
    for process in tree(pid):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 1024**2


class Limits:
    """One process tree against its profile."""

    def __init__(self, pid: int, profile: Profile) -> None:
        self.pid = pid
        self.profile = profile
        self.started = monotonic()
        self.peak_mb = 0.0

    def exceeded(self) -> str | None:
        """"memory", "time" or None."""
        self.peak_mb = max(self.peak_mb, resident_mb(self.pid))
        if self.peak_mb > self.profile.memory_mb:
            return MEMORY
        if monotonic() - self.started > self.profile.time_limit:
            return TIME
        return None
