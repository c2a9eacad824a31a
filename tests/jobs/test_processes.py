"""Real workers, clusters and job processes, killed in the middle: every job ends exactly once, nothing is half-written."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.models import TERMINAL, Job, JobLog, Node, State
from jobs.services import cancel, submit
from tests.conftest import actor, make_user
from tests.jobs.process_site import LEASE_SECONDS, Site, is_running, new_site, on_database, until

pytestmark = pytest.mark.process
H = "tests.jobs.handlers."


@pytest.fixture(scope="module")
def site(tmp_path_factory: Any, django_db_blocker: Any) -> Iterator[Site]:
    with new_site(tmp_path_factory.mktemp("site"), django_db_blocker) as made:
        yield made


@pytest.fixture(scope="module")
def person(site: Site) -> Any:
    from accounts.models import Organisation

    return make_user("dana@processes.example", Organisation.objects.create(name="St Mary's"), "data_scientist")


@pytest.fixture
def worker(site: Site) -> psutil.Popen:
    """The shared worker of the light queue; started again by the test after one that killed it."""
    running = [p for p in site.started if is_running(p, "worker")]
    return running[0] if running else site.manage("worker", "--queue", "light")


@pytest.fixture
def send(person: Any, tmp_path: Path) -> Any:
    def make(name: str, **extra: Any) -> Job:
        payload = {"folder": str(tmp_path), **extra.pop("payload", {})}
        return submit(actor=actor(person), task=H + name, title=name, payload=payload, **extra)

    return make


def ended(job: Job, site: Site) -> Job:
    """Wait until the job has ended and is settled."""

    def look() -> bool:
        job.refresh_from_db()
        return job.state in TERMINAL and job.settled_at is not None

    try:
        until(look, f"the end of {job.title}")
    except AssertionError as error:
        row = Job.objects.filter(pk=job.pk).values().get()
        raise AssertionError(f"{error}\n{row}\n{site.log()[-6000:]}") from None
    return job


def lines(folder: Path, name: str) -> list[str]:
    path = folder / name
    return path.read_text().splitlines() if path.exists() else []


def logged(job: Job) -> list[str]:
    return list(JobLog.objects.filter(job=job).values_list("text", flat=True))


def assert_whole(job: Job) -> None:
    """All three steps are done exactly once, in order, and the side effects once."""
    texts = logged(job)
    assert [t for t in texts if t.endswith("done")] == ["step 1 done", "step 2 done", "step 3 done"]
    assert texts.count("settled done") == 1
    assert job.result == {"steps": 3}


def test_killed_job_process_goes_on_from_its_checkpoint(site: Site, worker: Any, send: Any, tmp_path: Path) -> None:
    job = send("steps")
    until(lambda: lines(tmp_path, "middle"), "the middle of the second step")
    site.job_process(job).kill()
    (tmp_path / "go").touch()
    ended(job, site)
    assert (job.state, job.attempt) == (State.DONE, 2)
    assert [line.split()[1] for line in lines(tmp_path, "starts")] == ["1", "2"]
    assert lines(tmp_path, "ends") and len(lines(tmp_path, "ends")) == 1
    assert_whole(job)
    assert not (site.folder / "jobs" / str(job.pk)).exists()
