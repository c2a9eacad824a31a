"""The SFTP source against a server by asyncssh."""

import base64
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets.importing.base import FileFault, SourceError
from datasets.importing.files import fetched
from datasets.importing.network import Network
from datasets.importing.sources import files, sftp
from tests.datasets.importing.conftest import HERE, drained, files_of, refused, source, taken
from tests.datasets.importing.sftp_server import PASSWORD, USER, SftpServer, sftp_server
from tests.datasets.importing.test_folder import put

pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore:Warning. bcrypt.kdf:UserWarning")]  # few rounds are quick


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with sftp_server(tmp_path_factory.mktemp("sftp")) as made:
        yield made


@pytest.fixture
def out(server: SftpServer, request: pytest.FixtureRequest) -> Path:
    folder = server.folder / request.node.name.partition("[")[0]
    folder.mkdir()
    return folder


def of(server: SftpServer, folder: Path | str, network: Network = HERE, **given: Any) -> Any:
    shown = folder if isinstance(folder, str) else f"/{folder.relative_to(server.folder)}"
    usual = {"host": "127.0.0.1", "port": server.port, "user": USER, "password": PASSWORD, "folder": shown, "subfolders": True,
             "fingerprint": server.fingerprint}  # fmt: skip
    return source("sftp", network, **{**usual, **given})


def test_check_preview_first_then_nothing_then_the_new(server: SftpServer, out: Path) -> None:
    put(out / "a.csv", b"a" * 300_000, 300)
    put(out / "sub" / "b.csv", b"b", 200)
    (out / "link.csv").symlink_to("/etc/passwd")
    assert of(server, out).check().startswith("Found 2 files (293")
    assert of(server, out).preview().files == ["a.csv", "sub/b.csv"]
    pieces, cursor = drained(of(server, out))
    again = of(server, out)
    (piece,) = again.pieces({})
    assert files_of([piece]) == {"a.csv": b"a" * 300_000, "sub/b.csv": b"b"}
    assert [file.name for file in pieces[0].files] == ["a.csv", "sub/b.csv"]
    assert drained(of(server, out), cursor)[0] == []
    put(out / "older.csv", b"old", 10**6)
    made = of(server, out)
    assert files_of(list(made.pieces(cursor))) == {"older.csv": b"old"}


def test_cut_off_and_gone_on(server: SftpServer, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FILES", 1)
    put(out / "a", b"a", 300)
    put(out / "b", b"b", 200)
    half = of(server, out)
    first, second = half.pieces({})
    assert files_of([first]) == {"a": b"a"}
    server.cut_off()
    with pytest.raises(SourceError) as caught, fetched(second.files[0], []):
        pass
    assert not isinstance(caught.value, FileFault)
    assert (caught.value.code, caught.value.passing) == ("unreachable", True)
    made = of(server, out)
    assert files_of(list(made.pieces(first.cursor))) == {"b": b"b"}


def test_the_host_key_is_confirmed_by_a_person(server: SftpServer, out: Path) -> None:
    before = server.commands
    with pytest.raises(SourceError) as caught:
        of(server, out, fingerprint="").check()
    assert caught.value.code == "host_key"
    assert server.fingerprint in str(caught.value)
    with pytest.raises(SourceError) as caught:
        of(server, out, fingerprint="SHA256:" + "A" * 43).check()
    assert caught.value.code == "host_key"
    assert server.commands == before  # no password was sent
    assert of(server, out, fingerprint=server.fingerprint + "=").check().startswith("Found 0")


def test_signs_in_by_key(server: SftpServer, out: Path) -> None:
    key = server.client_key.export_private_key().decode()
    assert of(server, out, password="", private_key=key).check().startswith("Found 0")
    locked = server.client_key.export_private_key(passphrase="opens it", rounds=2).decode()
    assert of(server, out, password="opens it", private_key=locked).check().startswith("Found 0")
    with pytest.raises(
        SourceError
    ) as caught:  # a page that is waited for opens no key: the connection test does
        of(server, out, password="wrong", private_key=locked).check()
    assert caught.value.code == "sign_in"
    usual = {"host": "h", "port": 22, "user": USER, "folder": "/x"}
    assert set(refused("sftp", **usual, private_key="no key")) == {"private_key"}
    assert set(refused("sftp", **{**usual, "host": "a b", "port": 0}, fingerprint="MD5:00")) == {
        "host",
        "port",
        "fingerprint",
    }


def test_a_key_does_not_say_how_long_we_work(server: SftpServer, out: Path) -> None:
    locked = server.client_key.export_private_key(passphrase="opens it", rounds=2).decode()
    head, *lines, tail = locked.strip().splitlines()
    body = base64.b64decode("".join(lines))
    assert sftp.rounds_of(locked) == 2
    options = body.index(b"bcrypt") + len("bcrypt") + 4  # the length of the salt, the salt, the rounds
    place = options + 4 + int.from_bytes(body[options : options + 4])
    slow = body[:place] + (2**31).to_bytes(4) + body[place + 4 :]
    began = time.monotonic()
    for text in (base64.encodebytes(slow).decode(), "!" + base64.encodebytes(slow).decode()):
        with pytest.raises(SourceError) as caught:
            of(server, out, password="opens it", private_key=f"{head}\n{text}{tail}").check()
        assert caught.value.code == "sign_in"
    assert time.monotonic() - began < 10


def test_a_file_that_the_server_can_not_read_fails_alone_and_comes_again(
    server: SftpServer, out: Path
) -> None:
    put(out / "a", b"a", 300)
    put(out / "b", b"b", 200)
    server.broken.add("a")
    came, faulty, cursor = taken(of(server, out))
    server.broken.clear()
    assert came == {"b": b"b"}
    assert [(fault.where, fault.again) for fault in faulty] == [("a", True)]
    assert taken(of(server, out), cursor)[0] == {"a": b"a"}


def test_silence_is_the_servers_and_passes(
    server: SftpServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "SILENCE", 1.0)
    put(out / "a", b"a", 300)
    server.silent.add("a")
    with pytest.raises(SourceError) as caught:
        taken(of(server, out))
    server.silent.clear()
    assert (caught.value.code, caught.value.passing) == ("timeout", True)
    assert not isinstance(caught.value, FileFault)


def test_wrong_password_missing_folder_refused_address(server: SftpServer, out: Path) -> None:
    for given, code in [({"password": "wrong"}, "sign_in"), ({"user": "nobody"}, "sign_in"),
                        ({"folder": "/missing"}, "not_found"),
                        ({"network": Network()}, "address_refused")]:  # fmt: skip
        with pytest.raises(SourceError) as caught:
            of(server, **{"folder": out, **given}).check()
        assert (caught.value.code, caught.value.passing) == (code, False)


def test_a_file_that_goes_or_changes_meanwhile_fails_alone(server: SftpServer, out: Path) -> None:
    put(out / "a", b"a", 300)
    put(out / "b", b"b", 200)
    made = of(server, out)
    (piece,) = made.pieces({})
    (out / "a").unlink()
    put(out / "b", b"", 100)
    for file in piece.files:
        with pytest.raises(FileFault), file.open() as stream:
            stream.read()


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * 100_000, b"SSH-2.0-x\r\n" + b"\0" * 64, b""]
)
def test_what_is_no_ssh_server(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.importing.sources.sftp.SIGN_IN_SECONDS", 1.0)
    listening = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        client, _address = listening.accept()
        with client:
            client.sendall(greeting)
            client.settimeout(10)
            while client.recv(65536):
                pass

    thread = threading.Thread(target=greet, daemon=True)
    thread.start()
    given = {
        "host": "127.0.0.1",
        "port": listening.getsockname()[1],
        "user": USER,
        "folder": "/",
        "password": PASSWORD,
    }
    made = source("sftp", **given)
    with listening, pytest.raises(SourceError) as caught:
        made.check()
    assert caught.value.code in {"unreachable", "timeout"}
    assert caught.value.passing
    made.close()
    thread.join(10)
