"""What people do with arrivals: send files, try one again, confirm a masked text, discard what is quarantined."""

from collections.abc import Iterable, Sequence
from typing import IO, Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import audit
from accounts.actor import Actor
from datasets import storage
from datasets.arrivals import keeping, looking
from datasets.arrivals.found import Refused
from datasets.arrivals.leftovers import RETRIABLE
from datasets.arrivals.models import Arrival, ArrivedFile, Outcome
from datasets.masking.texts import MOST_KNOWN
from datasets.models import Dataset, StoredFile
from jobs.models import Job
from jobs.services import submit

AT_ONCE = 500  # rows in one transaction
CONFIRMABLE = looking.CODES | {"to_confirm"}  # what waits for nothing but a person's eyes


class ArrivalRefused(ValueError):
    """What was asked cannot be done; the text says why and what to do. `code` is for programs."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def shown_name(name: str) -> str:
    """The sender's name with its folders, without control characters or a way out of them. It never becomes a path."""
    parts = [p for p in str(name).replace("\\", "/").split("/") if p not in ("", ".", "..")]
    return "".join(c for c in "/".join(parts) if c.isprintable())[-500:] or "file"


def receive(
    *,
    actor: Actor,
    files: Iterable[tuple[str, IO[bytes] | StoredFile]],
    dataset: Dataset | None = None,
    known: Sequence[str] = (),
    hold_texts: bool = False,
    pk: UUID | None = None,
    notes: dict[str, Any] | None = None,
) -> Arrival:
    """Keep these (name, content) and queue the job that sorts them out. A file that cannot be kept is quarantined at once.

    `known`: identifiers of the patients to mask in texts. `pk`: the arrival's own, for a caller that must make it once only.
    Raises ArrivalRefused: nothing sent, or a data set that is archived.
    """
    assert actor.organisation is not None
    if dataset is not None and dataset.archived_at is not None:
        raise ArrivalRefused(
            "archived", _("This data set is archived: restore it first, or choose another one.")
        )
    if len(known) > MOST_KNOWN:
        raise ArrivalRefused(
            "too_many_known", _("At most %(limit)s identifiers can be given.") % {"limit": MOST_KNOWN}
        )
    rows = [_kept(actor, number, name, content) for number, (name, content) in enumerate(files)]
    if not rows:
        raise ArrivalRefused("no_files", _("Choose at least one file."))
    fresh = Arrival(
        pk=pk or uuid4(), organisation=actor.organisation, dataset=dataset, hold_texts=hold_texts, created_by=actor.user,
        notes=notes or {},
    )  # fmt: skip
    fresh.known = [str(value) for value in known]
    return _queued(actor, fresh, rows)


def _kept(actor: Actor, number: int, name: str, content: IO[bytes] | StoredFile) -> ArrivedFile:
    assert actor.organisation is not None
    row = ArrivedFile(number=number, name=shown_name(name))
    if isinstance(content, StoredFile):
        row.original, row.size, row.sha256 = content, content.size, content.sha256
        return row
    try:
        with keeping.copied(content, settings.MAX_UPLOAD_BYTES) as copy:
            row.size, row.sha256 = copy.size, copy.sha256
            row.original = keeping.keep(actor.organisation, copy)
    except Refused as why:
        row.outcome, row.code, row.reason_facts = Outcome.QUARANTINED, why.code, {**why.facts}
    return row


@transaction.atomic
def _queued(actor: Actor, arrival: Arrival, rows: list[ArrivedFile]) -> Arrival:
    arrival.save(force_insert=True)
    alive = {file.pk for file in storage.locked(row.original for row in rows) if file.path}
    for row in rows:
        row.arrival = arrival
        if row.original is not None and row.original.pk not in alive:  # the same content was let go since it was kept
            row.original, row.outcome, row.code = None, Outcome.QUARANTINED, "storage"
    ArrivedFile.objects.bulk_create(rows)
    sort_out(actor, arrival)
    audit.record(
        actor,
        "arrival.received",
        arrival,
        files=len(rows),
        bytes=sum(row.size or 0 for row in rows),
        known=len(arrival.known),
    )
    return arrival


def sort_out(actor: Actor, arrival: Arrival) -> Job:
    """Queue the job; the arrival is saved with it."""
    arrival.job = submit(
        actor=actor,
        task="datasets.arrivals.tasks.sort_out",
        title=gettext_noop("Sorting out files that arrived"),
        payload={"arrival": str(arrival.pk)},
        key=f"arrival:{arrival.pk}",
        subject_url=reverse("datasets:arrival", args=[arrival.pk]),
    )
    arrival.finished_at = None
    arrival.save()
    return arrival.job


def can_retry(file: ArrivedFile) -> bool:
    """Whether there is content to look at again: the file's own, or that of its archive."""
    if file.outcome != Outcome.QUARANTINED or file.discarded_at is not None:
        return False
    if file.original_id is not None:
        return True
    return file.parent is not None and file.parent.original_id is not None and file.code in RETRIABLE


def may_come_again(arrival: Arrival) -> bool:
    """Whether some file of it can still be looked at again; until then what was given to be masked is kept, encrypted."""
    waiting = arrival.files.filter(outcome=Outcome.QUARANTINED, discarded_at=None)
    return waiting.filter(Q(original__isnull=False) | Q(parent__original__isnull=False)).exists()


@transaction.atomic
def try_again(
    *, actor: Actor, file: ArrivedFile, known: Sequence[str] = (), confirmed: bool = False
) -> Arrival:
    """Look at a quarantined file again. Raises ArrivalRefused.

    `confirmed`: a person has seen what makes it wait, and lets it in: a masked text, with `known` masked too, or a picture
    that may show text. It counts for that reason only; a file that is held for another one is looked at as ever.
    """
    row: ArrivedFile = ArrivedFile.objects.select_for_update().get(pk=file.pk)
    if not can_retry(row):
        raise ArrivalRefused(
            "no_content", _("There is nothing left of this file to look at again. Send it once more.")
        )
    arrival: Arrival = Arrival.objects.select_for_update().get(pk=row.arrival_id)
    if known:
        arrival.known = list(dict.fromkeys([*arrival.known, *map(str, known)]))[:MOST_KNOWN]
    if row.original_id is None:  # only its archive has it
        ArrivedFile.objects.filter(members=row).update(outcome="")
    code, row.outcome, row.code = row.code, "", ""
    confirmed = confirmed and code in CONFIRMABLE
    row.reason_facts = {"confirmed": True} if confirmed else {}
    row.save(update_fields=["outcome", "code", "reason_facts"])
    sort_out(actor, arrival)
    audit.record(actor, "arrival.retried", row, reason=code, confirmed=confirmed, known=len(known))
    return arrival


@transaction.atomic
def discard(*, actor: Actor, files: Sequence[ArrivedFile]) -> int:
    """Delete the content of quarantined files for ever; their names and reasons stay. How many. Doing it twice is harmless."""
    rows = list(
        ArrivedFile.objects.select_for_update(of=("self",))
        .filter(pk__in=[file.pk for file in files], outcome=Outcome.QUARANTINED, discarded_at=None)
        .select_related("original")
    )
    for row in rows:
        content, row.original = row.original, None
        row.discarded_at, row.discarded_by = timezone.now(), actor.user
        row.save(update_fields=["original", "discarded_at", "discarded_by"])
        keeping.let_go([content])
        audit.record(actor, "arrival.discarded", row, reason=row.code)
    for arrival in Arrival.objects.filter(pk__in={row.arrival_id for row in rows}).exclude(secret=""):
        if arrival.finished_at is not None and not may_come_again(arrival):
            Arrival.objects.filter(pk=arrival.pk).update(secret="")
    return len(rows)


def discard_all(*, actor: Actor, arrival: Arrival) -> int:
    """The same for all quarantined files of an arrival, a few at a time. How many."""
    total = 0
    rows = arrival.files.filter(outcome=Outcome.QUARANTINED, discarded_at=None).order_by("pk")
    while some := list(rows[:AT_ONCE]):
        total += discard(actor=actor, files=some)
    return total


def counts(arrival: Arrival) -> dict[str, int]:
    """How many files there are and of which outcome; an archive that was unpacked counts by its members, not itself."""
    unpacked = Q(kind="archive", outcome=Outcome.IMPORTED)
    return arrival.files.exclude(unpacked).aggregate(
        files=Count("pk"),
        waiting=Count("pk", filter=Q(outcome="")),
        imported=Count("pk", filter=Q(outcome=Outcome.IMPORTED)),
        duplicate=Count("pk", filter=Q(outcome=Outcome.DUPLICATE)),
        quarantined=Count("pk", filter=Q(outcome=Outcome.QUARANTINED)),
        discarded=Count("pk", filter=Q(discarded_at__isnull=False)),
    )


def with_counts(arrivals: Any) -> Any:
    """Each arrival with `.total` files, `.held` of them quarantined and not discarded: two subqueries for the whole list."""
    own = ArrivedFile.objects.filter(arrival=OuterRef("pk")).order_by().values("arrival")
    files = own.exclude(Q(kind="archive", outcome=Outcome.IMPORTED)).annotate(n=Count("pk")).values("n")
    held = own.filter(outcome=Outcome.QUARANTINED, discarded_at=None).annotate(n=Count("pk")).values("n")
    return arrivals.select_related("job", "dataset", "created_by").annotate(
        total=Coalesce(Subquery(files), 0), held=Coalesce(Subquery(held), 0)
    )
