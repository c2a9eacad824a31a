"""Writing diagnoses with their audit events: few statements however many rows.

The ORM would build two model instances for each diagnosis; at a thousand rows that costs more than predicting them.
`tests/inference/test_insertion.py` holds these rows equal to what the ORM and `accounts.audit` would have written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts import audit
from accounts.actor import Actor
from accounts.models import AuditEvent
from inference.models import Diagnosis
from training.models import ModelVersion

ROWS_PER_STATEMENT = 500


@dataclass(slots=True)
class Row:
    """One diagnosis about to be written; `inputs` and `output` are JSON texts."""

    id: UUID
    position: int
    patient_key: str
    inputs: str
    value: str
    probability: float | None
    output: str


def insert(
    *, actor: Actor, version: ModelVersion, rows: Sequence[Row], at: datetime, batch_id: UUID | None = None
) -> None:
    """All rows and one audit event for each, or nothing."""
    with transaction.atomic():
        _insert_diagnoses(actor, version, rows, at, batch_id)
        _insert_events(actor, version, rows, at, batch_id)


def _insert_diagnoses(
    actor: Actor, version: ModelVersion, rows: Sequence[Row], at: datetime, batch_id: UUID | None
) -> None:
    sqlite = connection.vendor == "sqlite"
    same: dict[str, Any] = {
        "organisation_id": actor.organisation.pk if actor.organisation else None,
        "model_id": version.model_id,
        "model_version_id": version.pk,
        "batch_id": batch_id,
        "verdict": "",
        "requested_by_id": actor.user.pk if actor.user else None,
        "api_key_id": actor.api_key.pk if actor.api_key else None,
        "created_at": at,
        "erased_at": None,
    }
    varying = ["id", "position", "patient_key", "inputs", "value", "probability", "output"]
    values = (
        (r.id.hex if sqlite else r.id, r.position, r.patient_key, r.inputs, r.value, r.probability, r.output)
        for r in rows
    )
    _write(Diagnosis, same, varying, values)


def _insert_events(
    actor: Actor, version: ModelVersion, rows: Sequence[Row], at: datetime, batch_id: UUID | None
) -> None:
    detail = {"model": str(version.model_id), "version": str(version.pk)}
    if batch_id is not None:
        detail["batch"] = str(batch_id)
    like = audit.event(actor, "diagnosis.created", **detail)
    like.at = at
    like.object_type = Diagnosis._meta.model_name or ""
    varying = ["object_id", "object_label"]
    same = {
        field.attname: getattr(like, field.attname)
        for field in AuditEvent._meta.concrete_fields
        if not field.primary_key and field.attname not in varying
    }
    _write(AuditEvent, same, varying, ((str(r.id), f"diagnosis {r.id}") for r in rows))


@cache
def _fields(model: type[models.Model]) -> dict[str, Any]:
    return {field.attname: field for field in model._meta.concrete_fields}


def _write(
    model: type[models.Model], same: dict[str, Any], varying: list[str], values: Iterable[tuple[Any, ...]]
) -> None:
    """INSERT rows whose `same` columns are equal; `varying` values come ready for the database."""
    fields = _fields(model)
    fixed = [
        value.hex if isinstance(value, UUID) and connection.vendor == "sqlite"
        else value if isinstance(value, UUID)
        else fields[name].get_db_prep_save(value, connection)
        for name, value in same.items()
    ]  # fmt: skip
    columns = ", ".join(f'"{fields[name].column}"' for name in (*varying, *same))
    into = f'INSERT INTO "{model._meta.db_table}" ({columns}) VALUES '  # noqa: S608 (names come from the models alone)
    tail = ", %s" * len(fixed)
    rows = list(values)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite" or len(rows) == 1:
            sql = f"{into}({', '.join(['%s'] * len(varying))}{tail})"
            if len(rows) == 1:
                cursor.execute(sql, [*rows[0], *fixed])
            else:
                cursor.executemany(sql, [(*row, *fixed) for row in rows])
            return
        _write_many(cursor, into, len(varying), rows, fixed, connection)


def _write_many(
    cursor: Any, into: str, width: int, rows: list[tuple[Any, ...]], fixed: list[Any], using: BaseDatabaseWrapper
) -> None:
    """PostgreSQL: psycopg2's executemany asks the server once a row, so several hundred rows go in one statement."""
    constant = cursor.cursor.mogrify(", %s" * len(fixed), fixed).decode(using.connection.encoding or "utf-8")
    place = f"({', '.join(['%s'] * width)}{constant.replace('%', '%%')})"
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        part = rows[start : start + ROWS_PER_STATEMENT]
        cursor.execute(into + ", ".join([place] * len(part)), [value for row in part for value in row])
