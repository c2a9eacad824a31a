"""PostgreSQL: how it is reached by a checked address, and reads one query that can't write."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from sqlalchemy import Connection, CursorResult
from sqlalchemy.exc import DBAPIError

from datasets.importing import tls, watching
from datasets.importing.errors import SourceError
from datasets.importing.network import CONNECT_SECONDS
from datasets.importing.said import gettext as _
from datasets.importing.sources import sql_servers as errors
from datasets.importing.sources.sql_servers import AFTER, FIRST, UPTO, Rows, Server, Values, fitting


class PostgreSQL(Server):
    """libpq is given the checked address (`hostaddr`) beside the name, which it checks the certificate by."""

    port = 5432
    driver = "postgresql+psycopg2"
    CASTS: ClassVar = {"int": "bigint", "decimal": "numeric", "float": "float8", "date": "date", "naive": "timestamp",
                       "aware": "timestamptz"}  # fmt: skip

    def connected(self) -> Any:
        import psycopg2

        mode = {"checked": "verify-full", "encrypted": "require", "off": "disable"}[self.encryption]
        roots = {"sslrootcert": tls.authorities()} if self.encryption == "checked" else {}
        addresses = self.network.addresses(self.host, self.at)
        return psycopg2.connect(
            host=",".join([self.host] * len(addresses)), hostaddr=",".join(addresses), port=self.at,
            user=self.url.username, password=self.password, dbname=self.url.database, sslmode=mode, **roots,
            connect_timeout=int(CONNECT_SECONDS), application_name="AI Mass", client_encoding="utf8", gssencmode="disable",
            passfile="/dev/null", keepalives_idle=30, keepalives_interval=10, keepalives_count=3,
            target_session_attrs="any",
        )  # fmt: skip

    def quoted(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def begin(self, connection: Connection, seconds: int, whole: int) -> None:
        # The database ends what takes too long; where it does not, the connection is ended from here a little later.
        self.patience = 2.0 * seconds
        self._run(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self._run(connection, f"SET LOCAL statement_timeout = {seconds * 1000:d}")

    def attempt(self, connection: Connection, query: str, seconds: int) -> Sequence[Any] | None:
        self._run(connection, "SAVEPOINT attempt")
        try:
            self._run(connection, f"SET LOCAL statement_timeout = {seconds * 1000:d}")
            return next(self.rows(connection, query, {})[1], None)
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) != "57014":
                raise
            return None
        finally:
            with suppress(DBAPIError):  # where the connection is lost, the first error tells
                self._run(connection, "ROLLBACK TO SAVEPOINT attempt")  # takes back the time limit and the cursor, too

    def rows(self, connection: Connection, query: str, values: Values) -> tuple[Sequence[str], Rows]:
        # The query is handed over as a value, and PL/pgSQL opens a cursor for it: that takes one statement and no more, whatever
        # the text says. In a statement of ours a text that closes a bracket could begin another statement.
        for mark, name in ((AFTER, "aimass.after"), (UPTO, "aimass.upto")):
            if mark in values:
                kind, text = values[mark]
                query = query.replace(mark, f"current_setting('{name}')::{self.CASTS[kind]}")
                self._run(connection, "SELECT set_config(%s, %s, true)", (name, text))
        self._run(connection, "SELECT set_config('aimass.query', %s, true)", (query,))
        self._run(
            connection,
            "DO $$ DECLARE given refcursor := 'aimass'; BEGIN OPEN given FOR EXECUTE current_setting('aimass.query'); END $$",
        )
        first = self._run(connection, f"FETCH FORWARD {FIRST:d} FROM aimass")

        def fetched() -> Rows:
            part = first.fetchall()
            while part:
                number = fitting(part)
                yield from part
                part = self._run(connection, f"FETCH FORWARD {number:d} FROM aimass").fetchall()
            self._run(connection, "CLOSE aimass")

        return list(first.keys()), fetched()

    def _run(self, connection: Connection, statement: str, values: tuple[Any, ...] = ()) -> CursorResult[Any]:
        raw: Any = connection.connection.dbapi_connection
        with watching.limited(self.patience, raw.fileno):
            return connection.exec_driver_sql(statement, values)

    def told(self, error: DBAPIError) -> SourceError:
        code = getattr(error.orig, "pgcode", None) or ""
        message = str(error.orig or "").casefold()
        diagnosis = getattr(error.orig, "diag", None)
        primary = str(getattr(diagnosis, "message_primary", None) or "")
        if code.startswith("28") or "authentication failed" in message or "no password supplied" in message:
            return errors.refused_sign_in(self.host)
        if code == "3D000" or ("database" in message and "does not exist" in message and not code):
            return errors.no_database(self.host, str(self.url.database))
        if "pg_hba.conf" in message and self.encryption == "off":
            return errors.wants_encryption(self.host)
        if "pg_hba.conf" in message or code == "42501":
            return errors.not_allowed(self.host)
        if "does not support ssl" in message:
            return errors.no_encryption(self.host)
        if "certificate" in message or "ssl" in message:
            return errors.untrusted(self.host, message)
        if code == "57014":
            return errors.too_slow()
        if code in {"25006", "0A000", "42P11"}:
            return errors.only_reads()
        if code in {
            "42703",
            "42P01",
            "42883",
            "42702",
            "42P09",
        }:  # their texts name columns and tables, no values
            return SourceError(
                "query", _("The database does not accept the query: %(what)s.") % {"what": primary[:300]}
            )
        if code.startswith("42"):
            return errors.bad_query()
        if code:
            return errors.failed(code)
        return errors.lost(self.host)
