"""Job handlers that only the tests know: each does something real that can be watched, killed or cancelled."""

import os
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


@handler(settle="tests.jobs.handlers.settled")
def with_settle(context: JobContext) -> dict[str, Any]:
    if context.payload.get("fail"):
        raise JobError("Nothing to see here.", engineer="asked to fail")
    return {"ok": True}


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
