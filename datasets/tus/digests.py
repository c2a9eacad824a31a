"""The sha256 of a transfer, computed beside its arrival, so that a long file need not be read again at its end.

A client's pieces come over one connection and so to one process, which keeps the running digest. Where that is not so (a
restarted server, another worker, a piece that was cut off), the digest is missing and the file is read once when it is whole.
"""

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from threading import Lock
from typing import Any
from uuid import UUID

MOST = 256  # running digests in one process; the longest unused go first
_held: OrderedDict[UUID, tuple[int, Any]] = OrderedDict()
_lock = Lock()
_threads = ThreadPoolExecutor(
    4, "transfer-digest"
)  # hashing runs without Python's lock, while the next bytes are awaited


def take(pk: UUID, offset: int) -> Any:
    """The running digest of the first `offset` bytes, a new one at the start, or None. Nobody else has it now."""
    with _lock:
        at, hasher = _held.pop(pk, (0, None))
    if offset == 0:
        return sha256()
    return hasher if at == offset else None


def keep(pk: UUID, offset: int, hasher: Any) -> None:
    """Hold it for the next piece."""
    with _lock:
        _held[pk] = offset, hasher
        while len(_held) > MOST:
            _held.popitem(last=False)


def finished(pk: UUID, length: int) -> str | None:
    """The digest of the whole file, when this process has seen all of it."""
    hasher = take(pk, length) if length else sha256()
    return hasher.hexdigest() if hasher is not None else None


class Beside:
    """Feeds hashers in another thread, in order, at most one piece behind."""

    def __init__(self, hashers: list[Any]) -> None:
        self.hashers = hashers
        self.running: Future[None] | None = None

    def update(self, piece: bytes) -> None:
        """Begin with this piece once the one before is done."""
        self.wait()
        if self.hashers:
            self.running = _threads.submit(self._feed, piece)

    def _feed(self, piece: bytes) -> None:
        for hasher in self.hashers:
            hasher.update(piece)

    def wait(self) -> None:
        """Until all is in."""
        if self.running is not None:
            self.running.result()
            self.running = None


@contextmanager
def beside(*hashers: Any) -> Iterator[Beside]:
    """`Beside` of those that are not None; all is in when it is left."""
    feeding = Beside([h for h in hashers if h is not None])
    try:
        yield feeding
    finally:
        feeding.wait()
