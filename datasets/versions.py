"""Freezing a data set into a DatasetVersion, and reading frozen records as data frames."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Max, Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit
from accounts.actor import Actor
from datasets import parquet, temporary
from datasets.models import Dataset, DatasetVersion, Record, StoredFile, Upload
from datasets.storage import discard as discard_content
from datasets.storage import keep

if TYPE_CHECKING:
    import pandas as pd  # loaded where a frame is made: every process of the site imports this module

ATTEMPTS = 3
BUSY = gettext_lazy("Records are being added to this data set: try again when the upload has ended.")


class FreezeRefused(ValueError):
    """The data set cannot be frozen now; the text says why."""


def columns_of(dataset: Dataset) -> list[dict[str, Any]]:
    """[{name, kind, role}] in the columns' order."""
    return [{"name": c.name, "kind": c.kind, "role": c.role} for c in dataset.columns.all()]


def state_of(dataset: Dataset) -> str:
    """Two quick look-ups that differ whenever the records or the columns do: 64 hex digits.

    Ids only grow, so an added record raises the greatest id, an erased one lowers the count, an edit moves `updated_at`.
    """
    counts = (
        Dataset.objects.filter(pk=dataset.pk).values_list("record_count", "test_count", "updated_at").get()
    )
    newest = Record.objects.filter(dataset=dataset).order_by("-id").values_list("id", flat=True).first()
    parts = [*counts[:2], counts[2].isoformat(), newest, columns_of(dataset)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def rows_of(dataset: Dataset, chunk: int = 10_000) -> Iterator[parquet.Row]:
    """Every record in the order of its id, a chunk at a time by key, so that memory does not grow with the data set."""
    last = 0
    query = (
        Record.objects.filter(dataset=dataset)
        .order_by("id")
        .values_list("id", "patient_key", "split", "values")
    )
    while rows := list(query.filter(id__gt=last)[:chunk]):
        yield from rows
        last = rows[-1][0]


def freeze(*, actor: Actor, dataset: Dataset) -> DatasetVersion:
    """The frozen version of what the data set holds now; the existing one when nothing has changed.

    Reads outside a transaction, so that nobody waits for it, and starts again when the data change meanwhile: looked at
    last under the data set's lock, so that a patient who is erased in between never comes back in a frozen file.
    Raises FreezeRefused when there is nothing to freeze, an upload is half in, or it never stands still.
    """
    for _attempt in range(ATTEMPTS):
        if filling(dataset):
            break
        state = state_of(dataset)
        version: DatasetVersion | None = (
            dataset.versions.filter(state=state, erased_count=0).exclude(file=None).first()
        )
        if version is not None:
            return version
        with temporary.folder("freezing-") as folder:
            path = folder / "version.parquet"
            columns = columns_of(dataset)
            writer = parquet.Writer(path, columns)
            writer.add(rows_of(dataset))
            writer.close()
            if not writer.count:
                raise FreezeRefused(_("There are no records to freeze: upload some first."))
            if (kept := _keep(actor, dataset, state, columns, writer, path)) is not None:
                return kept
    raise FreezeRefused(BUSY)


def filling(dataset: Dataset) -> bool:
    """Whether an upload is half in. One that fails or is cancelled takes its rows out again: no version may hold them."""
    return dataset.uploads.filter(state=Upload.State.IMPORTING).exists()


@transaction.atomic
def _keep(
    actor: Actor,
    dataset: Dataset,
    state: str,
    columns: list[dict[str, Any]],
    writer: parquet.Writer,
    path: Path,
) -> DatasetVersion | None:
    """The row of what was written; None when the data set has changed since it was read."""
    Dataset.objects.select_for_update().get(pk=dataset.pk)
    if state_of(dataset) != state:
        return None
    same: DatasetVersion | None = (
        dataset.versions.filter(content_hash=writer.content_hash, erased_count=0).exclude(file=None).first()
    )
    if same is not None:
        same.state = state
        same.save(update_fields=["state"])
        return same
    number = (dataset.versions.aggregate(Max("number"))["number__max"] or 0) + 1
    version = DatasetVersion.objects.create(
        dataset=dataset,
        number=number,
        content_hash=writer.content_hash,
        state=state,
        columns=columns,
        record_count=writer.count,
        test_count=writer.test_count,
        patient_count=writer.patient_count,
        file=store(dataset, path),
        created_by=actor.user,
    )
    audit.record(
        actor,
        "dataset.frozen",
        version,
        dataset=str(dataset.pk),
        records=writer.count,
        hash=writer.content_hash,
    )
    return version


@transaction.atomic
def discard(*, actor: Actor, version: DatasetVersion) -> None:
    """Take back a version that was frozen for a training run that was then refused: its row and its file.

    Nothing has learned from it, so it must not keep the columns from being changed. Raises ProtectedError when a run
    uses it. The caller knows that no person froze it.
    """
    dataset = Dataset.objects.select_for_update().get(pk=version.dataset_id)
    found = dataset.versions.select_related("file").filter(pk=version.pk).first()
    if found is None:
        return
    file = found.file
    audit.record(actor, "dataset.version_discarded", found, dataset=str(dataset.pk), hash=found.content_hash)
    found.delete()
    uploads = Upload.objects.filter(Q(file=file) | Q(refused_file=file))
    if file is None or uploads.exists() or DatasetVersion.objects.filter(file=file).exists():
        return
    path = file.path
    file.delete()
    if path:
        transaction.on_commit(partial(discard_content, path, time()))


def store(dataset: Dataset, path: Path) -> StoredFile:
    """Keep a finished Parquet file, named by its hash."""
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return keep(organisation=dataset.organisation, path=path, sha256=sha256, size=path.stat().st_size)


def iter_frames(
    version: DatasetVersion,
    split: str | None = None,
    rows: int = 20_000,
    columns: Sequence[str] | None = None,
) -> "Iterator[pd.DataFrame]":
    """The version's records as frames of at most `rows` rows, in the order of record id; see `frame` for the types."""
    if version.file is None:
        raise FreezeRefused(_("The records of this version have been erased."))
    wanted = version.columns if columns is None else _named(version, columns)
    with default_storage.open(version.file.path, "rb") as stream:
        yield from parquet.read(stream, wanted, split, rows)


def _named(version: DatasetVersion, names: Sequence[str]) -> list[dict[str, Any]]:
    known = {c["name"]: c for c in version.columns}
    if missing := [name for name in names if name not in known]:
        raise KeyError(missing[0])
    return [known[name] for name in names]


def frame(
    version: DatasetVersion, split: str | None = None, columns: Sequence[str] | None = None
) -> "pd.DataFrame":
    """The version's records of one split ("train", "test") or all; index = record id, columns by their names.

    Number columns are float64 with NaN; all others are object: text, an ISO date, or None. `columns` chooses and orders
    them (KeyError for an unknown one).
    """
    frames = list(iter_frames(version, split, columns=columns))
    if not frames:
        return parquet.empty_frame(version.columns if columns is None else _named(version, columns))
    import pandas as pd

    return pd.concat(frames)
