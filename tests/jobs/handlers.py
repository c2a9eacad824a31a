"""Job handlers that only the tests know: each does something real that can be watched, killed or cancelled."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from jobs.handlers import JobContext, JobError, handler


def note(context: JobContext, name: str, text: str = "") -> None:
    """Append one line to a file in the folder that the test watches."""
    with (Path(context.payload["folder"]) / name).open("a") as file:
        file.write(f"{text or os.getpid()}\n")


@handler()
def add(context: JobContext) -> dict[str, Any]:
    context.progress(0.5, "adding", "halfway", {"terms": 2})
    context.log("adding two numbers")
    return {"sum": context.payload["a"] + context.payload["b"]}


def settled(job: Any) -> None:
    from jobs.models import JobLog

    JobLog.objects.create(job=job, text=f"settled {job.state}")


def settles_second_time(job: Any) -> None:
    marker = Path(job.payload["folder"]) / "settle"
    if not marker.exists():
        marker.write_text("tried")
        raise RuntimeError("not yet")
    settled(job)


def lets_the_reaper_come_by(job: Any) -> None:
    from jobs.reaper import reap

    reap()
    settled(job)


@handler(settle="tests.jobs.handlers.lets_the_reaper_come_by")
def settles_while_the_reaper_comes_by(context: JobContext) -> None:
    return None


@handler(settle="tests.jobs.handlers.settled")
def with_settle(context: JobContext) -> dict[str, Any]:
    if context.payload.get("fail"):
        raise JobError("Nothing to see here.", engineer="asked to fail")
    return {"ok": True}


def tells_whether_in_a_transaction(job: Any) -> None:
    from django.db import connection

    from jobs.models import JobLog

    JobLog.objects.create(job=job, text=f"in a transaction: {connection.in_atomic_block}")


@handler(settle="tests.jobs.handlers.tells_whether_in_a_transaction")
def with_long_settle(context: JobContext) -> None:
    return None


@handler(settle="tests.jobs.handlers.settles_second_time")
def with_stubborn_settle(context: JobContext) -> None:
    return None


@handler()
def not_a_number(context: JobContext) -> dict[str, Any]:
    context.progress(float("nan"), "x\x00y", detail={"loss": [1.0, float("nan"), float("inf")]})
    return {"loss": float("nan"), "text": "a\x00b"}


@handler()
def breaks(context: JobContext) -> None:
    raise ZeroDivisionError("a patient's value")


@handler()
def quotes_a_cell(context: JobContext) -> None:
    """What pandas says of a cell that is no number quotes the cell; so does the error that follows from it."""
    import pandas as pd

    cell = context.payload["cell"]
    try:
        pd.to_numeric(pd.Series([cell]))
    except ValueError as error:
        raise RuntimeError(f"could not read {cell}") from error


@handler()
def refused_by_the_engine(context: JobContext) -> None:
    from engine import EngineError

    raise EngineError("too_few_records", "Only 3 labelled records.")


@handler()
def foreseen(context: JobContext) -> None:
    raise JobError("Add more records.", engineer="3 < 20", retry=context.payload.get("retry", False))


@handler()
def flaky(context: JobContext) -> dict[str, Any]:
    if context.attempt < 2:
        raise ConnectionError("the network blinked")
    return {"attempt": context.attempt}


def not_a_handler(context: JobContext) -> None:
    """Must never be called by a job."""
    raise AssertionError


def wait_for(context: JobContext, name: str) -> None:
    """Wait until the test has made the file; stops when asked."""
    while not (Path(context.payload["folder"]) / name).exists():
        context.stop_if_asked()
        time.sleep(0.02)


@handler(settle="tests.jobs.handlers.settled")
def steps(context: JobContext) -> dict[str, Any]:
    """Three fenced steps with a checkpoint after each; waits for the file `go` in the middle of the second one."""
    from jobs.models import JobLog

    checkpoint = context.folder / "checkpoint"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 1
    note(context, "starts", f"{os.getpid()} {first}")
    for step in range(first, 4):
        with context.fenced():
            JobLog.objects.create(job=context.job, attempt=context.attempt, text=f"step {step} begins")
        if step == 2:
            note(context, "middle")  # after the fence: who freezes this process now freezes no lock with it
            wait_for(context, "go")
        with context.fenced():
            JobLog.objects.create(job=context.job, attempt=context.attempt, text=f"step {step} done")
        fresh = checkpoint.with_suffix(".new")
        fresh.write_text(str(step + 1))
        fresh.replace(checkpoint)
        context.progress(step / 3, f"step {step}")
    note(context, "ends")
    return {"steps": 3}


@handler()
def half_a_write(context: JobContext) -> dict[str, Any]:
    """Dies inside a transaction in the first attempt."""
    from jobs.models import JobLog

    with context.fenced():
        JobLog.objects.create(job=context.job, attempt=context.attempt, text="first half")
        if context.attempt == 1:
            os.kill(os.getpid(), 9)
        JobLog.objects.create(job=context.job, attempt=context.attempt, text="second half")
    return {}


@handler(settle="tests.jobs.handlers.settled")
def hog(context: JobContext) -> None:
    """Takes more memory than any small profile has."""
    held = []
    for _ in range(40):
        held.append(b"x" * (100 * 1024**2))
        time.sleep(0.15)


@handler(settle="tests.jobs.handlers.settled")
def deaf(context: JobContext) -> None:
    """Never looks whether it should stop."""
    note(context, "middle")
    while True:
        time.sleep(0.05)


@handler(settle="tests.jobs.handlers.settled")
def freezes_in_its_fence(context: JobContext) -> None:
    """Stands still inside a transaction in the first attempt, as when its machine is paused."""
    with context.fenced():
        if context.attempt == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
