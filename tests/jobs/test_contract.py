"""Submitting, running, failing, cancelling and retrying a job, in this process."""

import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from jobs import bell, lease
from jobs.context import folder_of
from jobs.dispatch import pick
from jobs.models import Job, JobLog, Node, State
from jobs.profiles import PROFILES, choose
from jobs.reaper import reap
from jobs.runner import run_job
from jobs.services import NotPossible, cancel, retry, submit
from tests.conftest import actor

H = "tests.jobs.handlers."


@pytest.fixture
def send(dana: Any) -> Any:
    def make(name: str, **extra: Any) -> Job:
        payload = extra.pop("payload", {})
        return submit(actor=actor(dana), task=H + name, title=name, payload=payload, **extra)

    return make


def test_job_runs_and_keeps_its_result_progress_and_log(send: Any, run_jobs: Any) -> None:
    job = send("add", payload={"a": 2, "b": 3})
    assert job.state == State.QUEUED
    assert run_jobs() == 1
    job.refresh_from_db()
    assert (job.state, job.result, job.attempt, job.fraction) == (State.DONE, {"sum": 5}, 1, 1.0)
    assert job.detail == {"terms": 2}
    assert job.settled_at is not None and job.finished_at is not None and job.lease_until is None
    assert [line.text for line in JobLog.objects.filter(job=job)] == ["adding two numbers"]


def ended(job: Job, run_jobs: Any) -> Job:
    run_jobs()
    job.refresh_from_db()
    return job


def test_same_live_key_returns_the_live_job_and_an_ended_one_does_not_block(send: Any, run_jobs: Any) -> None:
    first = send("add", payload={"a": 1, "b": 1}, key="k")
    assert send("add", payload={"a": 1, "b": 1}, key="k").pk == first.pk
    ended(first, run_jobs)
    assert send("add", payload={"a": 1, "b": 1}, key="k").pk != first.pk


def test_foreseen_failure_keeps_both_texts_and_is_not_tried_again(send: Any, run_jobs: Any) -> None:
    job = ended(send("foreseen"), run_jobs)
    assert (job.state, job.attempt, job.error_person, job.error_engineer) == (State.FAILED, 1, "Add more records.", "3 < 20")


def test_failure_that_may_pass_is_tried_until_the_attempts_are_used_up(send: Any, run_jobs: Any) -> None:
    assert ended(send("foreseen", payload={"retry": True}, max_attempts=3), run_jobs).attempt == 3
    job = ended(send("flaky"), run_jobs)
    assert (job.state, job.result, job.error_person) == (State.DONE, {"attempt": 2}, "")


def test_unforeseen_failure_tells_the_person_no_stack_trace_and_logs_no_value(send: Any, run_jobs: Any, caplog: Any) -> None:
    job = ended(send("breaks"), run_jobs)
    assert "ZeroDivisionError" in job.error_engineer
    assert "Traceback" not in job.error_person and job.error_person
    assert "patient" not in caplog.text and "ZeroDivisionError" in caplog.text


def test_what_an_engineer_is_told_names_types_and_frames_but_quotes_no_cell(
    send: Any, run_jobs: Any, caplog: Any
) -> None:
    job = ended(send("quotes_a_cell", payload={"cell": "Zhang Wei 1961"}), run_jobs)
    assert "Zhang" not in job.error_engineer + job.error_person + caplog.text
    lines = job.error_engineer.splitlines()
    assert "ValueError" in lines and lines[-1] == "RuntimeError"
    assert any("tests/jobs/handlers.py:" in line and line.endswith(" quotes_a_cell") for line in lines)


def test_messages_of_our_own_errors_are_kept(send: Any, run_jobs: Any) -> None:
    job = ended(send("refused_by_the_engine"), run_jobs)
    assert job.error_engineer.endswith("EngineError: Only 3 labelled records.")


def test_what_a_dead_process_printed_is_cut_to_frames_and_types() -> None:
    from jobs.traces import without_values

    printed = (
        "reading Zhang Wei 1961\nTraceback (most recent call last):\n"
        '  File "/app/x.py", line 7, in read\n    float(cell)\nValueError: could not convert: Zhang Wei 1961\n'
    )
    assert without_values(printed) == "Traceback (most recent call last):\n  /app/x.py:7 read\nValueError"


def test_only_functions_marked_as_handlers_are_called(send: Any, run_jobs: Any) -> None:
    for name in ("not_a_handler", "absent"):
        job = ended(send(name), run_jobs)
        assert job.state == State.FAILED and "UnknownHandler" in job.error_engineer


def test_values_that_json_cannot_hold_become_null(send: Any, run_jobs: Any) -> None:
    job = ended(send("not_a_number"), run_jobs)
    assert job.result == {"loss": None, "text": "ab"}
    assert job.detail == {"loss": [1.0, None, None]}


def test_settle_is_repeated_until_it_succeeds(send: Any, tmp_path: Any) -> None:
    job = send("with_stubborn_settle", payload={"folder": str(tmp_path)})
    assert run_job(job.pk, "tests") == "done"
    job.refresh_from_db()
    assert job.settled_at is None
    assert reap()["settled"] == 1
    assert reap()["settled"] == 0
    assert [line.text for line in JobLog.objects.filter(job=job)] == ["settled done"]


def test_the_reaper_does_not_settle_beside_the_runner(send: Any) -> None:
    job = send("settles_while_the_reaper_comes_by")
    assert run_job(job.pk, "tests") == "done"
    assert [line.text for line in JobLog.objects.filter(job=job)] == ["settled done"]
    job.refresh_from_db()
    assert job.settled_at is not None and job.settling_until is None


def test_a_claim_to_settle_runs_out_or_is_freed_when_its_process_is_gone(send: Any) -> None:
    from jobs.executors.base import conclude

    def died_while_settling() -> Job:
        job = send("with_settle")
        Job.objects.filter(pk=job.pk).update(
            state=State.DONE, finished_at=timezone.now(), settling_by="node/1+",
            settling_until=timezone.now() + timedelta(minutes=5),
        )  # fmt: skip
        return job

    late, gone = died_while_settling(), died_while_settling()
    assert reap()["settled"] == 0
    Job.objects.filter(pk=late.pk).update(settling_until=timezone.now() - timedelta(seconds=1))
    assert reap()["settled"] == 1
    conclude(gone, "node/1", None, "gone")
    assert JobLog.objects.filter(job=gone, text="settled done").count() == 1


def test_waiting_job_is_cancelled_at_once_settled_and_can_be_retried(send: Any, dana: Any, run_jobs: Any) -> None:
    job = send("with_settle")
    cancel(actor=actor(dana), job=job)
    assert (job.state, run_jobs()) == (State.CANCELLED, 0)
    assert [line.text for line in JobLog.objects.filter(job=job)] == ["settled cancelled"]
    again = retry(actor=actor(dana), job=job)
    assert again.pk != job.pk and again.retry_of_id == job.pk
    assert retry(actor=actor(dana), job=job).pk == again.pk
    assert ended(again, run_jobs).state == State.DONE
    with pytest.raises(NotPossible):
        cancel(actor=actor(dana), job=again)
    with pytest.raises(NotPossible):
        retry(actor=actor(dana), job=again)


def test_what_was_retried_stands_for_its_newest_retry(send: Any, dana: Any, run_jobs: Any) -> None:
    job = send("add", payload={"a": 1, "b": 1})
    cancel(actor=actor(dana), job=job)
    second = retry(actor=actor(dana), job=job)
    cancel(actor=actor(dana), job=second)
    third = retry(actor=actor(dana), job=job)
    assert third.retry_of_id == second.pk, "an older page goes on from the newest"
    assert ended(third, run_jobs).state == State.DONE
    for each in (job, second):
        each.refresh_from_db()
        with pytest.raises(NotPossible):
            retry(actor=actor(dana), job=each)
    assert Job.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_the_same_moment_queue_one_retry(send: Any, dana: Any) -> None:
    from tests.accounts.test_concurrency import together

    job, who = send("add", payload={"a": 1, "b": 1}), actor(dana)
    cancel(actor=who, job=job)
    assert together(*[lambda: retry(actor=who, job=job)] * 4) == []
    assert Job.objects.filter(retry_of=job).count() == 1


def test_claim_and_adoption_each_succeed_once(send: Any) -> None:
    job = send("add")
    assert lease.claim(job.pk, "a") and not lease.claim(job.pk, "b")
    assert lease.adopt(job.pk, "a") == "a+"
    assert lease.adopt(job.pk, "a") is None
    job.refresh_from_db()
    assert (job.attempt, job.owner) == (1, "a+")


def test_fence_and_finish_refuse_a_holder_that_lost_the_job(send: Any) -> None:
    job = send("add")
    lease.claim(job.pk, "a")
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert lease.claim(job.pk, "b")
    with pytest.raises(lease.LeaseLost), lease.fenced(job.pk, "a", 1):
        JobLog.objects.create(job=job, text="must not be kept")
    assert not lease.finish(job.pk, "a", 1, State.DONE, result={"from": "a"})
    assert lease.finish(job.pk, "b", 2, State.DONE, result={"from": "b"})
    assert not lease.finish(job.pk, "b", 2, State.FAILED)
    job.refresh_from_db()
    assert job.result == {"from": "b"} and not JobLog.objects.filter(job=job).exists()


def test_reaper_requeues_and_in_the_end_fails_expired_leases(send: Any) -> None:
    job = send("with_settle", max_attempts=2)
    for attempt in (1, 2):
        assert lease.claim(job.pk, "gone")
        Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
        done = reap()
        job.refresh_from_db()
        if attempt == 1:
            assert (job.state, done["requeued"]) == (State.QUEUED, 1) and job.not_before > timezone.now()
    assert (job.state, job.attempt, done["ended"]) == (State.FAILED, 2, 1)
    assert "stopped answering" in job.error_person and "gone" in job.error_engineer
    assert job.settled_at is not None


def test_what_a_killed_attempt_left_behind_goes_when_the_job_ends_without_it(send: Any, dana: Any) -> None:
    """Ended by the reaper, or cancelled while it waits for its next attempt: no process of the job's own is left to tidy."""
    reaped, cancelled = send("with_settle", max_attempts=1), send("with_settle")
    for job in (reaped, cancelled):
        folder_of(job.pk).mkdir(parents=True)
        (folder_of(job.pk) / "chunk").write_text("checkpoint")
    lease.claim(reaped.pk, "gone")
    Job.objects.filter(pk=reaped.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert folder_of(reaped.pk).exists()
    cancel(actor=actor(dana), job=cancelled)
    reap()
    assert not folder_of(reaped.pk).exists() and not folder_of(cancelled.pk).exists()


def test_a_cancelled_job_whose_process_dies_ends_and_waits_for_no_other_attempt(send: Any, dana: Any) -> None:
    """Cancelled, and dead before anybody had looked: the person is not told that it "will be tried again by itself"."""
    from jobs.executors.base import conclude

    job = send("with_settle")
    assert lease.claim(job.pk, "node/1")
    job.refresh_from_db()
    cancel(actor=actor(dana), job=job)
    assert job.state == State.RUNNING
    conclude(job, "node/1", None, "killed by SIGKILL")
    job.refresh_from_db()
    assert job.state == State.CANCELLED and job.settled_at is not None
    assert [line.text for line in JobLog.objects.filter(job=job)] == ["settled cancelled"]


def test_lost_bell_is_rung_again_once(send: Any) -> None:
    from django_q.models import OrmQ

    send("add")
    OrmQ.objects.all().delete()
    assert reap()["rung"] == 1
    assert reap()["rung"] == 0
    assert OrmQ.objects.filter(key="light").count() == 1


def test_node_takes_only_what_fits_and_never_promises_memory_twice(send: Any) -> None:
    node = Node.objects.create(name="n", queue="light", pid=1, cpus=2, memory_mb=1500, heartbeat_at=timezone.now())
    large, first, second = send("add", profile="gpu"), send("add"), send("add")
    picked = pick(["light", "heavy"], node)
    assert picked is not None and picked[0].pk == first.pk
    assert pick(["light", "heavy"], node) is None
    Job.objects.filter(pk=first.pk).update(state=State.QUEUED, owner="", lease_until=None)
    Job.objects.filter(pk=first.pk).delete()
    picked = pick(["light"], node)
    assert picked is not None and picked[0].pk == second.pk
    big = Node.objects.create(name="b", queue="heavy", pid=2, cpus=4, memory_mb=64000, gpus=2, heartbeat_at=timezone.now())
    picked = pick(["heavy"], big)
    assert picked is not None and picked[0].pk == large.pk and picked[0].gpus == [0]
    Node.objects.filter(pk=big.pk).update(stopped_at=timezone.now())
    send("add", profile="medium")
    assert pick(["heavy"], big) is None


def test_profile_grows_with_the_work() -> None:
    assert choose(kinds=["number"] * 14, records=900) == "medium"
    assert choose(kinds=["number"] * 50, records=1_000_000) == "large"
    assert choose(kinds=["number"] * 300, records=1_000_000) == "huge"
    assert choose(kinds=["number", "image"], records=10, gpu_available=True) == "gpu"
    assert choose(kinds=["image"], records=10, gpu_available=False) == "large"
    assert choose(kinds=["number"], records=1, recipe={"profile": "large"}) == "large"
    assert [p for p in PROFILES.values() if not str(p.label) or not str(p.description)] == []


def test_schedules_are_made_once_and_their_names_lead_to_functions(db: None) -> None:
    from django.utils.module_loading import import_string
    from django_q.models import Schedule

    from jobs.schedules import ensure

    names = ensure()
    assert ensure() == names and {"reap jobs", "nightly retraining"} <= set(names)
    assert Schedule.objects.count() == len(names)
    assert all(callable(import_string(s.func)) for s in Schedule.objects.all())
    assert callable(import_string(bell.TASK))


def test_the_worker_imports_neither_torch_nor_other_heavy_libraries() -> None:
    code = (
        "import django; django.setup(); import sys, jobs.supervisor, jobs.tasks;"
        "sys.exit(','.join({'torch', 'pandas', 'sklearn', 'scipy', 'transformers'} & set(sys.modules)) or 0)"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "aimass_site.settings", "AIMASS_DEMO": "1"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=settings.BASE_DIR).returncode == 0


@pytest.mark.django_db(transaction=True)
def test_settling_holds_no_transaction_while_it_works(send: Any) -> None:
    """It may take minutes; SQLite has one writer at a time, and that must be free for diagnoses."""
    job = send("with_long_settle")
    assert run_job(job.pk, "tests") == "done"
    assert [line.text for line in JobLog.objects.filter(job=job)] == ["in a transaction: False"]
