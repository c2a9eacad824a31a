"""The first part of a multipart/related answer, as it comes: nothing is held but what may be the beginning of a boundary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.message import Message

HEAD = 65536  # bytes before a part's content


def first_part(chunks: Iterable[bytes], content_type: str) -> Iterator[bytes]:
    """Its content. Raises ValueError where the answer is none, or ends within the part."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/related" or not isinstance(boundary, str) or not 1 <= len(boundary) <= 70:
        raise ValueError("no multipart/related")
    begin, end = b"--" + boundary.encode("latin-1"), b"\r\n--" + boundary.encode("latin-1")
    held, inside = b"", False
    for chunk in chunks:
        held += chunk
        if not inside:
            # Whatever stands before the first boundary is nothing of ours.
            start = held.find(begin)
            after = held.find(b"\r\n\r\n", start) if start >= 0 else -1
            if after < 0:
                if len(held) > HEAD:
                    raise ValueError("no part")
                continue
            held, inside = held[after + 4 :], True
        found = held.find(end)
        if found >= 0:
            yield held[:found]
            return
        if len(held) > len(end):
            yield held[: -len(end)]
            held = held[-len(end) :]
    raise ValueError("cut off")
