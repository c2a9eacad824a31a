"""The open segments of a process: found, rotated, closed; and the job rung for when there is something to take."""

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


class DiskFull(OSError):
    """There is no room that may be used."""


def roomy(folder: Path) -> Path:
    """The folder. Raises DiskFull where its disk has no room for more images."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < RESERVE:
        raise DiskFull("the disk is nearly full")
    return folder


class Writer:
    """Segments by what their images have in common (`key`): the organisation, the receiver."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Segment] = {}
        self._noted: set[tuple[Segment, Hashable]] = set()
        self._guard = threading.Lock()

    def put(
        self, key: Hashable, organisation: Any, about: dict[str, Any], sender: dict[str, Any], pieces: Pieces
    ) -> None:
        """Durable on return. Raises OSError; `pieces` may be asked for more than once."""
        while True:
            segment = self._segment(key, organisation, about)
            try:
                self._note(segment, sender)
                segment.add(pieces())
            except Closed:
                self._drop(key, segment)
                continue
            finally:
                if segment.full:
                    self._drop(key, segment)
            return

    def _segment(self, key: Hashable, organisation: Any, about: dict[str, Any]) -> Segment:
        with self._guard:
            found = self._open.get(key)
            if found is None:
                found = self._open[key] = Segment(roomy(spool.folder_of(organisation)), about)
            return found

    def _note(self, segment: Segment, sender: dict[str, Any]) -> None:
        mark = (segment, tuple(sorted(sender.items())))
        with self._guard:
            known = mark in self._noted
            self._noted.add(mark)
        if not known:
            segment.note(sender)

    def _drop(self, key: Hashable, segment: Segment) -> None:
        with self._guard:
            if self._open.get(key) is segment:
                del self._open[key]
            self._noted = {mark for mark in self._noted if mark[0] is not segment}
        segment.close()

    def close(self, *, all_of_them: bool = False) -> int:
        """Close those that nobody has written to for a while; how many."""
        now = time.monotonic()
        with self._guard:
            over = [
                (key, segment)
                for key, segment in self._open.items()
                if all_of_them or now - segment.used > IDLE or now - segment.began > OLD
            ]
        for key, segment in over:
            self._drop(key, segment)
        return len(over)
