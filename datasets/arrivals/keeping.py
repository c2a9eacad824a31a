"""Content that arrived: taken in within the room there is, kept under its hash, and let go once nothing needs it."""

import errno
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time
from typing import IO

from django.db import transaction

from accounts.models import Organisation
from datasets import quota, storage, temporary
from datasets.arrivals.content import PIECE
from datasets.arrivals.found import Refused
from datasets.models import StoredFile

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Copy:
    """A temporary copy of some content."""

    path: Path
    sha256: str
    size: int


@contextmanager
def copied(stream: IO[bytes], limit: int) -> Iterator[Copy]:
    """The stream in a temporary file while the block lasts. Raises Refused: no room, too large, or what the stream raises."""
    digest, size = hashlib.sha256(), 0
    with room(), temporary.file("arrived-") as copy:
        while piece := stream.read(PIECE):
            size += len(piece)
            if size > limit:
                raise Refused("too_large", limit=storage.limit_text(limit))
            digest.update(piece)
            copy.write(piece)
        copy.flush()
        yield Copy(Path(copy.name), digest.hexdigest(), size)


@contextmanager
def room() -> Iterator[None]:
    """What the system says of a full disk, and of any other trouble with it, as Refused."""
    try:
        yield
    except ConnectionError:  # of a desk: the job is tried again
        raise
    except OSError as error:
        raise Refused("disk_full" if error.errno in NO_ROOM else "storage") from error


def keep(organisation: Organisation, copy: Copy, instead_of: StoredFile | None = None) -> StoredFile:
    """The organisation's StoredFile of this content. Raises Refused, "quota" when there is no room for it.

    `instead_of`: content that is let go once this is kept, so that its room is free.
    """
    freed = instead_of.size if instead_of is not None else 0
    try:
        quota.check(organisation=organisation, more=copy.size, sha256=copy.sha256, instead_of=freed)
    except quota.OverQuota as full:
        raise Refused("quota", **full.facts) from full
    with room():
        return storage.keep(organisation=organisation, path=copy.path, sha256=copy.sha256, size=copy.size)


def measured(path: Path) -> Copy:
    """The same of a file that lies in the temporary folder already."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return Copy(path, digest.hexdigest(), path.stat().st_size)


def let_go(files: Iterable[StoredFile | None]) -> None:
    """Delete content that no row of any model points to any more, once the transaction holds."""
    for file in storage.locked(files):
        if file.path and not storage.needed(file):
            path = file.path
            storage.emptied(file)
            transaction.on_commit(partial(storage.discard, path, time()))
