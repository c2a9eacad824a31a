"""One run: what the source has given since the cursor becomes uploads or arrivals, each in the transaction that moves the cursor.

Killed at any line, the next attempt asks from the cursor that was committed last: what it had not delivered comes again, what it
had delivered does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets import intake, temporary
from datasets.arrivals import keeping, services
from datasets.arrivals.found import Refused
from datasets.importing import files, late, lots, opening, pending, together
from datasets.importing.base import Cursor, Delivers, Faulty, Source, SourceError
from datasets.importing.erased import Erased
from datasets.importing.files import Kept, Table
from datasets.importing.models import Delivery, Importer, ImporterRun, Treatment
from datasets.joining.fitting import RECEIVED
from datasets.models import Dataset, Upload
from jobs import services as jobs
from jobs.clean import clean_json
from jobs.handlers import JobContext, JobError, JobStopped

FAULTY_KEPT = 1_000
BRIEF = 2_000  # characters
TRIES = 5


def brief(cursor: Cursor) -> dict[str, Any]:
    """A cursor as the history keeps it: that of a large folder has a megabyte, and every run would repeat it."""
    text = json.dumps(dict(cursor), sort_keys=True)
    return dict(cursor) if len(text) <= BRIEF else {"sha256": sha256(text.encode()).hexdigest(), "characters": len(text)}


class Paused(Exception):
    """A person has paused the importer since the job was queued."""


class Run:
    """One attempt of an importer's job."""

    def __init__(self, context: JobContext, importer: Importer) -> None:
        self.context, self.importer = context, importer
        self.dataset: Dataset | None = importer.dataset
        self.actor = Actor(user=context.job.requested_by, organisation=importer.organisation)
        self.mapping: list[dict[str, Any]] = importer.options.get("columns", [])
        self.telling: list[dict[str, Any]] = importer.options.get("telling", [])

    def perform(self) -> dict[str, Any]:
        """Take all that is new. Raises JobError, with the source's own text."""
        try:
            self._begin()
            self._check()
            self._late()
            with opening.opened(self.importer) as source:
                if source.delivers == Delivers.ROWS:
                    self._rows(source)
                else:
                    self._files(source)
        except SourceError as error:
            self._trouble(error.code, str(error))
            raise JobError(str(error), engineer=f"source error {error.code}", retry=error.passing) from error
        except Refused as refused:  # no room
            self._trouble(refused.code, refused.why)
            raise JobError(refused.why, engineer=f"not kept: {refused.code}") from refused
        except Paused:
            with suppress(jobs.NotPossible):
                jobs.cancel(actor=self.actor, job=self.context.job)
            raise JobStopped from None
        return {"importer": str(self.importer.pk), "run": self.row.pk, "read": self.row.rows_read, "files": self.row.files}

    def _begin(self) -> None:
        with self.context.fenced():
            self._unchanged()
            if pending.try_again(self.actor, self.importer):
                self.importer.cursor = {}
            found = ImporterRun.objects.filter(importer=self.importer, job=self.context.job).first()
            self.row = found or ImporterRun.objects.create(
                importer=self.importer,
                job=self.context.job,
                cursor_before=brief(self.importer.cursor),
                cursor_after=brief(self.importer.cursor),
            )
            if self.row.error_code:  # of the attempt before
                self.row.error_code = self.row.error_text = ""
                self.row.save(update_fields=["error_code", "error_text"])

    def _trouble(self, code: str, text: str) -> None:
        with self.context.fenced():
            ImporterRun.objects.filter(pk=self.row.pk).update(error_code=code[:50], error_text=text[:2000])

    def _check(self) -> None:
        """Raises SourceError for what no attempt can mend."""
        if not self.importer.ready:
            raise SourceError("not_mapped", _("Nobody has said yet which field goes into which column. Do that first."))
        if not self.importer.needs_dataset and self.dataset is None:
            return
        if self.dataset is None:
            text = _("The data set that this importer filled no longer exists. Choose another one in its settings.")
            raise SourceError("no_dataset", text)
        if self.dataset.archived_at is not None:
            text = _("The data set “%(name)s” is archived: restore it, or choose another one in the importer's settings.")
            raise SourceError("archived", text % {"name": self.dataset.name})
        there = set(self.dataset.columns.values_list("name", flat=True))
        if lost := [c["name"] for c in self.mapping if c["name"] not in there]:
            text = _("The data set no longer has the column %(names)s. Map the fields anew.")
            raise SourceError("column_lost", text % {"names": ", ".join(f"“{name}”" for name in lost[:10])})
        if why := together.refused(self.importer.kind, self.dataset, self.mapping):
            raise SourceError("patients_named_otherwise", why)

    def _late(self) -> None:
        """Rows of earlier runs whose images have arrived since."""
        if not self.importer.needs_dataset or self.dataset is None:
            return
        for ready in late.ready(self.importer, self.dataset):
            self.context.stop_if_asked()
            with temporary.file("arrived-") as copy:
                ready.write(copy)
                copy.flush()
                self._deliver(self.importer.cursor, partial(self._kept_late, ready, Path(copy.name)), partial(self._took, ready))

    def _kept_late(self, ready: late.Ready, path: Path) -> Kept:
        file = keeping.keep(self.importer.organisation, keeping.measured(path))
        return Kept([Table(self._name(), file, ready.options, len(ready.rows), once=False)])

    def _took(self, ready: late.Ready, _kept: Kept) -> None:
        ready.taken()
        self.row.rows_read += len(ready.rows)

    def _name(self) -> str:
        return f"{self.importer.name} {date_format(timezone.localtime(), 'Y-m-d H:i')}.csv"

    def _rows(self, source: Source) -> None:
        pieces, erased = source.pieces(self.importer.cursor), Erased(self.dataset)
        more, trouble = True, None
        while more:
            self.context.stop_if_asked()
            with temporary.file("arrived-") as copy:
                lot = lots.Lot(
                    copy, self.mapping, erased, omits=getattr(source, "omits_fields", False), telling=self.telling
                )
                try:
                    more = lot.fill(pieces)
                except SourceError as error:  # whole pieces that came before it are kept
                    more, trouble = False, error
                lot.close()
                if lot.cursor is not None:
                    self._deliver_lot(lot, Path(copy.name))
            self._tell(_("%(count)s rows read") % {"count": f"{self.row.rows_read:,}"})
        if trouble is not None:
            raise trouble

    def _deliver_lot(self, lot: lots.Lot, path: Path) -> None:
        options = {**lot.options, "keep_good_rows": self.importer.options.get("keep_good_rows", True)}
        if self.importer.kind == RECEIVED:
            options["source"] = RECEIVED
        def kept() -> Kept:
            if not lot.count:
                return Kept(faulty=lot.faulty)
            file = keeping.keep(self.importer.organisation, keeping.measured(path))
            return Kept([Table(self._name(), file, options, lot.count)], faulty=lot.faulty)

        def counted(_kept: Kept) -> None:
            self.row.rows_read += lot.count + lot.erased
            self.row.rows_erased += lot.erased
            if lot.waiting is not None:
                self.row.waiting = dict(lot.waiting)
            self.row.notes = sorted({*self.row.notes, *(name[:200] for name in lot.unknown)})[:100]

        self._deliver(lot.cursor or {}, kept, counted)

    def _files(self, source: Source) -> None:
        ways = {Treatment.ARRIVAL: files.kept, Treatment.TABLES: files.tables, Treatment.CELLS: files.cells}
        way = ways[Treatment(self.importer.treatment)]
        for piece in source.pieces(self.importer.cursor):
            self.context.stop_if_asked()
            keep = partial(way, self.context, self.importer, piece)
            self._deliver(piece.cursor, keep, self._count_files, piece.behind)
            self._tell(_("%(count)s files read") % {"count": f"{self.row.files:,}"})

    def _tell(self, count: str) -> None:
        self.context.progress(0.5, _("Reading"), count)

    def _count_files(self, kept: Kept) -> None:
        self.row.files += kept.count

    def _deliver(
        self,
        cursor: Cursor,
        keep: Callable[[], Kept],
        counted: Callable[[Kept], None],
        behind: Callable[[Collection[str]], Cursor] | None = None,
    ) -> None:
        """Keep what came, then make its uploads or its arrival and move the cursor, all or nothing."""
        for _attempt in range(TRIES):
            kept = keep()
            if behind is not None:  # what could not be had is left out, and comes again
                cursor = behind({fault.where for fault in kept.faulty if fault.again})
            with self.context.fenced():
                self._locked_dataset()
                if not kept.alive():
                    continue
                self._unchanged()
                for table in kept.tables:
                    self._upload(table)
                if kept.files:
                    arrival = services.receive(actor=self.actor, files=kept.files, dataset=self.dataset)
                    Delivery.objects.create(run=self.row, arrival=arrival)
                counted(kept)
                self._note(kept.faulty)
                self.row.cursor_after = brief(cursor)
                self.row.save()
                Importer.objects.filter(pk=self.importer.pk).update(cursor=dict(cursor))
            return
        raise RuntimeError("what an importer kept was let go again and again")

    def _unchanged(self) -> None:
        """Within the fence. Raises Paused, or JobError: settings or mapping were changed while the source was read by the old."""
        now = Importer.objects.select_for_update().filter(pk=self.importer.pk).values_list("revision", "paused").first()
        if now is None or now[0] != self.importer.revision:
            text = _("The importer was changed while it ran. It will start again with the new settings.")
            raise JobError(text, engineer="revision changed", retry=now is not None)
        if now[1]:
            raise Paused

    def _locked_dataset(self) -> None:
        """Before the importer's row, in the order in which an erasure locks them."""
        if self.dataset is not None:
            Dataset.objects.select_for_update().filter(pk=self.dataset.pk).first()

    def _upload(self, table: Table) -> None:
        """An upload that needs no person: one has confirmed its mapping. None where the very same is imported already, or now."""
        before = Upload.objects.filter(deliveries__run__importer=self.importer, file=table.file, dataset=self.dataset)
        there = (Upload.State.IMPORTED, Upload.State.IMPORTING)
        if table.once and before.filter(state__in=there, options__columns=table.options["columns"]).exists():
            self.row.rows_same += table.rows
            return
        upload = Upload(
            organisation=self.importer.organisation, dataset=self.dataset, file=table.file,
            original_name=intake.clean_name(table.name), options=table.options, created_by=self.actor.user,
        )  # fmt: skip
        upload.save(force_insert=True)
        intake.begin_import(actor=self.actor, upload=upload)
        Delivery.objects.create(run=self.row, upload=upload)
        audit.record(self.actor, "upload.received", upload, size=table.file.size, importer=str(self.importer.pk))

    def _note(self, faulty: Sequence[Faulty]) -> None:
        room = max(0, FAULTY_KEPT - len(self.row.faulty))
        fresh = [{"where": f.where[:300], "reason": f.reason[:300]} for f in faulty[:room]]
        self.row.faulty = [*self.row.faulty, *clean_json(fresh)]
        self.row.faulty_count += len(faulty)
