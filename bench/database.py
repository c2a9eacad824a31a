"""A fresh database for a measurement: SQLite in a folder, or a real PostgreSQL on a port of its own."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def fresh(engine: str) -> Iterator[dict[str, str]]:
    """Environment variables that make the portal use a new, empty `sqlite` or `postgresql` database."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="aimass-bench-", ignore_cleanup_errors=True)
            )
        )
        environment = {
            **os.environ,
            "AIMASS_DEMO": "1",
            "AIMASS_DATA_DIR": str(folder),
            "DJANGO_SETTINGS_MODULE": "aimass_site.settings",
            "OMP_NUM_THREADS": "1",
            "LOG_LEVEL": "ERROR",
            "API_THROTTLE": "100000000/min",
            "API_STORE_THROTTLE": "100000000/min",
            "PYTHONWARNINGS": "ignore",
        }
        environment.pop("DATABASE_URL", None)
        if engine == "postgresql":
            from script.postgres import server  # the same real server as the tests use

            environment["DATABASE_URL"] = stack.enter_context(server(folder / "pg", quick=False))
        yield environment
