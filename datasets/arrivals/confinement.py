"""What the process behind a desk may still reach once it reads strangers' files: by Landlock, which needs no special rights.

Linux 5.13 and newer let a process give up rights for good. It keeps what Python and its libraries are made of, for reading, the
stored files, and the temporary folder; it loses all other files (.env and the database among them), starting programs, TCP,
signals to other processes, and looking into them (their environment in /proc). Where the kernel knows no Landlock, nothing is
lost: the desk's process then runs as the portal's user, and what protects the secrets is that it is told none.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

CREATE, ADD, RESTRICT = 444, 445, 446  # the same on all processors
VERSION, BENEATH, NO_NEW_PRIVILEGES = 1, 1, 38
EXECUTE, WRITE, READ, LIST, REMOVE, MAKE, TRUNCATE = (1 << n for n in (0, 1, 2, 3, 5, 8, 14))
OF_FILES = EXECUTE | WRITE | READ | TRUNCATE
SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/proc/self", "/proc/cpuinfo",
    "/proc/meminfo", "/sys/devices", "/dev/urandom",
)  # fmt: skip


def confine(*, readable: Iterable[Path], writable: Iterable[Path], hidden: Path) -> bool:
    """Give up all but these, Python and the system's libraries, for this thread and all that it starts. False without Landlock.

    `hidden`: a folder that may lie in the checkout, and is not part of it: the portal's data.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION))
    if version < 1:
        return False
    handled = (1 << 13) - 1  # all that the first version knows
    handled |= (1 << 13 if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    network = 0b11 if version >= 4 else 0  # TCP: bind and connect
    scoped = 0b11 if version >= 6 else 0  # abstract sockets, signals
    attributes = (ctypes.c_uint64 * 3)(handled, network, scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = libc.syscall(CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        for path in {*readable, *_own(hidden), *map(Path, SYSTEM)}:
            _allow(libc, rules, path, (READ | LIST) & handled)
        for path in {*writable, Path("/dev/null")}:
            _allow(libc, rules, path, (READ | LIST | WRITE | REMOVE | MAKE | TRUNCATE) & handled)
        if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(RESTRICT, rules, ctypes.c_uint32(0)):
            return False
    finally:
        os.close(rules)
    return True


def _own(hidden: Path) -> set[Path]:
    """Python's own folders and those that modules come from; of the checkout what is in it, not the folder with its .env."""
    found = {Path(place).resolve() for place in (sys.prefix, sys.base_prefix, *sys.path) if place and Path(place).exists()}
    checkout = Path(__file__).resolve().parents[2]
    found.discard(checkout)
    inside = (path for path in checkout.iterdir() if path.is_dir() and not path.name.startswith("."))
    return found | {path for path in inside if not hidden.is_relative_to(path)}


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    with suppress(OSError):  # not there
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            own = rights if path.is_dir() else rights & OF_FILES
            rule = own.to_bytes(8, sys.byteorder) + handle.to_bytes(4, sys.byteorder)
            libc.syscall(ADD, rules, ctypes.c_int(BENEATH), rule, ctypes.c_uint32(0))
        finally:
            os.close(handle)
