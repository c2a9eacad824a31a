"""One cell made of several files: the slices of a DICOM series in their order, or a WFDB header with its samples.

A pack is a ZIP archive whose members are not compressed, so that one slice is read without the others. Its first member says
what it is, by a name that no archive of a person has. It is written without times and names of the sender: the same files in
the same order make the same bytes.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import FileRefused

MARK = "aimass-pack.json"
SERIES, WFDB = "dicom-series", "wfdb"
MOST_MEMBERS = 4000
MOST_BYTES = 2**30  # of one member
NAME = re.compile(r"[0-9a-z]{1,12}\.[a-z]{1,4}")


@dataclass(frozen=True)
class Member:
    """A file of a pack: where it lies, and how long it is."""

    path: Path
    name: str
    offset: int
    size: int

    def read(self, most: int | None = None) -> bytes:
        """Its content, or the beginning of it."""
        size = self.size if most is None else min(self.size, most)
        with self.path.open("rb") as stream:
            stream.seek(self.offset + 26)
            name, extra = struct.unpack("<HH", stream.read(4))
            stream.seek(self.offset + 30 + name + extra)
            content = stream.read(size)
        if len(content) < size:
            raise FileRefused("file_unreadable", "a pack that is cut off")
        return content


@dataclass(frozen=True)
class Pack:
    """`form`: SERIES or WFDB; `members` in their order."""

    form: str
    members: tuple[Member, ...]


def is_pack(path: Path) -> bool:
    """By its content. Whether it is whole, `opened` says."""
    with path.open("rb") as stream:
        head = stream.read(30 + len(MARK))
    named = head[26:28] == struct.pack("<H", len(MARK)) and head[30:] == MARK.encode()
    return named and head[:4] == b"PK\x03\x04" and head[8:10] == b"\0\0"


def opened(path: Path) -> Pack:
    """What a pack holds. Raises FileRefused for one that nobody here has written."""
    try:
        _check_end(path)
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            told = json.loads(archive.read(infos[0])) if infos[0].filename == MARK and infos[0].file_size < 1000 else {}
    except FileRefused:
        raise
    except Exception as error:  # zipfile raises many kinds for a damaged directory
        raise FileRefused("file_unreadable", "a damaged pack") from error
    rest = infos[1:]
    if not isinstance(told, dict) or told.get("form") not in (SERIES, WFDB) or not rest:
        raise FileRefused("file_unreadable", "no pack")
    for info in rest:
        plain = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size and not info.flag_bits & 1
        if not plain or info.file_size > MOST_BYTES or not NAME.fullmatch(info.filename):
            raise FileRefused("file_unreadable", "no pack")
    return Pack(str(told["form"]), tuple(Member(path, i.filename, i.header_offset, i.file_size) for i in rest))


def _check_end(path: Path) -> None:
    """The directory is bounded before it is read."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 22))
        end = stream.read()
    if end[:4] != b"PK\x05\x06" or struct.unpack_from("<H", end, 10)[0] > MOST_MEMBERS + 1:
        raise FileRefused("file_unreadable", "no pack")


def write(out: Path, form: str, parts: Iterable[tuple[str, Path | bytes]]) -> None:
    """A pack of these files (name in the pack, content)."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, MARK, json.dumps({"form": form, "version": 1}).encode())
        for name, content in parts:
            _add(archive, name, content)


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> None:
    info = zipfile.ZipInfo(name)  # 1980: without the time
    info.create_system, info.external_attr = 3, 0o600 << 16
    info.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
    with archive.open(info, "w") as target:
        if isinstance(content, bytes):
            target.write(content)
            return
        with content.open("rb") as source:
            shutil.copyfileobj(source, target, 2**20)


def slices(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """The names that slices have in a pack, by their places."""
    for place, path in enumerate(paths, start=1):
        yield f"{place:05d}.dcm", path
