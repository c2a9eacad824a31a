"""What folder, SFTP and S3 share: which of the listed files are new, in which pieces they come, and how that is remembered.

The cursor holds a short hash of each file (path, size, time) that has been taken and is still listed. A time alone would not do:
a file that is copied in later often keeps an older time. So the cursor grows with the folder, to 11 bytes a file, and the folder
may hold at most MOST files; what has been taken can be moved away at the source. A file that could not be had is not among the
taken ones and comes again (`again`). One whose time lies in the future tells nothing of when it was changed: it is taken once a
later listing shows it unchanged.
"""

from __future__ import annotations

import base64
import hashlib
import io
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import IO, Any, ClassVar

from django import forms
from django.conf import settings as installation
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy

from datasets.importing.base import (
    Cursor,
    Delivers,
    Faulty,
    FileFault,
    Piece,
    Preview,
    RemoteFile,
    SourceError,
)
from datasets.importing.network import Network
from datasets.importing.said import gettext as _
from datasets.importing.said import ngettext
from datasets.importing.sources import again

MOST = 100_000  # files in one folder with its subfolders
FILES, BYTES = 100, 256 * 2**20  # in one piece
SETTLE = 60.0  # seconds: a file that was changed more recently may still be growing
LONGEST_NAME = 500
UNFINISHED = (
    ".part",
    ".tmp",
    ".filepart",
    ".partial",
    ".crdownload",
)  # as programs name what they are still writing
HASH = 8  # bytes
TOLD = 1_000  # faults of a listing that are remembered, so that each is told of once
Ahead = Mapping[str, Sequence[Any]]  # hash of a path → hash of the file, when it was first listed so


@dataclass(frozen=True)
class Entry:
    """A listed file. `mark`: what else tells one content from another, such as an ETag."""

    path: str  # below the folder, with /
    size: int
    modified: float  # seconds since 1970
    mark: str = ""

    def digest(self) -> bytes:
        text = f"{self.path}\0{self.size}\0{self.modified}\0{self.mark}"
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=HASH).digest()

    def fault(self) -> str:
        """Why it can't be taken; empty if it can."""
        parts = self.path.split("/")
        if any(part in {"", ".", ".."} for part in parts) or "\\" in self.path:
            return _("Its name could lead out of the folder.")
        if not self.path.isprintable() or len(self.path) > LONGEST_NAME:
            return _("Its name is too long or has characters that are no text.")
        if self.size > installation.MAX_UPLOAD_BYTES:
            return _("It is larger than %(most)s.") % {"most": filesizeformat(installation.MAX_UPLOAD_BYTES)}
        return ""

    @property
    def shown(self) -> str:
        return "".join(
            letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}"
            for letter in self.path[:LONGEST_NAME]
        )


class FilesForm(forms.Form):
    """What each of the three asks for, after where the files are."""

    pattern = forms.CharField(
        label=gettext_lazy("Names"),
        required=False,
        max_length=300,
        help_text=gettext_lazy("Which files, such as *.dcm *.csv. Empty: all of them."),
    )
    subfolders = forms.BooleanField(
        label=gettext_lazy("Also files in its subfolders"), required=False, initial=True
    )


class FileSource(ABC):
    """A source of files that can be listed. A kind gives `entries` and `opened`."""

    delivers: ClassVar[Delivers] = Delivers.FILES
    settle: ClassVar[float | None] = SETTLE  # None: a file is whole as soon as it is listed

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        self.settings, self.network = settings, network
        self.patterns = str(settings.get("pattern") or "").split()
        self.subfolders = bool(settings.get("subfolders"))

    @abstractmethod
    def entries(self) -> Iterator[Entry | Faulty]:
        """All files, in any order. Raises SourceError."""

    @abstractmethod
    def opened(self, entry: Entry) -> AbstractContextManager[IO[bytes]]:
        """Its bytes. Raises FileFault, SourceError."""

    def check(self) -> str:
        """Sign in and list."""
        found = self._listed()
        files = [*found.settled, *found.ahead]
        total = sum(entry.size for entry in files)
        count = ngettext("Found %(count)d file (%(size)s).", "Found %(count)d files (%(size)s).", len(files))
        return count % {"count": len(files), "size": filesizeformat(total)}

    def preview(self, most: int = 20) -> Preview:
        """The oldest files."""
        found = self._listed()
        notes = []
        if found.growing:
            text = ngettext(
                "%(count)d file was changed less than a minute ago and waits for the next run.",
                "%(count)d files were changed less than a minute ago and wait for the next run.",
                found.growing,
            )
            notes.append(text % {"count": found.growing})
        if found.ahead:
            text = ngettext(
                "%(count)d file has a time in the future; it is taken once it has stayed unchanged for a minute.",
                "%(count)d files have a time in the future; they are taken once they have stayed unchanged for a minute.",
                len(found.ahead),
            )
            notes.append(text % {"count": len(found.ahead)})
        faults = [Faulty(entry.shown, entry.fault()) for entry in found.settled if entry.fault()]
        return Preview(
            files=[e.shown for e in found.settled if not e.fault()][:most],
            faulty=[*found.faulty, *faults][:most],
            notes=notes,
        )

    def pieces(self, cursor: Cursor) -> Iterator[Piece]:
        """The files that have not been taken as they are now, oldest first."""
        found = self._listed()
        listed = {entry.digest() for entry in (*found.settled, *found.ahead)}
        taken = unpacked(cursor.get("taken", "")) & listed
        waits = [entry for entry in found.ahead if entry.digest() not in taken]
        settled, ahead, restless = _settled(waits, cursor.get("ahead", {}), self.settle or 0)
        faults, known = [*found.faulty, *restless], set(cursor.get("told", ()))
        told = sorted({_key(fault.where) for fault in faults})[:TOLD]
        keys = {coded(digest) for digest in listed}
        tries = {key: each for key, each in cursor.get("again", {}).items() if key in keys}
        state = Standing(taken, tries, {"told": told, "ahead": ahead})
        faulty: list[Faulty] = [fault for fault in faults if _key(fault.where) not in known]
        new = [entry for entry in (*found.settled, *settled) if entry.digest() not in taken]
        for batch in _pieces(sorted(new, key=_by_time)):
            behind = state.after(batch)
            yield Piece(
                behind(()),
                files=[self.remote(entry, tries) for entry in batch if not entry.fault()],
                faulty=[*faulty, *(Faulty(entry.shown, entry.fault()) for entry in batch if entry.fault())],
                behind=behind,
            )
            faulty = []
        if not new and (faulty or ahead != cursor.get("ahead", {})):
            yield Piece(state.cursor, faulty=faulty)

    def remote(self, entry: Entry, tries: again.Tries) -> RemoteFile:
        return RemoteFile(
            entry.path, entry.size, partial(self.opened, entry), again.is_last(tries, coded(entry.digest()))
        )

    def wanted(self, path: str) -> bool:
        """By its name. Hidden files and those that a program is still writing are nobody's."""
        name = path.rpartition("/")[2]
        if name.startswith(".") or name.casefold().endswith(UNFINISHED):
            return False
        return not self.patterns or any(
            fnmatchcase(name.casefold(), pattern.casefold()) for pattern in self.patterns
        )

    @abstractmethod
    def close(self) -> None:
        """Let go of connections. May be called twice."""

    def _listed(self) -> Listing:
        found, now = Listing([], [], []), time.time()
        for number, entry in enumerate(self.entries()):
            if number >= MOST:
                text = _(
                    "There are more than %(most)d files. Move away what was taken, or make importers for folders below."
                )
                raise SourceError("too_many", text % {"most": MOST})
            if isinstance(entry, Faulty):
                found.faulty.append(entry)
            elif self.wanted(entry.path):
                if len(entry.path) > LONGEST_NAME:  # a stranger's names don't fill our memory; it is told of, and not taken
                    entry = replace(entry, path=f"{entry.path[:LONGEST_NAME]}…")
                if self.settle is None or entry.modified <= now - self.settle:
                    found.settled.append(entry)
                elif entry.modified > now + self.settle:
                    found.ahead.append(entry)
                else:
                    found.growing += 1
        return replace(found, settled=sorted(found.settled, key=_by_time))


@dataclass
class Listing:
    """What there is. `ahead`: files whose time lies in the future."""

    settled: list[Entry]
    ahead: list[Entry]
    faulty: list[Faulty]
    growing: int = 0


@dataclass
class Standing:
    """What the cursor says, as a run goes on. `rest`: of the listing as a whole."""

    taken: set[bytes]
    tries: again.Tries
    rest: Mapping[str, Any]

    @property
    def cursor(self) -> Cursor:
        more = {name: value for name, value in {"again": dict(self.tries), **self.rest}.items() if value}
        return {"taken": packed(self.taken), **more}

    def after(self, batch: Sequence[Entry]) -> Callable[[Collection[str]], Cursor]:
        """What `Piece.behind` is, for a piece of these files."""
        before, digests = self.tries, {entry.path: entry.digest() for entry in batch}

        def behind(refused: Collection[str]) -> Cursor:
            left = {digests[name] for name in refused if name in digests}
            self.taken = (self.taken | set(digests.values())) - left
            self.tries = again.after(before, map(coded, digests.values()), {coded(digest) for digest in left})
            return self.cursor

        return behind


class Exactly(io.RawIOBase):
    """A file of the source to the length that was listed: one that has no end gets none of our disk.

    `told` makes what the source's library raises a FileFault or SourceError, before it could be taken for trouble with our disk.
    """

    def __init__(self, read: Callable[[int], bytes], size: int, told: Callable[[Exception], SourceError]) -> None:
        super().__init__()
        self.source, self.left, self.told = read, size, told

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            part = self.source(min(len(buffer), self.left)) if self.left else b""
        except Exception as error:
            raise self.told(error) from None
        if not part and self.left:
            raise changed()
        buffer[: len(part)] = part
        self.left -= len(part)
        return len(part)


def changed() -> FileFault:
    return FileFault("changed", _("It changed while it was read."), passing=True)


def _by_time(entry: Entry) -> tuple[float, str]:
    return entry.modified, entry.path


def _settled(
    waits: Iterable[Entry], before: Ahead, seconds: float
) -> tuple[list[Entry], dict[str, Sequence[Any]], list[Faulty]]:
    """Of files with a time in the future: those that stayed as they were, what to remember of all, and who keeps changing."""
    settled, kept, restless, now = [], {}, [], int(time.time())
    for entry in waits:
        key, digest = _key(entry.path), coded(entry.digest())
        was, since = before.get(key, ("", 0))
        kept[key] = (was, since) if was == digest else (digest, now)
        if was == digest and now - since >= seconds:
            settled.append(entry)
        elif was and was != digest:
            reason = _("Its time lies in the future, and it keeps changing. It is taken once it stays as it is.")
            restless.append(Faulty(entry.shown, reason))
    return settled, {key: list(each) for key, each in kept.items()}, restless


def _key(path: str) -> str:
    return coded(hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=HASH).digest())


def coded(digest: bytes) -> str:
    return base64.b64encode(digest).decode().rstrip("=")


def _pieces(entries: Iterable[Entry]) -> Iterator[Sequence[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) >= FILES or size + entry.size > BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def packed(digests: set[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(digests))).decode()


def unpacked(text: str) -> set[bytes]:
    joined = base64.b64decode(text)
    return {joined[at : at + HASH] for at in range(0, len(joined), HASH)}
