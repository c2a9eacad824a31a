"""What an arrival's job leaves: files that it could not look at, for no fault of theirs, and archives that are needed no more."""

from collections.abc import Collection, Iterator
from typing import Any

from django.db import transaction
from django.db.models import Q

from datasets.arrivals.found import Shape
from datasets.arrivals.models import Arrival, ArrivedFile, Outcome

RETRIABLE = ("disk_full", "quota", "storage", "interrupted")
AT_ONCE = 500  # rows in one statement


def held(arrival: Arrival, codes: Collection[str] = RETRIABLE) -> Any:
    """The files whose content is there and that another try may take."""
    content = Q(original__isnull=False) | Q(parent__original__isnull=False)
    return arrival.files.filter(content, outcome=Outcome.QUARANTINED, discarded_at=None, code__in=codes)


def take_up(arrival: Arrival, codes: Collection[str] = RETRIABLE) -> int:
    """Let them wait again; how many. What only its archive has is unpacked from it once more."""
    ids = list(held(arrival, codes).values_list("pk", flat=True))
    for start in range(0, len(ids), AT_ONCE):
        some = ArrivedFile.objects.filter(pk__in=ids[start : start + AT_ONCE])
        archives = set(some.filter(original=None).values_list("parent", flat=True))
        some.update(outcome="", code="", reason_facts={})
        ArrivedFile.objects.filter(pk__in=archives).update(outcome="", code="")
    return len(ids)


@transaction.atomic
def interrupted(arrival: Arrival) -> int:
    """After a job that did not end well: what still waits is quarantined, to be tried again. How many."""
    return arrival.files.filter(outcome="").update(outcome=Outcome.QUARANTINED, code="interrupted", reason_facts={})


def emptied(arrival: Arrival) -> Iterator[ArrivedFile]:
    """Archives that no member needs any more: one without content of its own can be tried again only from its archive."""
    rows = arrival.files.filter(kind=Shape.ARCHIVE, outcome=Outcome.IMPORTED, original__isnull=False)
    for row in rows.select_related("original"):
        lost = Q(outcome=Outcome.QUARANTINED, original=None, code__in=RETRIABLE, discarded_at=None)
        if not row.members.filter(lost).exists():
            yield row
