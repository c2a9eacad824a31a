"""Temporary files and folders that tell whether anybody still uses them: whoever made one holds the kernel's lock on it.

The lock (flock) ends with its process, however that ends, so the sweep can take what nobody holds and nothing else, without
guessing how long a job may run. On several hosts AIMASS_DATA_DIR must know flock, as for `datasets.tus.parts`.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from django.conf import settings

YOUNG = 3600.0  # seconds: made a moment ago, its maker may not have its lock yet
UPLOADING = 24 * 3600.0  # Django's own copy of a file that a form sends has no lock: no request lasts so long
PREFIXES = (
    "upload-", "arrived-", "unpacked-", "inner-", "prepared-", "deidentified-", "cleaned-", "erasing-", "exporting-", "freezing-",
    "cells-", "evaluating-", "packing-",
)  # fmt: skip
LOCK, INNER = "lock", "in"


@contextmanager
def file(prefix: str) -> Iterator[IO[bytes]]:
    """A named file, open for writing, until the block ends."""
    assert prefix in PREFIXES
    where = settings.FILE_UPLOAD_TEMP_DIR
    with ExitStack() as after, tempfile.NamedTemporaryFile(dir=where, prefix=prefix) as made:
        handle = os.dup(made.fileno())  # so that the lock outlives the file's own removal
        after.callback(os.close, handle)
        _hold(handle)
        yield made


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """An empty folder until the block ends, with all in it."""
    assert prefix in PREFIXES
    where = settings.FILE_UPLOAD_TEMP_DIR
    with ExitStack() as after, tempfile.TemporaryDirectory(dir=where, prefix=prefix) as made:
        _hold(after.enter_context(Path(made, LOCK).open("wb")).fileno())
        inner = Path(made, INNER)
        inner.mkdir(mode=0o700)
        yield inner


def _hold(handle: int) -> None:
    with suppress(OSError):  # where there are no locks, the sweep gets none either, and takes nothing
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)


def sweep() -> int:
    """Remove what ended processes have left; how many. Safe to repeat and to run twice at once."""
    now, count = time.time(), 0
    for path in sorted(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir()):
        if path.is_symlink():  # never made here
            continue
        with suppress(FileNotFoundError):
            age = now - path.lstat().st_mtime
            if path.name.startswith(PREFIXES) and age > YOUNG:
                count += _removed(path)
            elif path.name.startswith("tmp") and ".upload" in path.name and age > UPLOADING and path.is_file():
                path.unlink()
                count += 1
    return count


def _removed(path: Path) -> int:
    lock = path / LOCK if path.is_dir() else path
    if not lock.exists():  # killed between making the folder and its lock
        shutil.rmtree(path, ignore_errors=True)
        return int(not path.exists())
    handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody uses it
        return 0
    else:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return 1
    finally:
        os.close(handle)
