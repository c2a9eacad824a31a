"""The files of an upload on their way into records: taken in first, then found by what the rows call them.

A cell names a file of the upload's zip; else, by its UID, DICOM that has arrived (see datasets.joining); else a file that is
stored, by its SHA-256.
"""

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
from datasets.joining import keeping, naming
from datasets.models import Column, Kind, Record, Upload
from datasets.readers import missing
from datasets.readers.base import ReadError
from datasets.readers.formulas import as_meant
from datasets.readers.table import AnyTable
from datasets.records import SHA256
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
    late: bool = False  # it may still come
    notes: list[dict[str, Any]] = field(default_factory=list)  # of a series: see cells.notes


@dataclass(frozen=True)
class Stored:
    """A stored file that a cell names by its SHA-256."""

    sha256: str
    form: str = ""

    @property
    def key(self) -> str:
        return f"stored:{self.sha256}"

    @property
    def base(self) -> str:
        return self.sha256


class Arriving:
    """The files of one upload. `take_in` first; then `value` answers for the cells, in any thread."""

    def __init__(self, context: JobContext, upload: Upload) -> None:
        self.context, self.upload = context, upload
        self.actor = Actor(user=context.job.requested_by, organisation=upload.organisation)
        self.told = context.folder / "files.jsonl"
        self.looked = bool(upload.options.get("looked"))  # see intake.confirm
        self.names = Names([])
        self.received = naming.Received(upload.organisation)
        self.tried_again = False  # whether rows that are late come again by themselves: see importing.late
        self.late: set[str] = set()  # reasons of rows that may still be taken
        self.arrived: dict[str, Arrived] = {}
        self.shown: dict[str, str] = {}  # hash → what the sender called it
        self.report: dict[str, Any] = {}

    def take_in(self, path: Path, table: AnyTable, columns: Mapping[int, Column]) -> None:
        """Store the files that the table names in these columns (place → column). A killed attempt goes on where it was.

        Files that cannot be taken are noted with the reason; the rows that name them are refused when they come.
        """
        self.arrived = self._known()
        own = members(path) if self.upload.options.get("files") else []
        found = [m for m in own if m.name != self.upload.options.get("table")]
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

    def _named(self, table: AnyTable, columns: Mapping[int, Column]) -> dict[str, Any]:
        """What some row names, by its key, in the archive's order."""
        cells: set[tuple[Any, bool]] = set()
        for batch in table.batches(self.upload.options["skip"]):
            self.context.stop_if_asked()
            for row in batch.rows:
                for place, column in columns.items():
                    cell = row[place] if place < len(row) else None
                    if missing.spelling(cell) is None:
                        cells.add((as_meant(cell), column.kind == Kind.VOLUME))
        named: dict[str, Any] = {}
        left: set[tuple[str, bool]] = set()
        for cell, whole in cells:
            try:
                group = self.names.find(cell, whole=whole)
            except ValueError:
                left.add((str(cell).strip(), whole))
            else:
                named[group.key] = group
        places = {member.name: place for place, member in enumerate(self.names.groups.found)}
        named = dict(sorted(named.items(), key=lambda item: places[item[1].members[0].name]))
        return named | self._elsewhere(left)

    def _elsewhere(self, cells: set[tuple[str, bool]]) -> dict[str, Any]:
        """What is stored already, by its UID or its hash."""
        self.received.look_up((uid, whole) for text, whole in cells if (uid := naming.uid_of(text)) is not None)
        found: dict[str, Any] = {}
        for text, whole in sorted(cells):
            try:
                group = self._stored(text, whole)
            except ValueError:
                continue
            if group is not None:
                found[group.key] = group
        return found

    def _stored(self, text: str, whole: bool) -> Any:
        if (uid := naming.uid_of(text)) is not None:
            return self.received.find(uid, whole)
        return Stored(text) if SHA256.fullmatch(text) else None

    def _find(self, column: Column, cell: Any) -> Any:
        """Of a slice its series in a column of volumes, else the file by itself. Raises ValueError."""
        whole = column.kind == Kind.VOLUME
        try:
            return self.names.find(cell, whole=whole)
        except ValueError:
            found = self._stored(str(cell).strip(), whole)
            if found is None:
                if not self.names.groups.found:
                    raise ValueError(_not_stored(column)) from None
                raise
            return found

    def _take(self, group: Any) -> Arrived:
        one = Arrived(group.key)
        try:
            cell = self._cell(group)
            one.sha256, one.file, one.kind, one.form = cell.file.sha256, cell.file_id, cell.kind, cell.form
            one.shown, one.notes = cell.name, cell.notes
        except (kinds.NotACell, ReadError, naming.Late) as refused:
            one.reason, one.late = str(refused), isinstance(refused, naming.Late)
        return one

    def _cell(self, group: Any) -> CellFile:
        if isinstance(group, naming.Named):
            return keeping.keep(organisation=self.upload.organisation, named=group)
        if isinstance(group, Stored):
            known = store.find(self.upload.organisation, [group.sha256]).get(group.sha256)
            if known is None:
                raise kinds.NotACell("unknown_file", _("no file with this SHA-256 has been uploaded: send the file first"))
            return known
        return self._together(group) if group.form else self._kept(group.members[0])

    def _kept(self, member: Member) -> CellFile:
        with unpacked(member) as path, path.open("rb") as stream:
            sha256, size = file_digest(stream, "sha256").hexdigest(), path.stat().st_size
            return store.keep(actor=self.actor, path=path, sha256=sha256, size=size, name=member.base, looked=self.looked)

    def _together(self, group: Group) -> CellFile:
        with temporary.folder("unpacked-") as folder:
            parts = packing.copied(group.members, folder, self.context.stop_if_asked)
            return packing.keep_together(actor=self.actor, parts=parts, looked=self.looked)

    def _counted(self, found: list[Member], named: Mapping[str, Any]) -> dict[str, Any]:
        refused = [one for one in self.arrived.values() if one.reason]
        taken = [one for one in self.arrived.values() if one.sha256]
        used = {member.name for group in named.values() for member in getattr(group, "members", ())}
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
        try:
            member = self._find(column, raw)
        except naming.Late as late:
            raise self._is_late(str(raw).strip(), str(late)) from late
        except ValueError as error:
            if naming.uid_of(raw) is None:
                raise
            raise ValueError(_with_name(str(raw).strip(), error)) from error
        one = self.arrived.get(member.key)
        if one is not None and one.late:
            raise self._is_late(member.base, one.reason)
        if one is None or one.reason:
            why = one.reason if one is not None else _("it was not taken in")
            raise ValueError(_with_name(member.base, why))
        if not kinds.Look(one.kind, one.form).fits(column.kind):
            raise ValueError(
                _("“%(name)s” is of kind “%(found)s”, the column takes “%(kind)s”")
                % {"name": member.base[:80], "found": kinds.label(one.kind), "kind": column.get_kind_display()}
            )
        return one.sha256

    def _is_late(self, name: str, why: str) -> ValueError:
        if self.tried_again:
            what = _("The row is tried again by each run of its importer.")
        else:
            what = _("Then import this table again: rows that are there already stay as they are.")
        text = f"{_with_name(name, why)}. {what}"
        self.late.add(text)
        return ValueError(text)

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


def _not_stored(column: Column) -> str:
    text = _(
        "a column of kind “%(kind)s” takes the SHA-256 of an uploaded file, a zip that brings the files, or the UID of a DICOM"
        " series that has arrived"
    )
    return text % {"kind": column.get_kind_display()}


def _with_name(name: str, why: Any) -> str:
    return _("“%(name)s”: %(why)s") % {"name": name[:80], "why": why}
