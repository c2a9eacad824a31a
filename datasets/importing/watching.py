"""A limit in seconds for what a library waits for without one: when it is over, the socket is shut under the library's hands."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def limited(seconds: float, handle: Callable[[], int]) -> Iterator[threading.Event]:
    """The event is set where the time was over. `handle`: the socket's file descriptor, asked for when it is needed."""
    over = threading.Event()

    def end() -> None:
        over.set()
        with suppress(Exception):  # the connection is gone already
            shut(handle())

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()


def shut(handle: int) -> None:
    """End a connection whose socket belongs to somebody else, without closing their descriptor."""
    with socket.socket(fileno=os.dup(handle)) as copy:
        copy.shutdown(socket.SHUT_RDWR)
