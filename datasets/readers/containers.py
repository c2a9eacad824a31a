"""What a file is, told by its content; gzip and zip opened within bounds."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.utils.translation import gettext as _

from datasets import temporary
from datasets.readers.base import ReadError

MAX_RATIO = 250  # real tables compress 3 to 60 times; a bomb a thousand times
FREE = 20 * 1024 * 1024  # no ratio is judged before this many bytes have come out
MAX_MEMBERS = 1_000
TABLES = (".csv", ".tsv", ".tab", ".xlsx", ".parquet")


def max_expanded() -> int:
    """How many bytes a compressed file may grow to."""
    return 4 * int(settings.MAX_UPLOAD_BYTES)


def bomb() -> ReadError:
    return ReadError(
        "too_large_unpacked",
        _("The file grows too large when it is unpacked. Upload the table itself, or split it."),
    )


class Bounded(io.RawIOBase):
    """A decompressed stream that refuses to grow beyond the limits. `tell_packed` gives the progress."""

    def __init__(self, stream: IO[bytes], packed: int) -> None:
        self.stream, self.packed, self.count = stream, max(1, packed), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self.stream.read(len(buffer))
        except (
            EOFError,
            zlib.error,
            gzip.BadGzipFile,
            zipfile.BadZipFile,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise ReadError(
                "damaged", _("The compressed file is damaged or incomplete. Compress it again and upload it.")
            ) from error
        self.count += len(piece)
        if self.count > max_expanded() or (self.count > FREE and self.count > MAX_RATIO * self.packed):
            raise bomb()
        buffer[: len(piece)] = piece
        return len(piece)


def is_workbook(archive: zipfile.ZipFile) -> bool:
    names = set(archive.namelist())
    return "[Content_Types].xml" in names and any(n.startswith("xl/") for n in names)


def check_workbook(archive: zipfile.ZipFile) -> None:
    """An XLSX file is a zip: its declared sizes bound what reading it can unpack."""
    packed = sum(i.compress_size for i in archive.infolist())
    total = sum(i.file_size for i in archive.infolist())
    if total > max_expanded() or (total > FREE and total > MAX_RATIO * max(1, packed)):
        raise bomb()


def members_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The archive's tables: no folders, no hidden or system files. Raises ReadError when encrypted or empty."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise ReadError(
            "too_many_files", _("The zip file holds more than 1,000 files. Upload only the table.")
        )
    found = [
        i
        for i in infos
        if not i.is_dir()
        and i.file_size
        and not i.filename.startswith("__MACOSX/")
        and not Path(i.filename).name.startswith(".")
    ]
    if any(i.flag_bits & 0x1 for i in found):
        raise ReadError(
            "encrypted", _("The zip file is protected by a password. Unpack it and upload the table itself.")
        )
    if not found:
        raise ReadError("empty", _("There is no table in the zip file."))
    return found


def label(info: zipfile.ZipInfo) -> str:
    """A member's name to show and choose by: never used as a path."""
    return info.filename.replace("\\", "/").rsplit("/", 1)[-1].replace("\x00", "")[:200]


def likeliest(infos: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    """The first that is called like a table: a "read me" may come before it."""
    named = (i for i in infos if label(i).lower().removesuffix(".gz").endswith(TABLES))
    return next(named, infos[0])


@contextmanager
def opened(path: Path, member: str = "", depth: int = 0) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """(format, path, described): format is "text", "xlsx" or "parquet"; gzip and zip are unpacked to a temporary file.

    `described` tells of the way there: compression, members, member. Raises ReadError.
    """
    with path.open("rb") as stream:
        head = stream.read(8)
    if not head:
        raise ReadError("empty", _("The file is empty."))
    if head[:4] == b"PAR1":
        yield "parquet", path, {}
    elif head[:2] == b"\x1f\x8b":
        with _unpacked(gzip.open(path, "rb"), path.stat().st_size) as inner:
            yield from _again(inner, member, depth, {"compression": "gzip"})
    elif head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        yield from _zip(path, member, depth)
    elif head == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise ReadError(
            "old_excel",
            _(
                "This is an old Excel file (.xls) or one protected by a password. Save it as .xlsx without a password."
            ),
        )
    else:
        yield "text", path, {}


def _zip(path: Path, member: str, depth: int) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ReadError("damaged", _("The zip or Excel file is damaged or incomplete.")) from error
    with archive:
        if is_workbook(archive):
            check_workbook(archive)
            yield "xlsx", path, {}
            return
        infos = members_of(archive)
        chosen = next((i for i in infos if label(i) == member), None) if member else likeliest(infos)
        if chosen is None:
            raise ReadError("no_member", _("The zip file has no table “%(name)s”.") % {"name": member[:100]})
        found = {"compression": "zip", "members": [label(i) for i in infos], "member": label(chosen)}
        try:
            stream = archive.open(chosen)
        except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
            raise ReadError("damaged", _("This table of the zip file cannot be unpacked.")) from error
        with _unpacked(stream, chosen.compress_size) as inner:
            yield from _again(inner, "", depth, found)


def _again(
    path: Path, member: str, depth: int, found: dict[str, Any]
) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    if depth >= 2:
        raise ReadError("nested", _("The file is packed more than twice. Unpack it first."))
    with opened(path, member, depth + 1) as (form, inner, more):
        yield form, inner, {**more, **found}


@contextmanager
def _unpacked(stream: Any, packed: int) -> Iterator[Path]:
    with stream, temporary.file("unpacked-") as copy:
        bounded = Bounded(stream, packed)
        while piece := bounded.read(1024 * 1024):
            copy.write(piece)
        copy.flush()
        yield Path(copy.name)
