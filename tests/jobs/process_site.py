"""A real installation in a folder of its own, on which the tests start and kill real processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from django.conf import settings
from django.db import connections

from jobs.models import Job
from tests import migrated

LEASE_SECONDS = 4
PATIENCE = 60.0  # seconds until a bounded wait gives up


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Poll until the condition gives something true, and return that."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {patience:.0f} s in vain for {what}")


class Site:
    """The installation: its database, its environment, its processes."""

    def __init__(self, folder: Path, database: dict[str, Any], url: str) -> None:
        self.folder = folder
        self.database = database
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AIMASS_", "DATABASE_URL"))},
            "AIMASS_DEMO": "1",
            "AIMASS_DATA_DIR": str(folder),
            "AIMASS_LEASE_SECONDS": str(LEASE_SECONDS),
            "AIMASS_BACKOFF_SECONDS": "0.1",
            "AIMASS_GRACE_SECONDS": "2",
            "AIMASS_STALL_SECONDS": "4",
            "AIMASS_NODE_MEMORY_MB": "1500",
            "OMP_NUM_THREADS": "1",
            **({"DATABASE_URL": url} if url else {}),
        }
        self.started: list[psutil.Process] = []

    def manage(self, *arguments: str, **environment: str) -> psutil.Popen:
        """`manage.py …`, started and remembered."""
        with (self.folder / "processes.log").open("ab") as log:
            process = psutil.Popen(
                [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments],
                env={**self.environment, **environment},
                cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def processes(self) -> list[psutil.Process]:
        """All processes of this installation, whoever their parent is now."""
        mark = ("AIMASS_DATA_DIR", str(self.folder))
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(mark[0]) == mark[1] and process.pid != os.getpid():
                    found.append(process)
        return found

    def job_process(self, job: Job) -> psutil.Process:
        return until(
            lambda: next((p for p in self.processes() if is_running(p, str(job.pk))), None), f"the process of {job.title}"
        )

    def kill_all(self) -> None:
        """As when the power fails; returns when nothing of the installation runs any more."""
        until(lambda: not self._killed(), "the end of all processes")
        psutil.wait_procs(self.started, timeout=10)

    def _killed(self) -> list[psutil.Process]:
        """Those that a kill was sent to now. A large process takes a while to die, and may just have forked."""
        running = self.processes()
        for process in running:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        return running

    def log(self) -> str:
        path = self.folder / "processes.log"
        return path.read_text() if path.exists() else ""


def is_running(process: psutil.Process, argument: str) -> bool:
    with suppress(psutil.Error):
        return argument in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    return False


@contextmanager
def on_database(database: dict[str, Any], blocker: Any) -> Iterator[None]:
    """This process's default connection leads to the installation's database meanwhile."""
    usual = connections["default"]
    other = usual.__class__({**usual.settings_dict, **database}, alias="default")
    connections["default"] = other
    with blocker.unblock():
        try:
            yield
        finally:
            other.close()
            connections["default"] = usual


@contextmanager
def new_database(folder: Path, blocker: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """A database beside the test database: a file, or another database of the same PostgreSQL; a copy if there is one to copy."""
    url = os.environ.get("DATABASE_URL", "")
    if not url:
        yield {"NAME": str(folder / "aimass.sqlite3")}, ""
        return
    name = f"aimass_processes_{uuid4().hex[:12]}"
    usual = connections["default"]
    with blocker.unblock(), usual._nodb_cursor() as cursor:
        like = f' TEMPLATE "{migrated.template()}"' if migrated.template() else ""
        cursor.execute(f'CREATE DATABASE "{name}"{like}')
    try:
        base, _slash, rest = url.rpartition("/")
        query = rest.partition("?")[2]
        yield {"NAME": name}, f"{base}/{name}" + (f"?{query}" if query else "")
    finally:
        with blocker.unblock(), usual._nodb_cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def migrate(site: Site) -> None:
    """Tables in an empty database; one that is a copy of a migrated one has them."""
    if migrated.template() or migrated.copy_to(Path(site.database["NAME"])):
        return
    process = site.manage("migrate", "--verbosity", "0", "--skip-checks")
    if process.wait(300) != 0:
        raise AssertionError(site.log())
    if "DATABASE_URL" not in site.environment:
        migrated.remember(Path(site.database["NAME"]), settings.DATA_DIR)


@contextmanager
def new_site(folder: Path, blocker: Any) -> Iterator[Site]:
    """A migrated installation; at the end nothing of it is left running."""
    with new_database(folder, blocker) as (database, url):
        site = Site(folder, database, url)
        migrate(site)
        try:
            with on_database(database, blocker):
                yield site
        finally:
            site.kill_all()
            shutil.rmtree(folder, ignore_errors=True)
