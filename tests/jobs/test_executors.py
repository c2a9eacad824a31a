"""The executors without django-q2: Ray over HTTP, and the embedded portal of the SDK; real processes, real database."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.utils import timezone

from jobs.dispatch import drain
from jobs.models import Job, JobLog, Node, State
from jobs.profiles import PROFILES
from jobs.services import cancel, submit
from tests.conftest import actor, make_user
from tests.jobs.process_site import Site, new_site, until
from tests.jobs.ray_server import RayServer

pytestmark = [pytest.mark.process, pytest.mark.once]  # how a process is started; the claims are those of test_processes
H = "tests.jobs.handlers."


@pytest.fixture(scope="module")
def site(tmp_path_factory: Any, django_db_blocker: Any) -> Iterator[Site]:
    with new_site(tmp_path_factory.mktemp("site"), django_db_blocker) as made:
        yield made


@pytest.fixture(scope="module")
def person(site: Site) -> Any:
    from accounts.models import Organisation

    return make_user("dana@executors.example", Organisation.objects.create(name="St Mary's"), "data_scientist")


@pytest.fixture
def ray(site: Site, tmp_path: Path, settings: Any) -> Iterator[RayServer]:
    server = RayServer(site.environment, tmp_path)
    settings.JOBS_EXECUTOR = "ray"
    settings.JOBS_RAY_ADDRESS = server.address
    settings.JOBS_RAY_POLL_SECONDS = 0.1
    settings.JOBS_GRACE_SECONDS = 5.0
    settings.JOBS_BACKOFF_SECONDS = 0.0
    yield server
    server.close()


@pytest.fixture
def node(site: Site) -> Node:
    having = {"cpus": 1, "memory_mb": 1, "heartbeat_at": timezone.now()}
    return Node.objects.get_or_create(name="n", queue="light", pid=1, defaults=having)[0]


@pytest.fixture
def send(person: Any, tmp_path: Path) -> Any:
    def make(name: str, **payload: Any) -> Job:
        payload["folder"] = str(tmp_path)
        return submit(actor=actor(person), task=H + name, title=name, payload=payload)

    return make


def test_ray_runs_the_same_entry_point_with_the_profiles_resources(ray: RayServer, node: Node, send: Any) -> None:
    job = send("add", a=20, b=22)
    assert drain(["light"], node) == 1
    job.refresh_from_db()
    assert (job.state, job.result, job.executor) == (State.DONE, {"sum": 42}, "ray")
    body = next(iter(ray.jobs.values()))[1]
    assert body["entrypoint_num_cpus"] == 1 and body["entrypoint_memory"] == 1024**3
    assert "SECRET_KEY" not in str(body) and f"run_job {job.pk}" in body["entrypoint"]


def test_ray_job_that_dies_is_run_again(ray: RayServer, node: Node, send: Any) -> None:
    job = send("half_a_write")
    assert drain(["light"], node) == 2
    job.refresh_from_db()
    assert (job.state, job.attempt, len(ray.jobs)) == (State.DONE, 2, 2)
    assert list(JobLog.objects.filter(job=job).values_list("attempt", flat=True)) == [2, 2]


def test_ray_job_is_stopped_when_cancelled(ray: RayServer, node: Node, send: Any, person: Any, tmp_path: Path) -> None:
    job = send("steps")
    alias_connection = connections["default"]

    def attend() -> None:
        own = alias_connection.copy()
        own.inc_thread_sharing()
        connections["default"] = own
        try:
            drain(["light"], node)
        finally:
            own.close()

    thread = threading.Thread(target=attend)
    thread.start()
    until(lambda: (tmp_path / "middle").exists(), "the middle of the second step")
    cancel(actor=actor(person), job=job)
    thread.join(30)
    job.refresh_from_db()
    assert (job.state, thread.is_alive()) == (State.CANCELLED, False)
    assert list(JobLog.objects.filter(job=job, text="settled cancelled").values_list("attempt", flat=True)) == [0]


def test_ray_that_does_not_answer_fails_the_job_after_its_attempts(ray: RayServer, node: Node, send: Any, settings: Any) -> None:
    settings.JOBS_RAY_ADDRESS = "http://127.0.0.1:9"
    job = send("add", a=1, b=1)
    drain(["light"], node)
    job.refresh_from_db()
    assert (job.state, job.attempt) == (State.FAILED, 3)
    assert "did not take the job" in job.error_engineer and "Traceback" not in job.error_person


def test_job_over_its_time_limit_fails_and_says_what_to_do(
    site: Site, send: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    settings.DATA_DIR = site.folder
    monkeypatch.setitem(PROFILES, "small", replace(PROFILES["small"], time_limit=4))
    having = {"cpus": 1, "memory_mb": 2048, "heartbeat_at": timezone.now()}
    roomy = Node.objects.create(name="roomy", queue="light", pid=1, **having)
    job = send("deaf")
    assert drain(["light"], roomy) == 1
    job.refresh_from_db()
    assert (job.state, job.attempt, job.result) == (State.FAILED, 1, None)
    assert "took longer than its profile allows: choose a larger profile" in job.error_person
    assert "SIGKILL" in job.error_engineer and "SIGKILL" not in job.error_person
    assert list(JobLog.objects.filter(job=job).values_list("text", flat=True)) == ["settled failed"]
    until(lambda: not site.processes(), "the end of all processes", patience=10)


EMBEDDED = """
import django; django.setup()
import time
from accounts.actor import Actor
from accounts.models import Organisation
from jobs.models import Job
from jobs.services import submit
organisation, _ = Organisation.objects.get_or_create(name="embedded")
actor = Actor(organisation=organisation)
jobs = [submit(actor=actor, task="tests.jobs.handlers." + n, title=n, payload={"a": 1, "b": 2}) for n in ("flaky", "add")]
{rest}
"""
WAIT = """
end = time.monotonic() + 40
while time.monotonic() < end and Job.objects.filter(pk__in=[j.pk for j in jobs], settled_at=None).exists():
    time.sleep(0.1)
print(*[Job.objects.get(pk=j.pk).state for j in jobs])
"""
LEAVE = """
slow = submit(actor=actor, task="tests.jobs.handlers.steps", title="left", payload={"folder": %r})
from pathlib import Path
while not Path(%r, "middle").exists():
    time.sleep(0.05)
"""


def embedded(site: Site, rest: str) -> subprocess.CompletedProcess[str]:
    environment = {**site.environment, "AIMASS_DISPATCH": "embedded", "DJANGO_SETTINGS_MODULE": "aimass_site.settings"}
    return subprocess.run(
        [sys.executable, "-c", EMBEDDED.replace("{rest}", rest)],
        env=environment,
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=80,
    )


def test_embedded_portal_runs_jobs_without_a_worker(site: Site) -> None:
    done = embedded(site, WAIT)
    assert done.stdout.split() == ["done", "done"], done.stderr


def test_embedded_portal_that_ends_gives_its_job_back(site: Site, tmp_path: Path) -> None:
    done = embedded(site, LEAVE % (str(tmp_path), str(tmp_path)))
    assert done.returncode == 0, done.stderr
    job = Job.objects.get(title="left")
    assert (job.state, job.attempt) == (State.QUEUED, 0)
    until(lambda: not site.processes(), "the end of all processes", patience=10)
