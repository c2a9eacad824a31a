"""Fields, text and a picture in one record, from the upload to the reviewed diagnosis: form, REST, pages, outsiders."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from PIL import Image

from accounts import append_only
from accounts.models import Organisation, User
from datasets.cells.models import CellFile
from datasets.models import Record
from inference.files import DiagnosisFile
from inference.models import Diagnosis
from inference.reviews import review
from tests.conftest import actor, make_user
from tests.datasets.test_cells_intake import cells_of, imported, with_table
from tests.site.world import run_waiting_jobs
from tests.training.test_cells import trained
from training.models import ModelVersion
from training.services import confirm_champion

FIELDS = {"age": 50, "note": "smear seen"}


@pytest.fixture(scope="module")
def hospital(django_db_setup: None, django_db_blocker: Any, shared_data: Path) -> Iterator[dict[str, Any]]:
    """People and a champion that tells blood cells apart by age, note and film; trained once, as it takes a while."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.services.new_salt", lambda: "5" * 32)
        own, other = Organisation.objects.create(name="St Mary's"), Organisation.objects.create(name="Elsewhere Clinic")
        roles = {"alice": "administrator", "dana": "data_scientist", "bob": "clinician"}
        people = {name: make_user(f"{name}@example.org", own, role).pk for name, role in roles.items()}
        people["charlie"] = make_user("charlie@elsewhere.example", other, "administrator").pk
        dana = User.objects.get(pk=people["dana"])
        dataset = imported(dana, run_waiting_jobs, with_table(cells_of(shared_data, 25))).dataset
        found = trained(dana, run_waiting_jobs, dataset).versions.get(chosen=True)
        confirm_champion(actor=actor(dana), version=found)
    yield {**people, "version": found.pk}
    with django_db_blocker.unblock():
        append_only.remove(connection)
        call_command("flush", interactive=False, verbosity=0)
        append_only.install(connection)


def person(name: str) -> Any:
    """A fixture: one of the hospital's people."""

    @pytest.fixture(name=name)
    def one(hospital: dict[str, Any], db: None) -> Any:
        return User.objects.get(pk=hospital[name])

    return one


alice, bob, charlie = person("alice"), person("bob"), person("charlie")


@pytest.fixture
def version(hospital: dict[str, Any], db: None) -> Any:
    return ModelVersion.objects.select_related("model__dataset").get(pk=hospital["version"])


@pytest.fixture
def cell(shared_data: Path) -> Callable[..., tuple[str, bytes]]:
    """`cell("wbc")`: name and content of a real cell that no training has seen."""

    def one(label: str, number: int = 1) -> tuple[str, bytes]:
        path = sorted((shared_data / "bccd_blood_cells" / "images" / label).glob("*.png"))[-number]
        return path.name, path.read_bytes()

    return one


def sent(name: str, content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def test_rest_takes_the_file_with_the_request(bob: Any, api_of: Any, version: Any, cell: Any) -> None:
    name, content = cell("wbc")
    body = {"model": str(version.model_id), "record": json.dumps(FIELDS), "film": sent(f"../{name}", content)}
    answer = api_of(bob).post("/api/v1/diagnoses/?reasons=1", body, format="multipart")
    assert answer.status_code == 201, answer.content
    assert answer.json()["value"] == "wbc"
    assert answer.json()["reasons"]["regions"]["film"]["axes"] == ["down", "across"]
    row = Diagnosis.objects.get()
    sha256 = hashlib.sha256(content).hexdigest()
    assert row.inputs == {**FIELDS, "film": sha256}
    pointer = row.files.get()
    assert (pointer.column, pointer.name, pointer.file.sha256) == ("film", name, sha256)
    with default_storage.open(pointer.file.path, "rb") as stream:
        assert stream.read() == content


def test_rest_takes_the_id_of_an_uploaded_file(bob: Any, api_of: Any, version: Any, cell: Any) -> None:
    api = api_of(bob)
    name, content = cell("rbc")
    first = api.post("/api/v1/files/", {"file": sent(name, content)}, format="multipart")
    assert first.status_code == 201, first.content
    file = first.json()
    assert (file["kind"], file["format"], file["name"], file["size"]) == ("image", "png", name, len(content))
    assert api.get(f"/api/v1/files/{file['id']}/").json()["kind"] == "image"
    body = {"model": str(version.model_id), "records": [{**FIELDS, "film": file["id"]}, FIELDS]}
    answer = api.post("/api/v1/diagnoses/", body, format="json")
    assert answer.status_code == 201, answer.content
    assert len(answer.json()["diagnoses"]) == 2
    assert answer.json()["diagnoses"][0]["value"] == "rbc"
    assert DiagnosisFile.objects.count() == 1


def test_many_records_name_the_parts_of_their_files(bob: Any, api_of: Any, version: Any, cell: Any) -> None:
    (a, first), (b, second) = cell("wbc"), cell("platelets")
    records = [{**FIELDS, "film": "one"}, {**FIELDS, "film": "two"}]
    body = {"version": str(version.pk), "records": json.dumps(records), "one": sent(a, first), "two": sent(b, second)}
    answer = api_of(bob).post("/api/v1/diagnoses/", body, format="multipart")
    assert answer.status_code == 201, answer.content
    assert [d["value"] for d in answer.json()["diagnoses"]] == ["wbc", "platelets"]


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "empty"), (b"MZ program", "program"), (b"\x89PNG\r\n\x1a\n broken", "truncated")]
)
def test_what_is_no_picture_is_refused_by_name(bob: Any, api_of: Any, version: Any, content: bytes, code: str) -> None:
    body = {"model": str(version.model_id), "record": json.dumps(FIELDS), "film": sent("film.png", content)}
    answer = api_of(bob).post("/api/v1/diagnoses/", body, format="multipart")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "film"
    assert answer.json()["errors"][0]["code"] == code
    assert not Diagnosis.objects.exists()
    single = api_of(bob).post("/api/v1/files/", {"file": sent("film.png", content)}, format="multipart")
    assert (single.status_code, single.json()["type"].rsplit(":", 1)[-1]) == (422, f"file-{code}")


def test_a_file_of_another_kind_or_organisation_is_refused(
    bob: Any, charlie: Any, api_of: Any, version: Any, cell: Any
) -> None:
    from pydicom.data import get_testdata_file

    wave = Path(str(get_testdata_file("waveform_ecg.dcm"))).read_bytes()
    body = {"model": str(version.model_id), "record": json.dumps(FIELDS), "film": sent("ecg.dcm", wave)}
    answer = api_of(bob).post("/api/v1/diagnoses/", body, format="multipart")
    assert answer.status_code == 400
    assert "signal" in answer.json()["errors"][0]["message"]
    theirs = api_of(charlie).post("/api/v1/files/", {"file": sent(*cell("wbc"))}, format="multipart").json()
    stolen = {"model": str(version.model_id), "record": {**FIELDS, "film": theirs["id"]}}
    answer = api_of(bob).post("/api/v1/diagnoses/", stolen, format="json")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "record.film"
    assert api_of(bob).get(f"/api/v1/files/{theirs['id']}/").status_code == 404
    assert not Diagnosis.objects.exists()


def asked(person: Any, client_of: Any, version: Any, name: str, content: bytes, **more: Any) -> Any:
    """The filled form, sent with a file."""
    client, address = client_of(person), reverse("inference:form", args=[version.model_id])
    page = client.get(address).content.decode()
    assert 'enctype="multipart/form-data"' in page
    assert 'type="file"' in page
    columns = [c["name"] for c in version.schema["columns"] if c["role"] == "feature"]
    fields = {f"c{columns.index(n)}": v for n, v in {**FIELDS, "film": sent(name, content)}.items()}
    return client.post(address, {"token": "t1", "patient": "P-77", **fields, **more})


def test_form_result_reasons_and_review(bob: Any, charlie: Any, client_of: Any, version: Any, cell: Any) -> None:
    name, content = cell("wbc")
    answer = asked(bob, client_of, version, name, content)
    assert answer.status_code == 302, answer.content.decode()[-3000:]
    again = asked(bob, client_of, version, name, content)
    assert again.url == answer.url  # the same form is the same diagnosis
    row = Diagnosis.objects.get()
    page = client_of(bob).get(answer.url).content.decode()
    pointer = row.files.get()
    plain, drawn = (reverse("inference:picture", args=[row.pk, pointer.pk, size]) for size in ("page", "reasons"))
    assert f'src="{plain}"' in page and f'src="{drawn}"' in page
    assert name in page
    assert "wbc" in page and ("Spoke for “wbc”" in page or "Spoke against “wbc”" in page)
    for address in (plain, drawn):
        picture = client_of(bob).get(address)
        assert picture.status_code == 200
        assert picture["Cache-Control"] == "no-store, private"
        assert picture["Content-Type"] == "image/png"
        assert Image.open(io.BytesIO(picture.content)).width > 90
        assert client_of(charlie).get(address).status_code == 404
        assert client_of().get(address).status_code == 302
    assert client_of(bob).get(plain).content != client_of(bob).get(drawn).content
    before = Record.objects.count()
    review(actor=actor(bob), diagnosis=row, verdict="confirmed")
    record = Record.objects.get(source="review")
    assert Record.objects.count() == before + 1
    assert record.values["film"] == hashlib.sha256(content).hexdigest()
    assert (record.target, record.patient_key) == ("wbc", "P-77")
    own = record.files.get()
    assert (own.column, own.name, own.file) == ("film", name, pointer.file)
    look = client_of(bob).get(reverse("datasets:record", args=[record.dataset_id, record.pk])).content.decode()
    shown = reverse("datasets:record_picture", args=[record.dataset_id, record.pk, own.pk, "page"])
    assert f'src="{shown}"' in look
    assert client_of(bob).get(shown).content == client_of(bob).get(plain).content
    assert client_of(charlie).get(shown).status_code == 404


def test_form_says_at_its_field_what_is_wrong_with_a_file(bob: Any, client_of: Any, version: Any) -> None:
    answer = asked(bob, client_of, version, "film.png", b"MZ program")
    assert answer.status_code == 400
    assert "This is a program" in answer.content.decode()
    assert not Diagnosis.objects.exists() and not CellFile.objects.filter(name="film.png").exists()


def test_erasing_the_patient_deletes_the_files_of_diagnoses(
    alice: Any, bob: Any, client_of: Any, version: Any, cell: Any
) -> None:
    from datasets.cells.pictures import folder_of
    from datasets.erasure import erase_patient

    name, content = cell("wbc")
    asked(bob, client_of, version, name, content)
    row = Diagnosis.objects.get()
    pointer = row.files.get()
    client_of(bob).get(reverse("inference:picture", args=[row.pk, pointer.pk, "page"]))
    rendered = folder_of(row.organisation_id, pointer.file.sha256)
    assert rendered.is_dir()
    review(actor=actor(bob), diagnosis=row, verdict="confirmed")
    with TestCase.captureOnCommitCallbacks(execute=True):
        erase_patient(actor=actor(alice), dataset=version.model.dataset, patient_key="P-77", reason="asked for")
    row.refresh_from_db()
    assert row.erased_at is not None
    assert not DiagnosisFile.objects.exists()
    assert not default_storage.exists(pointer.file.path)
    assert not rendered.exists()
    assert not CellFile.objects.filter(file__sha256=hashlib.sha256(content).hexdigest()).exists()


def test_lists_of_records_show_thumbnails_in_as_many_queries_as_before(
    bob: Any, client_of: Any, version: Any
) -> None:
    client = client_of(bob)
    address = reverse("datasets:records", args=[version.model.dataset_id])
    client.get(address)
    with CaptureQueriesContext(connection) as few:
        page = client.get(f"{address}?patient=BloodImage_0000").content.decode()
    assert 0 < page.count('class="cell-thumb"') < 10
    with CaptureQueriesContext(connection) as many:
        page = client.get(address).content.decode()
    assert page.count('class="cell-thumb"') == 50
    assert len(many) <= len(few)
    thumb = page.split('class="cell-thumb"')[0].rsplit('src="', 1)[1].split('"')[0]
    picture = Image.open(io.BytesIO(client.get(thumb).content))
    assert max(picture.size) == 96
