"""Runs pytest on SQLite and then on a real PostgreSQL that is started for it. Run by script/test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# In the order of tests/conftest.py: files that take long come first. (xdist alone would begin with those of many tests.)
PARALLEL = ["--dist", "loadscope", "--no-loadscope-reorder"]
WORKERS = 2  # as many as cores: some of the engine's tests are about the clock
WAITING_WORKERS = 3  # on PostgreSQL, without the engine's: those that start and kill processes wait half of their time
# Chromium shows the same pages whatever the database.
ON_POSTGRES = "not browser and not once"
FAST = "not slow and not browser and not process"


def own_marks(arguments: list[str]) -> str:
    """The caller's own `-m`, so that ours does not override it."""
    return arguments[arguments.index("-m") + 1] if "-m" in arguments[:-1] else ""


def pytest(arguments: list[str], marks: str, title: str, workers: int = WORKERS, **environment: str) -> int:
    own = own_marks(arguments)
    rest = [a for i, a in enumerate(arguments) if a != "-m" and (i == 0 or arguments[i - 1] != "-m")]
    both = " and ".join(f"({part})" for part in (own, marks) if part)
    chosen = any(a == "-n" or a.startswith(("-n", "--pdb", "--dist")) for a in rest)
    parallel = [] if chosen else ["-n", str(workers), *PARALLEL]
    command = [sys.executable, "-m", "pytest", *parallel, *(["-m", both] if both else []), *rest]
    print(f"== {title}: pytest {' '.join(command[3:])}", flush=True)
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment})
    try:
        code = process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        raise
    print(f"== {title}: exit {code} after {time.monotonic() - began:.0f} s", flush=True)
    return code


def migrate(**environment: str) -> None:
    """Makes all tables, once: the test processes and what they start copy them (tests/migrated.py)."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        own = {"AIMASS_DEMO": "1", "AIMASS_DATA_DIR": folder, **environment}
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0", "--skip-checks"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **own}, check=True)
    print(f"== migrated in {time.monotonic() - began:.0f} s", flush=True)


def on_sqlite(arguments: list[str], marks: str, title: str) -> int:
    """On files that are copies of one migrated file."""
    with tempfile.TemporaryDirectory(prefix="aimass-migrated-") as folder:
        migrate(AIMASS_DATA_DIR=folder)
        # Its journal goes with the last connection that is closed in order.
        path = Path(folder) / "aimass.sqlite3"
        if path.with_name(f"{path.name}-wal").exists():
            raise SystemExit(f"{path} was left with a journal: it can't be copied.")
        return pytest(arguments, marks, title, AIMASS_MIGRATED=str(path))


def on_postgres(arguments: list[str]) -> int:
    """The tests that touch the database, on a PostgreSQL that ends with them."""
    from postgres import database, server

    with server() as url:
        # The engine knows no database. (Its tests are still run when they are named.)
        named = any(not a.startswith("-") for a in arguments)
        rest = arguments if named else ["--ignore=tests/engine", *arguments]
        touching = "" if named else "1"
        migrate(DATABASE_URL=database(url, "migrated"))
        made = {"DATABASE_URL": url, "AIMASS_MIGRATED": "migrated"}
        workers = WORKERS if named else WAITING_WORKERS
        return pytest(rest, ON_POSTGRES, "PostgreSQL", workers, AIMASS_TOUCHING_DATABASE=touching, **made)


def end(number: int, frame: object) -> None:
    """A signal ends this process by an exception, so that the server and its folder are cleaned up."""
    raise SystemExit(128 + number)


def main() -> int:
    which, arguments = sys.argv[1], sys.argv[2:]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    if which == "fast":
        return on_sqlite(arguments, FAST, "SQLite, the quick tests")
    code = 0
    if which in {"both", "sqlite"}:
        code = on_sqlite(arguments, "", "SQLite")
    if which in {"both", "postgres"} and code in {0, 1, 5}:
        code = on_postgres(arguments) or code
    return code


if __name__ == "__main__":
    raise SystemExit(main())
