"""A database: one query that only reads, by a SQLAlchemy address; new rows by a column that grows.

The cursor is the column's last value, with how many rows had it and a sum over them. Rows of that same value are looked at
again next time: where one has been added the group comes once more, whole, and what is known of it goes by its hash; else none
of it comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from sqlalchemy import Connection
from sqlalchemy.engine.url import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from datasets.importing.base import Cursor, Delivers, Faulty, Piece, Preview, SourceError
from datasets.importing.network import Network, valid_host
from datasets.importing.sources.sql_servers import AFTER, SERVERS, Rows, Server, lost
from datasets.importing.values import Row, Together, batches, text_of

LOOK_SECONDS, READ_SECONDS = 30, 600  # that the database may take for a look, and for a part of a run
DRIVERS = {"postgresql": "psycopg2", "mysql": "pymysql", "mariadb": "pymysql"}


class SqlForm(forms.Form):
    """What a person fills in."""

    address = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=500,
        help_text=gettext_lazy(
            "A SQLAlchemy address without the password, such as postgresql://reader@db.hospital.example:5432/warehouse. "
            "Use a user who may only read."
        ),
    )
    password = forms.CharField(
        label=gettext_lazy("Password"), widget=forms.PasswordInput, required=False, max_length=500
    )
    tls = forms.ChoiceField(
        label=gettext_lazy("Encryption"),
        initial="checked",
        choices=[
            ("checked", gettext_lazy("encrypted, with the server's certificate checked")),
            ("encrypted", gettext_lazy("encrypted, whoever the server is")),
            ("off", gettext_lazy("not encrypted")),
        ],
    )
    query = forms.CharField(
        label=gettext_lazy("Query"),
        widget=forms.Textarea,
        max_length=20_000,
        help_text=gettext_lazy("One SELECT. It runs in a transaction that can't write."),
    )
    cursor_column = forms.CharField(
        label=gettext_lazy("Cursor column"),
        required=False,
        max_length=128,
        help_text=gettext_lazy(
            "A column of the query whose value grows with each new or changed row: a number, a date or a time. Only rows from "
            "its last value on are read. Empty: all rows are read each time, and known ones are left out."
        ),
    )

    def clean_address(self) -> str:
        given = self.cleaned_data["address"].strip()
        try:
            url = make_url(given)
        except (ArgumentError, ValueError):
            raise forms.ValidationError(_("This is no SQLAlchemy address.")) from None
        kind, _sign, driver = url.drivername.partition("+")
        if kind not in SERVERS or driver not in {"", DRIVERS[kind]}:
            raise forms.ValidationError(_("Only postgresql:// can be read."))
        if url.password:
            raise forms.ValidationError(
                _("Leave the password out of the address and enter it below, where it is kept encrypted.")
            )
        if url.query:
            raise forms.ValidationError(_("Leave out everything from the question mark on."))
        if not (url.host and url.username and url.database) or not valid_host(url.host):
            raise forms.ValidationError(_("The address needs a user, one host and a database."))
        return given

    def clean_query(self) -> str:
        query = str(self.cleaned_data["query"]).strip().rstrip(";").strip()
        if AFTER in query or "\0" in query:
            raise forms.ValidationError(_("The query must be one SELECT that only reads."))
        return query


class SqlSource:
    """See the module's text."""

    kind: ClassVar[str] = "sql"
    label: ClassVar[Any] = gettext_lazy("SQL database")
    explained: ClassVar[Any] = gettext_lazy(
        "Rows of one query that only reads, from PostgreSQL."
    )
    delivers: ClassVar[Delivers] = Delivers.ROWS
    Form: ClassVar[type[forms.Form]] = SqlForm
    secrets: ClassVar[frozenset[str]] = frozenset({"password"})

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        given = make_url(settings["address"])
        kind = given.get_backend_name()
        url = URL.create(
            f"{kind}+{DRIVERS[kind]}", given.username, None, given.host, given.port, given.database
        )
        self.server: Server = SERVERS[kind](
            url, str(settings.get("password") or ""), settings.get("tls") or "checked", network
        )
        self.query, self.column = settings["query"], (settings.get("cursor_column") or "").strip()
        self.engine = self.server.engine()

    def check(self) -> str:
        """Connect, and run the query for its first row."""
        preview = self.preview(1)
        text = _("Connected to %(host)s. The query gives %(count)d columns.") % {
            "host": self.server.host,
            "count": len(preview.fields),
        }
        return " ".join(
            [text, *preview.notes] if preview.rows else [text, _("It gives no row yet."), *preview.notes]
        )

    def preview(self, most: int = 20) -> Preview:
        """The first rows as the query gives them."""
        notes = []
        with self._connection(LOOK_SECONDS) as connection:
            names, rows = self.server.rows(connection, self._around(f"LIMIT {most:d}"), None)
            self._check_names(names)
            shown: list[Row] = []
            faulty = []
            for number, values in enumerate(rows, 1):
                row = _row(names, values, number)
                faulty.append(row) if isinstance(row, Faulty) else shown.append(row)
            if self.column and (without := self._without_value(connection)):
                notes.append(
                    _("%(count)d rows have no value in %(column)s and are never read.")
                    % {"count": without, "column": self.column}
                )
        return Preview(list(names), shown, faulty=faulty, notes=notes)

    def pieces(self, cursor: Cursor) -> Iterator[Piece]:
        """The rows that are new, in the order of the cursor column."""
        with self._connection(READ_SECONDS) as connection:
            if not self.column:
                names, rows = self.server.rows(connection, self._around(), None)
                self._check_names(names)
                made = (_row(names, values, number) for number, values in enumerate(rows, 1))
                yield from (_piece({}, batch) for batch in batches(made))
                return
            column = f"q.{self.engine.dialect.identifier_preparer.quote_identifier(self.column)}"
            after = (cursor["kind"], cursor["after"]) if "after" in cursor else None
            sign = ">="
            if after is not None:
                names, rows = self._where(connection, f"{column} = {AFTER}", column, after)
                group = Together.of(
                    row for n, v in enumerate(rows, 1) if not isinstance(row := _row(names, v, n), Faulty)
                )
                sign = ">" if group == Together(cursor["count"], int(cursor["sum"])) else ">="
            condition = f"{column} IS NOT NULL" if after is None else f"{column} {sign} {AFTER}"
            names, rows = self._where(connection, condition, column, after)
            yield from self._grouped(names, rows, cursor)
            if after is None and (without := self._without_value(connection)):
                reason = _("%(count)d rows have no value here and are not read.") % {"count": without}
                yield Piece(self._last, faulty=[Faulty(self.column, reason)])

    def close(self) -> None:
        """Each use has closed its own connection."""
        self.engine.dispose()

    def _where(
        self, connection: Connection, condition: str, column: str, after: Any
    ) -> tuple[Sequence[str], Rows]:
        names, rows = self.server.rows(connection, self._around(f"WHERE {condition} ORDER BY {column}"), after)
        self._check_names(names)
        return names, rows

    def _grouped(self, names: Sequence[str], rows: Rows, cursor: Cursor) -> Iterator[Piece]:
        """Pieces, each with the value at its end and what of that value has come."""
        self._last: Cursor = cursor
        at = next(number for number, name in enumerate(names) if name.casefold() == self.column.casefold())
        value, group = None, Together()
        for batch in batches(enumerate(rows, 1)):
            made = []
            for number, values in batch:
                row = _row(names, values, number)
                if values[at] != value:
                    value, group = values[at], Together()
                if not isinstance(row, Faulty):
                    group.add(row)
                made.append(row)
            kind, text = _marked(value, self.column)
            self._last = {"kind": kind, "after": text, "count": group.count, "sum": str(group.total)}
            yield _piece(self._last, made)

    def _around(self, rest: str = "", what: str = "*") -> str:
        return f"SELECT {what} FROM ({self.query}\n) AS q {rest}"  # noqa: S608  # the server takes one statement that reads

    def _without_value(self, connection: Connection) -> int:
        column = f"q.{self.engine.dialect.identifier_preparer.quote_identifier(self.column)}"
        _names, rows = self.server.rows(connection, self._around(f"WHERE {column} IS NULL", "count(*) AS n"), None)
        return int(next(iter(rows))[0])

    def _check_names(self, names: Sequence[str]) -> None:
        twice = sorted({name for name in names if list(names).count(name) > 1})
        if twice:
            raise SourceError(
                "query",
                _("The query gives two columns the name %(name)s: name one of them by AS.")
                % {"name": twice[0]},
            )
        if self.column and self.column.casefold() not in {name.casefold() for name in names}:
            raise SourceError(
                "query",
                _("The query gives no column %(name)s, which is to be the cursor.") % {"name": self.column},
            )

    @contextmanager
    def _connection(self, seconds: int) -> Iterator[Connection]:
        connection = None
        try:
            connection = self.engine.connect()
            self.server.begin(connection, seconds)
            yield connection
        except DBAPIError as error:
            raise self.server.told(error) from None
        except (SQLAlchemyError, OSError):
            raise lost(self.server.host) from None
        finally:
            if connection is not None:
                _let_go(connection)


def _let_go(connection: Connection) -> None:
    """Without a word to the server: it may be gone, and nothing was written."""
    connection.invalidate()
    connection.close()


def _row(names: Sequence[str], values: Sequence[Any], number: int) -> Row | Faulty:
    try:
        return dict(zip(names, map(text_of, values), strict=True))
    except ValueError as error:
        reasons = {
            "bytes": _(
                "It holds binary data, which is no column's value: leave that column out of the query."
            ),
            "too long": _("A value in it is longer than a million characters."),
        }
        return Faulty(_("row %(number)d") % {"number": number}, reasons.get(str(error), reasons["bytes"]))


def _piece(cursor: Cursor, made: Sequence[Row | Faulty]) -> Piece:
    rows = [row for row in made if not isinstance(row, Faulty)]
    return Piece(cursor, rows, faulty=[row for row in made if isinstance(row, Faulty)])


def _marked(value: Any, column: str) -> tuple[str, str]:
    """A cursor's value with its kind. Texts are refused: they may name a patient, and servers differ in their order."""
    match value:
        case bool():
            pass
        case int():
            return "int", str(value)
        case Decimal() if value.is_finite():
            return "decimal", format(value, "f")
        case float():
            return "float", repr(value)
        case datetime():
            return ("naive" if value.tzinfo is None else "aware"), value.isoformat()
        case date():
            return "date", value.isoformat()
    raise SourceError(
        "query",
        _("%(name)s can't be the cursor: its values are neither numbers, dates nor times.")
        % {"name": column},
    )
