"""Writing diagnoses with their audit events: few statements however many rows.

The ORM would build two model instances for each diagnosis; at a thousand rows that costs more than predicting them.
`tests/inference/test_insertion.py` holds these rows equal to what the ORM and `accounts.audit` would have written.
"""

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.actor import Actor
from accounts.models import AuditEvent
from inference.models import Diagnosis
from inference.serving import STILL_CHAMPION, Standing
from training.models import ModelVersion

ROWS_PER_STATEMENT = 500


@dataclass(slots=True)
class Row:
    """One diagnosis about to be written; `id` is the text of a UUID, `inputs` and `output` are JSON texts."""

    id: str
    position: int
    patient_key: str
    inputs: str
    value: str
    probability: float | None
    output: str


class StandingLost(Exception):
    """The remembered champion is the champion no more: nothing was written."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(str(standing.model))
        self.standing = standing


@dataclass(frozen=True)
class Part:
    """What goes into one table: values equal in all rows, and the others, row by row; all ready for the database."""

    table: type[models.Model]
    same: dict[str, Any]
    varying: tuple[str, ...]
    rows: list[tuple[Any, ...]]


VARYING = ("id", "position", "patient_key", "inputs", "value", "probability", "output")


def insert(
    *,
    actor: Actor,
    version: ModelVersion,
    rows: Sequence[Row],
    at: datetime,
    batch_id: UUID | None = None,
    standing: Standing | None = None,
) -> None:
    """All rows and one audit event for each, or nothing.

    With `standing` (one row, PostgreSQL) only while that version is the serving champion; else raises StandingLost.
    """
    using = connections[DEFAULT_DB_ALIAS]  # the object itself: the proxy looks it up anew at each attribute
    parts = (_diagnoses(actor, version, rows, at, batch_id), _events(actor, version, rows, at, batch_id))
    if using.vendor == "sqlite":
        _write_sqlite(using, [_sqlite_statement(using, part) for part in parts])
    elif len(rows) == 1 and not using.in_atomic_block:
        _write_at_once(using, parts, standing)
    else:
        if standing is not None:
            raise StandingLost(standing)  # inside a transaction of others' the caller asks first
        with transaction.atomic():
            for part in parts:
                _write_many(using, part)


def _diagnoses(
    actor: Actor, version: ModelVersion, rows: Sequence[Row], at: datetime, batch_id: UUID | None
) -> Part:
    same = {
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
    values = [(r.id, r.position, r.patient_key, r.inputs, r.value, r.probability, r.output) for r in rows]
    return Part(Diagnosis, same, VARYING, values)


def _events(
    actor: Actor, version: ModelVersion, rows: Sequence[Row], at: datetime, batch_id: UUID | None
) -> Part:
    """What `accounts.audit.event` gives, without an instance for it (a test holds the two equal)."""
    detail = {"model": str(version.model_id), "version": str(version.pk)}
    if batch_id is not None:
        detail["batch"] = str(batch_id)
    same = {
        "organisation_id": actor.organisation.pk if actor.organisation else None,
        "at": at,
        "actor_user_id": actor.user.pk if actor.user else None,
        "actor_label": actor.label[:300],
        "action": "diagnosis.created",
        "object_type": "diagnosis",
        "outcome": "ok",
        "ip": actor.ip,
        "user_agent": actor.user_agent[:200],
        "detail": detail,
    }
    return Part(AuditEvent, same, ("object_id", "object_label"), [(r.id, f"diagnosis {r.id}") for r in rows])


@cache
def _columns(model: type[models.Model]) -> dict[str, str]:
    """Attribute → column."""
    return {field.attname: str(field.column) for field in model._meta.concrete_fields}


@cache
def _into(model: type[models.Model], names: tuple[str, ...]) -> str:
    columns = ", ".join(f'"{_columns(model)[name]}"' for name in names)
    return f'INSERT INTO "{model._meta.db_table}" ({columns}) '


def _prepared(using: BaseDatabaseWrapper, part: Part) -> list[Any]:
    """The values equal in all rows, as the database's driver wants them."""
    sqlite = using.vendor == "sqlite"
    values: list[Any] = []
    for value in part.same.values():
        kind = type(value)
        if kind is UUID:
            value = value.hex if sqlite else str(value)
        elif kind is dict:
            value = json.dumps(value)
        elif kind is datetime:
            value = using.ops.adapt_datetimefield_value(value)
        values.append(value)
    return values


@cache
def _sqlite_sql(table: type[models.Model], names: tuple[str, ...]) -> str:
    """SQLite keeps a UUID as 32 letters."""
    places = ["replace(?, '-', '')" if name == "id" else "?" for name in names]
    return f"{_into(table, names)}VALUES ({', '.join(places)})"


def _sqlite_statement(using: BaseDatabaseWrapper, part: Part) -> tuple[str, list[tuple[Any, ...]]]:
    """A statement and its rows, made before the lock is taken."""
    fixed = tuple(_prepared(using, part))
    return _sqlite_sql(part.table, (*part.varying, *part.same)), [row + fixed for row in part.rows]


def _write_sqlite(using: Any, statements: list[tuple[str, list[tuple[Any, ...]]]]) -> None:
    """Straight to the driver: Django's cursor would rewrite the statement's placeholders at each call.

    Two workers meet at the one write lock all the time. SQLite's own wait sleeps 1, 2, 5, 10… ms, many times longer than
    the lock is held; here it is tried again every fifth of a millisecond.
    """
    using.ensure_connection()
    driver = using.connection
    with using.wrap_database_errors:
        if using.in_atomic_block:
            for sql, rows in statements:
                driver.executemany(sql, rows)
            return
        _begin(driver, float(using.settings_dict["OPTIONS"].get("timeout", 5.0)))
        try:
            for sql, rows in statements:
                driver.executemany(sql, rows)
            driver.execute("COMMIT")
        finally:
            if driver.in_transaction:
                driver.execute("ROLLBACK")


def _begin(driver: Any, patience: float) -> None:
    """BEGIN IMMEDIATE, waiting for the lock as many seconds as the settings say; raises sqlite3.OperationalError."""
    until = time.monotonic() + patience
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.0002)
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")


def _write_at_once(using: BaseDatabaseWrapper, parts: tuple[Part, Part], standing: Standing | None) -> None:
    """PostgreSQL, one diagnosis: both rows in one statement, which is one transaction and one journey."""
    statements, parameters = [], []
    source = ""
    if standing is not None:
        source = " FROM serving"
        parameters += [str(standing.model), str(standing.version), str(standing.organisation)]
    for part in parts:
        names = (*part.varying, *part.same)
        statements.append(f"{_into(part.table, names)}SELECT {', '.join(['%s'] * len(names))}{source}")
        parameters += [*part.rows[0], *_prepared(using, part)]
    asked = f"serving AS MATERIALIZED ({STILL_CHAMPION}), " if standing is not None else ""
    with using.cursor() as cursor:
        cursor.execute(f"WITH {asked}written AS ({statements[0]}) {statements[1]}", parameters)
        if standing is not None and cursor.rowcount != 1:
            raise StandingLost(standing)


def _write_many(using: BaseDatabaseWrapper, part: Part) -> None:
    """PostgreSQL: psycopg2's executemany asks the server once a row, so several hundred rows go in one statement."""
    into = _into(part.table, (*part.varying, *part.same)) + "VALUES "
    with using.cursor() as cursor:
        fixed = cursor.cursor.mogrify(", %s" * len(part.same), _prepared(using, part)).decode()
        place = f"({', '.join(['%s'] * len(part.varying))}{fixed.replace('%', '%%')})"
        for start in range(0, len(part.rows), ROWS_PER_STATEMENT):
            rows = part.rows[start : start + ROWS_PER_STATEMENT]
            cursor.execute(into + ", ".join([place] * len(rows)), [value for row in rows for value in row])
