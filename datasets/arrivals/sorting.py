"""Sorting out an arrival: every file looked at, prepared, stored, and given its outcome; killed and run again at any line.

What has an outcome is never looked at again. Rows are written in batches behind the job's fence; content is kept under its
hash before its row is written, so a killed attempt leaves nothing that the next one does not find and use.
"""

from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext_noop

from accounts.actor import Actor
from datasets import intake, quota, storage
from datasets.arrivals import keeping, leftovers, preparing, recordings, unpack
from datasets.arrivals.desk import Desk
from datasets.arrivals.found import Found, Refused, Shape
from datasets.arrivals.models import Arrival, ArrivedFile, Outcome
from datasets.joining import told
from datasets.models import StoredFile, Upload
from datasets.receiving import index
from datasets.receiving.models import DicomInstance
from jobs.handlers import JobContext

BATCH = 200  # rows
SECONDS = 2.0  # after which a smaller batch is written
NEVER_KEPT = frozenset(
    {Shape.INDEX, Shape.ARCHIVE}
)  # a DICOMDIR names patients; an archive's members are kept one by one
FIELDS = [
    "size", "sha256", "kind", "format", "facts", "outcome", "code", "reason_facts", "original", "file", "upload", "masked",
    "part_of",
]  # fmt: skip
ENDED = (Upload.State.DISCARDED, Upload.State.FAILED, Upload.State.CANCELLED)


@dataclass
class Batch:
    """Rows that wait to be written, the content that they need no more, and what has been imported among them."""

    fresh: list[ArrivedFile] = field(default_factory=list)
    changed: list[ArrivedFile] = field(default_factory=list)
    free: list[StoredFile | None] = field(default_factory=list)
    imported: dict[str, ArrivedFile] = field(default_factory=dict)
    described: list[DicomInstance | None] = field(default_factory=list)  # what DICOMweb finds them by
    since: float = field(default_factory=monotonic)


class Sorting:
    """One attempt at an arrival."""

    def __init__(self, context: JobContext, arrival: Arrival, desk: Desk) -> None:
        self.context, self.arrival, self.desk = context, arrival, desk
        self.actor = Actor(user=context.job.requested_by, organisation=arrival.organisation)
        self.known = arrival.known
        self.limits = unpack.limits_of_site()
        self.batch = Batch()
        self.done = arrival.files.exclude(outcome="").count()
        self.total = max(1, arrival.files.count())

    def run(self) -> None:
        """Until no file waits. Raises JobStopped or LeaseLost; what was written stays."""
        while rows := list(self._waiting()[:BATCH]):
            for row in rows:
                self._row(row)
            self.flush()
        recordings.join(self.context, self.arrival, self.desk)
        self._finish()

    def _waiting(self) -> Any:
        rows = self.arrival.files.filter(outcome="").filter(Q(parent=None) | Q(original__isnull=False))
        return rows.select_related("original", "arrival__organisation").order_by("pk")

    def _row(self, row: ArrivedFile) -> None:
        self.context.stop_if_asked()
        self._progress()
        if row.reason_facts.get("confirmed"):  # what the person has named since is masked too, though this job began before
            self.arrival.refresh_from_db(fields=["secret"])
            self.known = self.arrival.known
        if row.original is None:
            self._refuse(row, Refused("storage"))
            return
        try:
            with keeping.room(), storage.local(row.original) as path:
                found = self._looked(row, path)
                if found is None:
                    self._keep_row(row)
                elif found.kind == Shape.ARCHIVE:
                    self._archive(row, path, found)
                else:
                    self._take(row, found, keeping.Copy(path, row.sha256, row.size or 0))
        except Refused as why:
            self._refuse(row, why)

    def _looked(self, row: ArrivedFile, path: Path) -> Found | None:
        """What it is; None when it is refused, which the row then says."""
        try:
            found = self.desk.look(path)
        except Refused as why:
            row.outcome, row.code, row.reason_facts = Outcome.QUARANTINED, why.code, {**why.facts}
            row.facts = {**row.facts, **told.series_of(row, self.arrival.organisation, path)}
            return None
        row.kind, row.format, row.facts = str(found.kind), found.format, found.facts
        return found

    # -- archives --

    def _archive(self, row: ArrivedFile, path: Path, found: Found) -> None:
        self.flush()
        before = {member.number: member for member in row.members.filter(outcome="")}
        finished = set(row.members.exclude(outcome="").values_list("number", flat=True))
        self.total += max(0, int(found.facts.get("files", 1)) - len(finished))
        for number, member in enumerate(unpack.members(path, self.limits)):
            if number in finished:
                continue
            self.context.stop_if_asked()
            self._progress()
            name = member.name or _without_ending(row.name)
            own = before.pop(number, None) or ArrivedFile(
                arrival=self.arrival, parent=row, number=number, name=name[:500]
            )
            self._member(own, member)
        for left in before.values():  # it was there the first time
            self._refuse(left, Refused("damaged", format="ZIP"))
        row.outcome = Outcome.IMPORTED
        self._keep_row(row)
        self.flush()

    def _member(self, row: ArrivedFile, member: unpack.Member, depth: int = 0) -> None:
        row.size = max(0, member.size)
        try:
            if member.refused is not None:
                raise member.refused
            with member.open() as stream, keeping.copied(stream, self.limits.member) as copy:
                row.size, row.sha256 = copy.size, copy.sha256
                found = self._looked(row, copy.path)
                if found is None:
                    row.original = keeping.keep(self.arrival.organisation, copy)
                    self._keep_row(row)
                elif found.kind == Shape.ARCHIVE:
                    self._inner(row, copy.path, depth)
                else:
                    self._take(row, found, copy)
        except Refused as why:
            self._refuse(row, why)

    def _inner(self, row: ArrivedFile, path: Path, depth: int) -> None:
        """A gzipped file in an archive is that file. Raises Refused for more layers."""
        if depth or row.format != "gzip":
            raise Refused("nested")
        self._member(row, next(iter(unpack.members(path, self.limits))), depth + 1)

    # -- one file --

    def _take(self, row: ArrivedFile, found: Found, copy: keeping.Copy) -> None:
        """Import what was found, or say that it is here already. Raises Refused, then its content is kept."""
        earlier = None if found.kind in NEVER_KEPT else self._earlier(row)
        if found.kind == Shape.TABLE:
            self._table(row, copy, earlier)
            return
        if earlier is not None and found.kind != Shape.TEXT:
            row.outcome, row.file = Outcome.DUPLICATE, earlier.file
            self._imported(row)
            return
        if found.kind in NEVER_KEPT:
            row.outcome = Outcome.IMPORTED
            self._imported(row)
            return
        try:
            with preparing.prepared(
                actor=self.actor, desk=self.desk, found=found, copy=copy, known=self.known,
                looked=bool(row.reason_facts.get("confirmed")),
            ) as (ready, counts):
                row.masked = counts
                if (
                    found.kind == Shape.TEXT
                    and self.arrival.hold_texts
                    and not row.reason_facts.get("confirmed")
                ):
                    raise Refused("to_confirm")
                row.file = keeping.keep(self.arrival.organisation, ready, instead_of=row.original)
                if found.format == "dicom":
                    self.batch.described.append(index.describe(row.file, ready.path))
        except Refused as why:
            if row.original is None:
                row.original = keeping.keep(self.arrival.organisation, copy)
            row.facts = {**row.facts, **told.series_of(row, self.arrival.organisation, copy.path)}
            self._refuse(row, why)
            return
        same = earlier is not None and earlier.file == row.file
        row.outcome = Outcome.DUPLICATE if same else Outcome.IMPORTED
        self._imported(row)

    def _earlier(self, row: ArrivedFile) -> ArrivedFile | None:
        """The same content, imported before in this organisation and still there."""
        pending = self.batch.imported.get(row.sha256)
        if pending is not None:
            return pending
        rows = ArrivedFile.objects.for_organisation(self.arrival.organisation).filter(
            sha256=row.sha256, outcome=Outcome.IMPORTED
        )
        if not rows.values("pk")[:1]:  # nearly always, and a light question
            return None
        there = Q(file__isnull=False) & ~Q(file__path="") | Q(upload__isnull=False) & ~Q(
            upload__state__in=ENDED
        )
        return rows.filter(there).exclude(pk=row.pk).select_related("file", "upload").order_by("pk").first()

    def _table(self, row: ArrivedFile, copy: keeping.Copy, earlier: ArrivedFile | None) -> None:
        """A table goes on as an upload, whose preview a person confirms (see datasets.intake)."""
        if earlier is not None:
            row.outcome, row.upload = Outcome.DUPLICATE, earlier.upload
            self._imported(row)
            return
        self.flush()
        upload = self._orphan(row.sha256) or self._received(row, copy)
        row.upload, row.outcome = upload, Outcome.IMPORTED
        self._imported(row)
        self.flush()

    def _orphan(self, sha256: str) -> Upload | None:
        """What an attempt received that was killed before it could say so."""
        uploads = Upload.objects.for_organisation(self.arrival.organisation).filter(
            file__sha256=sha256, state=Upload.State.PREVIEW, created_at__gte=self.arrival.created_at,
            created_by=self.actor.user,
        )  # fmt: skip
        taken = ArrivedFile.objects.filter(upload__isnull=False).values("upload")
        return uploads.exclude(pk__in=taken).first()

    def _received(self, row: ArrivedFile, copy: keeping.Copy) -> Upload:
        try:
            return intake.receive(
                actor=self.actor, file=copy.path, name=row.name, dataset=self.arrival.dataset
            )
        except intake.IntakeRefused as error:
            if isinstance(error.__cause__, quota.OverQuota):
                raise Refused("quota", **error.__cause__.facts) from error
            raise Refused("unreadable_table", detail=str(error), table=error.code) from error

    # -- rows --

    def _imported(self, row: ArrivedFile) -> None:
        row.reason_facts = {}
        self.batch.free.append(row.original)
        row.original = None
        if row.outcome == Outcome.IMPORTED and row.sha256:
            self.batch.imported.setdefault(row.sha256, row)
        self._keep_row(row)

    def _refuse(self, row: ArrivedFile, why: Refused) -> None:
        row.outcome, row.code, row.reason_facts = Outcome.QUARANTINED, why.code, {**why.facts}
        self._keep_row(row)

    def _keep_row(self, row: ArrivedFile) -> None:
        self.done += 1
        (self.batch.changed if row.pk else self.batch.fresh).append(row)
        if (
            len(self.batch.fresh) + len(self.batch.changed) >= BATCH
            or monotonic() - self.batch.since > SECONDS
        ):
            self.flush()

    def flush(self) -> None:
        """Write what waits. Raises LeaseLost when the job is no longer ours, storage.LetGo where what was kept is there no more;
        then nothing is written, and the next attempt does it again."""
        batch, self.batch = self.batch, Batch()
        if not batch.fresh and not batch.changed:
            return
        pointed = [file for row in (*batch.fresh, *batch.changed) for file in (row.original, row.file)]
        with self.context.fenced():
            storage.locked([*pointed, *batch.free])
            storage.hold(pointed)
            ArrivedFile.objects.bulk_create(batch.fresh)
            ArrivedFile.objects.bulk_update(batch.changed, FIELDS)
            index.keep(batch.described)
            keeping.let_go(batch.free)

    def _progress(self) -> None:
        fraction = min(0.99, self.done / max(self.total, self.done + 1))
        self.context.progress(fraction, gettext_noop("Looking at the files"))

    def _finish(self) -> None:
        """What a person should know of the whole, and archives whose members all have what they need."""
        with self.context.fenced():
            self.arrival.notes = {**self.arrival.notes, **recordings.missing(self.arrival)}
            self.arrival.save(update_fields=["notes"])
            for row in leftovers.emptied(self.arrival):
                file, row.original = row.original, None
                row.save(update_fields=["original"])
                keeping.let_go([file])


def _without_ending(name: str) -> str:
    return name[:-3] if name.lower().endswith(".gz") else name
