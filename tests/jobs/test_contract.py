"""Submitting, running, failing, cancelling and retrying a job, in this process."""

from typing import Any

import pytest

from jobs.models import Job, JobLog, State
from jobs.services import submit
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
