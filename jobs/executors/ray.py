"""A job on a Ray cluster, through the Ray Jobs REST API; nothing of Ray is imported here."""

import os
import shlex
import sys
from time import monotonic, sleep
from typing import Any

import httpx
from django.conf import settings

from jobs.executors.base import NotStarted
from jobs.executors.local import THREAD_VARIABLES
from jobs.limits import TIME
from jobs.models import Job
from jobs.profiles import Profile
from jobs.traces import without_values

ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
TAIL = 8000
RAY_SECONDS = 10.0  # how long one request may take


class RayJobs:
    """The four calls of the Ray Jobs API that are needed (submit, status, stop, logs)."""

    def __init__(self, address: str, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=address, headers=headers, timeout=RAY_SECONDS, trust_env=False)

    def submit(self, entrypoint: str, submission_id: str, **options: Any) -> str:
        answer = self.http.post("/api/jobs/", json={"entrypoint": entrypoint, "submission_id": submission_id, **options})
        answer.raise_for_status()
        return str(answer.json()["submission_id"])

    def status(self, submission_id: str) -> tuple[str, str]:
        """(status, message)"""
        answer = self.http.get(f"/api/jobs/{submission_id}")
        answer.raise_for_status()
        body = answer.json()
        return str(body["status"]), str(body.get("message") or "")

    def stop(self, submission_id: str) -> None:
        self.http.post(f"/api/jobs/{submission_id}/stop").raise_for_status()

    def logs(self, submission_id: str) -> str:
        answer = self.http.get(f"/api/jobs/{submission_id}/logs")
        answer.raise_for_status()
        return str(answer.json().get("logs") or "")


def entrypoint(job: Job, owner: str) -> str:
    """The same entry point as everywhere; on Ray the process watches its own limits."""
    base = settings.JOBS_RAY_ENTRYPOINT or shlex.join([sys.executable, str(settings.BASE_DIR / "manage.py"), "run_job"])
    return f"{base} {job.pk} --owner {shlex.quote(owner)} --watch"


def options(profile: Profile) -> dict[str, Any]:
    """What the profile reserves. Secrets stay out: Ray shows runtime environments on its dashboard."""
    variables = {name: str(profile.threads) for name in THREAD_VARIABLES}
    variables |= {name: os.environ[name] for name in settings.JOBS_RAY_ENV if name in os.environ}
    return {
        "entrypoint_num_cpus": profile.threads,
        "entrypoint_num_gpus": profile.gpus,
        "entrypoint_memory": profile.memory_mb * 1024**2,
        "runtime_env": {"env_vars": variables},
    }


class RayExecution:
    """A submitted Ray job."""

    def __init__(self, job: Job, owner: str, profile: Profile) -> None:
        self.client = RayJobs(settings.JOBS_RAY_ADDRESS, settings.JOBS_RAY_TOKEN)
        self.profile = profile
        self.began: float | None = None
        self.status, self.message = "PENDING", ""
        submission = f"aimass-{job.pk}-{job.attempt}-{owner[-8:]}"
        try:
            self.submission = self.client.submit(
                entrypoint(job, owner), submission, metadata={"aimass_job": str(job.pk)}, **options(profile)
            )
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise NotStarted(f"Ray at {settings.JOBS_RAY_ADDRESS} did not take the job: {error}") from error

    def alive(self) -> bool:
        """An unreachable Ray says nothing: the job's own lease decides whether it still runs."""
        sleep(settings.JOBS_RAY_POLL_SECONDS)
        try:
            self.status, self.message = self.client.status(self.submission)
        except (httpx.HTTPError, KeyError, ValueError) as error:
            self.message = f"Ray does not answer: {error}"
        if self.status == "RUNNING" and self.began is None:
            self.began = monotonic()
        return self.status not in ENDED

    def over_limit(self) -> str | None:
        overdue = self.began is not None and monotonic() - self.began > self.profile.time_limit
        return TIME if overdue else None

    def ask_to_stop(self) -> None:
        self._stop()

    def kill(self) -> None:
        self._stop()

    def _stop(self) -> None:
        try:
            self.client.stop(self.submission)
        except httpx.HTTPError as error:
            self.message = f"Ray did not stop the job: {error}"

    def post_mortem(self) -> str:
        try:
            tail = without_values(self.client.logs(self.submission)[-TAIL:])
        except (httpx.HTTPError, ValueError) as error:
            tail = f"(no log: {error})"
        finally:
            self.client.http.close()
        return f"Ray job {self.submission}: {self.status} {self.message}\n{tail}"
