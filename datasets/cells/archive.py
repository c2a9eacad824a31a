"""A zip of files: a table beside the files that it names, or one folder a class. Its names are only ever compared.

Nothing is unpacked to a path that the archive names: members go one at a time into a temporary file of ours, within the
limits of `readers.containers` (size, ratio, passwords, damage).
"""

import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from datasets.cells.kinds import HEAD, Look, look
from datasets.readers.base import ReadError
from datasets.readers.containers import TABLES, Bounded, is_workbook

MOST_FILES = 100_000
MOST_DEPTH = 30
SNIFFED = 60  # members whose beginnings decide whether this is a zip of files at all
TABLE_HEAD = 256 * 1024
NOTES = (".txt", ".md", ".pdf", ".html", ".htm", ".json", ".xml", ".docx", ".rtf", ".yaml", ".yml")


@dataclass(frozen=True)
class Member:
    """A file of the archive: its name with "/" between folders, and its entry."""

    name: str
    info: zipfile.ZipInfo

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(self.name.split("/")[:-1])

    @property
    def base(self) -> str:
        return self.name.rsplit("/", 1)[-1]

    @property
    def is_table(self) -> bool:
        return self.name.lower().removesuffix(".gz").endswith(TABLES)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Raises ReadError for an archive that is damaged."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ReadError("damaged", _("The zip or Excel file is damaged or incomplete.")) from error
    with archive:
        yield archive


def members(archive: zipfile.ZipFile) -> list[Member]:
    """All files, without those that systems add. Raises ReadError when there are too many, or for a password."""
    found = []
    for info in archive.infolist():
        name = "/".join(p for p in info.filename.replace("\\", "/").split("/") if p not in ("", "."))
        parts = name.split("/")
        if info.is_dir() or not name or "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1] in ("Thumbs.db", "desktop.ini"):
            continue
        if info.flag_bits & 0x1:
            raise ReadError("encrypted", _("The zip file is protected by a password. Pack it without one and upload it again."))
        found.append(Member(name, info))
    if len(found) > MOST_FILES:
        raise ReadError(
            "too_many_files", _("The zip file holds more than %(most)s files. Split it.") % {"most": f"{MOST_FILES:,}"}
        )
    return found


@contextmanager
def unpacked(archive: zipfile.ZipFile, member: Member) -> Iterator[Path]:
    """The member's content in a temporary file. Raises ReadError: damaged, or grown too large."""
    try:
        stream = archive.open(member.info)
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile, EOFError) as error:
        raise ReadError("damaged", _("damaged in the zip file")) from error
    with stream, tempfile.NamedTemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="unpacked-") as copy:
        bounded = Bounded(stream, member.info.compress_size)
        while piece := bounded.read(1024 * 1024):
            copy.write(piece)
        copy.flush()
        yield Path(copy.name)


def beginning(archive: zipfile.ZipFile, member: Member, size: int = HEAD) -> bytes:
    """The first bytes of a member; b"" where it cannot be unpacked."""
    try:
        with archive.open(member.info) as stream:
            return stream.read(size)
    except Exception:  # damaged in one of many ways: said when the file is taken in
        return b""


def glance(archive: zipfile.ZipFile, member: Member) -> Look | None:
    """What a member is by its first bytes."""
    return look(beginning(archive, member), member.name)


@dataclass(frozen=True)
class Layout:
    """How an archive is to be read. `way`: "table" (with the table's member), "folders", or "" (not a zip of files)."""

    way: str = ""
    table: str = ""
    tables: tuple[str, ...] = ()


def layout_of(path: Path, wanted: str = "") -> Layout:
    """Found out from names and beginnings. `wanted`: the table that the person chose. Raises ReadError."""
    with path.open("rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            return Layout()
    with opened(path) as archive:
        if is_workbook(archive):
            return Layout()
        found = members(archive)
        tables = sorted((m for m in found if m.is_table), key=lambda m: (len(m.folders), m.name))
        others = [m for m in found if not m.is_table and not m.base.lower().endswith(NOTES)]
        some = others[:: max(1, len(others) // SNIFFED)][:SNIFFED]
        media = sum(glance(archive, m) is not None for m in some)
        chosen = next((m for m in tables if m.base == wanted or m.name == wanted), tables[0] if tables else None)
        if not media or 2 * media < len(some):
            if chosen is None or len(tables) < 2 or not _names(archive, chosen, [m for m in tables if m is not chosen]):
                return Layout()
        elif chosen is None or (not _names(archive, chosen, others) and len(_classes(others)) > 1):
            return Layout("folders")
        assert chosen is not None
        return Layout("table", chosen.name, tuple(m.name for m in tables if len(m.folders) == len(chosen.folders))[:50])


def _names(archive: zipfile.ZipFile, table: Member, others: Sequence[Member]) -> bool:
    """Whether the beginning of a table names at least a few of the files. What is not text is believed to."""
    if not table.name.lower().endswith((".csv", ".tsv", ".tab")):
        return True
    text = beginning(archive, table, TABLE_HEAD).lower()
    some = others[:: max(1, len(others) // 400)]
    return any(stem in text for m in some if len(stem := m.base.rsplit(".", 1)[0].lower().encode()) > 1)


def _classes(found: Sequence[Member]) -> set[str]:
    return {m.folders[-1] for m in found if m.folders}


class Names:
    """The files of an archive by the ways in which a table may name them: path, name, or name without its ending."""

    def __init__(self, found: Sequence[Member], beside: str = "") -> None:
        self.beside = "".join(part + "/" for part in beside.split("/")[:-1]).casefold()
        self.paths = {m.name.casefold(): m for m in found}
        self.counts: Counter[str] = Counter()
        self.short: dict[str, Member] = {}
        for member in found:
            base = member.base.casefold()
            for key in {base, base.removesuffix(".gz").rsplit(".", 1)[0]}:
                self.counts[key] += 1
                self.short[key] = member

    def find(self, cell: Any) -> Member:
        """The file that a cell names. Raises ValueError, which says why there is none."""
        text = str(cell).strip().replace("\\", "/")
        name = "/".join(p for p in text.split("/") if p not in ("", ".")).casefold()
        for path in (self.beside + name, name):
            if path in self.paths:
                return self.paths[path]
        base = name.rsplit("/", 1)[-1]
        if self.counts[base] == 1:
            return self.short[base]
        if self.counts[base]:
            raise ValueError(_("several files of the zip file are called “%(name)s”: write the folder too") % {"name": text[:80]})
        raise ValueError(_("the zip file holds no file “%(name)s”") % {"name": text[:80]})
