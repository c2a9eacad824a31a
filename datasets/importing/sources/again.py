"""Files that are listed and could not be had: they are left out of the cursor, so that they come again, and not without end.

A permission that is given later, a disk that stuttered, one 500 of an archive: the next run takes what this one could not.
Given up is what failed many times and for days, so that an importer that runs each minute does not give up within ten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from time import time

TRIES = 10
DAYS = 7
MOST = 1_000  # that are counted; the others come again uncounted

Tries = Mapping[str, Sequence[int]]  # key of a file → how often it failed, since when (seconds since 1970)


def is_last(tries: Tries, key: str) -> bool:
    """Whether the next time that it is asked for is the last."""
    count, since = tries.get(key, (0, int(time())))
    return count + 1 >= TRIES and time() - since >= DAYS * 86400


def after(tries: Tries, asked: Iterable[str], failed: Collection[str], most: int = MOST) -> dict[str, Sequence[int]]:
    """The tries once all `asked` were asked for, and the `failed` ones are to come again."""
    done, now = set(asked), int(time())
    left = {key: each for key, each in tries.items() if key not in done}
    for key in sorted(failed):
        count, since = tries.get(key, (0, now))
        if key in tries or len(left) < most:
            left[key] = [count + 1, since]
    return left
