"""Other people's programs: dicomweb-client against a real portal, and Orthanc that forwards to our receiver."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from datasets.arrivals.models import ArrivedFile
from datasets.receiving.models import Peer, Receiver
from demo.processes import free_port
from jobs.models import Job
from tests.datasets.dicom.files import slice_of
from tests.datasets.receiving.conftest import TITLE, Lines, bytes_of, image, left_in_spool
from tests.datasets.tus_server import Server, new_server
from tests.jobs.process_site import until

pytestmark = pytest.mark.once  # what other programs understand of us
needs_orthanc = pytest.mark.skipif(not shutil.which("Orthanc"), reason="Orthanc is not installed (apt-get install orthanc)")


@pytest.fixture
def server(tmp_path: Path, django_db_blocker: Any) -> Iterator[Server]:
    with new_server(tmp_path / "site", django_db_blocker) as made:
        made.start(workers=1)
        yield made


@pytest.mark.process
def test_dicomweb_client_stores_finds_and_reads(server: Server) -> None:
    from dicomweb_client.api import DICOMwebClient

    client = DICOMwebClient(f"{server.url}/api/v1/dicomweb", headers=server.headers)
    sent = [slice_of(number) for number in range(3)]
    for data in sent:
        data.preamble = b"\0" * 128  # as of a file that was read; without one the client sends none
    answer = client.store_instances(sent)
    assert len(answer.ReferencedSOPSequence) == 3 and "FailedSOPSequence" not in answer
    server.site.manage("worker", "--queue", "light")
    until(lambda: ArrivedFile.objects.filter(outcome="imported").count() == 3, f"the images; {server.site.log()[-2000:]}", 180)
    (study,) = client.search_for_studies(search_filters={"ModalitiesInStudy": "CT"})
    uid = study["0020000D"]["Value"][0]
    (series,) = client.search_for_series(uid)
    series_uid = series["0020000E"]["Value"][0]
    found = client.search_for_instances(uid, series_uid, fields=["SliceThickness"])
    where = (uid, series_uid, found[1]["00080018"]["Value"][0])
    assert uid != sent[0].StudyInstanceUID and len(found) == 3
    data = client.retrieve_instance(*where)
    assert data.PatientID.startswith("P") and (data.pixel_array == 1001).all()
    assert len(client.retrieve_series(uid, series_uid)) == 3
    assert client.retrieve_instance_metadata(*where)["00080018"]["Value"][0] == where[2]
    assert len(client.retrieve_study_metadata(uid)) == 3
    (frame,) = client.retrieve_instance_frames(*where, frame_numbers=[1])
    assert (np.frombuffer(frame, "<u2") == 1001).all()
    assert client.retrieve_instance_rendered(*where, media_types=("image/png",))[:4] == b"\x89PNG"
    assert client.retrieve_instance_frames_rendered(*where, frame_numbers=[1], media_types=("image/jpeg",))[:2] == b"\xff\xd8"
    assert Job.objects.filter(state="done", task="datasets.receiving.tasks.take").exists()


@pytest.mark.django_db
@needs_orthanc
def test_orthanc_forwards_to_us(
    lines: Lines, allowed: Receiver, organisation: Any, run_jobs: Callable[[], int], tmp_path: Path
) -> None:
    Peer.objects.create(receiver=allowed, title="ORTHANC", address="127.0.0.1")
    lines.receiver.directory.read()
    http = free_port()
    config = {
        "StorageDirectory": str(tmp_path / "store"), "IndexDirectory": str(tmp_path / "store"), "HttpPort": http,
        "DicomPort": free_port(), "DicomAet": "ORTHANC", "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomModalities": {"aimass": [TITLE, "127.0.0.1", lines.port]}, "Plugins": [],
    }  # fmt: skip
    (tmp_path / "orthanc.json").write_text(json.dumps(config))
    with (tmp_path / "orthanc.log").open("wb") as log:
        orthanc = subprocess.Popen(["Orthanc", str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{http}", timeout=60) as client:
            until(lambda: _answers(client), "Orthanc")
            sent = [image() for _number in range(4)]
            ids = [client.post("/instances", content=bytes_of(data)).json()["ID"] for data in sent]
            assert client.post("/modalities/aimass/echo", content="{}").status_code == 200
            answer = client.post("/modalities/aimass/store", json=ids)
            assert answer.status_code == 200 and answer.json()["FailedInstancesCount"] == 0
    finally:
        orthanc.terminate()
        orthanc.wait(30)
    lines.hang_up()
    run_jobs()
    assert list(ArrivedFile.objects.values_list("outcome", flat=True)) == ["imported"] * 4
    assert left_in_spool(organisation) == []


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/system").is_success
    except httpx.TransportError:
        return False
