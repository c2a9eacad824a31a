"""The way of a file: received, previewed, confirmed, imported; again, appended, refused, cancelled."""

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.models import AuditEvent, IdempotencyKey
from datasets import intake, records
from datasets.models import Column, Dataset, Record, Upload
from datasets.signals import records_added
from jobs.models import Job
from tests.conftest import actor

TABLE = b"""mrn,age,sex,seen,note,outcome
1,63,male,2024-01-05,cough,ill
2,41,female,2024-02-06,,healthy
3,55,male,2024-03-07,fever,ill
"""


def received(person: Any, content: bytes, name: str = "visit.csv", dataset: Any = None) -> Upload:
    return intake.receive(actor=actor(person), file=io.BytesIO(content), name=name, dataset=dataset)


def imported(person: Any, run_jobs: Any, content: bytes, **more: Any) -> Upload:
    upload = received(person, content, dataset=more.pop("dataset", None))
    more.setdefault("new_dataset_name", f"Data {upload.pk}")
    job = intake.confirm(actor=actor(person), upload=upload, **more)
    run_jobs()
    upload.refresh_from_db()
    job.refresh_from_db()
    assert job.is_terminal, job.error_engineer
    return upload


def values(upload: Upload) -> list[dict[str, Any]]:
    return list(Record.objects.filter(upload=upload).order_by("row_number").values_list("values", flat=True))


def test_file_becomes_records(dana: Any, run_jobs: Any) -> None:
    upload = imported(dana, run_jobs, TABLE)
    assert (upload.state, upload.rows_read, upload.rows_added, upload.rows_refused) == ("imported", 3, 3, 0)
    assert values(upload)[1] == {
        "mrn": 2,
        "age": 41,
        "sex": "female",
        "seen": "2024-02-06",
        "note": None,
        "outcome": "healthy",
    }
    first = Record.objects.get(upload=upload, row_number=2)
    assert (first.patient_key, first.target, first.source) == ("1", "ill", "upload")
    assert upload.dataset is not None
    assert upload.dataset.record_count == 3
    assert upload.dataset.test_count == Record.objects.filter(upload=upload, split="test").count()
    assert list(AuditEvent.objects.filter(action__startswith="upload.").order_by("pk").values_list("action", flat=True)) == [
        "upload.received", "upload.confirmed", "upload.imported",
    ]  # fmt: skip


def test_bulk_import_equals_single_records(dana: Any, run_jobs: Any) -> None:
    upload = imported(dana, run_jobs, TABLE)
    dataset = upload.dataset
    assert dataset is not None
    for row in Record.objects.filter(upload=upload):
        columns = list(dataset.columns.all())
        built = records.build(dataset, columns, records.validate(columns, row.values), source="upload")
        assert (built.row_hash, built.split, built.patient_key, built.target) == (
            row.row_hash,
            row.split,
            row.patient_key,
            row.target,
        )
        assert records.add_record(actor=actor(dana), dataset=dataset, values=row.values, source="api") == (
            row,
            False,
        )


def test_same_rows_again_change_nothing(dana: Any, run_jobs: Any) -> None:
    first = imported(dana, run_jobs, TABLE)
    again = imported(dana, run_jobs, TABLE, dataset=first.dataset)
    assert (again.rows_added, again.rows_duplicate) == (0, 3)
    assert again.report["duplicates_in_dataset"] == 3
    assert Dataset.objects.get().record_count == 3


def test_second_identical_row_in_a_file_is_reported_as_duplicate(dana: Any, run_jobs: Any) -> None:
    upload = imported(dana, run_jobs, b"a,b\n1,x\n2,y\n1,x\n")
    assert (upload.rows_added, upload.rows_duplicate) == (2, 1)
    assert (upload.report["duplicates_in_file"], upload.report["duplicate_rows"]) == (1, [4])


def test_second_click_returns_the_same_job(dana: Any, run_jobs: Any) -> None:
    upload = received(dana, TABLE)
    one = intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="A")
    two = intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="B")
    run_jobs()
    three = intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="C")
    assert one == two == three
    assert Job.objects.count() == Dataset.objects.count() == 1
    assert Record.objects.count() == 3


def test_later_upload_is_matched_by_name_and_tells_what_changed(dana: Any, run_jobs: Any) -> None:
    dataset = imported(dana, run_jobs, TABLE).dataset
    upload = received(dana, b"Outcome,mrn,age,crp\nill,9,old,1.5\nill,8,older,2\n", dataset=dataset)
    changes = upload.preview["changes"]
    assert changes["new"] == ["crp"]
    assert changes["missing"] == ["sex", "seen", "note"]
    assert changes["changed"] == [{"name": "age", "kind": "number", "found": "category"}]
    intake.discard(actor=actor(dana), upload=upload)
    upload = imported(dana, run_jobs, b"outcome,mrn,age,crp\nill,9,70,1.5\n", dataset=dataset)
    assert values(upload) == [
        {"mrn": 9, "age": 70, "sex": None, "seen": None, "note": None, "outcome": "ill"}
    ]
    accepted = [{"name": "crp", "include": True}]
    upload = imported(
        dana, run_jobs, b"outcome,mrn,age,crp\nill,10,70,1.5\n", dataset=dataset, columns=accepted
    )
    assert values(upload)[0]["crp"] == 1.5
    assert list(Column.objects.filter(dataset=dataset).values_list("name", flat=True))[-1] == "crp"


def test_bad_rows_are_refused_with_row_column_and_reason(dana: Any, run_jobs: Any) -> None:
    rows = "".join(f"{i},{20 + i % 50},2020-01-01\n" for i in range(60))
    content = f"id,age,seen\n{rows}70,=cmd,2020-01-01\n71,-4,2020-01-02\n72,33,2999-01-01\n73,44\n74,inf,2020-01-01\n"
    upload = imported(dana, run_jobs, content.encode())
    assert (upload.rows_added, upload.rows_refused, upload.state) == (60, 5, "imported")
    assert upload.refused_file is not None
    with default_storage.open(upload.refused_file.path) as stream:
        lines = stream.read().decode("utf-8-sig").splitlines()
    assert lines[0] == "file,row,column,reason"
    assert [line.split(",")[:3] for line in lines[1:]] == [
        ["visit.csv", "62", "age"], ["visit.csv", "63", "age"], ["visit.csv", "64", "seen"],
        ["visit.csv", "65", ""], ["visit.csv", "66", "age"],
    ]  # fmt: skip
    assert (
        "is not a number" in lines[1]
        and "below the least possible" in lines[2]
        and "in the future" in lines[3]
    )


def test_stray_zero_refuses_its_row_with_the_reason(dana: Any, run_jobs: Any) -> None:
    upload = imported(dana, run_jobs, b"mrn,note\n1,co\x00ugh\n2,fever\n")
    assert (upload.rows_added, upload.rows_refused) == (1, 1)
    assert upload.refused_file is not None
    with default_storage.open(upload.refused_file.path) as stream:
        line = stream.read().decode("utf-8-sig").splitlines()[1]
    assert line == "visit.csv,2,note,contains a character that cannot be stored"


def test_all_or_nothing_imports_nothing_when_a_row_is_refused(dana: Any, run_jobs: Any) -> None:
    upload = imported(dana, run_jobs, TABLE + b"4,x\n", keep_good_rows=False)
    assert (upload.state, upload.rows_added, upload.rows_refused) == ("failed", 0, 1)
    assert upload.refused_file is not None and upload.job is not None
    assert "nothing was imported" in upload.job.error_person
    assert Record.objects.count() == 0 and Dataset.objects.get().record_count == 0


def test_cancelled_import_takes_its_rows_out_again(dana: Any, run_jobs: Any, monkeypatch: Any) -> None:
    from datasets.importers import run as module
    from jobs.services import cancel

    kept = imported(dana, run_jobs, TABLE)
    upload = received(
        dana, b"mrn,age\n" + b"".join(b"%d,%d\n" % (i, i % 90) for i in range(3000)), dataset=kept.dataset
    )
    job = intake.confirm(actor=actor(dana), upload=upload)
    monkeypatch.setattr(module, "BATCH", 500)
    original = module.Import._record

    def record_then_cancel(self: Any, *args: Any) -> None:
        original(self, *args)
        if self.upload.rows_added == 1000:
            cancel(actor=actor(dana), job=Job.objects.get(pk=job.pk))

    monkeypatch.setattr(module.Import, "_record", record_then_cancel)
    run_jobs()
    upload.refresh_from_db()
    assert (upload.state, upload.rows_added, upload.report["removed"]) == ("cancelled", 0, 1000)
    assert Dataset.objects.get().record_count == Record.objects.count() == 3


def test_interrupted_import_resumes_after_its_last_batch(dana: Any, run_jobs: Any, monkeypatch: Any) -> None:
    from datasets.importers import run as module

    monkeypatch.setattr(module, "BATCH", 500)
    body = b"".join(b"%d,%s\n" % (i, b"x" if i % 400 == 7 else b"%d" % (i % 90)) for i in range(3000))
    upload = received(dana, b"mrn,age\n" + body)
    intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="A")
    original, seen = module.Import._record, []

    def record_or_fail(self: Any, batch: Any, *args: Any) -> None:
        original(self, batch, *args)
        seen.append(batch.first)
        if len(seen) == 3:
            raise ConnectionError("the third batch is rolled back")

    monkeypatch.setattr(module.Import, "_record", record_or_fail)
    run_jobs()
    Job.objects.update(not_before=None)
    run_jobs()
    upload.refresh_from_db()
    assert seen == [2, 502, 1002, 1002, 1502, 2002, 2502]
    assert (upload.state, upload.rows_added, upload.rows_refused) == ("imported", 2992, 8)
    assert upload.refused_file is not None
    with default_storage.open(upload.refused_file.path) as stream:
        assert len(stream.read().splitlines()) == 9
    assert Record.objects.values("row_number").distinct().count() == 2992


def test_signal_tells_once_how_many_came_in(dana: Any, run_jobs: Any) -> None:
    heard = []

    def listen(sender: Any, dataset: Any, count: int, **_more: Any) -> None:
        heard.append((dataset.pk, count))

    records_added.connect(listen)
    try:
        upload = imported(dana, run_jobs, TABLE)
        from datasets.tasks import settle_import

        assert upload.job is not None
        settle_import(upload.job)
    finally:
        records_added.disconnect(listen)
    assert heard == [(upload.dataset_id, 3)]


def test_person_corrects_kind_role_and_limits(dana: Any, run_jobs: Any) -> None:
    choices = [
        {"name": "mrn", "role": "ignore", "kind": "category"},
        {"name": "note", "include": False},
        {"name": "age", "maximum": 60, "role": "target"},
        {"name": "outcome", "role": "feature"},
    ]
    upload = imported(dana, run_jobs, TABLE, columns=choices)
    assert upload.rows_refused == 1
    assert values(upload)[0] == {
        "mrn": "2",
        "age": 41,
        "sex": "female",
        "seen": "2024-02-06",
        "outcome": "healthy",
    }
    assert Record.objects.first().target == "55"  # type: ignore[union-attr]


def test_two_targets_are_refused(dana: Any) -> None:
    upload = received(dana, TABLE)
    with pytest.raises(ValidationError, match="Only one column can be the target"):
        intake.confirm(actor=actor(dana), upload=upload, columns=[{"name": "sex", "role": "target"}])
    upload.refresh_from_db()
    assert upload.state == "preview" and Dataset.objects.count() == 0


@pytest.mark.parametrize("pack", ["gzip", "zip"])
def test_packed_file_is_read(dana: Any, run_jobs: Any, pack: str) -> None:
    content = gzip.compress(TABLE) if pack == "gzip" else zipped({"../../etc/a.csv": TABLE})
    upload = imported(dana, run_jobs, content)
    assert upload.rows_added == 3
    assert upload.options["compression"] == pack


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_member_of_a_zip_can_be_chosen(dana: Any) -> None:
    upload = received(dana, zipped({"one.csv": b"a,b\n1,2\n", "two.csv": b"c,d\n3,4\n"}))
    assert upload.preview["members"] == ["one.csv", "two.csv"]
    upload = intake.preview_again(actor=actor(dana), upload=upload, settings={"member": "two.csv"})
    assert [c["name"] for c in upload.preview["columns"]] == ["c", "d"]


def test_same_content_is_stored_once_under_its_hash(dana: Any) -> None:
    one, two = received(dana, TABLE), received(dana, TABLE, name="../../other\x00.csv")
    assert one.file == two.file
    assert one.file.sha256 in one.file.path and "other" not in two.file.path
    assert two.original_name == "other.csv"
    assert Path(default_storage.path(one.file.path)).read_bytes() == TABLE


def test_discarded_file_is_deleted_unless_another_upload_is_of_it(
    dana: Any, api_of: Any, django_capture_on_commit_callbacks: Any
) -> None:
    client = api_of(dana)
    sent = {"file": SimpleUploadedFile("a.csv", TABLE)}
    client.post("/api/v1/uploads/", sent, format="multipart", HTTP_IDEMPOTENCY_KEY="one")
    one, two = Upload.objects.get(), received(dana, TABLE)
    path = one.file.path
    with django_capture_on_commit_callbacks(execute=True):
        intake.discard(actor=actor(dana), upload=one)
    assert default_storage.exists(path) and "cough" not in str(list(IdempotencyKey.objects.values()))
    with django_capture_on_commit_callbacks(execute=True):
        intake.discard(actor=actor(dana), upload=two)
    assert not default_storage.exists(path)
    assert default_storage.exists(received(dana, TABLE).file.path), "the same file can come again"


def test_too_large_file_is_refused_in_words(dana: Any, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 2048
    with pytest.raises(intake.IntakeRefused, match=r"larger than 2\.0 kB"):
        received(dana, b"a,b\n" + b"1,2\n" * 1000)
    assert Upload.objects.count() == 0


def test_no_patient_value_reaches_the_audit_log(dana: Any, run_jobs: Any) -> None:
    imported(dana, run_jobs, TABLE)
    text = json.dumps(list(AuditEvent.objects.values_list("detail", flat=True)))
    assert "cough" not in text and "2024-01-05" not in text


def test_no_file_name_reaches_the_audit_log_or_a_job(dana: Any, run_jobs: Any) -> None:
    """Files are named after patients."""
    upload = received(dana, TABLE, name="Erika Mustermann.csv")
    discarded = received(dana, TABLE + b"4,50,male,,,ill\n", name="Erika Mustermann 2.csv")
    intake.discard(actor=actor(dana), upload=discarded)
    job = intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="Visits")
    run_jobs()
    events = AuditEvent.objects.filter(object_type="upload", object_id=str(upload.pk))
    assert set(events.values_list("object_label", flat=True)) == {f"upload {upload.pk}"}
    job.refresh_from_db()
    assert job.state == "done" and job.title == "Import of an uploaded file"
    assert "Mustermann" not in str(list(AuditEvent.objects.values())) + str(list(Job.objects.values()))
    assert upload.original_name == "Erika Mustermann.csv", "its own page still shows it"
