"""Making, renaming and archiving data sets, and their columns."""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor
from datasets.masking import known
from datasets.models import Column, Dataset, Kind, Role
from datasets.records import FILE_KINDS


def new_salt() -> str:
    """What makes a data set's locked test split its own, and unforeseeable."""
    return secrets.token_hex(16)


@transaction.atomic
def create_dataset(
    *,
    actor: Actor,
    name: str,
    description: str = "",
    test_fraction: float = 0.2,
    columns: Iterable[Mapping[str, Any]] = (),
) -> Dataset:
    """A new, empty data set of the actor's organisation. Raises ValidationError, by field, when something is wrong with it."""
    dataset = Dataset(
        organisation=actor.organisation,
        name=name.strip(),
        description=description.strip(),
        test_fraction=test_fraction,
        split_salt=new_salt(),
        created_by=actor.user,
    )
    _clean_dataset(dataset)
    _save_named(dataset)
    add_columns(dataset=dataset, columns=columns)
    audit.record(actor, "dataset.created", dataset, columns=dataset.columns.count())
    return dataset


def _clean_dataset(dataset: Dataset) -> None:
    if not 0.05 <= dataset.test_fraction <= 0.5:
        raise ValidationError(
            {"test_fraction": _("Between 0.05 and 0.5 of the patients can be kept for the locked test.")}
        )
    dataset.clean_fields(exclude=["organisation", "created_by", "split_salt"])


def _save_named(dataset: Dataset, **kwargs: Any) -> None:
    """Save, saying so when the organisation has another data set of this name."""
    try:
        with transaction.atomic():
            dataset.save(**kwargs)
    except IntegrityError:
        raise ValidationError({"name": _("Your organisation has a data set of this name already.")}) from None


def add_columns(*, dataset: Dataset, columns: Iterable[Mapping[str, Any]]) -> list[Column]:
    """Append columns `{name, kind, role?, minimum?, maximum?, identifies?}` to the data set. Raises ValidationError."""
    taken = {c.name: c for c in dataset.columns.all()}
    position = max((c.position for c in taken.values()), default=-1) + 1
    rows: list[Column] = []
    for given in columns:
        column = Column(
            dataset=dataset,
            position=position + len(rows),
            name=str(given["name"]).strip(),
            kind=given["kind"],
            role=given.get("role") or Role.FEATURE,
            minimum=given.get("minimum"),
            maximum=given.get("maximum"),
        )
        told = given.get("identifies")
        column.identifies = known.identifies(column.name) if told is None else bool(told)
        if column.role == Role.TARGET or column.kind in FILE_KINDS:
            column.identifies = False
        check_column(column)
        if column.name in taken:
            raise ValidationError(
                {"columns": _("There are two columns named “%(name)s”.") % {"name": column.name}}
            )
        taken[column.name] = column
        rows.append(column)
    check_roles(taken.values())
    return Column.objects.bulk_create(rows)


def check_column(column: Column) -> None:
    """Raises ValidationError when the column cannot be what it says."""
    column.clean_fields(exclude=["dataset"])
    if column.role == Role.TARGET and column.kind not in (Kind.NUMBER, Kind.CATEGORY, Kind.TEXT):
        raise ValidationError(
            {"columns": _("The target “%(name)s” must be a number or a category.") % {"name": column.name}}
        )
    if column.role == Role.PATIENT and column.kind not in (Kind.NUMBER, Kind.CATEGORY, Kind.TEXT):
        raise ValidationError(
            {
                "columns": _("The patient column “%(name)s” must be a number or a category.")
                % {"name": column.name}
            }
        )
    if column.minimum is not None and column.maximum is not None and column.minimum > column.maximum:
        raise ValidationError(
            {
                "columns": _("“%(name)s”: the least possible value is above the largest.")
                % {"name": column.name}
            }
        )


def check_roles(columns: Iterable[Column]) -> None:
    """At most one target and one patient column. Raises ValidationError."""
    roles = [column.role for column in columns]
    if roles.count(Role.TARGET) > 1:
        raise ValidationError({"columns": _("Only one column can be the target.")})
    if roles.count(Role.PATIENT) > 1:
        raise ValidationError({"columns": _("Only one column can be the patient.")})


@transaction.atomic
def change_dataset(
    *, actor: Actor, dataset: Dataset, name: str | None = None, description: str | None = None
) -> Dataset:
    """Rename or describe anew. Raises ValidationError."""
    changed = []
    if name is not None and name.strip() != dataset.name:
        dataset.name = name.strip()
        changed.append("name")
    if description is not None and description.strip() != dataset.description:
        dataset.description = description.strip()
        changed.append("description")
    if changed:
        _clean_dataset(dataset)
        _save_named(dataset, update_fields=[*changed, "updated_at"])
        audit.record(actor, "dataset.changed", dataset, fields=changed)
    return dataset


@transaction.atomic
def archive_dataset(*, actor: Actor, dataset: Dataset) -> Dataset:
    """Take it out of the lists; its records, versions and models stay. Doing it twice is harmless."""
    if dataset.archived_at is None:
        dataset.archived_at = timezone.now()
        dataset.save(update_fields=["archived_at", "updated_at"])
        audit.record(actor, "dataset.archived", dataset)
    return dataset


@transaction.atomic
def restore_dataset(*, actor: Actor, dataset: Dataset) -> Dataset:
    """Bring an archived data set back. Raises ValidationError when its name is in use again."""
    if dataset.archived_at is not None:
        dataset.archived_at = None
        _save_named(dataset, update_fields=["archived_at", "updated_at"])
        audit.record(actor, "dataset.restored", dataset)
    return dataset
