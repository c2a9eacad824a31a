"""Where images lie between "received" and "taken by the job": segments, files that many images are appended to.

One image, one file would cost two flushes of the disk each (the file, its name in the folder). A segment's name is synced once;
then images of all associations of a process are appended, and one flush makes all that were appended meanwhile durable
("group commit"). `Segment.add` returns when its image survives a power cut.

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
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import UUID, uuid4

from django.conf import settings

MAGIC = b"AIMASS-SPOOL-1\n\0"
HEAD = struct.Struct(">4sQII")
IMAGE, NOTE = b"DICM", b"JSON"
OPEN, READY, TAKING = ".open", ".ready", "taking"
MOST_BYTES, MOST_IMAGES = 64 * 2**20, 500  # then a segment is closed, so that the job can begin
PIECE = 2**20
MOST_NOTE = 2**16


class Closed(Exception):
    """The segment takes no more: use another one."""


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


def sync_folder(folder: Path) -> None:
    """The names in it survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Segment:
    """One file that images are appended to, by any number of threads of one process."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.handle, self.path = _created(folder)
        self.size = self.images = self._appended = self._durable = 0
        self.began = self.used = time.monotonic()
        self._closed = self._syncing = False
        self._failed: OSError | None = None
        self._turn = threading.Condition()
        try:
            os.write(self.handle, MAGIC)
            self.size = len(MAGIC)
            with self._turn:
                self._append(NOTE, [json.dumps(about).encode()])
            sync_folder(folder)
        except BaseException:
            self._give_up()
            raise

    def note(self, about: dict[str, Any]) -> None:
        """Remember something beside the images; durable with the next one. Raises Closed or OSError."""
        with self._turn:
            self._append(NOTE, [json.dumps(about).encode()])

    def append(self, pieces: Iterable[bytes]) -> None:
        """Append an image, which `close` makes durable (ask `failed` then). Raises Closed or OSError."""
        with self._turn:
            self._append(IMAGE, pieces)
            self.images += 1

    @property
    def failed(self) -> bool:
        """Whether the disk did not take what was appended."""
        return self._failed is not None

    def add(self, pieces: Iterable[bytes]) -> None:
        """Append an image; durable on return. Raises Closed, or OSError: then nothing of it is kept."""
        with self._turn:
            self._append(IMAGE, pieces)
            self.images += 1
            mine = self._appended
            while self._durable < mine:
                if self._failed is not None:
                    raise OSError(self._failed.errno, "the disk did not take it")
                if self._syncing:
                    self._turn.wait()
                else:
                    self._sync()

    def _append(self, kind: bytes, pieces: Iterable[bytes]) -> None:
        if self._closed or self._failed is not None:
            raise Closed
        crc = length = 0
        try:
            os.lseek(self.handle, self.size + HEAD.size, os.SEEK_SET)
            for piece in pieces:
                crc, length = zlib.crc32(piece, crc), length + len(piece)
                _write(self.handle, piece)
            plain = struct.pack(">4sQI", kind, length, crc)
            os.pwrite(self.handle, plain + struct.pack(">I", zlib.crc32(plain)), self.size)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self.handle, self.size)
            raise
        self.size += HEAD.size + length
        self._appended += 1
        self.used = time.monotonic()

    def _sync(self) -> None:
        """One flush for all that was appended until it began. The condition is held on entry and exit, not meanwhile."""
        self._syncing, upto = True, self._appended
        self._turn.release()
        error: OSError | None = None
        try:
            os.fdatasync(self.handle)
        except OSError as found:
            error = found  # the kernel may have thrown the pages away: nothing of this file is believed any more
        finally:
            self._turn.acquire()
            self._syncing = False
            if error is None:
                self._durable = max(self._durable, upto)
            else:
                self._failed = error
            self._turn.notify_all()

    @property
    def full(self) -> bool:
        return self.size >= MOST_BYTES or self.images >= MOST_IMAGES or self._failed is not None

    def close(self) -> bool:
        """Let the job have it, once all that was appended is durable. False: there was no image in it, and it is gone."""
        with self._turn:
            if self._closed:
                return False
            self._closed = True
            while self._syncing:
                self._turn.wait()
            if not self.images:
                self._give_up()
                return False
            if self._failed is None and self._durable < self._appended:
                self._sync()
            self.path.rename(self.path.with_suffix(READY))
            sync_folder(self.path.parent)
            os.close(self.handle)
        return True

    def _give_up(self) -> None:
        self._closed = True
        self.path.unlink(missing_ok=True)
        os.close(self.handle)


def _created(folder: Path) -> tuple[int, Path]:
    """(a new locked file, its path). A job that looks for orphans may be quicker with the lock: then another one is made."""
    while True:
        path = folder / f"{uuid4().hex}{OPEN}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                return handle, path
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(handle)


def _write(handle: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(handle, rest) :]


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


def organisations() -> list[str]:
    """The keys of the organisations that have anything in their spool."""
    return sorted(p.name for p in root().iterdir() if p.is_dir() and next(ready(p), None) is not None)


def ready(folder: Path) -> Iterator[Path]:
    """Segments that nobody writes any more, and folders of a job that was killed; nothing is changed."""
    for path in sorted(folder.iterdir()):
        if path.suffix == READY or (path.suffix == OPEN and not _held(path)):
            yield path
    taking = folder / TAKING
    if taking.is_dir():
        yield from sorted(taking.iterdir())


def _held(path: Path) -> bool:
    """Whether its writer lives."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # closed at this moment: found as ready the next time
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


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
    for path in folder_of(organisation_pk).rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def arrival_of(folder: Path) -> UUID:
    """The arrival that a folder below `taking` is for."""
    return UUID(hex=folder.name)
