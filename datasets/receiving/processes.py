"""Several processes that accept on one socket; one that dies is begun anew, and what it held is lost for nobody."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from types import FrameType

from django.db import connections

from datasets.receiving.server import DicomReceiver

logger = logging.getLogger(__name__)
BACKLOG = 128
ENDS = {signal.SIGTERM, signal.SIGINT}
QUICK_DEATH = 5.0  # seconds; after a shorter life the next one waits


def listening(host: str, port: int) -> socket.socket:
    """A socket that peers can call. Raises OSError where that can't be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((host, port))
    found.listen(BACKLOG)
    return found


class Processes:
    """`run` until SIGTERM or SIGINT."""

    def __init__(self, sock: socket.socket, count: int) -> None:
        self.sock, self.count, self.ending = sock, count, False
        self.born: dict[int, float] = {}

    def run(self) -> None:
        """Keep so many children serving; return when they have ended."""
        connections.close_all()  # no child shares one
        for number in ENDS:
            signal.signal(number, self.end)
        for _number in range(self.count):
            self._begin()
        while self.born:
            try:
                pid, _status = os.wait()
            except InterruptedError:
                continue
            lived = time.monotonic() - self.born.pop(pid, 0.0)
            if not self.ending:
                logger.error("a receiving process has ended; another one is begun")
                time.sleep(1.0 if lived < QUICK_DEATH else 0.0)
            if not self.ending:
                self._begin()

    def end(self, number: int, frame: FrameType | None) -> None:
        """Pass the signal on, so that each lets its associations end."""
        self.ending = True
        for pid in list(self.born):
            os.kill(pid, signal.SIGTERM)

    def _begin(self) -> None:
        # A child that is told to end before it listens for that must not do what its parent does then.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        pid = os.fork()
        if pid:
            self.born[pid] = time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
            return
        code = 1
        try:
            serve(self.sock)
            code = 0
        except BaseException:
            logger.exception("a receiving process could not serve")
        finally:
            os._exit(code)


def serve(sock: socket.socket) -> None:
    """Serve in this process until SIGTERM or SIGINT."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    receiver = DicomReceiver(sock)
    receiver.start()
    connections.close_all()  # this thread only waits from here on
    parent = os.getppid()
    while not signal.sigtimedwait(ENDS, 1.0):
        if os.getppid() != parent:  # killed: whoever starts it again would find the port taken
            break
    receiver.stop()
