"""MySQL and MariaDB by PyMySQL: on a socket that the guard has connected, rows as they come, one statement that can't write."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, ResourceClosedError

from datasets.importing import tls, watching
from datasets.importing.errors import SourceError
from datasets.importing.network import CONNECT_SECONDS
from datasets.importing.said import gettext as _
from datasets.importing.sources import sql_servers as errors
from datasets.importing.sources.sql_servers import AFTER, FIRST, UPTO, Rows, Server, Values

if TYPE_CHECKING:
    import pymysql

KILL_SECONDS = 3.0  # for the connection that ends a query of ours
UNSAFE = ("mysql_clear_password", "dialog", "mysql_old_password")  # ways to sign in that give the password away
TOO_LONG, LOST = {1969, 3024}, 2013
# What PyMySQL raises beside its own errors where a server does not keep to the protocol, or asks for a file of ours.
BROKEN = (RuntimeError, AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error)


class MySQL(Server):
    """PyMySQL has several statements at once and LOAD DATA LOCAL off; both are said again here."""

    port = 3306
    driver = "mysql+pymysql"
    # '0000-00-00' stands for "no date" in old tables, and a part of a date ('2026-00-00') is nothing to go on from.
    lacking = "{column} IS NULL OR CAST({column} AS CHAR) LIKE '____-00-%' OR CAST({column} AS CHAR) LIKE '____-__-00%'"
    computing = False  # whether the server works on a query whose first row has not come

    raw: Any = None  # PyMySQL's connection

    def connected(self) -> pymysql.Connection[Any]:
        self.raw = made = self._connected(CONNECT_SECONDS)
        return made

    def _connected(self, seconds: float) -> pymysql.Connection[Any]:
        import pymysql
        from pymysql.cursors import SSCursor

        unsafe: dict[str, Any] = {} if self.encryption == "checked" else dict.fromkeys(UNSAFE, _Refusing)
        made = pymysql.connect(
            host=self.host, port=self.at, user=self.url.username, password=self.password.encode(), database=self.url.database,
            charset="utf8mb4", ssl=self._context(), ssl_disabled=self.encryption == "off", defer_connect=True,
            cursorclass=SSCursor, local_infile=False, client_flag=0, read_timeout=3 * seconds, write_timeout=3 * seconds,
            read_default_file=None, conv=_conversions(), auth_plugin_map=unsafe, program_name="AI Mass",
        )  # fmt: skip
        connected = self.network.connect(self.host, self.at, seconds)
        raw: Any = made
        with self._plainly(), watching.limited(3 * seconds, lambda: raw._sock.fileno()):  # TLS puts another socket there
            made.connect(connected)
        return made

    def opened(self, engine: Engine) -> Connection:
        with self._plainly():  # SQLAlchemy asks a few things of a server
            return super().opened(engine)

    def _context(self) -> ssl.SSLContext | None:
        if self.encryption == "off":
            return None
        return tls.unchecked() if self.encryption == "encrypted" else tls.context()

    def quoted(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def begin(self, connection: Connection, seconds: int, whole: int) -> None:
        mariadb = "mariadb" in str(connection.exec_driver_sql("SELECT VERSION()").scalar()).casefold()
        self.limit = "max_statement_time = {}" if mariadb else "max_execution_time = {}000"
        self.whole = whole
        self.raw._read_timeout = 2.0 * seconds  # of silence; by name it can be given only before connecting
        connection.rollback()
        # Rows wait in the server while an upload is made of the ones before: it shall not end the connection for that.
        connection.exec_driver_sql(f"SET SESSION {self.limit.format(whole)}, SESSION net_write_timeout = {int(max(60, whole)):d}")
        connection.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def attempt(self, connection: Connection, query: str, seconds: int) -> Sequence[Any] | None:
        connection.exec_driver_sql(f"SET SESSION {self.limit.format(seconds)}")
        try:
            found = list(self.rows(connection, query, {})[1])
            return found[0] if found else None
        except DBAPIError as error:
            if _code(error) not in TOO_LONG:
                raise
            return None
        finally:
            with suppress(DBAPIError):  # where the connection is lost, the first error tells
                connection.exec_driver_sql(f"SET SESSION {self.limit.format(self.whole)}")

    def rows(self, connection: Connection, query: str, values: Values) -> tuple[Sequence[str], Rows]:
        # A transaction that can't write lets a user who may do so write files: the one thing that is looked for in the text.
        if any(word in query.casefold() for word in ("outfile", "dumpfile")):
            raise errors.only_reads()
        query = query.replace("%", "%%")
        sent = []
        for mark in sorted((each for each in (AFTER, UPTO) if each in values), key=query.index):  # each stands in it once
            sent.append(_sent(*values[mark]))
            query = query.replace(mark, "%s")
        self.computing = True
        try:
            with self._plainly():
                found = connection.execution_options(stream_results=True).exec_driver_sql(query, tuple(sent))
        except DBAPIError as error:
            self.computing = _code(error) == LOST  # any other error is an answer
            raise
        self.computing = False
        try:
            return list(found.keys()), self._each(iter(found.yield_per(FIRST)))
        except ResourceClosedError:  # no rows: INTO @variable
            raise errors.only_reads() from None

    def _each(self, rows: Iterator[Any]) -> Rows:
        with self._plainly():
            yield from rows

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except BROKEN:
            raise errors.lost(self.host) from None

    def let_go(self, connection: Connection) -> None:
        """A server does not notice that nobody listens until it has a row to send: what it still computes is ended there."""
        if self.raw._result is not None:
            self.raw._result.unbuffered_active = False  # else the rest would be read to its end
        super().let_go(connection)
        if self.computing:
            self.computing = False
            with suppress(Exception):  # a courtesy: it may be out of reach by now
                other = self._connected(KILL_SECONDS)
                try:
                    other.query(f"KILL {self.raw.thread_id():d}")
                finally:
                    other.close()

    def told(self, error: DBAPIError) -> SourceError:
        arguments: tuple[Any, ...] = getattr(error.orig, "args", ())
        code, message = _code(error), str(error.orig or "")
        if code in {1045, 1698}:
            return errors.refused_sign_in(self.host, plain=self.encryption == "off")
        if code in {2059, 1251}:
            text = _(
                "%(host)s asks for a way to sign in that is not known here, or is safe only with the certificate checked. "
                "Use a user with an ordinary password."
            )
            return SourceError("sign_in", text % {"host": self.host})
        if code == 3159 or "insecure transport" in message:
            return errors.wants_encryption(self.host)
        if code == 1049:
            return errors.no_database(self.host, str(self.url.database))
        if code in {1044, 1142, 1143, 1227, 1370, 1130, 1820, 1862, 3118, 4151}:
            return errors.not_allowed(self.host)
        if code == 2026:
            return errors.no_encryption(self.host)
        if isinstance(getattr(error.orig, "original_exception", None), ssl.SSLError):
            return errors.untrusted(self.host, message)
        if code in TOO_LONG:
            return errors.too_slow()
        if code in {1290, 1792}:
            return errors.only_reads()
        if code in {1054, 1146, 1305, 1052, 1060}:  # their texts name columns and tables, no values
            what = {"what": str(arguments[1])[:300]}
            return SourceError("query", _("The database does not accept the query: %(what)s.") % what)
        if code in {1064, 1149, 1248}:
            return errors.bad_query()
        if code in {0, 1040, 1203, 1226, 2002, 2003, 2006, 2013, 2014, 2055}:  # too many connections among them
            return errors.lost(self.host)
        return errors.failed(str(code))


class _Refusing:
    """In the place of a way to sign in that would give the password to whoever listens."""

    def __init__(self, connection: Any) -> None:
        pass

    def authenticate(self, packet: Any) -> Any:
        import pymysql

        raise pymysql.OperationalError(2059, "not without a checked certificate")


def _code(error: DBAPIError) -> int:
    arguments: tuple[Any, ...] = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


def _sent(kind: str, text: str) -> int | Decimal | float | str:
    """A cursor's value as it is compared: numbers as numbers, as a text is compared as a floating-point number."""
    numbers: dict[str, Callable[[str], Any]] = {"int": int, "decimal": Decimal, "float": float}
    return numbers[kind](text) if kind in numbers else text.replace("T", " ")


def _conversions() -> dict[Any, Any]:
    """PyMySQL's, but a date that is none is no value, and bits are a number."""
    from pymysql.constants import FIELD_TYPE
    from pymysql.converters import conversions, convert_date, convert_datetime

    def or_none(convert: Callable[[str], Any]) -> Callable[[str], Any]:
        def converted(text: str) -> date | str | None:
            return None if text.startswith("0000-00-00") else convert(text)

        return converted

    times = dict.fromkeys((FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP), or_none(convert_datetime))
    days = dict.fromkeys((FIELD_TYPE.DATE, FIELD_TYPE.NEWDATE), or_none(convert_date))
    return {**conversions, **times, **days, FIELD_TYPE.BIT: lambda bits: int.from_bytes(bits, "big")}
