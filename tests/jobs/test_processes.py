"""Real workers, clusters and job processes, killed in the middle: every job ends exactly once, nothing is half-written."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db.models.functions import Now

from jobs.models import TERMINAL, Job, JobLog, Node, State
from jobs.process import EXIT_LOST
from jobs.services import cancel, submit
from tests.conftest import actor, make_user
from tests.jobs.process_site import Site, is_running, new_site, until

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
    assert [t for t in texts if t.startswith("step") and t.endswith("done")] == ["step 1 done", "step 2 done", "step 3 done"]
    assert texts.count("settled done") == 1
    assert job.result == {"steps": 3}


def cluster_processes(site: Site) -> list[psutil.Process]:
    """The cluster's main process, its sentinel, and the sentinel's children in the order of their start."""
    return sorted((p for p in site.processes() if is_running(p, "qcluster")), key=lambda p: (p.create_time(), p.pid))


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
    until(lambda: not (site.folder / "jobs" / str(job.pk)).exists(), "the removal of the job's folder")


def test_death_inside_a_transaction_leaves_nothing_half_written(site: Site, worker: Any, send: Any) -> None:
    job = ended(send("half_a_write"), site)
    assert (job.state, job.attempt) == (State.DONE, 2)
    assert list(JobLog.objects.filter(job=job).values_list("attempt", "text")) == [(2, "first half"), (2, "second half")]


def test_running_job_is_cancelled_at_a_safe_point(site: Site, worker: Any, send: Any, person: Any, tmp_path: Path) -> None:
    job = send("steps")
    until(lambda: lines(tmp_path, "middle"), "the middle of the second step")
    cancel(actor=actor(person), job=job)
    ended(job, site)
    assert (job.state, job.attempt, job.result) == (State.CANCELLED, 1, None)
    assert logged(job).count("settled cancelled") == 1
    assert not lines(tmp_path, "ends")


def test_deaf_job_is_killed_when_cancelled(site: Site, worker: Any, send: Any, person: Any, tmp_path: Path) -> None:
    job = send("deaf")
    until(lambda: lines(tmp_path, "middle"), "the deaf handler")
    process = site.job_process(job)
    cancel(actor=actor(person), job=job)
    ended(job, site)
    assert job.state == State.CANCELLED
    until(lambda: not process.is_running(), "the end of the process")
    assert logged(job) == ["settled cancelled"]


def test_job_over_its_memory_limit_fails_and_says_what_to_do(site: Site, worker: Any, send: Any) -> None:
    job = ended(send("hog"), site)
    assert (job.state, job.attempt) == (State.FAILED, 1)
    assert "ran out of memory: choose a larger profile" in job.error_person
    assert "Peak memory" in job.error_engineer and "SIGKILL" in job.error_engineer
    assert logged(job) == ["settled failed"]


def test_duplicate_deliveries_run_a_job_once(site: Site, worker: Any, send: Any, tmp_path: Path) -> None:
    from jobs.bell import ring

    job = send("steps")
    for _again in range(3):
        ring("light")
    rivals = [site.manage("run_job", str(job.pk)) for _rival in range(2)]
    until(lambda: lines(tmp_path, "middle"), "the middle of the second step")
    (tmp_path / "go").touch()
    ended(job, site)
    codes = [rival.wait(30) for rival in rivals]
    assert (job.state, job.attempt, len(lines(tmp_path, "starts"))) == (State.DONE, 1, 1)
    assert codes.count(3) >= 1  # at most one of the rivals got it, the other was told that it is not its
    assert_whole(job)


def test_node_that_lost_its_lease_and_comes_back_changes_nothing(
    site: Site, worker: Any, send: Any, tmp_path: Path
) -> None:
    job = send("steps", delay_seconds=3600)  # not due: the worker leaves it to the process that is started by hand
    frozen = site.manage("run_job", str(job.pk))
    until(lambda: lines(tmp_path, "middle"), "the middle of the second step")
    frozen.suspend()
    until(lambda: len(lines(tmp_path, "starts")) == 2, "the worker to take the job over")
    (tmp_path / "go").touch()
    ended(job, site)
    before = Job.objects.filter(pk=job.pk).values().get()
    frozen.resume()
    assert frozen.wait(30) == 0
    assert Job.objects.filter(pk=job.pk).values().get() == before
    assert (job.state, job.attempt) == (State.DONE, 2)
    assert len(lines(tmp_path, "ends")) == 1
    assert_whole(job)


@pytest.mark.skipif(not os.environ.get("DATABASE_URL"), reason="SQLite's one lock is a frozen writer's, until it is killed")
def test_holder_frozen_inside_its_fence_holds_nobody_else_up(site: Site, worker: Any, send: Any) -> None:
    job = send("freezes_in_its_fence", delay_seconds=3600)  # the worker leaves it to the process that is started by hand
    frozen = site.manage("run_job", str(job.pk), AIMASS_IDLE_TRANSACTION_SECONDS="20")
    until(lambda: frozen.status() == psutil.STATUS_STOPPED, "the process to stand still")
    began = time.monotonic()
    until(lambda: Job.objects.filter(pk=job.pk, lease_until__lt=Now()).exists(), "the end of its lease")
    assert ended(send("add", payload={"a": 2, "b": 3}), site).result == {"sum": 5}
    assert Job.objects.get(pk=job.pk).attempt == 1, f"the row was free after {time.monotonic() - began:.0f} s"
    ended(job, site)
    frozen.resume()
    assert frozen.wait(30) == 0
    job.refresh_from_db()
    assert (job.state, job.attempt) == (State.DONE, 2)
    assert logged(job) == ["settled done"]


def attendant_of(process: psutil.Process) -> psutil.Process:
    """The cluster's worker that started a job's process and watches it."""
    found = process.parent()
    assert found is not None and is_running(found, "qcluster")
    return found


def test_worker_killed_while_busy_leaves_its_job_to_end_once(site: Site, worker: Any, send: Any, tmp_path: Path) -> None:
    job = send("steps")
    until(lambda: lines(tmp_path, "middle"), "the middle of the second step")
    process = site.job_process(job)
    attendant = attendant_of(process)
    attendant.kill()
    until(lambda: process.ppid() != attendant.pid, "the job's process to be an orphan")
    (tmp_path / "go").touch()
    ended(job, site)
    assert (job.state, job.attempt, len(lines(tmp_path, "starts"))) == (State.DONE, 1, 1)
    assert_whole(job)
    until(lambda: not is_running(process, str(job.pk)), "the orphan's end")
    assert ended(send("add", payload={"a": 2, "b": 2}), site).result == {"sum": 4}


def test_cancelled_orphan_that_hears_nothing_ends_itself(
    site: Site, worker: Any, send: Any, person: Any, tmp_path: Path
) -> None:
    job = send("deaf")
    until(lambda: lines(tmp_path, "middle"), "the deaf handler")
    process = site.job_process(job)
    attendant_of(process).kill()
    cancel(actor=actor(person), job=job)
    ended(job, site)
    until(lambda: not is_running(process, str(job.pk)), "the orphan's end")
    assert (job.state, job.attempt) == (State.CANCELLED, 1)
    assert "ended by itself" in job.error_engineer
    assert logged(job) == ["settled cancelled"]


def test_orphan_that_lost_its_job_ends_itself(site: Site, worker: Any, send: Any, person: Any, tmp_path: Path) -> None:
    job = send("deaf", delay_seconds=3600)  # not due: the worker leaves it to the process that is started by hand
    lonely = site.manage("run_job", str(job.pk))
    until(lambda: lines(tmp_path, "middle"), "the deaf handler")
    lonely.suspend()
    until(lambda: len(lines(tmp_path, "middle")) == 2, "the worker to take the job over")
    lonely.resume()
    assert lonely.wait(30) == EXIT_LOST
    job.refresh_from_db()
    assert (job.state, job.attempt) == (State.RUNNING, 2)
    cancel(actor=actor(person), job=job)
    ended(job, site)
    assert (job.state, job.attempt) == (State.CANCELLED, 2)
    assert logged(job) == ["settled cancelled"]


def test_job_of_a_host_that_dies_is_ended_once_by_another(site: Site, worker: Any, send: Any, tmp_path: Path) -> None:
    job = send("steps")
    site.manage("worker", "--queue", "light", AIMASS_NODE_NAME="elsewhere")
    until(lambda: lines(tmp_path, "middle"), "the middle of the second step")
    until(lambda: Node.objects.filter(name="elsewhere").exists(), "the other host")
    for process in (worker, *worker.children(recursive=True)):
        process.kill()
    (tmp_path / "go").touch()
    ended(job, site)
    assert job.node is not None and job.node.name == "elsewhere"
    assert (job.state, job.attempt) == (State.DONE, 2)
    assert [line.split()[1] for line in lines(tmp_path, "starts")] == ["1", "2"]
    assert len(lines(tmp_path, "ends")) == 1
    assert_whole(job)


def test_cluster_whose_idle_worker_was_killed_is_replaced(site: Site, worker: Any, send: Any) -> None:
    def whole() -> list[psutil.Process]:
        found = cluster_processes(site)
        return found if len(found) >= 5 else []

    def idle() -> bool:
        """It waits in the queue's pipe, holding the queue's lock. Some kernels do not say where a process waits, so
        it must also have done nothing for a second: one that has not come so far is replaced by its cluster itself.
        """
        where = Path(f"/proc/{before[2].pid}/wchan").read_text()
        worked = before[2].cpu_times()
        time.sleep(1)
        return not before[2].children() and ("pipe" in where or where == "0") and before[2].cpu_times() == worked

    before = until(whole, "a complete cluster")
    until(idle, "the worker to be idle")
    before[2].kill()
    job = ended(send("add", payload={"a": 1, "b": 1}), site)
    assert job.result == {"sum": 2}
    # Without the supervisor's restart nothing would ever run again.
    until(lambda: not before[0].is_running(), "the end of the cluster that was replaced")


def test_killed_cluster_is_replaced_and_its_job_ends_once(site: Site, worker: Any, send: Any, tmp_path: Path) -> None:
    job = send("steps")
    until(lambda: lines(tmp_path, "middle"), "the middle of the second step")
    killed = cluster_processes(site)
    assert len(killed) >= 5
    for process in killed:
        process.kill()
    (tmp_path / "go").touch()
    ended(job, site)
    assert (job.state, job.attempt, len(lines(tmp_path, "starts"))) == (State.DONE, 1, 1)
    assert_whole(job)
    assert ended(send("add", payload={"a": 1, "b": 2}), site).result == {"sum": 3}


def test_stopped_worker_gives_its_job_back_and_leaves_nothing_running(
    site: Site, worker: Any, send: Any, tmp_path: Path
) -> None:
    job = send("steps")
    until(lambda: lines(tmp_path, "middle"), "the middle of the second step")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    job.refresh_from_db()
    assert (job.state, job.attempt) == (State.QUEUED, 0)
    until(lambda: not site.processes(), "the end of all processes", patience=10)
    assert not Node.objects.filter(pid=worker.pid, stopped_at=None).exists()
    site.manage("worker", "--queue", "light")
    (tmp_path / "go").touch()
    ended(job, site)
    assert (job.state, job.attempt) == (State.DONE, 1)
    assert_whole(job)


def test_killed_supervisor_takes_its_cluster_along_but_not_the_job(
    site: Site, worker: Any, send: Any, tmp_path: Path
) -> None:
    job = send("steps")
    until(lambda: lines(tmp_path, "middle"), "the middle of the second step")
    worker.kill()
    worker.wait(10)
    (tmp_path / "go").touch()
    ended(job, site)
    assert (job.state, job.attempt) == (State.DONE, 1)
    assert_whole(job)
    until(lambda: not site.processes(), "the cluster's end")


def test_job_survives_the_death_of_everything(site: Site, worker: Any, send: Any, tmp_path: Path) -> None:
    job = send("steps")
    until(lambda: lines(tmp_path, "middle"), "the middle of the second step")
    site.kill_all()
    until(lambda: not site.processes(), "the end of all processes", patience=10)
    both = site.manage("worker", "--all")
    (tmp_path / "go").touch()
    ended(job, site)
    assert (job.state, job.attempt) == (State.DONE, 2)
    assert len(lines(tmp_path, "ends")) == 1
    assert_whole(job)
    until(lambda: len(cluster_processes(site)) >= 10, "both clusters")
    both.send_signal(signal.SIGTERM)
    assert both.wait(30) == 0
    until(lambda: not site.processes(), "the end of all processes", patience=10)
