"""Writing a segment of the spool: images of any number of threads, appended, made durable together. See `spool`."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from datasets.durable import sync_folder
from datasets.receiving.spool import HEAD, IMAGE, MAGIC, NOTE, OPEN, READY

MOST_BYTES, MOST_IMAGES = 64 * 2**20, 500  # then a segment is closed, so that the job can begin


class Closed(Exception):
    """The segment takes no more: use another one."""


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

    def append(self, pieces: Iterable[bytes]) -> int:
        """Append an image; its number, to be handed to `durable`. Raises Closed, or OSError: then nothing of it is kept."""
        with self._turn:
            self._append(IMAGE, pieces)
            self.images += 1
            return self._appended

    def durable(self, number: int) -> None:
        """Return when what was appended up to this number survives a power cut. Raises OSError where the disk fails."""
        with self._turn:
            while self._durable < number:
                if self._failed is not None:
                    raise OSError(self._failed.errno, "the disk did not take it")
                if self._syncing:
                    self._turn.wait()
                else:
                    self._sync()

    def add(self, pieces: Iterable[bytes]) -> None:
        """Append an image; durable on return. Raises Closed or OSError."""
        self.durable(self.append(pieces))

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
            try:
                if self._failed is None and self._durable < self._appended:
                    self._sync()
                self.path.rename(self.path.with_suffix(READY))
                sync_folder(self.path.parent)
            finally:
                os.close(self.handle)  # and with it the lock: where the name could not be changed, it is found as an orphan
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
