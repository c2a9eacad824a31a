"""Taking files in as cells, finding them again by their hash, and deleting those that nothing needs any more."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import time
from typing import Any

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.actor import Actor
from accounts.models import Organisation
from datasets import quota, storage, temporary
from datasets.cells import packing
from datasets.cells.deidentifying import prepared
from datasets.cells.kinds import Look, NotACell, examine, label
from datasets.cells.models import CellFile, RecordFile
from datasets.models import Column, Record, StoredFile
from datasets.records import FILE_KINDS, RecordRefused

KEPT_UNUSED = timedelta(hours=24)  # how long a file waits for a record or a diagnosis that points to it
LOOK_UP = 500
AT_ONCE = 1_000


def clean_name(name: str) -> str:
    """The sender's name as it is shown: no folders, no control characters. It never becomes a path."""
    base = str(name).replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in base if c.isprintable())[:255] or "file"


def take_in(*, actor: Actor, file: Any, name: str, limit: int | None = None, looked: bool = False) -> CellFile:
    """Keep a file (path or stream) that a cell may point to. Raises storage.TooLarge, and NotACell that says why not.

    A ZIP archive is the series, or the recording, that it holds. `looked`: see `keep`. For requests; a job calls `keep`, and
    comes again when the desk is busy.
    """
    with storage.received(file, limit) as (path, sha256, size), _not_busy():
        if packing.is_archive(path):
            return packing.keep_archive(actor=actor, path=path, looked=looked)
        return keep(actor=actor, path=path, sha256=sha256, size=size, name=name, looked=looked)


def take_in_together(
    *, actor: Actor, files: Sequence[tuple[str, Any]], limit: int | None = None, looked: bool = False
) -> CellFile:
    """The same of several files (name, path or stream) that are one cell; one of them may be a ZIP archive."""
    if len(files) == 1:
        return take_in(actor=actor, file=files[0][1], name=files[0][0], limit=limit, looked=looked)
    with ExitStack() as stack:
        folder = stack.enter_context(temporary.folder("unpacked-"))
        parts = []
        for number, (name, file) in enumerate(files):
            path, _sha256, _size = stack.enter_context(storage.received(file, limit))
            if packing.is_archive(path):
                (folder / str(number)).mkdir()
                parts += packing.unpacked(path, folder / str(number))
            else:
                parts.append(packing.Part(clean_name(name), path))
        with _not_busy():
            return packing.keep_together(actor=actor, parts=parts, looked=looked)


@contextmanager
def _not_busy() -> Iterator[None]:
    try:
        yield
    except ConnectionError as error:
        text = _("The server is busy looking at other files. Send this one again in a minute.")
        raise NotACell("busy", text) from error


def keep(*, actor: Actor, path: Path, sha256: str, size: int, name: str, looked: bool = False) -> CellFile:
    """The CellFile of this content in the actor's organisation, once, however often it comes. Raises NotACell, and
    desks.Busy.

    DICOM is de-identified and a picture loses its metadata before it is kept, so the cell's hash is that of what is kept,
    not `sha256`. `looked`: the actor has seen its pictures, and none that shows who the patient is; that goes into the audit log.
    """
    assert actor.organisation is not None
    known = _known(actor.organisation, sha256, name)
    if known is not None:
        return known
    found = examine(path)
    with prepared(actor=actor, look=found, path=path, looked=looked) as ready:
        if ready is None:
            return _kept(actor.organisation, found, path, sha256, size, name)
        if ready.pseudonym:
            name = f"{ready.pseudonym}.dcm"  # archives name their exports after the patient
        known = _known(actor.organisation, ready.sha256, name)
        return known or _kept(
            actor.organisation, found, ready.path, ready.sha256, ready.size, name, ready.pseudonym
        )


def keep_pack(*, organisation: Organisation, made: "packing.Packed") -> CellFile:
    """The CellFile of a pack. Raises NotACell ("over_quota")."""
    sha256, size = storage.sha256_of(made.path), made.path.stat().st_size
    name = f"{made.pseudonym}.zip" if made.pseudonym else made.name
    known = _known(organisation, sha256, name)
    return known or _kept(organisation, made.look, made.path, sha256, size, name, made.pseudonym, made.notes)


def keep_stored(*, organisation: Organisation, file: StoredFile, name: str, pseudonym: str) -> CellFile:
    """The CellFile of DICOM that is stored de-identified already: the same file, neither copied nor cleaned again.

    Raises NotACell, and desks.Busy.
    """
    known = _known(organisation, file.sha256, name)
    if known is not None:
        return known
    with storage.local(file) as path:
        return _kept(organisation, examine(path), path, file.sha256, file.size, name, pseudonym)


def _known(organisation: Organisation, sha256: str, name: str) -> CellFile | None:
    """The file that is here already; it waits anew for who points to it."""
    same = CellFile.objects.filter(file__organisation=organisation, file__sha256=sha256)
    known: CellFile | None = same.select_related("file").first()
    if known is None or not default_storage.exists(known.file.path):
        return None
    known.name, known.created_at = clean_name(name), timezone.now()
    known.save(update_fields=["name", "created_at"])
    return known


def _kept(
    organisation: Organisation, found: Look, path: Path, sha256: str, size: int, name: str, pseudonym: str = "",
    notes: Sequence[Mapping[str, Any]] = (),
) -> CellFile:  # fmt: skip
    try:
        quota.check(organisation=organisation, more=size, sha256=sha256)
    except quota.OverQuota as full:
        raise NotACell("over_quota", str(full)) from full

    def pointed(stored: StoredFile) -> CellFile:
        about = {"name": clean_name(name), "kind": found.kind, "form": found.form, "pseudonym": pseudonym}
        cell, _created = CellFile.objects.get_or_create(file=stored, defaults={**about, "notes": list(notes)})
        if pseudonym and found.form == "dicom":
            from datasets.receiving import index

            index.keep([index.describe(stored, path)])
        return cell

    return storage.keep_for(pointed, organisation=organisation, path=path, sha256=sha256, size=size)


def look_of(cell: CellFile) -> Look:
    """What was found when the file came."""
    return Look(cell.kind, cell.form)


def find(organisation: Organisation, hashes: Iterable[str]) -> dict[str, CellFile]:
    """The organisation's files of these hashes that cells may point to; one query for every LOOK_UP of them."""
    wanted, found = sorted(set(hashes)), {}
    for start in range(0, len(wanted), LOOK_UP):
        rows = CellFile.objects.for_organisation(organisation).filter(file__sha256__in=wanted[start : start + LOOK_UP])
        found.update({row.file.sha256: row for row in rows.select_related("file")})
    return found


def unfit(cell: CellFile | None, kind: str) -> str:
    """Why a column of this kind cannot take the file, in words; "" when it can."""
    if cell is None:
        return _("no file with this SHA-256 has been uploaded: send the file first")
    if not look_of(cell).fits(kind):
        return _("the file is of kind “%(found)s”, the column takes “%(kind)s”") % {
            "found": label(cell.kind), "kind": label(kind),
        }  # fmt: skip
    return ""


def file_columns(columns: Iterable[Column]) -> list[Column]:
    """Those whose cells are files."""
    return [column for column in columns if column.kind in FILE_KINDS]


def check_cells(organisation: Organisation, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> dict[str, CellFile]:
    """The files that validated rows point to. Raises RecordRefused for one that is not there, or of another kind."""
    own = file_columns(columns)
    if not own:
        return {}
    found = find(organisation, [row[c.name] for row in rows for c in own if row.get(c.name)])
    for index, row in enumerate(rows):
        wrong = {c.name: why for c in own if row.get(c.name) and (why := unfit(found.get(row[c.name]), c.kind))}
        if wrong:
            raise RecordRefused(wrong, index)
    return found


def point(records: Iterable[Record], columns: Sequence[Column], files: Mapping[str, CellFile], names: Mapping[str, str]) -> None:
    """Note which file each cell of new records points to. `names`: hash → what it was called; else as it first came."""
    own = file_columns(columns)
    rows = [
        RecordFile(record_id=record.pk, column=c.name, file_id=files[sha].file_id, name=names.get(sha) or files[sha].name)
        for record in records
        for c in own
        if (sha := record.values.get(c.name))
    ]
    RecordFile.objects.bulk_create(rows, batch_size=AT_ONCE)


def files_of_records(ids: Sequence[int]) -> list[StoredFile]:
    """The files that these records point to, each once."""
    found: dict[int, StoredFile] = {}
    for start in range(0, len(ids), LOOK_UP):
        rows = StoredFile.objects.filter(record_files__record__in=ids[start : start + LOOK_UP])
        found.update({row.pk: row for row in rows})
    return list(found.values())


def needed(file: StoredFile) -> bool:
    """Whether anything points to the file: a record, a version, an upload or what the apps above keep (diagnoses)."""
    return storage.needed(file, without=(CellFile,))


@transaction.atomic
def let_go(files: Iterable[StoredFile]) -> int:
    """Delete those of the files that nothing needs; their bytes go once the transaction holds. How many."""
    gone = 0
    for file in {file.pk: file for file in files}.values():
        row = StoredFile.objects.select_for_update().filter(pk=file.pk).first()
        if row is None or needed(row):
            continue
        path, sha256, organisation = row.path, row.sha256, row.organisation_id
        named = CellFile.objects.filter(file=row).exclude(pseudonym="").values_list("pseudonym", flat=True).first()
        row.delete()
        if named:
            _forget_patient(organisation, named)
        gone += 1
        transaction.on_commit(partial(_delete, organisation, sha256, path, time()))
    return gone


def _forget_patient(organisation: Any, pseudonym: str) -> None:
    """Who a pseudonym stands for is forgotten with the last file and record that carry it."""
    from datasets.dicom.models import PatientKey
    from datasets.receiving.models import DicomInstance

    files = CellFile.objects.filter(file__organisation=organisation, pseudonym=pseudonym)
    received = DicomInstance.objects.filter(organisation=organisation, patient_id=pseudonym)
    records = Record.objects.filter(dataset__organisation=organisation, patient_key=pseudonym)
    if not files.exists() and not records.exists() and not received.exists():
        PatientKey.objects.filter(organisation=organisation, pseudonym=pseudonym).delete()


def _delete(organisation: Any, sha256: str, path: str, released: float) -> None:
    from datasets.cells.pictures import forget

    forget(organisation, sha256)
    if path and not StoredFile.objects.filter(path=path).exists():  # come again in the meantime
        storage.discard(path, released)


def forget_unused() -> int:
    """Delete the files that have waited longer than KEPT_UNUSED and that nothing points to; how many."""
    old = CellFile.objects.filter(created_at__lt=timezone.now() - KEPT_UNUSED).select_related("file")
    for model, field in storage.pointers(without=(CellFile,)):
        old = old.filter(~Exists(model._base_manager.filter(**{field: OuterRef("file")})))
    return let_go([cell.file for cell in old[:AT_ONCE]])


__all__ = [
    "NotACell",
    "check_cells",
    "clean_name",
    "file_columns",
    "files_of_records",
    "find",
    "forget_unused",
    "keep",
    "keep_pack",
    "keep_stored",
    "let_go",
    "look_of",
    "needed",
    "point",
    "take_in",
    "take_in_together",
    "unfit",
]  # fmt: skip
