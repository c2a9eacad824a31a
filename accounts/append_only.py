"""The triggers that make the audit log append-only, for SQLite and PostgreSQL.

SQLite loses a table's triggers when a migration rebuilds the table, so they are put back after every migrate.
"""

from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "accounts_auditevent"
MESSAGE = "the audit log is append-only"

INSTALL = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS audit_never_updated BEFORE UPDATE ON {TABLE}"
        f" BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END",
        f"CREATE TRIGGER IF NOT EXISTS audit_never_deleted BEFORE DELETE ON {TABLE}"
        f" BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END",
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{MESSAGE}' USING ERRCODE = 'restrict_violation'; END $$",
        f"CREATE OR REPLACE TRIGGER audit_never_changed BEFORE UPDATE OR DELETE ON {TABLE}"
        " FOR EACH ROW EXECUTE FUNCTION audit_append_only()",
        f"CREATE OR REPLACE TRIGGER audit_never_truncated BEFORE TRUNCATE ON {TABLE}"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()",
    ],
}
REMOVE = {
    "sqlite": ["DROP TRIGGER IF EXISTS audit_never_updated", "DROP TRIGGER IF EXISTS audit_never_deleted"],
    "postgresql": [
        f"DROP TRIGGER IF EXISTS audit_never_changed ON {TABLE}",
        f"DROP TRIGGER IF EXISTS audit_never_truncated ON {TABLE}",
    ],
}


def run(connection: BaseDatabaseWrapper, statements: dict[str, list[str]]) -> None:
    """Run this vendor's statements; a database that has none is refused, for it could not keep the promise."""
    if connection.vendor not in statements:
        raise NotImplementedError(f"The audit log has no triggers for {connection.vendor}: use PostgreSQL or SQLite.")
    with connection.cursor() as cursor:
        for statement in statements[connection.vendor]:
            cursor.execute(statement)


def install(connection: BaseDatabaseWrapper) -> None:
    """Put the triggers in place; repeating it is harmless."""
    run(connection, INSTALL)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Take the triggers away: for migrating backwards, and for the tests' emptying of all tables."""
    run(connection, REMOVE)


def after_migrate(using: str, **kwargs: Any) -> None:
    """Receiver of post_migrate."""
    connection = connections[using]
    if TABLE in connection.introspection.table_names():
        install(connection)
