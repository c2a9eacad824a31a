"""The files of an upload on their way into records: taken in first, then found by the names that the rows give."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from accounts.actor import Actor
from datasets import temporary
from datasets.cells import kinds, notes, packing, store
from datasets.cells.archive import Member, members, unpacked
from datasets.cells.groups import Group
from datasets.cells.models import CellFile, RecordFile
from datasets.cells.naming import Names
from datasets.models import Column, Kind, Record, Upload
from datasets.readers import missing
from datasets.readers.base import ReadError
from datasets.readers.table import AnyTable
from jobs.handlers import JobContext

REPORTED = 200
SHARE = 0.6  # of the import's progress that the files take


@dataclass
class Arrived:
    """What became of one file of the archive, or of several that are one: stored under `sha256`, or not, for a `reason`."""

    name: str
    sha256: str = ""
    file: int = 0
    kind: str = ""
    form: str = ""
    shown: str = ""  # DICOM by its pseudonym (see store.keep), else as its sender called it
    reason: str = ""
    notes: list[dict[str, Any]] = field(default_factory=list)  # of a series: see cells.notes


class Arriving:
    """The files of one upload. `take_in` first; then `value` answers for the cells, in any thread."""

    def __init__(self, context: JobContext, upload: Upload) -> None:
        self.context, self.upload = context, upload
        self.actor = Actor(user=context.job.requested_by, organisation=upload.organisation)
        self.told = context.folder / "files.jsonl"
        self.looked = bool(upload.options.get("looked"))  # see intake.confirm
        self.names = Names([])
        self.arrived: dict[str, Arrived] = {}
        self.shown: dict[str, str] = {}  # hash → what the sender called it
        self.report: dict[str, Any] = {}

    def take_in(self, path: Path, table: AnyTable, columns: Mapping[int, Column]) -> None:
        """Store the files that the table names in these columns (place → column). A killed attempt goes on where it was.

        Files that cannot be taken are noted with the reason; the rows that name them are refused when they come.
        """
        self.arrived = self._known()
        found = [m for m in members(path) if m.name != self.upload.options.get("table")]
        self.names = Names(found, str(self.upload.options.get("table", "")))
        named = self._named(table, columns)
        with self.told.open("a", encoding="utf-8") as told:
            for number, (key, group) in enumerate(named.items()):
                self.context.stop_if_asked()
                if key in self.arrived:
                    continue
                one = self._take(group)
                self.arrived[key] = one
                told.write(json.dumps(asdict(one)) + "\n")
                told.flush()
                self.context.progress(SHARE * number / len(named), _("Taking in the files"))
        self.shown = {one.sha256: one.shown for one in self.arrived.values() if one.sha256}
        self.report = self._counted(found, named)

    def _known(self) -> dict[str, Arrived]:
        """What an earlier attempt had taken in and is still there."""
        if not self.told.exists():
            return {}
        found: dict[str, Arrived] = {}
        for line in self.told.read_text(encoding="utf-8").splitlines():
            try:
                one = Arrived(**json.loads(line))
            except (ValueError, TypeError):  # the line that a kill has cut
                continue
            found[one.name] = one
        there = store.find(self.upload.organisation, [one.sha256 for one in found.values() if one.sha256])
        return {name: one for name, one in found.items() if one.reason or one.sha256 in there}

    def _named(self, table: AnyTable, columns: Mapping[int, Column]) -> dict[str, Group]:
        """What some row names, by its key, in the archive's order."""
        named: dict[str, Group] = {}
        for batch in table.batches(self.upload.options["skip"]):
            self.context.stop_if_asked()
            for row in batch.rows:
                for place, column in columns.items():
                    cell = row[place] if place < len(row) else None
                    if missing.spelling(cell) is None:
                        try:
                            group = self._find(column, cell)
                        except ValueError:
                            continue
                        named[group.key] = group
        places = {member.name: place for place, member in enumerate(self.names.groups.found)}
        return dict(sorted(named.items(), key=lambda item: places[item[1].members[0].name]))

    def _find(self, column: Column, cell: Any) -> Group:
        """Of a slice its series in a column of volumes, else the file by itself. Raises ValueError."""
        return self.names.find(cell, whole=column.kind == Kind.VOLUME)

    def _take(self, group: Group) -> Arrived:
        one = Arrived(group.key)
        try:
            cell = self._kept(group.members[0]) if not group.form else self._together(group)
            one.sha256, one.file, one.kind, one.form = cell.file.sha256, cell.file_id, cell.kind, cell.form
            one.shown, one.notes = cell.name, cell.notes
        except (kinds.NotACell, ReadError) as refused:
            one.reason = str(refused)
        return one

    def _kept(self, member: Member) -> CellFile:
        with unpacked(member) as path, path.open("rb") as stream:
            sha256, size = file_digest(stream, "sha256").hexdigest(), path.stat().st_size
            return store.keep(actor=self.actor, path=path, sha256=sha256, size=size, name=member.base, looked=self.looked)

    def _together(self, group: Group) -> CellFile:
        with temporary.folder("unpacked-") as folder:
            parts = packing.copied(group.members, folder, self.context.stop_if_asked)
            return packing.keep_together(actor=self.actor, parts=parts, looked=self.looked)

    def _counted(self, found: list[Member], named: Mapping[str, Group]) -> dict[str, Any]:
        refused = [one for one in self.arrived.values() if one.reason]
        taken = [one for one in self.arrived.values() if one.sha256]
        used = {member.name for group in named.values() for member in group.members}
        unused = [m.name for m in found if m.name not in used]
        said = [one for one in taken if one.notes]
        return {
            "taken": len({one.sha256 for one in taken}),
            "same_content": len(taken) - len({one.sha256 for one in taken}),
            "refused": len(refused), "unused": len(unused),
            "refused_examples": [{"name": one.name.split(":", 1)[-1][:120], "reason": one.reason} for one in refused[:REPORTED]],
            "unused_examples": [name[:120] for name in unused[:REPORTED]],
            "noted": len(said),
            "noted_examples": [
                {"name": one.name.split(":", 1)[-1][:120], "notes": notes.texts(one.notes)} for one in said[:REPORTED]
            ],
        }  # fmt: skip

    def value(self, column: Column, raw: Any) -> str:
        """The hash of the file that a cell names. Raises ValueError with a text for the person."""
        member = self._find(column, raw)
        one = self.arrived.get(member.key)
        if one is None or one.reason:
            why = one.reason if one is not None else _("it was not taken in")
            raise ValueError(_("“%(name)s”: %(why)s") % {"name": member.base[:80], "why": why})
        if not kinds.Look(one.kind, one.form).fits(column.kind):
            raise ValueError(
                _("“%(name)s” is of kind “%(found)s”, the column takes “%(kind)s”")
                % {"name": member.base[:80], "found": kinds.label(one.kind), "kind": column.get_kind_display()}
            )
        return one.sha256

    def point(self, upload: Upload, columns: list[Column], first: int, last: int) -> None:
        """Within the fence of a batch: note which files its new records point to."""
        files = {one.sha256: one.file for one in self.arrived.values() if one.sha256}
        rows = Record.objects.filter(upload=upload, id__gte=first, id__lte=last).values_list("id", "values")
        RecordFile.objects.bulk_create(self._pointers(rows.iterator(), columns, files), batch_size=1_000)

    def _pointers(self, rows: Any, columns: list[Column], files: dict[str, int]) -> Iterator[RecordFile]:
        for pk, values in rows:
            for column in columns:
                sha256 = values.get(column.name)
                if sha256:
                    yield RecordFile(
                        record_id=pk, column=column.name, file_id=files[sha256], name=self.shown[sha256]
                    )
