"""What is received of one object: in memory while it is small, then in a file without a name; never more than is allowed."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

IN_MEMORY = 16 * 2**20  # bytes, of each association
PIECE = 2**20


class Body(io.BytesIO):
    """Written like a file by whoever receives, then read by `pieces`. What is over `limit` is counted and dropped.

    A BytesIO by name only: pynetdicom takes nothing else.
    """

    def __init__(self, limit: int, folder: str | None = None) -> None:
        super().__init__()
        self.limit, self.folder, self.size = limit, folder, 0
        self._chunks: list[bytes] = []
        self._file: Any = None

    @property
    def too_large(self) -> bool:
        return self.size > self.limit

    def write(self, data: Any) -> int:
        """Raises OSError where the disk is full."""
        self.size += len(data)
        if self.too_large:
            self.close()
        elif self._file is not None:
            self._file.write(data)
        else:
            self._chunks.append(data)
            if self.size > IN_MEMORY:
                self._spill()
        return len(data)

    def _spill(self) -> None:
        self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  # it lives as long as the body: `close` closes it
        for chunk in self._chunks:
            self._file.write(chunk)
        self._chunks = []

    def pieces(self) -> Iterator[bytes]:
        """All of it, from the start."""
        if self._file is None:
            yield from self._chunks
            return
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            yield piece

    def start(self, count: int) -> bytes:
        """The first bytes, at most so many."""
        found = b""
        for piece in self.pieces():
            found += piece[: count - len(found)]
            if len(found) >= count:
                break
        return found

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """To be read from the start, anywhere, while the block lasts."""
        if self._file is None:
            yield io.BytesIO(b"".join(self._chunks))
        else:
            self._file.seek(0)
            yield self._file

    def close(self) -> None:
        """Free what it holds."""
        self._chunks = []
        if self._file is not None:
            self._file.close()
            self._file = None
