"""Receiving a file: kept as it came, previewed, corrected by the person, confirmed into a job, or discarded."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import time
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import audit
from accounts.actor import Actor
from datasets import quota, services, storage
from datasets.masking import preview as masking
from datasets.models import Dataset, Role, StoredFile, Upload
from datasets.preview import Settings, build, masking_of, settings_of
from datasets.readers.base import ReadError
from datasets.tus.models import Transfer
from jobs.models import Job
from jobs.services import submit

State = Upload.State
SETTINGS = ("encoding", "delimiter", "member", "sheet", "header")
COLUMN_SETTINGS = (
    "kind",
    "role",
    "minimum",
    "maximum",
    "decimal",
    "thousands",
    "date_order",
    "future",
    "keep_words",
    "identifies",
    "include",
)


class IntakeRefused(ValueError):
    """What was asked of an upload cannot be done; the text says why and what to do. `code` is for programs."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def clean_name(name: str) -> str:
    """The client's file name as it is shown: no folders, no control characters. It never becomes a path."""
    base = str(name).replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in base if c.isprintable())[:255] or "upload"


def receive(*, actor: Actor, file: Any, name: str, dataset: Dataset | None = None) -> Upload:
    """Keep a file (path or stream) and preview it. Raises IntakeRefused for what is too large or not a table."""
    _not_archived(dataset)
    try:
        with storage.received(file) as (path, sha256, size):
            return _take(actor, path, sha256, size, name, dataset, link=False, then=None)
    except storage.TooLarge as error:
        raise IntakeRefused("too_large", str(error)) from error


def receive_in_place(
    *,
    actor: Actor,
    path: Path,
    sha256: str | None,
    name: str,
    dataset: Dataset | None,
    then: Callable[[Upload], None],
) -> Upload:
    """As `receive`, of a whole, synced file of our own: linked and not copied; read for its hash only if that is not known.

    `then(upload)` runs in the transaction that makes the Upload. The caller has checked the limits and removes the path.
    """
    _not_archived(dataset)
    return _take(
        actor,
        path,
        sha256 or storage.sha256_of(path),
        path.stat().st_size,
        name,
        dataset,
        link=True,
        then=then,
    )


def _not_archived(dataset: Dataset | None) -> None:
    if dataset is not None and dataset.archived_at is not None:
        raise IntakeRefused(
            "archived", _("This data set is archived: restore it first, or choose another one.")
        )


def _take(
    actor: Actor,
    path: Path,
    sha256: str,
    size: int,
    name: str,
    dataset: Dataset | None,
    *,
    link: bool,
    then: Callable[[Upload], None] | None,
) -> Upload:
    assert actor.organisation is not None
    try:
        options, preview = build(path, Settings(), dataset, actor.organisation)
    except ReadError as error:
        raise IntakeRefused(error.code, str(error)) from error
    if then is None:  # a transfer has had its room since it began
        _room(actor.organisation, size, sha256)

    def pointed(stored: StoredFile) -> Upload:
        upload = Upload.objects.create(
            organisation=stored.organisation,
            dataset=dataset,
            file=stored,
            original_name=clean_name(name),
            options=options,
            preview=preview,
            created_by=actor.user,
        )
        audit.record(
            actor,
            "upload.received",
            upload,
            size=size,
            format=options["format"],
            columns=len(preview["columns"]),
        )
        if then is not None:
            then(upload)
        return upload

    return storage.keep_for(
        pointed, organisation=actor.organisation, path=path, sha256=sha256, size=size, link=link
    )


def _room(organisation: Any, size: int, sha256: str) -> None:
    try:
        quota.check(organisation=organisation, more=size, sha256=sha256)
    except quota.OverQuota as error:
        raise IntakeRefused("quota", str(error)) from error


def preview_again(
    *, actor: Actor, upload: Upload, settings: Mapping[str, Any], columns: Sequence[Mapping[str, Any]] = ()
) -> Upload:
    """Read the file anew with other settings (encoding, delimiter, member, sheet, header) and the person's columns.

    Raises IntakeRefused; then the upload is unchanged.
    """
    chosen = Settings(
        **{**settings_of(upload.options).__dict__, **{k: v for k, v in settings.items() if k in SETTINGS}}
    )
    try:
        with storage.local(upload.file) as path:
            options, preview = build(path, chosen, upload.dataset, upload.organisation)
    except ReadError as error:
        raise IntakeRefused(error.code, str(error)) from error
    if columns:
        apply_columns(preview, columns)
        with storage.local(upload.file) as path:
            preview["masking"] = masking_of(path, options, preview["columns"])
    with transaction.atomic():
        row = _waiting(upload)
        row.options, row.preview = options, preview
        row.save(update_fields=["options", "preview"])
        audit.record(actor, "upload.previewed", row, settings=sorted(settings))
    return row


def _waiting(upload: Upload) -> Upload:
    """The locked row, while it waits for its confirmation."""
    row: Upload = Upload.objects.select_for_update().get(pk=upload.pk)
    if row.state != State.PREVIEW:
        raise IntakeRefused("not_waiting", _("This upload has been confirmed or discarded already."))
    return row


def apply_columns(preview: dict[str, Any], columns: Sequence[Mapping[str, Any]]) -> None:
    """Put the person's choices over what was inferred. Raises IntakeRefused for an unknown or fixed column."""
    known = {c["name"]: c for c in preview["columns"]}
    for given in columns:
        column = known.get(str(given.get("name", "")))
        if column is None:
            raise IntakeRefused(
                "unknown_column",
                _("The file has no column “%(name)s”.") % {"name": str(given.get("name", ""))[:100]},
            )
        if given.get("role", column["role"]) not in (column["role"], Role.IGNORE) and not given.get("include", column["include"]):
            given = _kept_for_its_role(column, given)
        for key in COLUMN_SETTINGS:
            if key not in given or (column["fixed"] and key in ("kind", "role", "minimum", "maximum", "identifies")):
                continue
            column[key] = given[key]


def _kept_for_its_role(column: dict[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A column that we left out and the person gives a part is kept, unless they say otherwise. Raises IntakeRefused."""
    if "include" not in given:
        return {**given, "include": True}
    if given["role"] in (Role.TARGET, Role.PATIENT):
        text = _("“%(name)s” is to be the %(role)s and is not kept: tick “keep” too, or leave its role as it was.")
        raise IntakeRefused("not_kept", text % {"name": column["name"], "role": Role(given["role"]).label})
    return given


@transaction.atomic
def confirm(
    *,
    actor: Actor,
    upload: Upload,
    dataset: Dataset | None = None,
    new_dataset_name: str | None = None,
    columns: Sequence[Mapping[str, Any]] = (),
    keep_good_rows: bool = True,
    looked: bool = False,
) -> Job:
    """Submit the import. A second call returns the job of the first. Raises IntakeRefused or ValidationError.

    `looked`: the actor has seen the DICOM pictures among the files, and none that shows who the patient is.
    """
    row: Upload = Upload.objects.select_for_update().get(pk=upload.pk)
    if row.job is not None and row.state in (State.IMPORTING, State.IMPORTED):
        return row.job
    if row.state != State.PREVIEW:
        raise IntakeRefused("not_waiting", _("This upload has ended. Upload the file again."))
    dataset = dataset or row.dataset
    if dataset is not None and dataset != row.dataset:
        row = _for_dataset(row, dataset)
    apply_columns(row.preview, columns)
    included = [c for c in row.preview["columns"] if c["include"]]
    if not included:
        raise IntakeRefused("no_columns", _("Choose at least one column to keep."))
    row.dataset = dataset = dataset_for(
        actor=actor, dataset=dataset, columns=included, name=new_dataset_name or Path(row.original_name).stem
    )
    row.options = {**row.options, "columns": reading(included), "keep_good_rows": bool(keep_good_rows)}
    row.options["telling"] = telling(row.preview["columns"])
    row.options["left_out"] = any(c.get("identifies") and not c["include"] for c in row.preview["columns"])
    row.options["looked"] = bool(looked)
    begin_import(actor=actor, upload=row)
    audit.record(actor, "upload.confirmed", row, dataset=str(dataset.pk), columns=len(included), looked=bool(looked))
    assert row.job is not None
    return row.job


def begin_import(*, actor: Actor, upload: Upload) -> None:
    """Submit the job that imports an upload whose columns and data set are settled, and save the upload."""
    upload.state = State.IMPORTING
    upload.job = submit(
        actor=actor,
        task="datasets.tasks.import_upload",
        title=gettext_noop("Import of an uploaded file"),  # not its name: titles go into the audit log
        payload={"upload": str(upload.pk)},
        key=f"import:{upload.pk}",
        subject_url=reverse("datasets:upload_report", args=[upload.pk]),
    )
    upload.save()


def reading(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How the columns are read; what quotes patients' cells is kept in the preview alone."""
    quoting = ("examples", "warnings", "missing_spellings")
    return [{k: v for k, v in c.items() if k not in quoting} for c in columns]


def telling(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The columns that say who the patient is and are not kept: `{place, source_name}`. The data set knows those it keeps."""
    if not any(masking.is_masked(c) for c in columns):
        return []
    return [
        {"place": c["place"], "source_name": c.get("source_name") or c["name"]}
        for c in columns
        if not c["include"] and masking.tells(c)
    ]


def _for_dataset(row: Upload, dataset: Dataset) -> Upload:
    """The preview made anew for the data set that was chosen only now."""
    try:
        with storage.local(row.file) as path:
            row.options, row.preview = build(path, settings_of(row.options), dataset, row.organisation)
    except ReadError as error:
        raise IntakeRefused(error.code, str(error)) from error
    return row


def dataset_for(
    *, actor: Actor, dataset: Dataset | None, columns: list[dict[str, Any]], name: str
) -> Dataset:
    """The data set that the rows go into: a new one with these columns, or the given one with the accepted new columns."""
    if dataset is None:
        return services.create_dataset(actor=actor, name=name, columns=_specs(columns))
    dataset = Dataset.objects.select_for_update().get(pk=dataset.pk)
    if dataset.archived_at is not None:
        raise IntakeRefused(
            "archived", _("This data set is archived: restore it first, or choose another one.")
        )
    fresh = [c for c in columns if not c["fixed"]]
    if fresh:
        services.add_columns(dataset=dataset, columns=_specs(fresh))
        audit.record(actor, "dataset.columns_added", dataset, columns=[c["name"] for c in fresh])
    return dataset


def _specs(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    specs = []
    for column in columns:
        spec = {key: column.get(key) for key in ("name", "kind", "role", "identifies")}
        if column["kind"] == "number" and column["role"] != "patient":
            for key in ("minimum", "maximum"):
                spec[key] = _limit(column.get(key), column["name"])
        specs.append(spec)
    return specs


def _limit(given: Any, name: str) -> float | None:
    if given in (None, ""):
        return None
    try:
        value = float(given)
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if value != value or abs(value) == float("inf"):
        raise ValidationError({"columns": _("“%(name)s”: a limit must be a number.") % {"name": name}})
    return value


@transaction.atomic
def discard(*, actor: Actor, upload: Upload) -> Upload:
    """Give up an upload that waits for its confirmation, and delete its file unless another upload is of the same.

    Doing it twice is harmless. Raises IntakeRefused.
    """
    row: Upload = Upload.objects.select_for_update().get(pk=upload.pk)
    if row.state == State.DISCARDED:
        return row
    row = _waiting(row)
    row.state, row.finished_at = State.DISCARDED, timezone.now()
    row.preview = {}  # it holds patients' values
    row.save(update_fields=["state", "finished_at", "preview"])
    storage.forget_answers([row])
    Transfer.objects.forget([row])
    # It belongs to no data set, so that erasing a patient would never find it.
    for path in storage.release([row.file], [row]):
        transaction.on_commit(partial(storage.discard, path, time()))
    audit.record(actor, "upload.discarded", row)
    return row
