"""Memory that is free but not given back: what glibc keeps of the large matrices that came and went."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Returns the free pages of this process's heap to the system (`malloc_trim` of glibc; elsewhere nothing happens).

    A fit makes and drops matrices of many sizes; glibc keeps the holes, so that after four candidates a process holds
    several times what is alive in it, and the next large matrix is put on top. A call takes a few milliseconds.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
