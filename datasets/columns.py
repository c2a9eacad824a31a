"""Changing what columns are: their kinds, roles and limits, and what the records that are there have to follow.

A new kind rewrites the column's values, a new target the labels, a new patient column deals all patients anew. All of it
is one bounded transaction; a larger data set is uploaded anew instead, where the preview asks for kinds and roles.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Field
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import audit
from accounts.actor import Actor
from datasets.masking import columns as masking
from datasets.models import Column, Dataset, Record, RecordChange, Role, Split, Upload
from datasets.records import coerce, label_text, row_hash
from datasets.services import check_column, check_roles
from datasets.splitting import split_for
from datasets.versions import rows_of

LIMIT = 200_000
CHUNK = 2_000
FIELDS = ("kind", "role", "minimum", "maximum", "identifies")


@dataclass(frozen=True)
class Plan:
    """What a change of columns means for the records that are there."""

    before: list[Column]
    after: list[Column]
    kinds: list[Column]  # columns whose values must be rewritten
    target: bool  # labels must be taken from another column
    deal: bool  # patients must be dealt anew to training and test
    masked: list[Column]  # columns whose texts are to be masked from now on

    @property
    def rewrites(self) -> bool:
        return bool(self.rewritten or self.target or self.deal)

    @property
    def rewritten(self) -> list[Column]:
        """Columns whose values are written anew."""
        return [*self.kinds, *(column for column in self.masked if column not in self.kinds)]

    @property
    def changed(self) -> list[Column]:
        return [
            new
            for old, new in zip(self.before, self.after, strict=True)
            if any(getattr(old, f) != getattr(new, f) for f in FIELDS)
        ]


def plan(dataset: Dataset, changes: Sequence[Mapping[str, Any]]) -> Plan:
    """Check the changes `{name, kind?, role?, minimum?, maximum?, identifies?}`. Raises ValidationError; changes nothing."""
    before = list(dataset.columns.all())
    after = [copy(column) for column in before]
    by_name = {column.name: column for column in after}
    for change in changes:
        column = by_name.get(change["name"])
        if column is None:
            raise ValidationError(
                {"columns": _("This data set has no column “%(name)s”.") % {"name": change["name"]}}
            )
        for name in FIELDS:
            if name in change:
                setattr(column, name, change[name])
        check_column(column)
    check_roles(after)
    kinds = [new for old, new in zip(before, after, strict=True) if old.kind != new.kind]
    patient = _of_role(after, Role.PATIENT)
    moved = _name(_of_role(before, Role.PATIENT)) != _name(patient)
    made = Plan(
        before=before,
        after=after,
        kinds=kinds,
        target=_name(_of_role(before, Role.TARGET)) != _name(_of_role(after, Role.TARGET)),
        deal=moved or (patient is not None and patient in kinds),
        masked=[
            new
            for old, new in zip(before, after, strict=True)
            if masking.is_masked(new) and not masking.is_masked(old)
        ],
    )
    if made.rewrites and dataset.record_count:
        _refuse_what_cannot_be(dataset, made)
    return made


def _of_role(columns: Sequence[Column], role: str) -> Column | None:
    return next((column for column in columns if column.role == role), None)


def _name(column: Column | None) -> str | None:
    return column.name if column is not None else None


def _refuse_what_cannot_be(dataset: Dataset, made: Plan) -> None:
    if made.deal and dataset.versions.exists():
        raise ValidationError(
            _(
                "The patient column decides which patients are in the locked test split. A version of this data set has "
                "been frozen, so models may have learned from patients that would move into the test. Create a new data "
                "set and choose the patient column while uploading."
            )
        )
    if dataset.record_count > LIMIT:
        raise ValidationError(
            _(
                "This change rewrites every record, which is done here up to %(limit)s records. Upload the data into a "
                "new data set and choose kinds and roles in the preview."
            )
            % {"limit": f"{LIMIT:,}"}
        )
    if dataset.uploads.filter(state=Upload.State.IMPORTING).exists():
        raise ValidationError(
            _("An upload is being imported into this data set: try again when it has ended.")
        )


@transaction.atomic
def change_columns(*, actor: Actor, dataset: Dataset, changes: Sequence[Mapping[str, Any]]) -> Plan:
    """Change kinds, roles and limits, and rewrite the records accordingly. Raises ValidationError; then nothing changed.

    New limits hold for records that come later. Frozen versions keep the columns that they were frozen with.
    """
    dataset = Dataset.objects.select_for_update().get(pk=dataset.pk)
    made = plan(dataset, changes)
    if not made.changed:
        return made
    if made.rewrites and dataset.record_count:
        _rewrite(dataset, made)
    # First all of them give their roles up, so that no two columns have the same one at any moment.
    dataset.columns.filter(pk__in=[column.pk for column in made.changed]).update(role=Role.IGNORE)
    for column in made.changed:
        column.save(update_fields=FIELDS)
    tests = (
        Record.objects.filter(dataset=dataset, split=Split.TEST).count() if made.deal else dataset.test_count
    )
    Dataset.objects.filter(pk=dataset.pk).update(test_count=tests, updated_at=timezone.now())
    audit.record(
        actor,
        "dataset.columns_changed",
        dataset,
        columns={c.name: {"kind": c.kind, "role": c.role} for c in made.changed},
        dealt_anew=made.deal and dataset.record_count > 0,
    )
    return made


def _rewrite(dataset: Dataset, made: Plan) -> None:
    """Write each record's values, key, label, hash and split anew, a chunk at a time."""
    hashes = (
        set(Record.objects.filter(dataset=dataset).values_list("row_hash", flat=True))
        if made.rewritten
        else set()
    )
    first_labels = _labels_as_they_came(dataset) if made.rewritten else {}
    table, quote = Record._meta.db_table, connection.ops.quote_name
    names = ("values", "patient_key", "target", "row_hash", "split")
    sets = ", ".join(f"{quote(name)} = %s" for name in names)
    sql = f"UPDATE {quote(table)} SET {sets} WHERE id = %s"  # noqa: S608 - only names of the model
    fields = [cast("Field[Any, Any]", Record._meta.get_field(name)) for name in names]
    current = dict(Record.objects.filter(dataset=dataset).values_list("id", "row_hash"))
    waiting: list[list[Any]] = []
    problems: dict[str, list[int]] = {}

    def flush() -> None:
        with connection.cursor() as cursor:
            cursor.executemany(sql, waiting)
        waiting.clear()

    for pk, key, split, values in rows_of(dataset):
        values = _converted(values, made.rewritten, made.after, pk, problems)
        if problems:
            continue
        digest = current[pk]
        if made.rewritten:
            fresh = row_hash(dataset, {**values, **_converted(first_labels.get(pk, {}), made.rewritten, made.after, pk, {})})
            if fresh not in hashes:  # two rows that have become equal: the second keeps its old hash
                hashes.add(fresh)
                digest = fresh
        if made.deal:
            column = _of_role(made.after, Role.PATIENT)
            key = (label_text(values.get(column.name)) or "")[:100] if column is not None else ""
            split = split_for(dataset, key or digest)
        target = _of_role(made.after, Role.TARGET)
        row = [
            values,
            key,
            label_text(values.get(target.name)) if target is not None else None,
            digest,
            split,
        ]
        prepared = [f.get_db_prep_save(v, connection) for f, v in zip(fields, row, strict=True)]
        waiting.append([*prepared, pk])
        if len(waiting) >= CHUNK:
            flush()
    if problems:
        raise ValidationError({"columns": [_cannot(name, ids) for name, ids in problems.items()]})
    flush()


def _labels_as_they_came(dataset: Dataset) -> dict[int, dict[str, Any]]:
    """Record id → the values that its edited columns had at first: they are part of its hash."""
    first: dict[int, dict[str, Any]] = {}
    for change in RecordChange.objects.filter(record__dataset=dataset).order_by("pk"):
        first.setdefault(change.record_id, {}).setdefault(change.column, change.old_value)
    return first


def _converted(
    values: dict[str, Any],
    kinds: Sequence[Column],
    after: Sequence[Column],
    pk: int,
    problems: dict[str, list[int]],
) -> dict[str, Any]:
    values = dict(values)
    for column in kinds:
        if column.name in values:
            try:
                values[column.name] = coerce(column, values[column.name])
            except ValueError:
                problems.setdefault(column.name, []).append(pk)
    return masking.values(after, values, only=kinds)  # what has become a text is stored as one


def _cannot(name: str, ids: Sequence[int]) -> str:
    text = ngettext(
        "“%(name)s”: the value of %(count)d record cannot be of this kind: #%(first)d.",
        "“%(name)s”: the values of %(count)d records cannot be of this kind, the first is #%(first)d.",
        len(ids),
    )
    return text % {"name": name, "count": len(ids), "first": ids[0]}
