"""How long the features of frozen networks may take: planned by what a cell is known to take, then measured and kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from engine.schema import Kind

MARGIN = 1.2  # by which what is measured may exceed what there is the time for


class TooSlow(Exception):
    """Raised while frozen features are computed that would not be done in time."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind.value)
        self.kind = kind


@dataclass
class Allowance:
    """Seconds of wall clock for the frozen features of one training table, of all its kinds together.

    `planned`: what each kind will take by the known seconds of a cell; `cuts`: what was given up because it took longer than
    `margin` times what it may.
    """

    seconds: float
    margin: float = MARGIN
    planned: dict[Kind, float] = field(default_factory=dict)
    cuts: list[str] = field(default_factory=list)
    now: Callable[[], float] = time.monotonic

    @property
    def left(self) -> float:
        """Seconds that nothing is planned for yet."""
        return self.seconds - sum(self.planned.values())

    def meter(self, kind: Kind, cells: int, threads: int) -> Meter:
        """What measures one kind: it may take what was planned for it and what is planned for nothing."""
        return Meter(
            kind, cells, threads, self.margin * (self.planned.get(kind, 0.0) + max(self.left, 0.0)), self.now
        )

    def give_up(self, kind: Kind) -> None:
        """That kind goes without."""
        self.planned.pop(kind, None)
        self.cuts.append(
            f"{kind.value}: pretrained features would have taken longer than there is the time for"
        )


@dataclass
class Meter:
    """Seconds that `done` of `cells` have taken, in so many threads at once. Raises TooSlow once all would take too long."""

    kind: Kind
    cells: int
    threads: int
    limit: float
    now: Callable[[], float] = time.monotonic
    done: int = 0
    spent: float = 0.0
    lock: Lock = field(default_factory=Lock)

    def note(self, cells: int, seconds: float) -> None:
        """One batch."""
        with self.lock:
            self.done, self.spent = self.done + cells, self.spent + seconds
            whole = self.spent / max(self.done, 1) * self.cells / max(self.threads, 1)
        if whole > self.limit:
            raise TooSlow(self.kind)
