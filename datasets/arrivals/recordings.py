"""Files that need each other: a WFDB header and its samples, and the files that a DICOMDIR lists."""

from contextlib import ExitStack
from typing import Any

from datasets import storage
from datasets.arrivals.desk import Desk
from datasets.arrivals.found import Refused, Shape
from datasets.arrivals.models import Arrival, ArrivedFile, Outcome
from jobs.handlers import JobContext

MOST_SAID = 20  # missing files that are named


def join(context: JobContext, arrival: Arrival, desk: Desk) -> None:
    """Headers whose samples came in the same folder are imported with them; a header imported before is left alone."""
    headers = arrival.files.filter(code="incomplete", discarded_at=None, original__isnull=False)
    for header in headers.select_related("original").order_by("pk"):
        context.stop_if_asked()
        parts = _beside(header)
        if parts is not None:
            _join(context, header, parts, desk)


def _beside(header: ArrivedFile) -> dict[str, ArrivedFile] | None:
    """The files that the header names, from its own folder; None when one is missing."""
    folder = header.name.rsplit("/", 1)[0] + "/" if "/" in header.name else ""
    wanted = {folder + str(name): str(name) for name in header.reason_facts.get("files", [])}
    rows = header.arrival.files.filter(parent=header.parent, name__in=wanted, discarded_at=None)
    found = {wanted[row.name]: row for row in rows.select_related("original", "file")}
    there = all(row.original is not None or row.file is not None for row in found.values())
    return found if wanted and len(found) == len(wanted) and there else None


def _join(context: JobContext, header: ArrivedFile, parts: dict[str, ArrivedFile], desk: Desk) -> None:
    assert header.original is not None
    with ExitStack() as stack:
        path = stack.enter_context(storage.local(header.original))
        contents = [(name, row.original or row.file) for name, row in parts.items()]
        places = {n: stack.enter_context(storage.local(file)) for n, file in contents if file is not None}
        try:
            found = desk.look(path, places)
        except Refused as why:
            with context.fenced():
                header.code, header.reason_facts = why.code, {**why.facts}
                header.save(update_fields=["code", "reason_facts"])
            return
    with context.fenced():
        for row in (header, *parts.values()):
            row.outcome, row.code, row.reason_facts = Outcome.IMPORTED, "", {}
            row.file, row.original = row.original or row.file, None
            row.kind, row.format = (found.kind if row == header else Shape.PART), found.format
            row.part_of = None if row == header else header
            row.facts = found.facts if row == header else {}
            row.save()


def missing(arrival: Arrival) -> dict[str, Any]:
    """How many files each DICOMDIR lists that did not come, and some of their names: {"missing": …, "missing_names": …}."""
    indexes = arrival.files.filter(kind=Shape.INDEX, outcome=Outcome.IMPORTED)
    absent: list[str] = []
    for index in indexes:
        folder = index.name.rsplit("/", 1)[0] + "/" if "/" in index.name else ""
        listed = {(folder + str(name)).casefold() for name in index.facts.get("files", [])}
        here = (
            arrival.files.filter(parent=index.parent).values_list("name", flat=True).iterator(chunk_size=2000)
        )
        absent += sorted(listed - {name.casefold() for name in here})
    return {"missing": len(absent), "missing_names": absent[:MOST_SAID]} if indexes else {}
