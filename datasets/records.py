"""One record: its values made canonical, its hash, and adding records, one or a thousand at once."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from hashlib import blake2b
from numbers import Real
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets import patient_names
from datasets.masking import columns as masking
from datasets.models import Column, Dataset, Kind, Record, RecordChange, Role, Split
from datasets.signals import records_added
from datasets.splitting import split_for

MAX_CATEGORY = 200
MAX_PATIENT_KEY = 100
MAX_TEXT = 200_000
LOOK_UP = 500  # ids in one query
FILE_KINDS = (Kind.IMAGE, Kind.VOLUME, Kind.VIDEO, Kind.SIGNAL)
SHA256 = re.compile(r"[0-9a-f]{64}")
_SLASHED = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})")


class RecordRefused(ValueError):
    """A record that cannot be taken: `.errors` maps the column's name to what is wrong; `.index` is its place among many."""

    def __init__(self, errors: dict[str, str], index: int = 0) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = errors
        self.index = index


def is_missing(raw: Any) -> bool:
    """Nothing, blank text, or not-a-number."""
    return (
        raw is None
        or (isinstance(raw, str) and not raw.strip())
        or (isinstance(raw, float) and math.isnan(raw))
    )


def coerce(column: Column, raw: Any) -> Any:
    """The canonical value for a cell: number (int when whole), text, ISO date or None.

    Raises ValueError with a text for the person when `raw` cannot be a value of this column.
    """
    if is_missing(raw):
        return None
    if column.kind == Kind.NUMBER:
        return _number(column, raw)
    if column.kind == Kind.DATE:
        return _date(raw)
    text = _text(raw)
    if column.kind in FILE_KINDS and not SHA256.fullmatch(text):
        raise ValueError(
            _("a column of kind “%(kind)s” takes the SHA-256 of an uploaded file, or a zip that brings the files")
            % {"kind": column.get_kind_display()}
        )
    limit = MAX_TEXT if column.kind == Kind.TEXT else MAX_CATEGORY
    if column.role == Role.PATIENT:
        limit = MAX_PATIENT_KEY
    if len(text) > limit:
        raise ValueError(_("longer than %(limit)d characters") % {"limit": limit})
    return text


def _number(column: Column, raw: Any) -> int | float:
    try:
        if isinstance(raw, str) and "_" in raw:
            raise ValueError
        value = float(raw) if isinstance(raw, str | Real) else float("nan")
    except (ValueError, OverflowError):
        value = float("nan")
    if not math.isfinite(value):
        raise ValueError(
            _("“%(value)s” is not a number")
            % {"value": str(raw)[:40] if isinstance(raw, str) else type(raw).__name__}
        )
    if column.minimum is not None and value < column.minimum:
        raise ValueError(
            _("%(value)g is below the least possible value %(limit)g")
            % {"value": value, "limit": column.minimum}
        )
    if column.maximum is not None and value > column.maximum:
        raise ValueError(
            _("%(value)g is above the largest possible value %(limit)g")
            % {"value": value, "limit": column.maximum}
        )
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _date(raw: Any) -> str:
    if isinstance(raw, datetime | date):
        return raw.isoformat()
    text = raw.strip() if isinstance(raw, str) else ""
    if match := _SLASHED.fullmatch(text):
        text = "{}-{:0>2}-{:0>2}".format(*match.groups())
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            _("“%(value)s” is not a date: write 2024-05-31") % {"value": str(raw)[:40]}
        ) from None
    whole_day = len(text) <= 10 and "T" not in text
    return parsed.date().isoformat() if whole_day else parsed.isoformat()


def _text(raw: Any) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, Real):
        value = float(raw)
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(raw, datetime | date):
        return raw.isoformat()
    if not isinstance(raw, str):
        raise ValueError(_("a text or a number is needed here, not a list or an object"))
    if "\x00" in raw or any("\ud800" <= c <= "\udfff" for c in raw):
        raise ValueError(_("contains a character that cannot be stored"))
    return raw.strip()


def reviewed_among(ids: Sequence[int]) -> set[int]:
    """Those of the records that were made of reviewed diagnoses: a model proposed their label to who confirmed it."""
    found: set[int] = set()
    for start in range(0, len(ids), LOOK_UP):
        some = Record.objects.filter(pk__in=ids[start : start + LOOK_UP], source=Record.Source.REVIEW)
        found.update(some.values_list("pk", flat=True))
    return found


def label_text(value: Any) -> str | None:
    """A label as the text that lists and filters use; at most 200 characters."""
    return None if value is None else _text(value)[:MAX_CATEGORY]


def row_hash(dataset: Dataset, values: Mapping[str, Any]) -> str:
    """32 hex digits that are equal for equal rows of this data set, whatever the order of columns.

    A missing value and an absent column are the same; 5 and 5.0 are the same. Keyed with the data set's salt, so that
    rows cannot be recognised across data sets.
    """
    present = {
        name: int(value) if type(value) is float and value.is_integer() and abs(value) < 2**53 else value
        for name, value in values.items()
        if value is not None
    }
    text = json.dumps(present, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return blake2b(
        text.encode("utf-8", "surrogatepass"), key=dataset.split_salt.encode(), digest_size=16
    ).hexdigest()


def validate(
    columns: Sequence[Column], values: Mapping[str, Any], index: int = 0, known: Sequence[str] = ()
) -> dict[str, Any]:
    """Every value coerced, missing columns None, identifiers in texts masked; raises RecordRefused naming each wrong column."""
    by_name = {column.name: column for column in columns}
    errors: dict[str, str] = {}
    clean: dict[str, Any] = {}
    for name in values:
        if name not in by_name:
            errors[str(name)[:200]] = _("this data set has no such column")
    for name, column in by_name.items():
        try:
            clean[name] = coerce(column, values.get(name))
        except ValueError as error:
            errors[name] = str(error)
    if not errors and all(value is None for value in clean.values()):
        errors[columns[0].name if columns else ""] = _("the record is empty")
    if errors:
        raise RecordRefused(errors, index)
    return masking.values(columns, clean, known=known)


def build(
    dataset: Dataset, columns: Sequence[Column], values: dict[str, Any], *, source: str, **extra: Any
) -> Record:
    """An unsaved Record of validated values: its patient, label, hash and split."""
    patient = next((c.name for c in columns if c.role == Role.PATIENT), None)
    target = next((c.name for c in columns if c.role == Role.TARGET), None)
    digest = row_hash(dataset, values)
    key = (label_text(values.get(patient)) or "") if patient else ""
    return Record(
        dataset=dataset,
        values=values,
        patient_key=key,
        target=label_text(values.get(target)) if target else None,
        row_hash=digest,
        split=split_for(dataset, key or digest),
        source=source,
        **extra,
    )


@transaction.atomic
def add_records(
    *,
    actor: Actor,
    dataset: Dataset,
    rows: Iterable[Mapping[str, Any]],
    source: str,
    names: Mapping[str, str] | None = None,
    known: Sequence[str] = (),
) -> list[tuple[Record, bool]]:
    """Add all rows or none; a row that is there already is returned with False. Raises RecordRefused.

    `names`: what the files of the rows (by hash) were called by their sender. `known`: identifiers that are masked in texts.
    """
    from datasets.cells import store  # which knows records

    columns = list(dataset.columns.all())
    clean = [validate(columns, values, index, known) for index, values in enumerate(rows)]
    # The lock makes "not there yet" and the counts true while others add to the same data set.
    dataset = Dataset.objects.select_for_update().get(pk=dataset.pk)
    files = store.check_cells(dataset.organisation, columns, clean)
    built = [build(dataset, columns, values, source=source) for values in clean]
    patient_names.refuse_others(dataset, columns, built)
    existing = {
        r.row_hash: r
        for r in Record.objects.filter(dataset=dataset, row_hash__in={r.row_hash for r in built})
    }
    fresh: dict[str, Record] = {}
    for record in built:
        if record.row_hash not in existing:
            fresh.setdefault(record.row_hash, record)
    Record.objects.bulk_create(fresh.values(), batch_size=500)
    if fresh:
        store.point(fresh.values(), columns, files, names or {})
        count_added(dataset, fresh.values())
        audit.record(actor, "records.added", dataset, count=len(fresh), source=source)
        transaction.on_commit(lambda: records_added.send(Dataset, dataset=dataset, count=len(fresh)))
    answer, returned = [], set()
    for record in built:
        kept = fresh.get(record.row_hash) or existing[record.row_hash]
        answer.append((kept, record.row_hash in fresh and record.row_hash not in returned))
        returned.add(record.row_hash)
    return answer


def add_record(
    *,
    actor: Actor,
    dataset: Dataset,
    values: Mapping[str, Any],
    source: str,
    names: Mapping[str, str] | None = None,
    known: Sequence[str] = (),
) -> tuple[Record, bool]:
    """Add one record: (record, created). Created is False when the same row is there already. Raises RecordRefused."""
    rows = [values]
    return add_records(actor=actor, dataset=dataset, rows=rows, source=source, names=names, known=known)[0]


def count_added(dataset: Dataset, added: Iterable[Record]) -> None:
    """Raise the data set's counts by these new records."""
    splits = [record.split for record in added]
    Dataset.objects.filter(pk=dataset.pk).update(
        record_count=F("record_count") + len(splits),
        test_count=F("test_count") + splits.count(Split.TEST),
        updated_at=timezone.now(),
    )


@transaction.atomic
def change_label(*, actor: Actor, record: Record, value: Any, reason: str) -> RecordChange | None:
    """Correct a record's label; None when it is that already. Frozen versions keep the label that they were frozen with.

    The row hash stays that of the row as it came, so that uploading the uncorrected file again does not bring the
    wrong label back as a new record. Raises RecordRefused when there is no target column, value or reason.
    """
    column = record.dataset.columns.filter(role=Role.TARGET).first()
    if column is None:
        raise RecordRefused({"": _("Choose the target column first: this data set has none.")})
    if not reason.strip():
        raise RecordRefused({"reason": _("Say why the label is changed.")})
    try:
        new = coerce(column, value)
    except ValueError as error:
        raise RecordRefused({column.name: str(error)}) from error
    record = Record.objects.select_for_update().get(pk=record.pk)
    old = record.values.get(column.name)
    if old == new:
        return None
    record.values = {**record.values, column.name: new}
    record.target = label_text(new)
    record.save(update_fields=["values", "target"])
    change = RecordChange.objects.create(
        record=record,
        column=column.name,
        old_value=old,
        new_value=new,
        reason=reason.strip()[:300],
        changed_by=actor.user,
    )
    Dataset.objects.filter(pk=record.dataset_id).update(updated_at=timezone.now())
    audit.record(actor, "record.label_changed", record, dataset=str(record.dataset_id), column=column.name)
    return change
