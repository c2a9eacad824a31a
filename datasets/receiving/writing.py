"""The open segments of a process: found, rotated, closed; and whose spool has something to take since."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

from datasets.receiving import spool
from datasets.receiving.segment import Closed, Segment

logger = logging.getLogger(__name__)
IDLE, OLD = 1.0, 10.0  # seconds after which a segment is closed: without an image, and at the latest
RESERVE = 128 * 2**20  # bytes of the disk that are left to the database


Pieces = Callable[[], Iterable[bytes]]
Appended = tuple[Segment, int]  # to be waited for: `segment.durable(number)`


class DiskFull(OSError):
    """There is no room that may be used."""


def roomy(folder: Path) -> Path:
    """The folder. Raises DiskFull where its disk has no room for more images."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < RESERVE:
        raise DiskFull("the disk is nearly full")
    return folder


class Writer:
    """Segments by what their images have in common (`key`): the organisation, the receiver or the sender."""

    def __init__(self) -> None:
        self._open: dict[Hashable, tuple[Segment, Any]] = {}
        self._noted: set[tuple[Segment, Hashable]] = set()
        self._to_take: set[Any] = set()
        self._guard = threading.Lock()

    def put(
        self, key: Hashable, organisation: Any, about: dict[str, Any], sender: dict[str, Any], pieces: Pieces
    ) -> None:
        """Durable on return. Raises OSError; `pieces` may be asked for more than once."""
        segment, number = self.append(key, organisation, about, sender, pieces)
        segment.durable(number)

    def append(
        self, key: Hashable, organisation: Any, about: dict[str, Any], sender: dict[str, Any], pieces: Pieces
    ) -> Appended:
        """In a segment; `durable` there waits until it may be answered. Raises as `put`."""
        while True:
            segment = self._segment(key, organisation, about)
            try:
                self._note(segment, sender)
                return segment, segment.append(pieces())
            except Closed:
                self._drop(key, segment)
            finally:
                if segment.full:
                    self._drop(key, segment)

    def _segment(self, key: Hashable, organisation: Any, about: dict[str, Any]) -> Segment:
        with self._guard:
            found = self._open.get(key)
            if found is None:
                found = self._open[key] = Segment(roomy(spool.folder_of(organisation)), about), organisation
            return found[0]

    def _note(self, segment: Segment, sender: dict[str, Any]) -> None:
        mark = (segment, tuple(sorted(sender.items())))
        with self._guard:
            known = mark in self._noted
            self._noted.add(mark)
        if not known:
            segment.note(sender)

    def _drop(self, key: Hashable, segment: Segment) -> None:
        with self._guard:
            self._noted = {mark for mark in self._noted if mark[0] is not segment}
            known, organisation = self._open.get(key, (None, None))
            if known is not segment:
                return  # another thread was quicker, and closes it
            del self._open[key]
        if segment.close():
            with self._guard:
                self._to_take.add(organisation)

    @property
    def idle(self) -> bool:
        """Whether nothing is open, and nobody waits for `to_take`."""
        with self._guard:
            return not self._open and not self._to_take

    def to_take(self) -> set[Any]:
        """The organisations a segment of which was closed since this was asked last."""
        with self._guard:
            found, self._to_take = self._to_take, set()
        return found

    def close(self, *, all_of_them: bool = False) -> int:
        """Close those that nobody has written to for a while; how many."""
        now = time.monotonic()
        with self._guard:
            over = [
                (key, segment)
                for key, (segment, _organisation) in self._open.items()
                if all_of_them or now - segment.used > IDLE or now - segment.began > OLD
            ]
        for key, segment in over:
            self._drop(key, segment)
        return len(over)

    def disown(self) -> None:
        """In a forked child: let go of what its parent writes, whose locks it would hold after that one's death."""
        for segment, _organisation in self._open.values():
            os.close(segment.handle)
