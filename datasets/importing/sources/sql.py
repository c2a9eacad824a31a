"""A database: one query that only reads, by a SQLAlchemy address; new rows by a column that grows.

The cursor is the column's last value, with how many rows lie in the overlap before it (see `overlap`) and a sum over them. Those
are looked at again next time: where one has been added or changed, all of the overlap comes once more, and what is known of it
goes by its hash; else none of it comes. Values later than tomorrow are taken without moving the cursor, with a sum of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy
from sqlalchemy import Connection
from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from datasets.importing.base import Cursor, Delivers, Faulty, Piece, Preview, SourceError
from datasets.importing.network import Network
from datasets.importing.said import gettext as _
from datasets.importing.sources import overlap
from datasets.importing.sources.sql_form import SERVERS, SqlForm
from datasets.importing.sources.sql_servers import AFTER, UPTO, Rows, Server, Values, lost
from datasets.importing.values import Row, Together, batches, text_of

LOOK_SECONDS, READ_SECONDS = 30, 600  # that the database may take for a look, and for a part of a run
WHOLE_SECONDS = 2 * 3600  # and for all that a run reads, where it comes in one go: as long as its job may take
COUNT_SECONDS, COUNTED = 5, 1000  # for the count of rows without a value, and up to where it is counted


class SqlSource:
    """See the module's text."""

    kind: ClassVar[str] = "sql"
    label: ClassVar[Any] = gettext_lazy("SQL database")
    explained: ClassVar[Any] = gettext_lazy(
        "Rows of one query that only reads, from PostgreSQL, MySQL or MariaDB."
    )
    delivers: ClassVar[Delivers] = Delivers.ROWS
    Form: ClassVar[type[forms.Form]] = SqlForm
    secrets: ClassVar[frozenset[str]] = frozenset({"password"})

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        url = make_url(settings["address"])
        self.server: Server = SERVERS[url.get_backend_name()](
            url, str(settings.get("password") or ""), settings.get("tls") or "checked", network
        )
        self.settings, self.query, self.column = settings, settings["query"], (settings.get("cursor_column") or "").strip()
        self.engine = self.server.engine()
        self.held: list[Connection] = []

    def check(self) -> str:
        """Connect, and run the query for its first row."""
        with self._connection(LOOK_SECONDS, LOOK_SECONDS) as connection:
            preview = self._first(connection, 1)
        text = _("Connected to %(host)s. The query gives %(count)d columns.") % {
            "host": self.server.host,
            "count": len(preview.fields),
        }
        return text if preview.rows else " ".join([text, _("It gives no row yet.")])

    def preview(self, most: int = 20) -> Preview:
        """The first rows as the query gives them."""
        with self._connection(LOOK_SECONDS, LOOK_SECONDS) as connection:
            seen = self._first(connection, most)
            notes = [self._without_value(connection)] if self.column else []
        return replace(seen, notes=[_("%(count)s rows have no value in %(column)s and are never read.")
                                    % {"count": count, "column": self.column} for count in notes if count])  # fmt: skip

    def _first(self, connection: Connection, most: int) -> Preview:
        names, rows = self.server.rows(connection, self._around(f"LIMIT {most:d}"), {})
        self._check_names(names)
        made = [_row(names, values, number) for number, values in enumerate(rows, 1)]
        shown = [row for row in made if not isinstance(row, Faulty)]
        return Preview(list(names), shown, faulty=[row for row in made if isinstance(row, Faulty)])

    def pieces(self, cursor: Cursor) -> Iterator[Piece]:
        """The rows that are new, in the order of the cursor column."""
        with self._connection(READ_SECONDS, WHOLE_SECONDS) as connection:
            if not self.column:
                names, rows = self.server.rows(connection, self._around(), {})
                self._check_names(names)
                made = (_row(names, values, number) for number, values in enumerate(rows, 1))
                yield from (_piece({}, batch) for batch in batches(made))
                return
            last, held = cursor, None
            for piece in self._new(connection, cursor):
                if held is not None:
                    yield held
                last, held = piece.cursor, piece
            if held is not None:  # the last one knows what there is in the overlap before it
                yield replace(held, cursor=self._closed(connection, last))
            if not cursor and (without := self._without_value(connection)):
                reason = _("%(count)s rows have no value here and are not read.") % {"count": without}
                yield Piece(self._closed(connection, last) if held is not None else last, faulty=[Faulty(self.column, reason)])

    def _new(self, connection: Connection, cursor: Cursor) -> Iterator[Piece]:
        """What is new, by what the last cursor said of the overlap and of values in the future."""
        condition = [f"NOT ({self.server.lacking})"]
        values: dict[str, tuple[str, str]] = {}
        if "after" in cursor:
            after = _value(cursor["kind"], cursor["after"])
            known = "count" in cursor and self._overlap(connection, cursor) == Together(cursor["count"], int(cursor["sum"]))
            condition = [f"{{column}} {'>' if known else '>='} {AFTER}"]
            values[AFTER] = _marked(after if known else overlap.back(after, self.settings), self.column)
        if "ahead" in cursor and (most := _limit(cursor["kind"])) is not None:
            count, total = cursor["ahead"]
            if self._together(connection, f"{{column}} > {UPTO}", {UPTO: most}) == Together(count, int(total)):
                condition.append(f"{{column}} <= {UPTO}")
                values[UPTO] = most
        names, rows = self._where(connection, " AND ".join(condition), values)
        yield from self._moving(names, rows, cursor)

    def _moving(self, names: Sequence[str], rows: Rows, cursor: Cursor) -> Iterator[Piece]:
        """Pieces, each with the value at its end, as far as that is not in the future."""
        at = next(number for number, name in enumerate(names) if name.casefold() == self.column.casefold())
        value = reached = most = None

        def made() -> Iterator[Row | Faulty]:
            nonlocal value, reached, most
            for number, values in enumerate(rows, 1):
                value = values[at]
                most = most or overlap.latest(value)
                if most is None or value <= most:
                    reached = value
                yield _row(names, values, number)

        for batch in batches(made()):
            kind, text = _marked(value, self.column)
            if reached is not None:
                kind, text = _marked(reached, self.column)
                yield _piece({"kind": kind, "after": text}, batch)
            else:
                yield _piece({"kind": kind, **{name: cursor[name] for name in ("kind", "after") if name in cursor}}, batch)

    def _closed(self, connection: Connection, cursor: Cursor) -> Cursor:
        """A cursor with what there is in the overlap before it, and in the future. One state of the database tells all."""
        found = dict(cursor)
        if "after" in cursor:
            group = self._overlap(connection, cursor)
            found |= {"count": group.count, "sum": str(group.total)}
        if (most := _limit(cursor["kind"])) is not None:
            ahead = self._together(connection, f"{{column}} > {UPTO}", {UPTO: most})
            found |= {"ahead": [ahead.count, str(ahead.total)]} if ahead.count else {}
        return found

    def _overlap(self, connection: Connection, cursor: Cursor) -> Together:
        """What there is from a little before the cursor up to it."""
        kind, after = cursor["kind"], cursor["after"]
        begin = overlap.back(_value(kind, after), self.settings)
        condition = f"{{column}} >= {AFTER} AND {{column}} <= {UPTO}"
        return self._together(connection, condition, {AFTER: _marked(begin, self.column), UPTO: (kind, after)})

    def _together(self, connection: Connection, condition: str, values: Values) -> Together:
        names, rows = self._where(connection, condition, values)
        made = (_row(names, each, number) for number, each in enumerate(rows, 1))
        return Together.of(row for row in made if not isinstance(row, Faulty))

    def _where(self, connection: Connection, condition: str, values: Values) -> tuple[Sequence[str], Rows]:
        rest = f"WHERE {condition.replace('{column}', self._quoted)} ORDER BY {self._quoted}"
        names, rows = self.server.rows(connection, self._around(rest), values)
        self._check_names(names)
        return names, rows

    def close(self) -> None:
        """Also of a reading that was broken off: an error's traceback keeps it, and would keep a transaction open in the
        hospital's database, for which a change of its tables has to wait."""
        for connection in list(self.held):
            self._let_go(connection)
        self.engine.dispose()

    def _let_go(self, connection: Connection) -> None:
        if connection in self.held:
            self.held.remove(connection)
            self.server.let_go(connection)

    def _around(self, rest: str = "", what: str = "*") -> str:
        return f"SELECT {what} FROM ({self.query}\n) AS q {rest}"  # noqa: S608  # the server takes one statement that reads

    def _without_value(self, connection: Connection) -> str:
        """How many rows have none, as text. Empty where there are none, or where to count them takes long."""
        lacking = self.server.lacking.replace("{column}", self._quoted)
        some = self._around(f"WHERE {lacking} LIMIT {COUNTED + 1:d}", "1 AS one")
        found = self.server.attempt(connection, f"SELECT count(*) AS n FROM ({some}) AS few", COUNT_SECONDS)  # noqa: S608  # as above
        count = int(found[0]) if found else 0
        return f"{COUNTED}+" if count > COUNTED else str(count or "")

    @property
    def _quoted(self) -> str:
        return f"q.{self.server.quoted(self.column)}"

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
    def _connection(self, seconds: int, whole: int) -> Iterator[Connection]:
        connection = None
        try:
            connection = self.server.opened(self.engine)
            self.held.append(connection)
            self.server.begin(connection, seconds, whole)
            yield connection
        except DBAPIError as error:
            raise self.server.told(error) from None
        except (SQLAlchemyError, OSError):
            raise lost(self.server.host) from None
        finally:
            if connection is not None:
                self._let_go(connection)


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
        case float() if math.isfinite(value):
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


def _value(kind: str, text: str) -> Any:
    """A cursor's value as it was."""
    match kind:
        case "int":
            return int(text)
        case "decimal":
            return Decimal(text)
        case "float":
            return float(text)
        case "date":
            return date.fromisoformat(text)
    return datetime.fromisoformat(text)


def _limit(kind: str) -> tuple[str, str] | None:
    """What the cursor can't pass, of this kind."""
    most = {"date": overlap.limit().date(), "aware": overlap.limit(), "naive": overlap.limit().replace(tzinfo=None)}.get(kind)
    return None if most is None else (kind, most.isoformat())
