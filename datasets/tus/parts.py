"""The part files of transfers: opaque names, one writer at a time, synced before anybody is told that bytes are here.

The lock is the kernel's (flock): it ends with the process that holds it, so a killed server leaves none behind. On several
hosts AIMASS_DATA_DIR must be one shared folder whose file system knows flock (NFS 4 does).
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from datasets.durable import sync_folder


class Busy(Exception):
    """Another request is writing this part."""


def root() -> Path:
    """The folder of all part files; its own user's alone."""
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR) / "transfers"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def path_of(pk: UUID) -> Path:
    """Where the bytes lie: made of the random id, never of what the client says."""
    return root() / pk.hex[:2] / pk.hex


class Part:
    """An open, locked part file."""

    def __init__(self, handle: int, path: Path) -> None:
        self.handle = handle
        self.path = path

    @property
    def size(self) -> int:
        """Bytes in the file; those beyond the transfer's offset are what a crash left."""
        return os.fstat(self.handle).st_size

    def go_to(self, offset: int) -> None:
        """Cut off what lies beyond `offset` and write on from there."""
        os.ftruncate(self.handle, offset)
        os.lseek(self.handle, offset, os.SEEK_SET)

    def write(self, piece: bytes) -> None:
        """Append all of it. Raises OSError, with ENOSPC and its like when the disk is full."""
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self.handle, rest) :]

    def sync(self) -> None:
        """Return when what was written survives a power cut."""
        os.fdatasync(self.handle)


@contextmanager
def locked(pk: UUID, wait_seconds: float = 0.0) -> Iterator[Part]:
    """The part, made if it is not there, with nobody else writing it. Raises Busy, after having waited for so long.

    Look at the transfer's row only inside: before, another request may still change or remove it.
    """
    path = path_of(pk)
    made = not path.parent.exists()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise Busy from error
                time.sleep(0.05)
        if new:
            sync_folder(path.parent)
        if made:
            sync_folder(path.parent.parent)
        yield Part(handle, path)
    finally:
        os.close(handle)


def remove(pk: UUID) -> None:
    """Take the part away. Safe to repeat; to be called by who has the lock, or by nobody's rival."""
    path_of(pk).unlink(missing_ok=True)


def left_behind(known: Any, older_than_seconds: float) -> Iterator[UUID]:
    """Ids of part files that `known(ids) -> set of ids` does not know and that nobody has written to for so long."""
    limit = time.time() - older_than_seconds
    for folder in sorted(p for p in root().iterdir() if p.is_dir()):
        old = []
        for path in folder.iterdir():
            with suppress(FileNotFoundError, ValueError):
                if path.stat().st_mtime < limit:
                    old.append(UUID(hex=path.name))
        yield from sorted(set(old) - known(old))
