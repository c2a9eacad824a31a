"""What an arrival's job could not look at is tried again: all of it by a person's click, what may pass by the clock too.

A full disk, a database that is away, a host that is switched off pass. The job's own attempts (jobs.lease) see to the first
minutes, this to the hours after. Who cancelled a job wants no other; a quota, and what is wrong with a file, mend by no waiting.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from accounts.notifications import notify
from datasets.arrivals import leftovers, services
from datasets.arrivals.models import Arrival
from jobs.models import State as JobState

PASSING = ("disk_full", "interrupted")
WAITS = tuple(timedelta(minutes=m) for m in (15, 60, 240, 960, 1440))  # until it is tried by itself; then a person must
LIMIT = 100  # arrivals in one round


@transaction.atomic
def try_all_again(*, actor: Actor, arrival: Arrival, codes: Collection[str] = leftovers.RETRIABLE) -> int:
    """Look again at all that was held for no fault of its own; how many files. Raises ArrivalRefused where there is none."""
    row: Arrival = Arrival.objects.select_for_update().get(pk=arrival.pk)
    count = leftovers.take_up(row, codes)
    if not count:
        raise services.ArrivalRefused("no_content", _("There is nothing here that could be looked at again."))
    row.notes = {key: value for key, value in row.notes.items() if key != "again_at"}
    services.sort_out(actor, row)
    audit.record(actor, "arrival.retried", row, files=count)
    return count


def ended(arrival: Arrival, state: str) -> None:
    """Within the settling of its job: when the rest is tried again, and who sent it is told. The caller saves the notes."""
    count = 0 if state == JobState.CANCELLED else leftovers.held(arrival, PASSING).count()
    tries = int(arrival.notes.get("tries", 0))
    notes = {key: value for key, value in arrival.notes.items() if key not in ("again_at", "tries")}
    if count:
        notes["tries"] = tries
        if tries < len(WAITS):
            notes["again_at"] = int((timezone.now() + WAITS[tries]).timestamp())
        if tries in (0, len(WAITS)):  # at first, and when it is given up
            _tell(arrival, count, tries)
    arrival.notes = notes


def _tell(arrival: Arrival, count: int, tries: int) -> None:
    if arrival.created_by is None:
        return
    last = tries >= len(WAITS)

    def body() -> str:
        if last:
            return _("It is not tried again by itself any more. Open the arrival, and try it again once the server is well.")
        return _("They are kept in quarantine and tried again by themselves, first in %(minutes)d minutes.") % {
            "minutes": WAITS[0].total_seconds() // 60
        }

    notify(
        organisation=arrival.organisation, users=[arrival.created_by], key=f"arrival:{arrival.pk}:held:{tries}", level="danger",
        title=lambda: _("%(count)d of the files that you sent could not be looked at") % {"count": count}, body=body,
        url=reverse("datasets:arrival", args=[arrival.pk]),
    )  # fmt: skip


def sweep(now: datetime | None = None) -> int:
    """The schedule's: try again what is due; how many arrivals. Safe to run twice at once."""
    now = now or timezone.now()
    due = Arrival.objects.exclude(finished_at=None).filter(notes__again_at__lte=int(now.timestamp()))
    return sum(_again(row) for row in due.select_related("organisation", "created_by").order_by("finished_at")[:LIMIT])


@transaction.atomic
def _again(arrival: Arrival) -> bool:
    row: Arrival = Arrival.objects.select_for_update().get(pk=arrival.pk)
    if "again_at" not in row.notes:  # another round was faster, or a person
        return False
    tries = int(row.notes.get("tries", 0)) + 1
    row.notes = {key: value for key, value in row.notes.items() if key != "again_at"} | {"tries": tries}
    row.save(update_fields=["notes"])
    try:
        try_all_again(actor=Actor(user=arrival.created_by, organisation=arrival.organisation), arrival=row, codes=PASSING)
    except services.ArrivalRefused:  # discarded meanwhile
        return False
    return True


def due_at(arrival: Arrival) -> datetime | None:
    """When it is tried again by itself."""
    at = arrival.notes.get("again_at")
    return datetime.fromtimestamp(at, UTC) if at and arrival.finished_at is not None else None
