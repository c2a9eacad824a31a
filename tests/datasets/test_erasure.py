"""Erasing a patient: everything that holds the patient goes, everything else stays, and the log names no one."""

import io
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from accounts.models import AuditEvent, IdempotencyKey
from datasets import erasure, intake, storage
from datasets.erasure import ErasureRefused, erase_patient, preview_erasure
from datasets.models import Dataset, Record, RecordChange, Upload
from datasets.records import add_record, change_label
from datasets.services import create_dataset
from datasets.versions import frame, freeze
from jobs.models import Job
from tests.conftest import actor
from tests.datasets.conftest import COLUMNS
from tests.datasets.tus_calls import TABLE


def upload(dataset: Dataset, content: bytes, **fields: Any) -> Upload:
    return Upload.objects.create(
        organisation=dataset.organisation,
        dataset=dataset,
        file=storage.store(organisation=dataset.organisation, file=io.BytesIO(content)),
        original_name=f"{content.decode()}.csv",
        preview={"columns": [{"name": "mrn", "examples": ["P0008"]}], "rows": [["P0008"]]},
        report={"added": 2, "refused": ["P0008 is wrong"]},
        **({"state": "imported"} | fields),
    )


def erase(dataset: Dataset, who: Any, **options: Any) -> erasure.Preview:
    return erase_patient(
        actor=actor(who), dataset=dataset, **({"patient_key": "P0008", "reason": "asked to"} | options)
    )


def test_records_history_and_counts_go(cancer: Dataset, alice: Any) -> None:
    record = Record.objects.filter(dataset=cancer, patient_key="P0008").first()
    assert record is not None
    change_label(actor=actor(alice), record=record, value="unsure", reason="x")
    done = erase(cancer, alice)
    assert len(done.record_ids) == 2 and done.changes == 1
    assert not Record.objects.filter(patient_key="P0008").exists() and not RecordChange.objects.exists()
    cancer.refresh_from_db()
    assert cancer.record_count == Record.objects.filter(dataset=cancer).count() == 118
    assert cancer.test_count == Record.objects.filter(dataset=cancer, split="test").count()


def test_frozen_versions_are_rewritten_and_the_old_file_is_gone(
    cancer: Dataset, alice: Any, django_capture_on_commit_callbacks: Any
) -> None:
    version = freeze(actor=actor(alice), dataset=cancer)
    assert version.file is not None
    before, old_path, old_hash = frame(version), version.file.path, version.content_hash
    with django_capture_on_commit_callbacks(execute=True):
        erase(cancer, alice)
    version.refresh_from_db()
    after = frame(version)
    assert after.equals(before[before["mrn"] != "P0008"]) and len(after) == 118
    assert (version.erased_count, version.record_count, version.content_hash) == (2, 120, old_hash)
    assert not default_storage.exists(old_path)
    again = freeze(actor=actor(alice), dataset=cancer)
    assert again.pk != version.pk and again.record_count == 118


def test_version_of_only_that_patient_loses_its_file(dana: Any, alice: Any) -> None:
    dataset = create_dataset(actor=actor(dana), name="One", columns=COLUMNS)
    add_record(actor=actor(dana), dataset=dataset, values={"mrn": "P0008"}, source="api")
    version = freeze(actor=actor(dana), dataset=dataset)
    erase(dataset, alice)
    version.refresh_from_db()
    assert version.file is None and version.erased_count == 1


def test_original_files_that_could_hold_the_patient_are_deleted(
    cancer: Dataset, alice: Any, django_capture_on_commit_callbacks: Any
) -> None:
    source = upload(cancer, b"source")
    Record.objects.filter(patient_key="P0008").update(upload=source)
    repeated, waiting = (
        upload(cancer, b"repeated", rows_duplicate=3),
        upload(cancer, b"waiting", state="preview"),
    )
    clean = upload(cancer, b"clean", rows_added=5)
    paths = {u: u.file.path for u in (source, repeated, waiting, clean)}
    with django_capture_on_commit_callbacks(execute=True):
        erase(cancer, alice)
    assert [default_storage.exists(path) for path in paths.values()] == [False, False, False, True]
    for row in (source, repeated, waiting, clean):
        row.refresh_from_db()
    assert "P0008" not in str([source.preview, source.report]) and source.report == {"added": 2}
    assert waiting.state == "discarded" and clean.preview["rows"] == [["P0008"]]
    stored = storage.store(organisation=cancer.organisation, file=io.BytesIO(b"source"))
    assert default_storage.exists(stored.path)  # the same file can come again


def test_nothing_that_is_kept_of_an_upload_quotes_the_patient(
    api_of: Any, alice: Any, run_jobs: Any, django_capture_on_commit_callbacks: Any
) -> None:
    """Neither its preview, nor how it is read, nor its file's name, nor the answer kept for a repeated request."""
    client = api_of(alice)
    content = b"mrn,seen,note\nERIKA,2999-01-01,rare words\nP2,2024-01-01,x\n"
    name = "Erika Mustermann.csv"
    made = client.post(
        "/api/v1/uploads/", {"file": SimpleUploadedFile(name, content)}, format="multipart", HTTP_IDEMPOTENCY_KEY="one"
    ).json()
    future = [{"name": "seen", "future": True}]
    client.post(f"/api/v1/uploads/{made['id']}/confirm/", {"new_dataset_name": "Visits", "columns": future})
    run_jobs()
    row = Upload.objects.get()
    assert row.state == "imported" and "ERIKA" in str(row.preview) + str(list(IdempotencyKey.objects.values()))
    assert row.dataset is not None
    with django_capture_on_commit_callbacks(execute=True):
        erase(row.dataset, alice, patient_key="ERIKA")
    left = str([*Upload.objects.values(), *IdempotencyKey.objects.values(), *Job.objects.values()])
    assert not [word for word in ("ERIKA", "Erika", "rare words", "2999") if word in left]


def test_how_a_file_is_read_is_kept_without_its_cells(dana: Any) -> None:
    waiting = intake.receive(actor=actor(dana), file=io.BytesIO(b"mrn,age\nERIKA,3\nP2,4\n"), name="a.csv")
    intake.confirm(actor=actor(dana), upload=waiting, new_dataset_name="A")
    waiting.refresh_from_db()
    assert "ERIKA" not in str(waiting.options)


def test_file_of_another_dataset_stays_and_is_said(
    cancer: Dataset, alice: Any, django_capture_on_commit_callbacks: Any
) -> None:
    other = create_dataset(actor=actor(alice), name="Other", columns=COLUMNS)
    mine = upload(cancer, b"both", rows_duplicate=1)
    upload(other, b"both")
    assert preview_erasure(dataset=cancer, patient_key="P0008").shared_uploads == [mine]
    with django_capture_on_commit_callbacks(execute=True):
        erase(cancer, alice)
    assert default_storage.exists(mine.file.path)


def test_audit_event_has_a_hash_of_the_key_and_no_patient_data(cancer: Dataset, alice: Any) -> None:
    erase(cancer, alice, reason="P0008 asked on the telephone")
    event = AuditEvent.objects.get(action="patient.erased")
    assert event.detail["patient_hash"] == erasure.key_hash(cancer, "P0008") and event.detail["records"] == 2
    assert "P0008" not in str(event.detail)


def test_apps_above_are_asked_and_told(cancer: Dataset, alice: Any, monkeypatch: Any) -> None:
    class Touch:
        label = "diagnoses"
        erased: list[Any] = []

        def count(self, dataset: Dataset, patient_key: str, record_ids: Any) -> int:
            return 3

        def erase(self, dataset: Dataset, patient_key: str, record_ids: Any) -> int:
            self.erased.append(
                (patient_key, len(record_ids), Record.objects.filter(pk__in=record_ids).count())
            )
            return 3

    monkeypatch.setattr(erasure, "_TOUCHES", [])
    erasure.register(Touch())
    assert preview_erasure(dataset=cancer, patient_key="P0008").others == [("diagnoses", 3)]
    erase(cancer, alice)
    assert Touch.erased == [("P0008", 2, 2)]
    assert AuditEvent.objects.get(action="patient.erased").detail["others"] == {"diagnoses": 3}


def test_nothing_is_erased_without_a_reason_or_a_patient(cancer: Dataset, alice: Any) -> None:
    for options in ({"reason": " "}, {"patient_key": "nobody"}, {"patient_key": ""}):
        with pytest.raises(ErasureRefused):
            erase(cancer, alice, **options)
    assert Record.objects.count() == 120


def test_nothing_is_erased_while_an_upload_comes_in(cancer: Dataset, alice: Any) -> None:
    upload(cancer, b"coming", state="importing")
    with pytest.raises(ErasureRefused, match="being imported"):
        erase(cancer, alice)
    assert Record.objects.count() == 120


def test_record_without_a_patient_is_its_own_patient(dana: Any, alice: Any) -> None:
    dataset = create_dataset(actor=actor(dana), name="Nameless", columns=COLUMNS[1:])
    for radius in (1, 2):
        add_record(actor=actor(dana), dataset=dataset, values={"mean radius": radius}, source="api")
    record = Record.objects.filter(dataset=dataset).first()
    erase(dataset, alice, patient_key="", record=record)
    assert Record.objects.filter(dataset=dataset).count() == 1


def test_pages_show_what_goes_before_it_goes(cancer: Dataset, alice: Any, client_of: Any) -> None:
    client, address = client_of(alice), reverse("datasets:erase", args=[cancer.pk])
    assert "No record of this patient" in client.post(address, {"patient": "nobody"}).content.decode()
    preview = client.post(address, {"patient": "P0008"}).content.decode()
    assert "2 records are removed" in preview and Record.objects.count() == 120
    assert client.post(address, {"patient": "P0008", "confirmed": "yes"}).status_code == 200  # no reason
    assert Record.objects.count() == 120
    record = Record.objects.filter(patient_key="P0008").first()
    assert record is not None
    assert "2 records are removed" in client.get(address, {"record": record.pk}).content.decode()
    done = client.post(address, {"patient": "P0008", "confirmed": "yes", "reason": "asked to"})
    assert done.status_code == 302 and Record.objects.count() == 118


def test_clinician_may_not_erase(cancer: Dataset, bob: Any, client_of: Any) -> None:
    address = reverse("datasets:erase", args=[cancer.pk])
    assert (
        client_of(bob).post(address, {"patient": "P0008", "confirmed": "yes", "reason": "x"}).status_code
        == 403
    )
    assert Record.objects.count() == 120


def test_the_transfer_that_an_erased_upload_came_by_forgets_its_name(cancer: Dataset, alice: Any, tus: Any) -> None:
    """The row of a file sent in pieces lives on for days; its name and what the client said of it are often the patient's."""
    from datasets.arrivals.models import Arrival, ArrivedFile
    from datasets.tus.models import Transfer

    assert tus.begin(len(TABLE), TABLE, name="Peter Jones P0008.csv").status_code == 201
    row = Transfer.objects.get()
    assert row.upload is not None and row.metadata and "Peter" in row.name
    arrival = Arrival.objects.create(organisation=cancer.organisation)
    arrived = ArrivedFile.objects.create(arrival=arrival, number=0, name="Peter Jones.csv", upload=row.upload, outcome="imported")
    Upload.objects.filter(pk=row.upload_id).update(dataset=cancer)
    erase(cancer, alice)
    row.refresh_from_db()
    arrived.refresh_from_db()
    assert (row.name, row.metadata, arrived.name) == ("[erased]", "", "[erased]")


def test_a_discarded_upload_takes_the_name_of_its_transfer_with_it(dana: Any, tus: Any) -> None:
    from datasets.tus.models import Transfer

    tus.begin(len(TABLE), TABLE, name="Peter Jones.csv")
    row = Transfer.objects.get()
    assert row.upload is not None
    intake.discard(actor=actor(dana), upload=row.upload)
    row.refresh_from_db()
    assert (row.name, row.metadata) == ("[erased]", "")
