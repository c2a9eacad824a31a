"""What folder, SFTP and S3 share: which of the listed files are new, in which pieces they come, and how that is remembered.

The cursor holds a short hash of each file (path, size, time) that has been taken and is still listed. A time alone would not do:
a file that is copied in later often keeps an older time. So the cursor grows with the folder, to 11 bytes a file, and the folder
may hold at most MOST files; what has been taken can be moved away at the source.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import IO, Any, ClassVar

from django import forms
from django.conf import settings as installation
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from datasets.importing.base import Cursor, Delivers, Faulty, Piece, Preview, RemoteFile, SourceError
from datasets.importing.network import Network

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


class FileSource:
    """A source of files that can be listed. A kind gives `entries` and `opened`."""

    delivers: ClassVar[Delivers] = Delivers.FILES
    settle: ClassVar[float | None] = SETTLE  # None: a file is whole as soon as it is listed

    def __init__(self, settings: Mapping[str, Any], network: Network) -> None:
        self.settings, self.network = settings, network
        self.patterns = str(settings.get("pattern") or "").split()
        self.subfolders = bool(settings.get("subfolders"))

    def entries(self) -> Iterator[Entry | Faulty]:
        """All files, in any order. Raises SourceError."""
        raise NotImplementedError

    def opened(self, entry: Entry) -> AbstractContextManager[IO[bytes]]:
        """Its bytes. Raises FileFault, SourceError."""
        raise NotImplementedError

    def check(self) -> str:
        """Sign in and list."""
        found, _faulty, _growing = self._listed()
        total = sum(entry.size for entry in found)
        count = ngettext("Found %(count)d file (%(size)s).", "Found %(count)d files (%(size)s).", len(found))
        return count % {"count": len(found), "size": filesizeformat(total)}

    def preview(self, most: int = 20) -> Preview:
        """The oldest files."""
        found, faulty, growing = self._listed()
        notes = []
        if growing:
            text = ngettext(
                "%(count)d file was changed less than a minute ago and waits for the next run.",
                "%(count)d files were changed less than a minute ago and wait for the next run.",
                growing,
            )
            notes.append(text % {"count": growing})
        faults = [Faulty(entry.shown, entry.fault()) for entry in found if entry.fault()]
        return Preview(
            files=[e.shown for e in found if not e.fault()][:most],
            faulty=[*faulty, *faults][:most],
            notes=notes,
        )

    def pieces(self, cursor: Cursor) -> Iterator[Piece]:
        """The files that have not been taken as they are now, oldest first."""
        found, faulty, _growing = self._listed()
        taken = unpacked(cursor.get("taken", "")) & {entry.digest() for entry in found}
        known = set(cursor.get("faulty", ()))
        faulty = [fault for fault in faulty if fault.where not in known]
        seen = sorted({fault.where for fault in faulty} | known)[:100]
        new = [entry for entry in found if entry.digest() not in taken]
        for batch in _pieces(new):
            taken |= {entry.digest() for entry in batch}
            yield Piece(
                {"taken": packed(taken), "faulty": seen},
                files=[self.remote(entry) for entry in batch if not entry.fault()],
                faulty=[*faulty, *(Faulty(entry.shown, entry.fault()) for entry in batch if entry.fault())],
            )
            faulty = []
        if faulty:
            yield Piece({"taken": packed(taken), "faulty": seen}, faulty=faulty)

    def remote(self, entry: Entry) -> RemoteFile:
        return RemoteFile(entry.path, entry.size, partial(self.opened, entry))

    def wanted(self, path: str) -> bool:
        """By its name. Hidden files and those that a program is still writing are nobody's."""
        name = path.rpartition("/")[2]
        if name.startswith(".") or name.casefold().endswith(UNFINISHED):
            return False
        return not self.patterns or any(
            fnmatchcase(name.casefold(), pattern.casefold()) for pattern in self.patterns
        )

    def close(self) -> None:
        """Nothing is held."""

    def _listed(self) -> tuple[list[Entry], list[Faulty], int]:
        found: list[Entry] = []
        faulty: list[Faulty] = []
        growing, now = 0, time.time()
        for number, entry in enumerate(self.entries()):
            if number >= MOST:
                text = _(
                    "There are more than %(most)d files. Move away what was taken, or make importers for folders below."
                )
                raise SourceError("too_many", text % {"most": MOST})
            if isinstance(entry, Faulty):
                faulty.append(entry)
            elif self.wanted(entry.path):
                if self.settle is not None and entry.modified > now - self.settle:
                    growing += 1
                else:
                    found.append(entry)
        return sorted(found, key=lambda entry: (entry.modified, entry.path)), faulty, growing


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
