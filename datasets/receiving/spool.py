"""Where images lie between "received" and "taken by the job": segments, files that many images are appended to.

One image, one file would cost two flushes of the disk each (the file, its name in the folder). A segment's name is synced once;
then images of all associations of a process are appended, and one flush makes all that were appended meanwhile durable
("group commit"). `segment.Segment.add` returns when its image survives a power cut.

    <organisation>/<id>.open     somebody writes it, and holds its lock (flock, which ends with the process)
    <organisation>/<id>.ready    whole; a job may take it
    <organisation>/taking/<id of an arrival>/…    a job takes these for that arrival (datasets.receiving.taking)

A record: kind, length, CRC of the content, CRC of this header, the content. What a killed writer left half-written at the end was
answered to nobody, and is not read.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from django.conf import settings

from datasets.durable import sync_folder

MAGIC = b"AIMASS-SPOOL-1\n\0"
HEAD = struct.Struct(">4sQII")
IMAGE, NOTE = b"DICM", b"JSON"
OPEN, READY, TAKING = ".open", ".ready", "taking"
PIECE = 2**20
MOST_NOTE = 2**16


def root() -> Path:
    """The folder of all spools; its own user's alone."""
    folder = Path(settings.DATA_DIR) / "spool" / "dicom"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def folder_of(organisation_pk: Any) -> Path:
    """An organisation's spool. The name is made of our own key, never of what a peer says."""
    folder = root() / str(organisation_pk)
    if not folder.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
    return folder


# -- reading --


@dataclass(frozen=True)
class Image:
    """A Part 10 file in a segment."""

    offset: int
    length: int


@dataclass
class Content:
    """What a segment holds; `damaged` counts records whose checksum is wrong, and a tail that nobody was promised."""

    about: dict[str, Any]
    notes: list[dict[str, Any]]
    images: list[Image]
    damaged: int = 0
    torn: bool = False  # it ends in a record that its writer did not finish


def read(path: Path) -> Content:
    """The whole records of a segment."""
    found = Content({}, [], [])
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            found.damaged = int(path.stat().st_size > 0)
            return found
        end = path.stat().st_size
        while head := stream.read(HEAD.size):
            if not _record(stream, head, end, found):
                found.damaged += 1
                found.torn = _unfinished(head, stream.tell(), end)
                break
    if found.notes:
        found.about = found.notes.pop(0)
    return found


def _record(stream: IO[bytes], head: bytes, end: int, found: Content) -> bool:
    """Read one record; False where the rest of the file can't be read."""
    if len(head) < HEAD.size:
        return False
    kind, length, crc, check = HEAD.unpack(head)
    offset = stream.tell()
    if zlib.crc32(head[: HEAD.size - 4]) != check or kind not in (IMAGE, NOTE) or offset + length > end:
        return False
    if kind == NOTE:
        content = stream.read(length) if length <= MOST_NOTE else b""
        stream.seek(offset + length)
        if zlib.crc32(content) != crc:
            found.damaged += 1
        else:
            found.notes.append(json.loads(content))
        return True
    actual, left = 0, length
    while left:
        piece = stream.read(min(PIECE, left))
        actual, left = zlib.crc32(piece, actual), left - len(piece)
    if actual == crc:
        found.images.append(Image(offset, length))
    else:
        found.damaged += 1
    return True


def _unfinished(head: bytes, offset: int, end: int) -> bool:
    """Whether a record is one that its writer was killed in: the content comes before the header, which is zeros until then."""
    if len(head) < HEAD.size or not any(head):
        return True
    _kind, length, _crc, check = HEAD.unpack(head)
    return bool(zlib.crc32(head[: HEAD.size - 4]) == check and offset + length > end)


def copy(path: Path, image: Image, to: IO[bytes]) -> None:
    """Write one image of a segment to an open file."""
    with path.open("rb") as stream:
        stream.seek(image.offset)
        left = image.length
        while left:
            piece = stream.read(min(PIECE, left))
            if not piece:
                raise OSError("the segment is shorter than it was")
            to.write(piece)
            left -= len(piece)


# -- finding --


def organisations() -> list[UUID]:
    """The keys of the organisations that have anything in their spool."""
    found = []
    for path in sorted(root().iterdir()):
        with suppress(ValueError):  # a folder that is none of ours
            if path.is_dir() and next(ready(path), None) is not None:
                found.append(UUID(path.name))
    return found


def ready(folder: Path) -> Iterator[Path]:
    """Segments that nobody writes any more, and folders of a job that was killed; nothing is changed."""
    for path in sorted(folder.iterdir()):
        if path.suffix == READY or (path.suffix == OPEN and not _held(path)):
            yield path
    taking = folder / TAKING
    if taking.is_dir():
        yield from sorted(taking.iterdir())


def _held(path: Path, take: bool = False) -> bool:
    """Whether its writer lives. `take`: where it does not, the segment is made ready.

    The lock is kept until it has its new name: whoever has just made the file, and not locked it yet, sees that it is gone.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # closed at this moment: found as ready the next time
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if take:
            with suppress(FileNotFoundError):
                path.rename(path.with_suffix(READY))
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def closed(folder: Path) -> list[Path]:
    """The segments that a job may take, orphans of writers that died among them."""
    for path in sorted(folder.glob(f"*{OPEN}")):
        _held(path, take=True)
    return sorted(folder.glob(f"*{READY}"))


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether nobody else takes from this spool while the block lasts: two would move segments under each other's hands."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def waiting_bytes(organisation_pk: Any) -> int:
    """How much lies in an organisation's spool; it counts towards the quota."""
    total = 0
    for folder, _folders, names in os.walk(root() / str(organisation_pk)):  # leaves out what goes meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(folder, name).stat().st_size
    return total


def arrival_of(folder: Path) -> UUID:
    """The arrival that a folder below `taking` is for."""
    return UUID(hex=folder.name)
