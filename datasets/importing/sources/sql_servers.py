"""The two database servers that `sql` reads: how each is reached by a checked address, and reads one query that can't write."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from django.utils.translation import gettext as _
from sqlalchemy import URL, Connection, CursorResult, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from datasets.importing import tls, watching
from datasets.importing.errors import SourceError
from datasets.importing.network import CONNECT_SECONDS, Network

FETCH = 1000  # rows at once, where they are small
FIRST = 20  # rows at first, before it is known how large they are
HELD = 8_000_000  # characters that are fetched at once
AFTER, UPTO = "{the cursor's value}", "{the latest value}"  # in a query: for values that are sent beside it

Rows = Iterator[Sequence[Any]]
Values = Mapping[str, tuple[str, str]]  # kind and text by AFTER and UPTO


class Server(ABC):
    """One kind of server. `tls`: "checked", "encrypted" or "off"."""

    port: ClassVar[int]

    def __init__(self, url: URL, password: str, encryption: str, network: Network) -> None:
        self.url, self.password, self.encryption, self.network = url, password, encryption, network
        self.host, self.at = str(url.host), int(url.port or self.port)

    def engine(self) -> Engine:
        """Connects anew each time, to a checked address. Nothing is logged, and an error shows no value."""
        return create_engine(
            URL.create(self.url.drivername),
            creator=self.connected,
            poolclass=NullPool,
            hide_parameters=True,
            echo=False,
        )

    @abstractmethod
    def connected(self) -> Any:
        """A connection to a checked address."""

    @abstractmethod
    def begin(self, connection: Connection, seconds: int) -> None:
        """A transaction that reads one state of the data and can't write."""

    @abstractmethod
    def rows(self, connection: Connection, query: str, values: Values) -> tuple[Sequence[str], Rows]:
        """The names of the columns, and the rows from a server-side cursor. AFTER and UPTO in the query stand for values."""

    @abstractmethod
    def attempt(self, connection: Connection, query: str, seconds: int) -> Sequence[Any] | None:
        """The first row of what may be left undone: None where it takes longer. The transaction goes on either way."""

    @abstractmethod
    def told(self, error: DBAPIError) -> SourceError:
        """In a sentence without any value: a database quotes values in its own messages."""


class PostgreSQL(Server):
    """libpq is given the checked address (`hostaddr`) beside the name, which it checks the certificate by."""

    port = 5432
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

    def begin(self, connection: Connection, seconds: int) -> None:
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
            return refused_sign_in(self.host)
        if code == "3D000" or ("database" in message and "does not exist" in message and not code):
            return no_database(self.host, str(self.url.database))
        if "pg_hba.conf" in message or code == "42501":
            return not_allowed(self.host)
        if "certificate" in message or "ssl" in message:
            return no_tls(self.host)
        if code == "57014":
            return too_slow()
        if code in {"25006", "0A000", "42P11"}:
            return only_reads()
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
            return bad_query()
        if code:
            return failed(code)
        return lost(self.host)


class MySQL(Server):
    """MySQL and MariaDB by PyMySQL, which takes a connected socket. Several statements at once are off in it."""

    port = 3306

    def connected(self) -> Any:
        import pymysql
        from pymysql.cursors import SSCursor

        made = pymysql.connect(
            host=self.host, port=self.at, user=self.url.username, password=self.password, database=self.url.database,
            charset="utf8mb4", ssl=self._context(), defer_connect=True, cursorclass=SSCursor, local_infile=False,
            ssl_disabled=self.encryption == "off", read_timeout=600, write_timeout=60, read_default_file=None,
        )  # fmt: skip
        made.connect(self.network.connect(self.host, self.at))
        return made

    def _context(self) -> ssl.SSLContext | None:
        if self.encryption == "off":
            return None
        return tls.unchecked() if self.encryption == "encrypted" else tls.context()

    def begin(self, connection: Connection, seconds: int) -> None:
        self.seconds, self.version = seconds, str(connection.exec_driver_sql("SELECT VERSION()").scalar()).casefold()
        connection.rollback()
        connection.exec_driver_sql(
            f"SET SESSION {self.limit(seconds)}, SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'"
        )
        connection.rollback()
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.exec_driver_sql("START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT")

    def limit(self, seconds: int) -> str:
        return f"max_statement_time = {seconds:d}" if "mariadb" in self.version else f"max_execution_time = {seconds * 1000:d}"

    def attempt(self, connection: Connection, query: str, seconds: int) -> Sequence[Any] | None:
        limit, before = (self.limit(each) for each in (seconds, self.seconds))
        connection.exec_driver_sql(f"SET SESSION {limit}")
        try:
            return next(self.rows(connection, query, {})[1], None)
        except DBAPIError as error:
            arguments: tuple[Any, ...] = getattr(error.orig, "args", ())
            if arguments[:1] not in {(1969,), (3024,)}:
                raise
            return None
        finally:
            with suppress(DBAPIError):
                connection.exec_driver_sql(f"SET SESSION {before}")

    def rows(self, connection: Connection, query: str, values: Values) -> tuple[Sequence[str], Rows]:
        query = query.replace("%", "%%")
        sent = []
        for mark in sorted((each for each in (AFTER, UPTO) if each in values), key=query.index):  # each stands in it once
            kind, text = values[mark]
            sent.append(text.replace("T", " ") if kind in {"naive", "aware"} else text)
            query = query.replace(mark, "%s")
        found = connection.execution_options(stream_results=True).exec_driver_sql(query, tuple(sent))
        return list(found.keys()), iter(found.yield_per(FIRST))

    def told(self, error: DBAPIError) -> SourceError:
        arguments: tuple[Any, ...] = getattr(error.orig, "args", ())
        code = arguments[0] if arguments and isinstance(arguments[0], int) else 0
        message = str(error.orig or "").casefold()
        if code in {1045, 1698, 2059}:
            return refused_sign_in(self.host)
        if code == 1049:
            return no_database(self.host, str(self.url.database))
        if code in {1044, 1142, 1143, 1227, 1370, 1130}:
            return not_allowed(self.host)
        if "certificate" in message or "ssl" in message:
            return no_tls(self.host)
        if code in {1969, 3024}:
            return too_slow()
        if code in {1290, 1792}:
            return only_reads()
        if code in {1054, 1146, 1305, 1052, 1060}:  # their texts name columns and tables, no values
            return SourceError(
                "query",
                _("The database does not accept the query: %(what)s.") % {"what": str(arguments[1])[:300]},
            )
        if code in {1064, 1149, 1248}:
            return bad_query()
        if code in {0, 2002, 2003, 2006, 2013, 2014, 2026, 2055}:
            return lost(self.host)
        return failed(str(code))


def fitting(part: Sequence[Sequence[Any]]) -> int:
    """How many rows to fetch next, by the size of the last ones: fewer where they are wide, at most four times as many."""
    size = sum(len(value) for values in part for value in values if isinstance(value, str | bytes | memoryview))
    return max(1, min(FETCH, 4 * len(part), HELD * len(part) // max(1, size)))


# MySQL is not among them: it has not been run against a server yet, and is not offered until it has.
SERVERS: dict[str, type[Server]] = {"postgresql": PostgreSQL}


def refused_sign_in(host: str) -> SourceError:
    return SourceError(
        "sign_in", _("%(host)s refuses the user or the password. Enter them again.") % {"host": host}
    )


def no_database(host: str, name: str) -> SourceError:
    return SourceError("not_found", _("%(host)s has no database “%(name)s”.") % {"host": host, "name": name})


def not_allowed(host: str) -> SourceError:
    return SourceError(
        "forbidden",
        _("%(host)s does not let this user read that. Ask who administers the database for it.")
        % {"host": host},
    )


def no_tls(host: str) -> SourceError:
    return SourceError(
        "tls",
        _(
            "No safe connection to %(host)s: it offers no encryption, or its certificate is not trusted here."
        )
        % {"host": host},
    )


def too_slow() -> SourceError:
    return SourceError(
        "timeout",
        _("The query took too long and was ended. Read less, or have an index made on the cursor column."),
        passing=True,
    )


def only_reads() -> SourceError:
    return SourceError("query", _("The query must be one SELECT that only reads."))


def bad_query() -> SourceError:
    return SourceError(
        "query", _("The database does not accept the query: it is not valid SQL, or not one single SELECT.")
    )


def failed(code: str) -> SourceError:
    return SourceError("query", _("The database ended the query with error %(code)s.") % {"code": code})


def lost(host: str) -> SourceError:
    return SourceError(
        "unreachable", _("The connection to %(host)s failed or broke off.") % {"host": host}, passing=True
    )
