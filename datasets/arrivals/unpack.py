"""The members of a ZIP archive (or of one in it, or of a gzipped file), each by itself and within limits.

`zipfile` reads the directory once its size is known to be bounded; the content is inflated here, because only so can
every byte be counted while it comes out and the claimed size be held against the real one. Nothing is ever extracted
under a member's name.
"""

import io
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from datasets import temporary
from datasets.arrivals import signatures
from datasets.arrivals.content import PIECE, Budget, Gunzipped, Limits, ZipContent, limits_of_site
from datasets.arrivals.found import Refused
from datasets.storage import limit_text

__all__ = ["Limits", "Member", "copy_out", "limits_of_site", "members"]

LONGEST_NAME = 500
ENTRY = 46  # bytes of a directory's entry without its name
SYSTEM = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".directory"})

# All that zipfile raises over a damaged or strange directory; NotImplementedError: a newer version of the format.
BAD_ZIP = (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error)


@dataclass(frozen=True)
class Member:
    """One file of an archive. `name` is only shown and matched (with slashes, relative); it never becomes a path.

    `open()` gives a stream that raises Refused while it is read when the content is not what the archive claims; a member
    with `refused` set has no content.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]
    refused: Refused | None = None


def members(path: Path, limits: Limits | None = None) -> Iterator[Member]:
    """The files of a ZIP archive or gzipped file, in its order, those of an archive in it in place of that archive.

    What is wrong with one member is said of that member and the rest goes on. Raises Refused when the archive as a whole
    cannot be read. Memory is bounded by the directory (`limits.directory`), not by the content.
    """
    limits = limits or limits_of_site()
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    budget = Budget(limits.total, limits.total)
    if packed:
        yield _single(path, limits, budget)
    else:
        yield from _zip(path, limits, budget, "", 1)


def directory_within_limits(path: Path, limits: Limits | None = None) -> None:
    """Raises Refused for a ZIP file whose list of files is too long to be read into memory."""
    limits = limits or Limits()
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - signatures.TAIL - 20))
        tail = stream.read()
        place = tail.rfind(b"PK\x05\x06")
        if place < 0 or len(tail) < place + 22:
            raise Refused("truncated")
        count, length = struct.unpack_from("<HI", tail, place + 10)
        locator = tail.rfind(b"PK\x06\x07", 0, place)
        if locator >= 0 and len(tail) >= locator + 20:
            stream.seek(min(size, struct.unpack_from("<Q", tail, locator + 8)[0]))
            record = stream.read(56)
            if record[:4] == b"PK\x06\x06" and len(record) == 56:
                count, length = struct.unpack_from("<QQ", record, 32)
    if length > size:
        raise Refused("wrong_size")
    if count > limits.files or length // ENTRY > 16 * limits.files:
        raise Refused("too_many_files", limit=f"{limits.files:,}")
    if length > limits.directory:
        raise Refused("directory_too_large")


def _single(path: Path, limits: Limits, budget: Budget) -> Member:
    def opened() -> IO[bytes]:
        return io.BufferedReader(Gunzipped(path, limits, budget), PIECE)

    return Member("", -1, opened)


def _zip(path: Path, limits: Limits, budget: Budget, prefix: str, depth: int) -> Iterator[Member]:
    directory_within_limits(path, limits)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except BAD_ZIP as error:
        raise Refused("damaged", format="ZIP") from error
    shared = _overlapping(infos, path.stat().st_size)
    seen: set[str] = set()
    for info in infos:
        if info.is_dir():
            continue
        name = shown_name(info)
        member = Member(prefix + name, info.file_size, _opener(path, info, limits, budget))
        why = _objection(info, name, seen, shared, limits)
        seen.add(name.casefold())
        if why is not None:
            yield replace(member, open=_refusing(why), refused=why)
            continue
        yield from _inside(member, limits, budget, depth)


def _inside(member: Member, limits: Limits, budget: Budget, depth: int) -> Iterator[Member]:
    """The member, or, when it is an archive itself, what is in it."""
    try:
        with member.open() as stream:
            inner = stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except Refused as why:
        yield replace(member, open=_refusing(why), refused=why)
        return
    if not inner:
        yield member
        return
    try:
        with temporary.file("inner-") as copy:
            copy_out(member, copy)
            copy.flush()
            path = Path(copy.name)
            if _is_document(path):
                budget.left += copy.tell()  # it comes out once more when it is read
                yield member
            elif depth >= limits.depth:
                raise Refused("nested")
            else:
                yield from _zip(path, limits, budget, f"{member.name}/", depth + 1)
    except Refused as why:
        yield replace(member, open=_refusing(why), refused=why)


def copy_out(member: Member, target: IO[bytes]) -> None:
    """The member's content into a file. Raises Refused, "disk_full" when there is no room."""
    try:
        with member.open() as stream:
            while piece := stream.read(PIECE):
                target.write(piece)
    except OSError as error:
        raise Refused("disk_full" if error.errno in (28, 122) else "storage") from error


def _is_document(path: Path) -> bool:
    """Whether it is an Office file, which is a ZIP archive by its form alone."""
    directory_within_limits(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return "[Content_Types].xml" in archive.namelist()
    except BAD_ZIP as error:
        raise Refused("damaged", format="ZIP") from error


def shown_name(info: zipfile.ZipInfo) -> str:
    """The member's name with slashes, without control characters. Names of Chinese Windows (GBK without a mark) are read."""
    name = info.orig_filename
    if not info.flag_bits & 0x800 and not name.isascii():
        raw = name.encode("cp437", "replace")
        for encoding in ("utf-8", "gb18030"):
            try:
                name = raw.decode(encoding)
                break
            except UnicodeDecodeError:
                continue
    name = unicodedata.normalize("NFC", name.replace("\\", "/"))
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "".join(c if c.isprintable() else "�" for c in "/".join(parts))


def _objection(
    info: zipfile.ZipInfo, name: str, seen: set[str], shared: set[int], limits: Limits
) -> Refused | None:
    """What is wrong with a member before its content is looked at."""
    raw = info.orig_filename.replace("\\", "/")
    parts = raw.split("/")
    mode = info.external_attr >> 16
    if raw.startswith(("/", "~")) or ".." in parts or ":" in parts[0][1:2] or "\x00" in raw or not name:
        return Refused("unsafe_name")
    if len(raw) > LONGEST_NAME:
        return Refused("name_too_long")
    if stat.S_ISLNK(mode) or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
        return Refused("link")
    base = parts[-1].lower()
    if base in SYSTEM or parts[0] == "__MACOSX" or base.startswith("._"):
        return Refused("system_file")
    if name.casefold() in seen:
        return Refused("duplicate_name")
    if info.header_offset in shared:
        return Refused("overlap")
    if info.flag_bits & 0x2041:  # encrypted, strongly encrypted, directory encrypted
        return Refused("encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        return Refused("encrypted" if info.compress_type == 99 else "compression")
    if info.file_size > limits.member:
        return Refused("too_large", limit=limit_text(limits.member))
    return None


def _overlapping(infos: list[zipfile.ZipInfo], size: int) -> set[int]:
    """The offsets of members that share bytes with another one: how a small archive claims to hold petabytes."""
    found: set[int] = set()
    last, end = -1, 0
    for info in sorted(infos, key=lambda i: i.header_offset):
        if last >= 0 and info.header_offset < end:
            found |= {last, info.header_offset}
        if info.header_offset + 30 + info.compress_size > end:
            last, end = info.header_offset, info.header_offset + 30 + info.compress_size
    return found


def _refusing(why: Refused) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        raise why

    return opened


def _opener(path: Path, info: zipfile.ZipInfo, limits: Limits, budget: Budget) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        return io.BufferedReader(ZipContent(path, info, limits, budget), max(512, min(PIECE, info.file_size)))

    return opened
