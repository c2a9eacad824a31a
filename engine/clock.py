"""The wall clock of a search: what is planned by estimates is kept within the budget by looking at the time.

The plan (engine/plan.py) never looks here, so that a search that was not cut gives the same numbers everywhere. When the
machine is much slower than the estimates say, the clock cuts what is left, and the report says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.candidates.base import Curve

SLOWEST_KNOWN = 1.0  # how much longer than estimated a fit likely takes before anything has been measured
STRETCH = 1.0  # tests that are about something else give the clock more room than the plan, so that load can't fail them
SHORT = 0.05  # seconds
READING = "reading"  # the pace at which the table was read: what is known before any fit
MARGIN = 1.3  # measured times vary by about a third on a busy machine


class OutOfTime(Exception):
    """Raised inside a fit that would outlast the budget."""


@dataclass(frozen=True)
class Deadline:
    """A stop check that other processes understand too: the monotonic clock is the machine's."""

    moment: float

    def __call__(self, curve: Curve) -> None:
        if time.monotonic() > self.moment:
            raise OutOfTime


@dataclass
class Clock:
    """`seconds` from the start of the search; `cuts` lists what was left out because time ran short."""

    seconds: float
    started: float = -1.0  # the moment of making it
    cuts: list[str] = field(default_factory=list)
    pace: dict[str, float] = field(default_factory=dict)
    now: Callable[[], float] = time.monotonic  # seconds; tests give one of their own

    def __post_init__(self) -> None:
        if self.started < 0:
            self.started = self.now()

    @property
    def limit(self) -> float:
        """The moment at which all must be done."""
        return self.started + self.seconds * STRETCH

    @property
    def slowness(self) -> float:
        """How this machine compares with the one that the estimates were made on, as its slowest candidate says."""
        return max([1.0, *self.pace.values()])

    def left(self) -> float:
        """Seconds until the limit; negative beyond it."""
        return self.limit - self.now()

    def seconds_for(self, name: str, estimated: float) -> float:
        """How long a fit of this candidate, estimated like this, will likely take here."""
        return estimated * MARGIN * self.pace.get(name, max(SLOWEST_KNOWN, self.pace.get(READING, 0.0)))

    def note(self, name: str, estimated: float, measured: float) -> None:
        """Remember how this machine compares with the estimate; what is over in no time says nothing about it."""
        if estimated > 0 and (estimated > SHORT or measured > SHORT):
            self.pace[name] = measured / estimated

    def cut(self, what: str) -> None:
        """Something was left out."""
        self.cuts.append(what)
