"""DICOM that a cell points to is de-identified before it is kept, whichever way it comes; else nothing is kept."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import override_settings
from pydicom import dcmread
from pydicom.data import get_testdata_file

from datasets.cells import store
from datasets.cells.models import CellFile
from datasets.dicom.models import PatientKey
from datasets.models import StoredFile
from tests.conftest import actor

pytestmark = pytest.mark.django_db
NAME = b"CompressedSamples^CT1"


def slice_of_ct() -> bytes:
    return Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()


def stored(file: StoredFile) -> bytes:
    with default_storage.open(file.path) as content:
        return bytes(content.read())


def test_a_dicom_file_is_kept_without_its_patient(dana: Any) -> None:
    assert NAME in slice_of_ct()
    cell = store.take_in(actor=actor(dana), file=io.BytesIO(slice_of_ct()), name="ct.dcm")
    kept = stored(cell.file)
    assert NAME not in kept and b"1CT1" not in kept
    data = dcmread(io.BytesIO(kept))
    assert data.PatientIdentityRemoved == "YES" and data.pixel_array.shape == (128, 128)
    key = PatientKey.objects.get(organisation=actor(dana).organisation)
    assert data.PatientID == key.pseudonym
    again = store.take_in(actor=actor(dana), file=io.BytesIO(slice_of_ct()), name="ct.dcm")
    assert again.pk == cell.pk and StoredFile.objects.count() == 1  # the same file twice is one
    own = Path(default_storage.path(f"uploads/{actor(dana).organisation.pk}"))
    assert not [path for path in own.rglob("*") if path.is_file() and NAME in path.read_bytes()]


def test_over_rest_a_picture_that_may_show_text_is_refused_with_the_reason(dana: Any, api_of: Any) -> None:
    ultrasound = Path(str(get_testdata_file("examples_palette.dcm"))).read_bytes()
    answer = api_of(dana).post("/api/v1/files/", {"file": SimpleUploadedFile("us.dcm", ultrasound)}, format="multipart")
    assert answer.status_code == 422 and "usually show text" in answer.json()["detail"]
    assert not CellFile.objects.exists() and not StoredFile.objects.exists()
    taken = api_of(dana).post("/api/v1/files/", {"file": SimpleUploadedFile("ct.dcm", slice_of_ct())}, format="multipart")
    assert taken.status_code == 201 and NAME not in stored(StoredFile.objects.get())


@override_settings(PATIENT_KEYS=[])
def test_without_a_key_for_patients_nothing_is_kept(dana: Any) -> None:
    with pytest.raises(store.NotACell) as refused:
        store.take_in(actor=actor(dana), file=io.BytesIO(slice_of_ct()), name="ct.dcm")
    assert refused.value.code == "not_deidentified" and "AIMASS_PATIENT_KEYS" in str(refused.value)
    assert not StoredFile.objects.exists() and not PatientKey.objects.exists()


def scans(dana: Any, run_jobs: Any) -> Any:
    """Two slices of two patients, sent in folders by class, under names that tell who they are."""
    from datasets import intake

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("normal/Jones^Peter.dcm", slice_of_ct())
        archive.writestr("changed/Miller^Anna.dcm", Path(str(get_testdata_file("MR_small.dcm"))).read_bytes())
    packed.seek(0)
    upload = intake.receive(actor=actor(dana), file=packed, name="scans.zip")
    intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="Scans")
    run_jobs()
    upload.refresh_from_db()
    return upload


def test_a_zip_of_dicom_folders_becomes_records_without_patients(dana: Any, run_jobs: Any) -> None:
    upload = scans(dana, run_jobs)
    assert upload.state == "imported" and upload.rows_added == 2, upload.report
    for cell in CellFile.objects.select_related("file"):
        assert NAME not in stored(cell.file) and b"CompressedSamples^MR1" not in stored(cell.file)


def test_the_archive_is_not_kept_and_no_name_of_a_file_is_shown(
    dana: Any, run_jobs: Any, django_capture_on_commit_callbacks: Any
) -> None:
    from datasets.cells.models import RecordFile

    with django_capture_on_commit_callbacks(execute=True):
        upload = scans(dana, run_jobs)
    assert upload.rows_added == 2 and upload.file.path == ""
    names = {*RecordFile.objects.values_list("name", flat=True), *CellFile.objects.values_list("name", flat=True)}
    assert names == {f"{key}.dcm" for key in PatientKey.objects.values_list("pseudonym", flat=True)}
    own = Path(default_storage.path(f"uploads/{upload.organisation_id}"))
    kept = [path for path in own.rglob("*") if path.is_file()]
    assert len(kept) == 2 and not any(NAME in path.read_bytes() for path in kept)


def test_erasing_a_patient_takes_the_key_and_what_an_arrival_kept(
    dana: Any, run_jobs: Any, django_capture_on_commit_callbacks: Any
) -> None:
    from datasets.erasure import erase_patient
    from tests.datasets.arrivals.test_arrivals import send

    upload = scans(dana, run_jobs)
    arrival = send(dana, {"ct": slice_of_ct()})
    run_jobs()
    arrived = arrival.files.get()
    record = upload.dataset.records.get(target="normal")
    assert arrived.file.sha256 in record.values.values()  # the same de-identified content
    pseudonyms = set(PatientKey.objects.values_list("pseudonym", flat=True))
    cell = CellFile.objects.get(file__record_files__record=record)
    path = cell.file.path
    with django_capture_on_commit_callbacks(execute=True):
        erase_patient(actor=actor(dana), dataset=upload.dataset, record=record, reason="asked for")
    assert set(PatientKey.objects.values_list("pseudonym", flat=True)) == pseudonyms - {cell.pseudonym}
    arrived.refresh_from_db()
    assert arrived.file is None and arrived.name == "[erased]"
    assert not default_storage.exists(path) and CellFile.objects.count() == 1


def test_arrived_dicom_is_deidentified_by_the_same_function(dana: Any, run_jobs: Any) -> None:
    from tests.datasets.arrivals.test_arrivals import content, send

    arrival = send(dana, {"ct": slice_of_ct()})
    run_jobs()
    row = arrival.files.get()
    assert row.outcome == "imported" and row.masked["pseudonym"] >= 1 and NAME not in content(row)
