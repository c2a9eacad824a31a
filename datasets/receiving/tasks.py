"""The background work: emptying an organisation's spool, and the schedule that asks for it."""

from typing import Any

from datasets.receiving import index, taking
from jobs.handlers import JobContext, handler


@handler()
def take(context: JobContext) -> dict[str, Any]:
    """Hand what was received to arrivals. A killed attempt goes on where it stopped."""
    return dict(taking.take_all(context))


def sweep() -> int:
    """The schedule's: in which organisations something waits to be taken; how many."""
    return taking.sweep()


def describe() -> int:
    """The schedule's: DICOM that is stored and that DICOMweb does not find yet; how many were described."""
    return index.describe_missing()
