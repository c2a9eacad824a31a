"""Identifiers that grow with time (UUID version 7, RFC 9562), so that newest-first lists need no second column."""

import os
import threading
import time
import uuid
from datetime import datetime

_lock = threading.Lock()
_last = [0, 0]  # the millisecond last used and how many identifiers it has given


def _next_slots(count: int) -> list[tuple[int, int]]:
    """`count` increasing (millisecond, counter) pairs; a millisecond gives at most 4,096."""
    with _lock:
        now = time.time_ns() // 1_000_000
        if now > _last[0]:
            _last[:] = [now, 0]
        slots = []
        for _each in range(count):
            if _last[1] > 0xFFF:
                _last[:] = [_last[0] + 1, 0]
            slots.append((_last[0], _last[1]))
            _last[1] += 1
        return slots


def uuid7s(count: int) -> list[uuid.UUID]:
    """Increasing identifiers, unique across processes by 62 random bits each."""
    noise = os.urandom(8 * count)
    return [
        uuid.UUID(
            int=(milliseconds << 80) | (7 << 76) | (counter << 64) | (2 << 62)
            | (int.from_bytes(noise[8 * i : 8 * i + 8], "big") >> 2)
        )
        for i, (milliseconds, counter) in enumerate(_next_slots(count))
    ]  # fmt: skip


def uuid7() -> uuid.UUID:
    """One identifier, larger than all that this process made before."""
    return uuid7s(1)[0]


def first_at(moment: datetime) -> uuid.UUID:
    """The least identifier of a moment: a date filter becomes a range of identifiers."""
    return uuid.UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)
