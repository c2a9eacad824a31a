"""Series that have arrived: whether one is whole, as far as can be told, or something of it may still come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min
from django.utils import timezone

from accounts.models import Organisation
from datasets.arrivals.models import ArrivedFile, Outcome
from datasets.receiving.index import instances_of

QUIET = timedelta(minutes=2)  # after its last image, before a series that a table names is taken
LOOK_UP = 400  # UIDs in one query


@dataclass(frozen=True)
class Arrived:
    """A series of the index. `mark` changes with whatever comes to it later."""

    uid: str
    study: str
    count: int
    last: datetime
    newest: int  # key of the newest instance
    oldest: int

    @property
    def mark(self) -> str:
        return f"{self.count}.{self.newest}"


def arrived(instances: Any) -> Any:
    """(series, study, count, last, newest, oldest) of each series among these instances."""
    told = {"count": Count("pk"), "last": Max("created_at"), "newest": Max("pk"), "oldest": Min("pk")}
    return instances.order_by().values("series").annotate(study=Min("study"), **told)


def found(organisation: Organisation, uids: Collection[str]) -> dict[str, Arrived]:
    """Of these (replaced) UIDs the series that have arrived."""
    wanted = sorted(uids)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(wanted), LOOK_UP):
        rows += arrived(instances_of(organisation).filter(series__in=wanted[start : start + LOOK_UP]))
    return {row["series"]: of_row(row) for row in rows}


def of_row(row: dict[str, Any]) -> Arrived:
    return Arrived(row["series"], row["study"], row["count"], row["last"], row["newest"], row["oldest"])


def held(organisation: Organisation, uids: Collection[str] | None = None) -> Counter[str]:
    """How many slices of these series (None: of any) wait in quarantine for a person, or are just looked at again."""
    rows = ArrivedFile.objects.for_organisation(organisation).filter(
        outcome__in=("", Outcome.QUARANTINED), discarded_at=None, facts__has_key="series"
    )
    if uids is None:
        return Counter(rows.values_list("facts__series", flat=True))
    wanted = sorted(uids)
    counts: Counter[str] = Counter()
    for start in range(0, len(wanted), LOOK_UP):
        some = rows.filter(facts__series__in=wanted[start : start + LOOK_UP])
        counts.update(some.values_list("facts__series", flat=True))
    return counts


class Clock:
    """Which series may still grow, as of now. A part of one may lie in an arrival that nobody has sorted out yet."""

    def __init__(self, organisation: Organisation, quiet: timedelta) -> None:
        self.quiet, self.now = quiet, timezone.now()
        fresh = ArrivedFile.objects.for_organisation(organisation).filter(outcome="", parent=None)
        fresh = fresh.exclude(facts__has_key="series")  # these are told of by `held`
        self.unsorted = fresh.aggregate(first=Min("arrival__created_at"))["first"]

    def arriving(self, one: Arrived) -> bool:
        until = one.last + self.quiet
        return until > self.now or (self.unsorted is not None and self.unsorted <= until)
