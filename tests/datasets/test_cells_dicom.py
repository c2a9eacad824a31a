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
    assert not [path for path in Path(default_storage.path("uploads")).rglob("*") if path.is_file() and NAME in path.read_bytes()]


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


def test_a_zip_of_dicom_folders_becomes_records_without_patients(dana: Any, run_jobs: Any) -> None:
    from datasets import intake

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("normal/one.dcm", slice_of_ct())
        archive.writestr("changed/two.dcm", Path(str(get_testdata_file("MR_small.dcm"))).read_bytes())
    packed.seek(0)
    upload = intake.receive(actor=actor(dana), file=packed, name="scans.zip")
    intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="Scans")
    run_jobs()
    upload.refresh_from_db()
    assert upload.state == "imported" and upload.rows_added == 2, upload.report
    for cell in CellFile.objects.select_related("file"):
        assert NAME not in stored(cell.file) and b"CompressedSamples^MR1" not in stored(cell.file)


def test_arrived_dicom_is_deidentified_by_the_same_function(dana: Any, run_jobs: Any) -> None:
    from tests.datasets.arrivals.test_arrivals import content, send

    arrival = send(dana, {"ct": slice_of_ct()})
    run_jobs()
    row = arrival.files.get()
    assert row.outcome == "imported" and row.masked["pseudonym"] >= 1 and NAME not in content(row)
