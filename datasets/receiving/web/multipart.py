"""multipart/related, read and written a piece at a time: an image is never in memory as a whole because of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

PIECE = 256 * 1024
MOST_HEADERS = 16 * 1024
MOST_PARTS = 2_000


class Malformed(ValueError):
    """The body is not what its header says."""


class TooMany(ValueError):
    """More than MOST_PARTS parts."""


class Parts:
    """The parts of a body that `read(n)` gives: (headers, pieces). The pieces of a part are taken before the next part."""

    def __init__(self, read: Callable[[int], bytes], boundary: str) -> None:
        self._read, self._mark = read, b"\r\n--" + boundary.encode("ascii", "replace")
        self._buffer = b"\r\n"  # the first boundary may be the first thing

    def __iter__(self) -> Iterator[tuple[dict[str, str], Iterator[bytes]]]:
        for _preamble in self._until_mark():
            pass
        count = 0
        while True:
            while len(self._buffer) < 2:
                self._more()
            if self._buffer[:2] == b"--":
                return
            count += 1
            if count > MOST_PARTS:
                raise TooMany
            headers, pieces = self._headers(), self._until_mark()
            yield headers, pieces
            for _rest in pieces:
                pass

    def _more(self) -> None:
        piece = self._read(PIECE)
        if not piece:
            raise Malformed("the body ends before its last boundary")
        self._buffer += piece

    def _headers(self) -> dict[str, str]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MOST_HEADERS:
                raise Malformed("a part's headers do not end")
            self._more()
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        found = (line.partition(":") for line in lines if ":" in line)
        return {name.strip().lower(): value.strip() for name, _colon, value in found}

    def _until_mark(self) -> Iterator[bytes]:
        keep = len(self._mark) - 1
        while (at := self._buffer.find(self._mark)) < 0:
            if len(self._buffer) > keep:
                piece, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
                yield piece
            self._more()
        piece, self._buffer = self._buffer[:at], self._buffer[at + len(self._mark) :]
        if piece:
            yield piece


def written(parts: Iterator[tuple[str, Iterator[bytes]]], boundary: str) -> Iterator[bytes]:
    """A body of (content type, pieces)."""
    for content_type, pieces in parts:
        yield f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode()
        yield from pieces
    yield f"\r\n--{boundary}--\r\n".encode()
