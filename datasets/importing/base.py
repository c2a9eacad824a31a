"""What an importer's source is: it can be tried, previewed, and read in pieces from a cursor on.

A source knows no model and no request; it is given its settings (secrets in clear), and a Network through which it must reach
whatever it reaches. What it hands over is either rows (values by field name) or files. The importer's run makes an upload or an
arrival of each piece and moves the cursor in the same transaction, so a piece comes once however often a run is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, Any, ClassVar, Protocol

from django import forms

from datasets.importing.errors import FileFault as FileFault
from datasets.importing.errors import SourceError as SourceError
from datasets.importing.network import Network

Cursor = Mapping[str, Any]  # JSON; what the source needs to go on; {} at first. Never a secret, never a patient's value.


class Delivers(StrEnum):
    """What a source hands over."""

    ROWS = "rows"
    FILES = "files"


@dataclass(frozen=True)
class Faulty:
    """One record or file of the source that could not be taken, while the others were. Counted and listed in the history."""

    where: str  # "Patient/17", "row 12", "2026/ct.dcm"; never a patient's name
    reason: str
    again: bool = False  # a file that is to come again in the next run


@dataclass(frozen=True)
class RemoteFile:
    """A file of the source. `name` with its folders, as a person knows it; `open` gives its bytes when it is asked to.

    Opening, reading and leaving the block may raise FileFault (this file is gone, has changed meanwhile or is broken: count it
    as faulty and go on) or SourceError (nothing can be read any more). What they raise as OSError is trouble with our own disk.
    """

    name: str
    size: int | None
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    last: bool = False  # whether it is given up where it can't be had this time either


@dataclass(frozen=True)
class Piece:
    """What came, up to a cursor. Of a source of rows `rows` (of strings, None where a value is missing), else `files`.

    `cursor` is right where each of the files could be had. Else `behind` is asked for it, with the names of those that are to
    come again, before the next piece; asked twice, what was said last counts.
    """

    cursor: Cursor
    rows: Sequence[Mapping[str, str | None]] = ()
    files: Sequence[RemoteFile] = ()
    faulty: Sequence[Faulty] = ()
    behind: Callable[[Collection[str]], Cursor] | None = None
    waiting: Mapping[str, int] | None = None  # of what is not given yet, how much for which reason: see importing.waiting


@dataclass(frozen=True)
class Preview:
    """The first of what would come, without taking it. `fields`: names in order, of a source of rows."""

    fields: Sequence[str] = ()
    rows: Sequence[Mapping[str, str | None]] = ()
    files: Sequence[str] = ()
    faulty: Sequence[Faulty] = ()
    notes: Sequence[str] = field(default=())  # what a person should know, in sentences


class Source(Protocol):
    """One kind of source. Made anew for each use; `close` is called at the end, also after an error."""

    kind: ClassVar[str]  # "sql"; in addresses and in the database
    label: ClassVar[Any]  # a lazy translation
    explained: ClassVar[Any]  # a sentence for the list of kinds, lazy
    delivers: ClassVar[Delivers]
    Form: ClassVar[type[forms.Form]]  # what a person fills in; its `clean` checks all that needs no connection
    secrets: ClassVar[frozenset[str]]  # fields of the form that are encrypted and never shown again

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None: ...

    def check(self) -> str:
        """Connect, sign in, and look whether there is something to read; a sentence that says what was found.

        Raises SourceError.
        """
        ...

    def preview(self, most: int = 20) -> Preview:
        """The first records or files, nothing kept, no cursor moved. Raises SourceError."""
        ...

    def pieces(self, cursor: Cursor) -> Iterator[Piece]:
        """What is new since the cursor, in pieces of bounded size, oldest first, each with the cursor behind it.

        Asked again with the same cursor it gives the same, or what has been added since; with the last piece's cursor
        nothing old. Raises SourceError.
        """
        ...

    def close(self) -> None:
        """Let go of connections. May be called twice."""
        ...
