"""Erasing a patient: records and their history, frozen versions, uploaded files, and what the apps above hold.

The original upload file is deleted whole, because a line cannot be taken out of it in every format: whatever could hold
the patient goes. That is every upload that a record of the patient came from, and every one with repeated, refused or not
(yet) imported rows, as those rows could be the patient's.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets import parquet, storage, temporary
from datasets.arrivals.models import ArrivedFile
from datasets.cells import store as cells
from datasets.models import Dataset, DatasetVersion, Record, RecordChange, Split, StoredFile, Upload
from datasets.signals import patient_erased
from datasets.tus.models import Transfer
from datasets.versions import store


class Touch(Protocol):
    """What an app above registers: what it holds of a patient and how to erase it."""

    label: str | Promise

    def count(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int: ...

    def erase(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int: ...


_TOUCHES: list[Touch] = []
ERASED = "[erased]"


def register(touch: Touch) -> None:
    """Called in an app's ready(). Its `erase` runs in the erasing transaction, before the records are gone."""
    if touch not in _TOUCHES:
        _TOUCHES.append(touch)


class ErasureRefused(ValueError):
    """Nothing was erased; the text says why."""


@dataclass
class Preview:
    """What erasing a patient would touch."""

    patient_key: str
    record_ids: list[int]
    changes: int = 0
    versions: list[DatasetVersion] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    shared_uploads: list[Upload] = field(
        default_factory=list
    )  # their files serve other data sets too and stay
    others: list[tuple[str | Promise, int]] = field(default_factory=list)
    files: int = 0  # pictures and other files that the patient's records point to


def records_of(dataset: Dataset, patient_key: str, record: Record | None = None) -> list[int]:
    """The ids of the patient's records; without a patient key, a record is its own patient."""
    if not patient_key:
        return (
            [record.pk]
            if record is not None and record.dataset_id == dataset.pk and not record.patient_key
            else []
        )
    rows = Record.objects.filter(dataset=dataset, patient_key=patient_key)
    return list(rows.order_by("id").values_list("id", flat=True))


def preview_erasure(*, dataset: Dataset, patient_key: str = "", record: Record | None = None) -> Preview:
    """What `erase_patient` would touch. Reads only."""
    ids = records_of(dataset, patient_key, record)
    preview = Preview(patient_key=patient_key, record_ids=ids)
    if ids:
        preview.changes = RecordChange.objects.filter(record__in=ids).count()
        preview.versions = [v for v in _versions(dataset) if _holds(v, ids)]
        affected = _uploads(dataset, ids)
        preview.shared_uploads = [u for u in affected if _shared(u)]
        preview.uploads = [u for u in affected if not _shared(u)]
        preview.files = len(cells.files_of_records(ids))
        preview.others = [(touch.label, touch.count(dataset, patient_key, ids)) for touch in _TOUCHES]
    return preview


def _versions(dataset: Dataset) -> list[DatasetVersion]:
    return list(dataset.versions.exclude(file=None).select_related("file"))


def _holds(version: DatasetVersion, ids: Sequence[int]) -> bool:
    """Whether the frozen file has any of these records; reads nothing but its column of record ids."""
    assert version.file is not None
    wanted = pa.array(sorted(ids), type=pa.int64())
    with default_storage.open(version.file.path, "rb") as stream:
        return any(
            pc.any(pc.is_in(batch.column(0), value_set=wanted)).as_py()
            for batch in pq.ParquetFile(stream).iter_batches(
                batch_size=parquet.CHUNK, columns=[parquet.RECORD]
            )
        )


def _uploads(dataset: Dataset, ids: Sequence[int]) -> list[Upload]:
    """Every upload whose file could hold the patient: see the head of this file."""
    came_from = Record.objects.filter(pk__in=ids).exclude(upload=None).values("upload")
    unsure = Q(rows_duplicate__gt=0) | Q(rows_refused__gt=0) | ~Q(state=Upload.State.IMPORTED)
    rows = Upload.objects.filter(dataset=dataset).filter(Q(pk__in=came_from) | unsure)
    # An archive of files is gone since its import, but its row still tells their names.
    return list(rows.exclude(file__path="", original_name=ERASED).select_related("file", "refused_file"))


def _shared(upload: Upload) -> bool:
    return Upload.objects.filter(file=upload.file_id).exclude(dataset=upload.dataset_id).exists()


def erase_patient(
    *, actor: Actor, dataset: Dataset, patient_key: str = "", record: Record | None = None, reason: str
) -> Preview:
    """Erase; what was touched is returned. Raises ErasureRefused when there is no such patient or no reason.

    The frozen files are rewritten first, outside the transaction, so that nobody waits; then one transaction removes and
    swaps everything, or nothing. The audit event holds a keyed hash of the patient's key, and no patient data.
    """
    if not reason.strip():
        raise ErasureRefused(_("Say why the patient is erased, for the audit log (without patient data)."))
    with temporary.folder("erasing-") as folder:
        ids = records_of(dataset, patient_key, record)
        if not ids:
            raise ErasureRefused(_("No record of this patient is in this data set."))
        rewritten = {v.pk: _rewrite(v, ids, folder) for v in _versions(dataset) if _holds(v, ids)}
        return _erase(actor, dataset, patient_key, record, reason, ids, rewritten)


def _rewrite(version: DatasetVersion, ids: Sequence[int], folder: Path) -> tuple[Path, int]:
    assert version.file is not None
    path = folder / f"{version.pk}.parquet"
    with default_storage.open(version.file.path, "rb") as stream:
        return path, parquet.without(stream, path, set(ids))


@transaction.atomic
def _erase(
    actor: Actor,
    dataset: Dataset,
    patient_key: str,
    record: Record | None,
    reason: str,
    ids: list[int],
    rewritten: dict[Any, tuple[Path, int]],
) -> Preview:
    dataset = Dataset.objects.select_for_update().get(pk=dataset.pk)
    if dataset.uploads.filter(state=Upload.State.IMPORTING).exists():
        raise ErasureRefused(
            _("An upload is being imported and could bring the patient back: erase when it has ended.")
        )
    preview = preview_erasure(dataset=dataset, patient_key=patient_key, record=record)
    if preview.record_ids != ids or {v.pk for v in preview.versions} != set(rewritten):
        raise ErasureRefused(_("The data set changed meanwhile. Nothing was erased: try again."))
    for touch in _TOUCHES:
        touch.erase(dataset, patient_key, ids)
    doomed = [_swap(dataset, v, *rewritten[v.pk]) for v in preview.versions]
    for upload in [*preview.uploads, *preview.shared_uploads]:
        doomed += _forget(upload, keep_file=upload in preview.shared_uploads)
    storage.forget_answers([*preview.uploads, *preview.shared_uploads])
    files = cells.files_of_records(ids)
    _remove_records(dataset, ids)
    cells.let_go(files)
    audit.record(
        actor,
        "patient.erased",
        dataset,
        patient_hash=key_hash(dataset, patient_key) if patient_key else "",
        records=len(ids),
        versions=[v.number for v in preview.versions],
        uploads=len(preview.uploads),
        files=preview.files,
        others={str(label): count for label, count in preview.others},
        reason_given=bool(reason),
    )
    _after_commit(dataset, len(ids), doomed, preview.uploads)
    return preview


def key_hash(dataset: Dataset, patient_key: str) -> str:
    """A keyed hash by which an auditor who knows the patient's key can find its erasure, and no one else the key."""
    key = f"{settings.SECRET_KEY}:{dataset.split_salt}".encode()
    return hmac.new(key, patient_key.encode("utf-8", "surrogatepass"), sha256).hexdigest()[:32]


def _swap(dataset: Dataset, version: DatasetVersion, path: Path, removed: int) -> StoredFile | None:
    """Put the rewritten file in the place of the frozen one, which is returned to be deleted."""
    old = version.file
    left = pq.ParquetFile(path).metadata.num_rows
    version.file = store(dataset, path) if left else None
    version.erased_count += removed
    version.state = ""
    version.save(update_fields=["file", "erased_count", "state"])
    return old


def _forget(upload: Upload, *, keep_file: bool) -> list[StoredFile | None]:
    """Clear what an upload's row shows of patients; returns its files to be deleted."""
    emptied = {"columns": _emptied(upload.preview), "rows": [], "warnings": [], "files": {}, "erased": True}
    upload.preview = {**upload.preview, **emptied}
    upload.options = {**upload.options, "columns": _emptied(upload.options)}
    upload.original_name = ERASED  # files are named after patients
    upload.report = {k: v for k, v in upload.report.items() if isinstance(v, bool | int | float)}
    refused, upload.refused_file = upload.refused_file, None
    if upload.state == Upload.State.PREVIEW and not keep_file:
        upload.state = Upload.State.DISCARDED
    upload.save(
        update_fields=["preview", "options", "original_name", "report", "refused_file", "state"]
    )
    Transfer.objects.forget([upload])
    ArrivedFile.objects.filter(upload=upload).update(name=ERASED)
    return [refused] if keep_file else [refused, upload.file]


def _emptied(kept: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns as an upload keeps them, without what quotes cells."""
    return [{**c, "examples": [], "warnings": []} for c in kept.get("columns", []) if isinstance(c, dict)]


def _remove_records(dataset: Dataset, ids: Sequence[int]) -> None:
    rows = Record.objects.filter(pk__in=ids)
    tests = rows.filter(split=Split.TEST).count()
    rows.delete()  # with their RecordChanges
    Dataset.objects.filter(pk=dataset.pk).update(
        record_count=F("record_count") - len(ids),
        test_count=F("test_count") - tests,
        updated_at=timezone.now(),
    )


def _after_commit(
    dataset: Dataset, count: int, doomed: Iterable[StoredFile | None], uploads: Sequence[Upload]
) -> None:
    """Free the files in this transaction, delete their bytes once it holds."""
    paths = storage.release([file for file in doomed if file is not None], uploads)

    released = time()

    def finish() -> None:
        for path in paths:
            storage.discard(path, released)
        patient_erased.send(Dataset, dataset=dataset, count=count)

    transaction.on_commit(finish)
