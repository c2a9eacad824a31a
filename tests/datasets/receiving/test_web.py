"""DICOMweb: what is stored comes through like anything else; what is given out is de-identified, and one's own."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from accounts.models import AuditEvent
from accounts.rest.throttling import KeyThrottle
from datasets import storage
from datasets.arrivals.models import ArrivedFile
from datasets.dicom.models import PatientKey
from datasets.models import StoredFile
from datasets.receiving import sharing, tasks
from datasets.receiving.models import DicomInstance
from datasets.receiving.web.multipart import Malformed, Parts
from tests.conftest import make_user
from tests.datasets.dicom.files import slice_of
from tests.datasets.receiving.conftest import RELATED, WEB, bytes_of, image, left_in_spool, related, store

pytestmark = pytest.mark.django_db
Run = Callable[[], int]


def parts_of(response: Any) -> list[bytes]:
    body = b"".join(response.streaming_content)
    boundary = response.headers["Content-Type"].rpartition("boundary=")[2]
    return [b"".join(pieces) for _headers, pieces in Parts(io.BytesIO(body).read, boundary)]


def value(found: dict[str, Any], tag: str) -> Any:
    return (found.get(tag, {}).get("Value") or [None])[0]


@pytest.fixture
def slices(dana_api: Any, run_jobs: Run) -> list[DicomInstance]:
    """Three slices of one series and an MR of another patient."""
    sent = [bytes_of(slice_of(number)) for number in range(3)]
    sent.append(Path(str(get_testdata_file("MR_small.dcm"))).read_bytes())
    assert store(dana_api, *sent).status_code == 200
    run_jobs()
    return list(DicomInstance.objects.filter(modality="CT").order_by("number"))


# -- the body --


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
def test_parts_are_found_however_the_body_is_cut(size: int) -> None:
    contents = [b"", b"\r\n--XY", b"\r\n--XY\r\n\r\n--XYZ"[:-1], b"x" * 1000, b"--XYZ"]
    stream = io.BytesIO(b"preamble\r\n" + related(*contents))
    found = [b"".join(pieces) for headers, pieces in Parts(lambda n: stream.read(min(n, size)), "XYZ")]
    assert found == contents


@pytest.mark.parametrize("body", [b"", b"nothing", b"--XYZ\r\nA: b\r\n\r\nhalf", b"--XYZ\r\n" + b"A: b\r\n" * 5000])
def test_body_that_breaks_off_is_malformed(body: bytes) -> None:
    stream = io.BytesIO(body)
    with pytest.raises(Malformed):
        for _headers, pieces in Parts(stream.read, "XYZ"):
            list(pieces)


# -- STOW --


def test_each_instance_has_its_answer(dana_api: Any, run_jobs: Run, organisation: Any) -> None:
    good = image()
    answer = store(dana_api, bytes_of(good), b"no DICOM at all")
    assert answer.status_code == 202 and answer.headers["Content-Type"] == "application/dicom+json"
    found = json.loads(answer.content)
    (stored,), (failed,) = found["00081199"]["Value"], found["00081198"]["Value"]
    assert value(stored, "00081155") == good.SOPInstanceUID and value(failed, "00081197") == 0xC000
    run_jobs()
    row = ArrivedFile.objects.get()
    assert row.outcome == "imported" and row.arrival.created_by.email == "dana@example.org"
    assert left_in_spool(organisation) == []
    assert AuditEvent.objects.get(action="dicom.not_stored").detail == {"instances": 1}
    assert AuditEvent.objects.get(action="dicom.stored").detail["instances"] == 1


def test_nothing_stored_is_a_conflict_and_junk_is_refused(dana_api: Any, organisation: Any) -> None:
    assert store(dana_api, b"junk").status_code == 409
    cut = related(bytes_of(image()))[:-20]
    assert dana_api.generic("POST", f"{WEB}/studies", cut, content_type=RELATED).status_code == 400
    assert dana_api.generic("POST", f"{WEB}/studies", b"x", content_type="application/dicom").status_code == 415
    other = RELATED.replace("application/dicom", "application/json")
    assert dana_api.generic("POST", f"{WEB}/studies", b"x", content_type=other).status_code == 415
    assert left_in_spool(organisation) == []


def test_what_came_whole_before_the_body_broke_is_kept(dana_api: Any, organisation: Any, run_jobs: Run) -> None:
    cut = related(bytes_of(image()), bytes_of(image()))[:-300]
    assert dana_api.generic("POST", f"{WEB}/studies", cut, content_type=RELATED).status_code == 400
    assert tasks.sweep() == 0, "its segment is open"
    sharing.shared.tidy(all_of_them=True)
    run_jobs()
    assert ArrivedFile.objects.filter(outcome="imported").count() == 1


def test_quota_and_size_are_told_for_each(dana_api: Any, settings: Any) -> None:
    settings.UPLOAD_QUOTA_BYTES = 4000
    found = json.loads(store(dana_api, bytes_of(image()), bytes_of(image())).content)
    assert len(found["00081199"]["Value"]) == 1
    assert [value(f, "00081197") for f in found["00081198"]["Value"]] == [0xA700]
    settings.MAX_UPLOAD_BYTES, settings.UPLOAD_QUOTA_BYTES = 100, 0
    found = json.loads(store(dana_api, bytes_of(image())).content)
    assert [value(f, "00081197") for f in found["00081198"]["Value"]] == [0xA700]


def test_a_scanner_is_not_taken_for_a_runaway_program(dana_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyThrottle, "THROTTLE_RATES", {"key": "2/hour", "store": "4/hour"})
    assert [store(dana_api, bytes_of(image())).status_code for _image in range(5)] == [200, 200, 200, 200, 429]
    assert [dana_api.get(f"{WEB}/studies").status_code for _search in range(3)] == [200, 200, 429]


def test_auditor_and_narrow_key_store_nothing(victor: Any, dana: Any, api_of: Any) -> None:
    assert store(api_of(victor), bytes_of(image())).status_code == 403
    assert store(api_of(dana, ["data:read"]), bytes_of(image())).status_code == 403


# -- QIDO --


def test_studies_are_found_by_what_people_know_of_them(dana_api: Any, slices: list[DicomInstance]) -> None:
    both = dana_api.get(f"{WEB}/studies").json()
    assert len(both) == 2
    pseudonym, study = slices[0].patient_id, slices[0].study
    assert study != slice_of().StudyInstanceUID and pseudonym.startswith("P")
    for question in (
        {"PatientID": pseudonym}, {"00100020": pseudonym}, {"PatientName": f"{pseudonym[:6]}*"}, {"ModalitiesInStudy": "CT"},
        {"StudyInstanceUID": f"{study},1.2.3"}, {"StudyDate": f"-{slices[0].study_date}", "PatientID": pseudonym},
        {"PatientID": pseudonym[:-1] + "?"},
    ):  # fmt: skip
        (found,) = dana_api.get(f"{WEB}/studies", question).json()
        assert value(found, "0020000D") == study, question
        assert (value(found, "00201206"), value(found, "00201208"), value(found, "00080061")) == (1, 3, "CT")
        assert value(found, "00081190").endswith(f"/studies/{study}")
    assert dana_api.get(f"{WEB}/studies", {"PatientID": "nobody"}).json() == []
    assert dana_api.get(f"{WEB}/studies", {"StudyDate": "20300101-"}).json() == []
    assert "Quillfeather" not in json.dumps(both) and "MRN-5577341" not in json.dumps(both)


def test_series_and_instances_pages_and_fields(dana_api: Any, slices: list[DicomInstance]) -> None:
    study, series = slices[0].study, slices[0].series
    (found,) = dana_api.get(f"{WEB}/studies/{study}/series", {"Modality": "CT"}).json()
    assert (value(found, "0020000E"), value(found, "00201209")) == (series, 3)
    assert len(dana_api.get(f"{WEB}/series").json()) == 2
    address = f"{WEB}/studies/{study}/series/{series}/instances"
    assert [value(i, "00200013") for i in dana_api.get(address).json()] == [1, 2, 3]
    assert [value(i, "00200013") for i in dana_api.get(address, {"limit": 1, "offset": 1}).json()] == [2]
    (second,) = dana_api.get(f"{WEB}/instances", {"InstanceNumber": "2", "Modality": "CT"}).json()
    assert value(second, "00080018") == slices[1].instance and value(second, "00280010") == 32
    assert "00180050" in dana_api.get(address, {"includefield": "all"}).json()[0]


@pytest.mark.parametrize(
    "question", [{"PatientWeight": "70"}, {"limit": "x"}, {"StudyDate": "yesterday"}, {"nonsense": "1"}, {"Modality": "CT"}]
)
def test_question_that_cannot_be_answered_is_refused_by_name(dana_api: Any, question: dict[str, str]) -> None:
    answer = dana_api.get(f"{WEB}/studies", question)
    assert answer.status_code == 400 and answer.headers["Content-Type"] == "application/problem+json"


# -- WADO --


def place(row: DicomInstance) -> str:
    return f"{WEB}/studies/{row.study}/series/{row.series}/instances/{row.instance}"


def test_instances_are_given_back_deidentified(dana_api: Any, slices: list[DicomInstance]) -> None:
    contents = parts_of(dana_api.get(f"{WEB}/studies/{slices[0].study}"))
    data = [pydicom.dcmread(io.BytesIO(content)) for content in contents]
    assert [d.SOPInstanceUID for d in data] == [row.instance for row in slices]
    assert all(b"Quillfeather" not in content for content in contents)
    assert {d.PatientID for d in data} == {slices[0].patient_id}
    assert (data[1].pixel_array == 1001).all()
    assert len(parts_of(dana_api.get(f"{WEB}/studies/{slices[0].study}/series/{slices[0].series}"))) == 3
    assert AuditEvent.objects.filter(action="dicom.retrieved").first().detail["instances"] == 3


def test_metadata_has_all_but_the_pixels(dana_api: Any, slices: list[DicomInstance]) -> None:
    found = dana_api.get(place(slices[2]) + "/metadata")
    assert found.headers["Content-Type"] == "application/dicom+json"
    (data,) = found.json()
    assert value(data, "00080018") == slices[2].instance and "7FE00010" not in data
    assert value(data, "00083002") == slices[2].transfer_syntax
    assert len(dana_api.get(f"{WEB}/studies/{slices[0].study}/metadata").json()) == 3


def test_frames_are_the_pixels(dana_api: Any, slices: list[DicomInstance]) -> None:
    (frame,) = parts_of(dana_api.get(place(slices[2]) + "/frames/1"))
    assert (np.frombuffer(frame, "<u2") == 1002).all() and len(frame) == 2048
    assert dana_api.get(place(slices[2]) + "/frames/2").status_code == 404
    assert dana_api.get(place(slices[2]) + "/frames/x").status_code == 400
    assert dana_api.get(place(slices[2]) + "/frames/1", HTTP_ACCEPT="text/html").status_code == 406


def test_rendered_is_a_picture(dana_api: Any, slices: list[DicomInstance]) -> None:
    png = dana_api.get(place(slices[0]) + "/rendered", HTTP_ACCEPT="image/png")
    assert png.headers["Content-Type"] == "image/png" and Image.open(io.BytesIO(png.content)).size == (32, 32)
    assert png.headers["Cache-Control"] == "no-store"
    jpeg = dana_api.get(place(slices[0]) + "/frames/1/rendered", {"viewport": "16,16"})
    assert jpeg.headers["Content-Type"] == "image/jpeg" and Image.open(io.BytesIO(jpeg.content)).size == (16, 16)
    dark = dana_api.get(place(slices[0]) + "/rendered", {"window": "2000,10", "accept": "image/png"})
    assert not np.asarray(Image.open(io.BytesIO(dark.content))).any()
    assert dana_api.get(place(slices[0]) + "/rendered", {"window": "dark"}).status_code == 400


# -- whose --


def test_outsider_finds_nothing_and_gets_nothing(charlie: Any, api_of: Any, slices: list[DicomInstance]) -> None:
    stranger = api_of(charlie)
    for level in ("studies", "series", "instances"):
        assert stranger.get(f"{WEB}/{level}").json() == []
    row = slices[0]
    study, series = f"{WEB}/studies/{row.study}", f"{WEB}/studies/{row.study}/series/{row.series}"
    for address in (
        study, f"{study}/metadata", f"{study}/series", f"{study}/instances", series, f"{series}/metadata", f"{series}/instances",
        place(row), place(row) + "/metadata", place(row) + "/rendered", place(row) + "/frames/1",
        place(row) + "/frames/1/rendered",
    ):  # fmt: skip
        assert stranger.get(address).status_code == 404, address


def test_same_images_are_two_organisations_own(
    charlie: Any, api_of: Any, slices: list[DicomInstance], run_jobs: Run, other_organisation: Any
) -> None:
    make_user("ann@elsewhere.example", other_organisation, "data_scientist")
    store(api_of(charlie), bytes_of(slice_of()))
    run_jobs()
    (own,) = DicomInstance.objects.for_organisation(other_organisation)
    assert own.instance not in {row.instance for row in slices} and own.patient_id != slices[0].patient_id


# -- gone --


def test_erasing_the_patient_takes_what_no_record_points_to(
    dana: Any, alice: Any, dana_api: Any, slices: list[DicomInstance]
) -> None:
    from datasets.erasure import erase_patient, preview_erasure
    from datasets.records import add_records
    from datasets.services import create_dataset
    from tests.conftest import actor

    columns = [{"name": "who", "kind": "category", "role": "patient"}, {"name": "x", "kind": "number"}]
    dataset = create_dataset(actor=actor(dana), name="Ages", columns=columns)
    pseudonym = slices[0].patient_id
    add_records(actor=actor(dana), dataset=dataset, rows=[{"who": pseudonym, "x": 1}], source="api")
    paths = [row.file.path for row in slices]
    shown = {str(label): count for label, count in preview_erasure(dataset=dataset, patient_key=pseudonym).others}
    assert shown["stored DICOM instances"] == 3
    erase_patient(actor=actor(alice), dataset=dataset, patient_key=pseudonym, reason="asked for")
    assert not DicomInstance.objects.filter(patient_id=pseudonym).exists()
    assert dana_api.get(f"{WEB}/studies/{slices[0].study}").status_code == 404
    assert len(dana_api.get(f"{WEB}/studies").json()) == 1
    assert ArrivedFile.objects.filter(name="[erased]", file=None).count() == 3
    # The content is deleted after the commit, which a test does not see; its rows are emptied.
    assert paths and not StoredFile.objects.filter(path__in=paths).exists()


def test_a_patient_without_records_is_erased_by_the_pseudonym(
    alice: Any, victor: Any, dana_api: Any, client_of: Any, slices: list[DicomInstance]
) -> None:
    client, address, pseudonym = client_of(alice), "/datasets/patients/erase/", slices[0].patient_id
    assert client_of(victor).get(address).status_code == 403
    answer = client.post(address, {"pseudonym": "P0000000000000000"})
    assert answer.status_code == 422 and "Nothing of this pseudonym is stored" in answer.content.decode()
    page = client.post(address, {"pseudonym": pseudonym.lower()}).content.decode()
    assert "3 stored DICOM images are deleted" in page and "The key from this pseudonym" in page
    assert client.post(address, {"pseudonym": pseudonym, "action": "erase", "reason": " "}).status_code == 422
    assert DicomInstance.objects.filter(patient_id=pseudonym).count() == 3
    page = client.post(address, {"pseudonym": pseudonym, "action": "erase", "reason": "asked for"}, follow=True)
    assert "3 DICOM images have been erased" in page.content.decode()
    assert not DicomInstance.objects.filter(patient_id=pseudonym).exists()
    assert not PatientKey.objects.filter(pseudonym=pseudonym).exists()
    assert ArrivedFile.objects.filter(name="[erased]", file=None).count() == 3
    assert len(dana_api.get(f"{WEB}/studies").json()) == 1
    event = AuditEvent.objects.get(action="patient.erased")
    assert (event.detail["instances"], event.detail["key"]) == (3, True)


def test_a_patient_with_records_is_erased_where_they_are(
    dana: Any, alice: Any, client_of: Any, slices: list[DicomInstance]
) -> None:
    from datasets.erasure import ErasureRefused
    from datasets.receiving.erasing import erase_received
    from datasets.records import add_records
    from datasets.services import create_dataset
    from tests.conftest import actor

    columns = [{"name": "who", "kind": "category", "role": "patient"}, {"name": "x", "kind": "number"}]
    dataset = create_dataset(actor=actor(dana), name="Ages", columns=columns)
    add_records(actor=actor(dana), dataset=dataset, rows=[{"who": slices[0].patient_id, "x": 1}], source="api")
    answer = client_of(alice).post("/datasets/patients/erase/", {"pseudonym": slices[0].patient_id})
    assert answer.status_code == 422 and "records of this patient in Ages" in answer.content.decode()
    with pytest.raises(ErasureRefused, match="in Ages"):
        erase_received(actor=actor(alice), pseudonym=slices[0].patient_id, reason="asked for")


def test_newer_file_of_an_instance_counts(dana_api: Any, slices: list[DicomInstance], run_jobs: Run) -> None:
    store(dana_api, bytes_of(slice_of(0, SliceThickness="3.5")))
    run_jobs()
    newer = DicomInstance.objects.filter(instance=slices[0].instance).latest("pk")
    assert newer.pk != slices[0].pk
    assert len(dana_api.get(f"{WEB}/studies/{slices[0].study}/instances").json()) == 3
    assert value(dana_api.get(place(slices[0]) + "/metadata").json()[0], "00180050") == 3.5
    storage.emptied(newer.file)
    assert value(dana_api.get(place(slices[0]) + "/metadata").json()[0], "00180050") == 2.5, "the older one counts again"
    assert len(dana_api.get(f"{WEB}/studies/{slices[0].study}/instances").json()) == 3


def test_what_was_stored_before_there_was_an_index_is_found_after_the_night(dana_api: Any, slices: list[DicomInstance]) -> None:
    before = {row.file_id: row.instance for row in slices}
    DicomInstance.objects.all().delete()
    assert dana_api.get(f"{WEB}/studies").json() == []
    assert tasks.describe() == 4 and tasks.describe() == 0
    assert {row.file_id: row.instance for row in DicomInstance.objects.filter(file__in=before)} == before
    assert len(dana_api.get(f"{WEB}/studies").json()) == 2


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """MR_small's header makes pydicom warn of a value, which is none of ours."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        yield
