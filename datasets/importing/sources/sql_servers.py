"""What the database servers that `sql` reads have in common, and what is told of their errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from datasets.importing.errors import SourceError
from datasets.importing.network import Network
from datasets.importing.said import gettext as _

FETCH = 1000  # rows at once, where they are small
FIRST = 20  # rows at first, before it is known how large they are
HELD = 8_000_000  # characters that are fetched at once
AFTER, UPTO = "{the cursor's value}", "{the latest value}"  # in a query: for values that are sent beside it

Rows = Iterator[Sequence[Any]]
Values = Mapping[str, tuple[str, str]]  # kind and text by AFTER and UPTO


class Server(ABC):
    """One kind of server. `tls`: "checked", "encrypted" or "off"."""

    port: ClassVar[int]
    driver: ClassVar[str]  # SQLAlchemy's name for it
    lacking: ClassVar[str] = "{column} IS NULL"  # whether a row has no value there

    def __init__(self, url: URL, password: str, encryption: str, network: Network) -> None:
        self.url, self.password, self.encryption, self.network = url, password, encryption, network
        self.host, self.at = str(url.host), int(url.port or self.port)

    def engine(self) -> Engine:
        """Connects anew each time, to a checked address. Nothing is logged, and an error shows no value."""
        return create_engine(
            URL.create(self.driver),
            creator=self.connected,
            poolclass=NullPool,
            hide_parameters=True,
            echo=False,
        )

    @abstractmethod
    def connected(self) -> Any:
        """A connection to a checked address."""

    def opened(self, engine: Engine) -> Connection:
        """Connected, and signed in."""
        return engine.connect()

    @abstractmethod
    def quoted(self, name: str) -> str:
        """A column's name as a part of a query."""

    @abstractmethod
    def begin(self, connection: Connection, seconds: int, whole: int) -> None:
        """A transaction that reads one state of the data and can't write. The database ends what takes too many `seconds`.

        Where a result is sent in one go, also while somebody else works on its first rows, it may take `whole` seconds, and the
        server must not be silent for longer than twice `seconds`.
        """

    @abstractmethod
    def rows(self, connection: Connection, query: str, values: Values) -> tuple[Sequence[str], Rows]:
        """The names of the columns, and the rows as they are asked for. AFTER and UPTO in the query stand for values."""

    @abstractmethod
    def attempt(self, connection: Connection, query: str, seconds: int) -> Sequence[Any] | None:
        """The first row of what may be left undone: None where it takes longer. The transaction goes on either way."""

    @abstractmethod
    def told(self, error: DBAPIError) -> SourceError:
        """In a sentence without any value: a database quotes values in its own messages."""

    def let_go(self, connection: Connection) -> None:
        """Without a word to the server: it may be gone, and nothing was written."""
        connection.invalidate()
        connection.close()


def fitting(part: Sequence[Sequence[Any]]) -> int:
    """How many rows to fetch next, by the size of the last ones: fewer where they are wide, at most four times as many."""
    size = sum(len(value) for values in part for value in values if isinstance(value, str | bytes | memoryview))
    return max(1, min(FETCH, 4 * len(part), HELD * len(part) // max(1, size)))


def refused_sign_in(host: str, *, plain: bool = False) -> SourceError:
    """`plain`: without encryption, which some servers demand of a user without saying so."""
    text = _("%(host)s refuses the user or the password. Enter them again.")
    if plain:
        text = _("%(host)s refuses the user or the password, or wants this user's connection encrypted. Enter them again.")
    return SourceError("sign_in", text % {"host": host})


def no_database(host: str, name: str) -> SourceError:
    return SourceError("not_found", _("%(host)s has no database “%(name)s”.") % {"host": host, "name": name})


def not_allowed(host: str) -> SourceError:
    return SourceError(
        "forbidden",
        _("%(host)s does not let this user read that. Ask who administers the database for it.")
        % {"host": host},
    )


def no_encryption(host: str) -> SourceError:
    text = _("%(host)s offers no encryption. Have it switched on there, or choose “not encrypted” where the network is safe.")
    return SourceError("tls", text % {"host": host})


def wants_encryption(host: str) -> SourceError:
    text = _(
        "%(host)s does not take this connection without encryption. Choose an encrypted one; if that is refused too, ask who "
        "administers the database."
    )
    return SourceError("tls", text % {"host": host})


def untrusted(host: str, why: str) -> SourceError:
    """`why` is OpenSSL's or libpq's own text, which names no value."""
    why = why.casefold()
    if "match" in why or "not valid for" in why:
        text = _("The certificate of %(host)s is for another name. Enter the name that it was made for, or have a new one made.")
    elif "expired" in why:
        text = _("The certificate of %(host)s has expired. Have it renewed there.")
    elif "certificate" in why:
        text = _(
            "The certificate of %(host)s is by an authority that is not trusted here. If it is your hospital's own, the "
            "administrator of this installation can name it (AIMASS_IMPORT_CA_FILE)."
        )
    else:
        text = _("No safe connection to %(host)s: the two agree on no way to encrypt.")
    return SourceError("tls", text % {"host": host})


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
