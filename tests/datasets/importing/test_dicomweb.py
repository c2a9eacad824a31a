"""The DICOMweb source against Orthanc with its DICOMweb plugin, and against servers that misbehave."""

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from datasets.importing.base import FileFault, SourceError
from datasets.importing.multipart import first_part
from datasets.importing.network import Network
from datasets.importing.sources import dicomweb
from demo.processes import free_port
from tests.datasets.dicom.files import slice_of
from tests.datasets.importing.conftest import HERE, drained, files_of, refused, source, taken
from tests.datasets.importing.web import Reply, Request, serving
from tests.datasets.receiving.conftest import bytes_of
from tests.jobs.process_site import until

pytestmark = pytest.mark.once
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
needs_orthanc = pytest.mark.skipif(
    not shutil.which("Orthanc") or not PLUGIN.exists(),
    reason="Orthanc is not installed (apt-get install orthanc orthanc-dicomweb)",
)
SIGN_IN = {"sign_in": "basic", "user": "importer", "secret": "orthanc's secret"}


class Archive:
    """Orthanc, with a user."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}/dicom-web"
        config = {
            "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"), "HttpPort": self.port,
            "DicomServerEnabled": False, "RemoteAccessAllowed": False, "AuthenticationEnabled": True,
            "RegisteredUsers": {SIGN_IN["user"]: SIGN_IN["secret"]}, "Plugins": [str(PLUGIN)],
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(config))
        with (folder / "orthanc.log").open("wb") as log:
            self.process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            auth=(SIGN_IN["user"], SIGN_IN["secret"]),
            timeout=60,
            trust_env=False,
        )

    def answers(self) -> bool:
        try:
            return self.client.get("/system").is_success
        except httpx.TransportError:
            return False

    def store(
        self, number: int, study: str, when: str, modality: str = "CT", description: str = "Thorax"
    ) -> None:
        data = slice_of(number)
        data.StudyInstanceUID, data.SeriesInstanceUID = f"1.2.3.{study}", f"1.2.3.{study}.1"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{study}.1.{number + 1}"
        data.StudyDate, data.Modality, data.StudyDescription = when, modality, description
        self.client.post("/instances", content=bytes_of(data)).raise_for_status()

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    made = Archive(tmp_path_factory.mktemp("orthanc"))
    try:
        until(made.answers, "Orthanc")
        for number in range(3):
            made.store(number, "1", "20260110")
        made.store(0, "2", "20260111", description="Head")
        made.store(0, "3", "20260112", modality="MR")
        made.store(0, "4", "20200101")
        yield made
    finally:
        made.stop()


def of(address: str, network: Network = HERE, **given: Any) -> Any:
    usual = {"address": address, "since": "2026-01-01", "look_back": 365, "sign_in": "none"}
    return source("dicomweb", network, **{**usual, **given})


def uids(pieces: Any) -> list[str]:
    return sorted(
        pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID for content in files_of(pieces).values()
    )


@needs_orthanc
def test_orthanc(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    made = of(archive.address, **SIGN_IN)
    assert made.check().endswith("there are studies that fit.")
    preview = made.preview()
    assert len(preview.files) == 5
    assert preview.notes == ["3 studies were looked at."]
    pieces = list(made.pieces({}))
    assert uids(pieces) == ["1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.1.3", "1.2.3.2.1.1", "1.2.3.3.1.1"]
    cursor = json.loads(json.dumps(pieces[-1].cursor))
    assert drained(of(archive.address, **SIGN_IN), cursor)[0] == []
    assert "1.2.3" not in json.dumps(cursor)
    # Cut off after the first study.
    half = of(archive.address, **SIGN_IN)
    first = next(half.pieces({}))
    assert len(uids([first])) < 5
    rest = of(archive.address, **SIGN_IN)
    assert sorted([*uids([first]), *uids(rest.pieces(first.cursor))]) == uids(pieces)
    # A late image of a known study, and an old study that is sent now.
    archive.store(3, "1", "20260110")
    archive.store(0, "5", "20260109")
    again = of(archive.address, **SIGN_IN)
    later = list(again.pieces(cursor))
    assert uids(later) == ["1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.1.3", "1.2.3.1.1.4", "1.2.3.5.1.1"]
    assert drained(of(archive.address, **SIGN_IN), later[-1].cursor)[0] == []
    # Narrowed, and page by page.
    monkeypatch.setattr(dicomweb, "PAGE", 2)
    assert uids(of(archive.address, **SIGN_IN, modality="MR").pieces({})) == ["1.2.3.3.1.1"]
    assert uids(of(archive.address, **SIGN_IN, description="Hea*").pieces({})) == ["1.2.3.2.1.1"]
    assert len(uids(of(archive.address, **SIGN_IN).pieces({}))) == 7


@needs_orthanc
def test_wrong_secret_and_address(archive: Archive) -> None:
    for given, code in [
        ({**SIGN_IN, "secret": "wrong"}, "sign_in"),
        ({"network": Network()}, "address_refused"),
    ]:
        with pytest.raises(SourceError) as caught:
            of(archive.address, **given).check()
        assert (caught.value.code, caught.value.passing) == (code, False)
    with pytest.raises(SourceError) as caught:
        of(f"http://127.0.0.1:{archive.port}/nothing", **SIGN_IN).check()
    assert caught.value.code in {"not_found", "answer"}


def study(uid: Any = "1.2.3", count: int = 1) -> dict[str, Any]:
    return {"0020000D": {"vr": "UI", "Value": [uid]}, "00201208": {"vr": "IS", "Value": [count]}}


def instance(uid: str = "1.2.3.1.1") -> dict[str, Any]:
    values = {"0020000D": "1.2.3", "0020000E": "1.2.3.1", "00080018": uid}
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}


def answering(studies: Any, instances: Any, file: Reply) -> Any:
    def answer(request: Request) -> Reply:
        if request.path.endswith("/studies"):
            return 200, {"Content-Type": "application/dicom+json"}, json.dumps(studies).encode()
        if request.path.endswith("/instances"):
            return 200, {}, json.dumps(instances).encode()
        return file

    return answer


MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
WHOLE = (
    b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    + bytes(128)
    + b"DICM"
    + b"rest\r\n--not"
    + b"\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("file", "error"),
    [
        ((404, {}, b""), FileFault), ((500, {}, b""), FileFault), ((200, MULTIPART, WHOLE[:-12]), FileFault),
        ((200, MULTIPART, b"x" * 200_000), FileFault), ((200, {"Content-Type": "text/html"}, WHOLE), FileFault),
        ((200, MULTIPART, WHOLE.replace(b"DICM", b"HTML")), FileFault),
        ((200, {"Content-Type": "multipart/related"}, WHOLE), FileFault),
        ((200, MULTIPART, (b"--b\r\n\r\n" + b"x" * 65536 for _number in range(100))), FileFault),
        ((401, {}, b""), SourceError), ((503, {}, b""), SourceError),
    ],
)  # fmt: skip
def test_hostile_files(file: Reply, error: type[Exception], settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 1_000_000
    # An archive that knows no offset gives its only page again.
    with serving(answering([study()], [instance()], file)) as web:
        made = of(web.url)
        piece = next(made.pieces({}))
        assert [each.name for each in piece.files] == ["1.2.3/1.2.3.1/1.2.3.1.1.dcm"]
        with pytest.raises(error) as caught, piece.files[0].open():
            pass
        assert type(caught.value) is error


@pytest.mark.parametrize(("status", "again"), [(500, True), (404, True), (406, False)])
def test_an_instance_that_failed_comes_again_alone(status: int, again: bool) -> None:
    instances, broken = [instance("1.2.3.1.1"), instance("1.2.3.1.2")], True

    def answer(request: Request) -> Reply:
        if broken and request.path.endswith("1.2.3.1.2"):
            return status, {}, b""
        return answering([study(count=2)], instances, (200, MULTIPART, WHOLE))(request)

    with serving(answer) as web:
        came, faulty, cursor = taken(of(web.url))
        assert [name.rpartition("/")[2] for name in came] == ["1.2.3.1.1.dcm"]
        assert [fault.again for fault in faulty] == [again]
        assert "1.2.3" not in json.dumps(cursor)
        broken = False
        came, faulty, cursor = taken(of(web.url), cursor)
        assert [name.rpartition("/")[2] for name in came] == (["1.2.3.1.2.dcm"] if again else [])
        assert faulty == []
        assert taken(of(web.url), cursor) == ({}, [], cursor)


def test_one_instance_that_is_too_large_blocks_no_other(settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 100_000

    def answer(request: Request) -> Reply:
        large = b"--b\r\n\r\n" + bytes(128) + b"DICM" + bytes(300_000) + b"\r\n--b--\r\n"
        file = large if request.path.endswith("1.2.3.1.1") else WHOLE
        return answering(
            [study(count=2)], [instance("1.2.3.1.1"), instance("1.2.3.1.2")], (200, MULTIPART, file)
        )(request)

    with serving(answer) as web:
        came, faulty, _cursor = taken(of(web.url))
        assert [name.rpartition("/")[2] for name in came] == ["1.2.3.1.2.dcm"]
        assert [fault.again for fault in faulty] == [False]


def test_a_part_is_read_whatever_its_chunks() -> None:
    content = bytes(128) + b"DICM" + b"rest\r\n--not"
    for size in (1, 3, 7, 4096):
        chunks = (WHOLE[at : at + size] for at in range(0, len(WHOLE), size))
        assert b"".join(first_part(chunks, MULTIPART["Content-Type"])) == content
    with serving(answering([study()], [instance()], (200, MULTIPART, WHOLE))) as web:
        made = of(web.url)
        assert list(files_of(list(made.pieces({}))).values()) == [content]


@pytest.mark.parametrize("studies", [{"a": 1}, [1], "x", None])
def test_hostile_lists(studies: Any) -> None:
    with serving(answering(studies, [], (404, {}, b""))) as web:
        with pytest.raises(SourceError) as caught:
            of(web.url).check()
        assert (caught.value.code, caught.value.passing) == ("answer", False)


def test_what_has_no_valid_uid_leads_nowhere() -> None:
    bad = [study("../../admin"), study("1.2.3?x=1"), study(None), {}]
    with serving(answering(bad, [instance("1.2/../x"), {}], (404, {}, b""))) as web:
        pieces, _cursor = drained(of(web.url))
        assert sum(len(piece.faulty) for piece in pieces) == 4
        assert not any("admin" in request.target for request in web.requests)
    with serving(answering([study()], [instance("1.2/../x"), {}], (404, {}, b""))) as web:
        assert not any(piece.files for piece in drained(of(web.url))[0])


def test_the_form() -> None:
    good = {
        "address": "https://pacs.example/dicom-web",
        "since": "2026-01-01",
        "look_back": 14,
        "sign_in": "none",
    }
    for name, value in [("since", "soon"), ("look_back", 0), ("modality", "C T&x"), ("address", "file:///x")]:
        assert list(refused("dicomweb", **{**good, name: value})) == [name]
    json.dumps(of("https://pacs.example").settings)
