"""What a process keeps for a few seconds as the objects themselves.

Django's LocMemCache pickles at each set and unpickles at each get: for a key with its person, organisation and membership
that is dearer than the query it saves. What is held here is shared by all requests of the process: nobody may change it.
"""

import time
from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")
_all: "WeakSet[Held]" = WeakSet()  # type: ignore[type-arg]


class Held(Generic[T]):
    """Name → value for `seconds`, at most `most` of them; the oldest go first. Safe between threads."""

    def __init__(self, seconds: float, most: int = 1024) -> None:
        self.seconds = seconds
        self.most = most
        self._rows: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._lock = Lock()
        _all.add(self)

    def get(self, name: str) -> T | None:
        """The value, or None when there is none or its time is over."""
        row = self._rows.get(name)
        if row is None or row[0] <= time.monotonic():
            return None
        return row[1]

    def set(self, name: str, value: T) -> None:
        """Hold the value from now."""
        with self._lock:
            self._rows.pop(name, None)
            self._rows[name] = (time.monotonic() + self.seconds, value)
            while len(self._rows) > self.most:
                self._rows.popitem(last=False)

    def delete(self, name: str) -> None:
        """Forget the value, if there is one."""
        with self._lock:
            self._rows.pop(name, None)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._rows.clear()


def clear_all() -> None:
    """Forget what this process holds anywhere: between tests."""
    for held in list(_all):
        held.clear()
