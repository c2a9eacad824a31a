"""A zip of files: a table beside the files that it names, or one folder a class. Its names are only ever compared.

Nothing is unpacked to a path that the archive names: members go one at a time into a temporary file of ours, within the
limits of `datasets.arrivals.unpack` (size, ratio, passwords, links, damage).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.utils.translation import gettext as _

from datasets import temporary
from datasets.arrivals import unpack
from datasets.arrivals.found import Refused
from datasets.cells.kinds import HEAD, Look, look
from datasets.readers.base import ReadError
from datasets.readers.containers import TABLES

MOST_FILES = 100_000
SNIFFED = 60  # members whose beginnings decide whether this is a zip of files at all
MANY = 10  # tables in several folders, and nothing else, are signals
TABLE_HEAD = 256 * 1024
NOTES = (".txt", ".md", ".pdf", ".html", ".htm", ".json", ".xml", ".docx", ".rtf", ".yaml", ".yml")


@dataclass(frozen=True)
class Member:
    """A file of the archive: its name with "/" between folders, and where its content comes from."""

    name: str
    source: unpack.Member

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(self.name.split("/")[:-1])

    @property
    def base(self) -> str:
        return self.name.rsplit("/", 1)[-1]

    @property
    def is_table(self) -> bool:
        return self.name.lower().removesuffix(".gz").endswith(TABLES)


def members(path: Path) -> list[Member]:
    """All files, those that cannot be unpacked among them, without what systems add. Raises ReadError for the archive."""
    state = path.stat()
    try:
        found = _members(str(path), state.st_ino, state.st_size, state.st_mtime_ns)
    except Refused as refused:
        raise ReadError(refused.code, refused.why) from refused
    if len(found) > MOST_FILES:
        raise ReadError(
            "too_many_files", _("The zip file holds more than %(most)s files. Split it.") % {"most": f"{MOST_FILES:,}"}
        )
    if found and all(m.source.refused is not None and m.source.refused.code == "encrypted" for m in found):
        assert found[0].source.refused is not None
        raise ReadError("encrypted", found[0].source.refused.why)
    return list(found)


@lru_cache(maxsize=2)
def _members(path: str, *_state: int) -> tuple[Member, ...]:
    """One look at an archive serves a whole preview."""
    found = []
    for source in unpack.members(Path(path)):
        hidden = source.name.rsplit("/", 1)[-1].startswith(".")
        system = source.refused is not None and source.refused.code == "system_file"
        if source.name and source.size != 0 and not hidden and not system:
            found.append(Member(source.name, source))
        if len(found) > MOST_FILES:
            break
    return tuple(found)


@contextmanager
def unpacked(member: Member) -> Iterator[Path]:
    """The member's content in a temporary file. Raises ReadError: damaged, grown too large, ..."""
    with temporary.file("unpacked-") as copy:
        try:
            unpack.copy_out(member.source, copy)
        except Refused as refused:
            raise ReadError(refused.code, refused.why) from refused
        except FileNotFoundError as error:  # in an archive within the archive
            raise ReadError("nested", _("It lies in an archive within the archive: unpack that first.")) from error
        copy.flush()
        yield Path(copy.name)


def beginning(member: Member, size: int = HEAD) -> bytes:
    """The first bytes of a member; b"" where it cannot be unpacked."""
    try:
        with member.source.open() as stream:
            return stream.read(size)
    except (Refused, OSError):  # said when the file is taken in
        return b""


def glance(member: Member) -> Look | None:
    """What a member is by its first bytes."""
    return look(beginning(member), member.name)


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
    _members.cache_clear()  # what may come out of one archive is counted anew
    try:
        found = members(path)
    except ReadError:
        return Layout()  # said by the reader of tables, which knows Office files too
    if any(m.name == "[Content_Types].xml" for m in found):
        return Layout()
    tables = sorted((m for m in found if m.is_table), key=lambda m: (len(m.folders), m.name))
    others = [m for m in without_companions(found) if not m.is_table and not m.base.lower().endswith(NOTES)]
    some = others[:: max(1, len(others) // SNIFFED)][:SNIFFED]
    media = sum(glance(m) is not None for m in some)
    chosen = next((m for m in tables if m.base == wanted or m.name == wanted), tables[0] if tables else None)
    if len(tables) >= MANY and not others and all(m.folders for m in tables) and len(_classes(tables)) > 1:
        return Layout("folders")  # recordings as CSV, one folder a class
    if not media or 2 * media < len(some):
        if chosen is None or len(tables) < 2 or not _names(chosen, [m for m in tables if m is not chosen]):
            return Layout()
    elif chosen is None or (not _names(chosen, others) and len(_classes(others)) > 1):
        return Layout("folders")
    assert chosen is not None
    return Layout("table", chosen.name, tuple(m.name for m in tables if len(m.folders) == len(chosen.folders))[:50])


def without_companions(found: Sequence[Member]) -> list[Member]:
    """The files but those that lie beside a WFDB header of the same name (its samples and annotations), and directories."""
    stems = {m.name.rsplit(".", 1)[0] for m in found if m.base.lower().endswith(".hea")}
    return [
        m for m in found
        if m.base.upper() != "DICOMDIR" and (m.base.lower().endswith(".hea") or m.name.rsplit(".", 1)[0] not in stems)
    ]  # fmt: skip


def _names(table: Member, others: Sequence[Member]) -> bool:
    """Whether the beginning of a table names at least a few of the files. What is not text is believed to."""
    if not table.name.lower().endswith((".csv", ".tsv", ".tab")):
        return True
    text = beginning(table, TABLE_HEAD).lower()
    some = others[:: max(1, len(others) // 400)]
    return any(
        stem in text
        for m in some
        for name in {m.base.rsplit(".", 1)[0], *m.folders[-2:]}  # a series may be named by its folder
        if len(stem := name.lower().encode()) > 1
    )


def _classes(found: Sequence[Member]) -> set[str]:
    return {m.folders[-1] for m in found if m.folders}
