"""Where a claimed job runs: a subprocess here (`local`) or a Ray cluster (`ray`); both run `manage.py run_job ID`."""

from collections.abc import Callable

from jobs.executors.base import Execution, NotStarted, attend
from jobs.models import Job
from jobs.profiles import PROFILES

__all__ = ["run"]


def start(job: Job, owner: str) -> Execution:
    """Start the job's process by the executor that the job names."""
    profile = PROFILES.get(job.profile, PROFILES["medium"])
    if job.executor == "ray":
        from jobs.executors.ray import RayExecution

        return RayExecution(job, owner, profile)
    if job.executor == "local":
        from jobs.executors.local import LocalExecution

        return LocalExecution(job, owner, profile)
    raise NotStarted(f"unknown executor {job.executor!r}; there are: local, ray")


def run(job: Job, owner: str, *, interrupted: Callable[[], bool]) -> None:
    """Start a claimed job and attend to it until its process has ended and the row says how."""
    attend(job, owner, lambda: start(job, owner), interrupted)
