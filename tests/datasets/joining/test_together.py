"""One patient has one name in a data set, and one series one record: whichever way they come."""

from typing import Any

import pytest

from datasets import intake, patient_names
from datasets.importing import services
from datasets.importing.models import Importer
from datasets.models import Dataset, Record, Upload
from datasets.quality import look
from datasets.records import RecordRefused, add_records
from datasets.splitting import split_for
from tests.conftest import actor
from tests.datasets.importing.core.conftest import mapped, ran
from tests.datasets.joining.conftest import Run, imported, mr, of_received, table, time_passes
from tests.datasets.joining.test_naming import refusals

pytestmark = pytest.mark.django_db
A, B, C = (f"1.2.826.0.1.3680043.8.498.{n}" for n in (801, 802, 803))
BY_PLANE = {"plane": {"role": "target"}}


@pytest.fixture
def arrived(stow: Any, organisation: Any) -> None:
    """Three series of three patients, an hour ago."""
    stow(*mr("axial", 2, uid=A), *mr("coronal", 2, uid=B, patient="MRN-2"), *mr("sagittal", 2, uid=C, patient="MRN-3"))
    time_passes(organisation)


def more(who: Any, dataset: Dataset, rows: list[list[str]], run_jobs: Run, **column: Any) -> Upload:
    upload = intake.receive(actor=actor(who), file=table(rows), name="more.csv", dataset=dataset)
    intake.confirm(actor=actor(who), upload=upload, columns=[column] if column else [])
    run_jobs()
    upload.refresh_from_db()
    return upload


def received_into(who: Any, dataset: Dataset, run_jobs: Run) -> Importer:
    """An importer of received DICOM, looked at."""
    given = {"modality": "", "body_part": "", "receiver": "", "least": 1, "quiet_minutes": 10}
    name = f"Into {dataset.name}"
    row = services.add_importer(
        actor=actor(who), name=name, kind="received", settings=given, treatment="rows", dataset=dataset, zone="UTC"
    )
    run_jobs()
    row.refresh_from_db()
    return row


def test_pseudonyms_and_hospital_numbers_do_not_meet_in_one_data_set(
    arrived: None, alice: Any, dana: Any, api_of: Any, client_of: Any, run_jobs: Run
) -> None:
    row = mapped(actor(alice), of_received(alice), run_jobs, BY_PLANE)
    assert ran(row, actor(alice), run_jobs).rows_added == 3
    row.refresh_from_db()
    dataset = row.dataset
    assert dataset is not None and patient_names.way_in(dataset) == "pseudonym"
    pseudonym = Record.objects.values_list("patient_key", flat=True)[0]
    # The patient's number in the hospital would be dealt by itself, whatever side the pseudonym is on.
    numbers = [f"MRN-{n}" for n in range(1, 60)]
    assert {split_for(dataset, number) for number in numbers} == {"train", "test"}
    rows = [["patient", "plane"], ["MRN-1", "axial"], [pseudonym, "coronal"], ["", "sagittal"]]
    upload = intake.receive(actor=actor(dana), file=table(rows), name="more.csv", dataset=dataset)
    assert "patients_named_otherwise" in [w["code"] for w in upload.preview["warnings"]]
    upload = more(dana, dataset, rows, run_jobs)
    assert (upload.rows_added, upload.rows_refused) == (2, 1)
    assert refusals(upload)["2"].startswith("this data set calls its patients by the pseudonyms")
    assert "MRN-1" not in refusals(upload)["2"]
    with pytest.raises(RecordRefused) as refused:
        given = [{"patient": pseudonym, "plane": "x"}, {"patient": "MRN-2", "plane": "x"}]
        add_records(actor=actor(dana), dataset=dataset, rows=given, source="api")
    assert refused.value.index == 1 and list(refused.value.errors) == ["patient"]
    answer = api_of(dana).post(f"/api/v1/datasets/{dataset.pk}/records/", {"values": given[1]}, format="json")
    assert answer.status_code == 400 and "locked test" in str(answer.json())
    assert not patient_names.both_ways(dataset) and not look(dataset)["two_names"]


def test_importer_of_received_dicom_refuses_a_data_set_of_hospital_numbers(
    arrived: None, alice: Any, dana: Any, api_of: Any, client_of: Any, run_jobs: Run
) -> None:
    upload = imported(dana, [["patient", "plane"], ["MRN-1", "axial"], ["MRN-9", "coronal"]], run_jobs)
    dataset = upload.dataset
    assert dataset is not None
    assert {c.name: c.role for c in dataset.columns.all()}["patient"] == "patient"
    row = received_into(alice, dataset, run_jobs)
    page = client_of(alice).get(f"/datasets/importers/{row.pk}/look/").content.decode()
    assert 'role="alert">“Set' in page and "could be in training and in the locked test" in page
    alice.language = "zh-hans"
    alice.save()
    assert "锁定测试" in client_of(alice).get(f"/datasets/importers/{row.pk}/look/").content.decode()
    alice.language = ""
    alice.save()
    assert "other numbers than the pseudonyms" in api_of(alice).get(f"/api/v1/importers/{row.pk}/preview/").json()["notes"][0]
    with pytest.raises(services.ImporterRefused) as refused:
        services.confirm_mapping(actor=actor(alice), importer=row)
    assert refused.value.code == "patients_named_otherwise"
    # A mapping that was confirmed while the data set was empty.
    other = imported(dana, [["patient", "plane"], ["", "axial"]], run_jobs, [{"name": "patient", "role": "patient"}]).dataset
    assert other is not None
    late = received_into(alice, other, run_jobs)
    services.confirm_mapping(actor=actor(alice), importer=late, columns=[{"name": "plane", "role": "target"}])
    more(dana, other, [["patient", "plane"], ["MRN-1", "axial"]], run_jobs)
    run = ran(late, actor(alice), run_jobs)
    assert (run.state, run.error_code, run.rows_added) == ("failed", "patients_named_otherwise", 0)


def test_first_row_of_a_new_data_set_says_how_patients_are_named(dana: Any, run_jobs: Run) -> None:
    rows = [["patient", "sign"], ["0017", "x"], ["PABCDEFGHIJKLMNOP", "y"], ["PABCDEFGHIJKLMNO1", "y"]]
    upload = imported(dana, rows, run_jobs)
    assert (upload.rows_added, upload.rows_refused) == (2, 1) and list(refusals(upload)) == ["row", "3"]


def test_data_set_that_was_filled_both_ways_before_does_not_train(
    dana: Any, run_jobs: Run, client_of: Any
) -> None:
    from training.errors import RunRefused
    from training.services import start_run

    rows = [["patient", "age", "sign"], *([f"M{n}", str(n), "xy"[n % 2]] for n in range(60))]
    dataset = imported(dana, rows, run_jobs, [{"name": "sign", "role": "target"}]).dataset
    assert dataset is not None and not look(dataset)["two_names"]
    Record.objects.filter(dataset=dataset, patient_key="M7").update(patient_key="PABCDEFGHIJKLMNOP")
    assert look(dataset)["two_names"]
    page = client_of(dana).get(f"/datasets/{dataset.pk}/quality/").content.decode()
    assert "finding-danger" in page and "nothing is trained on this data set" in page
    with pytest.raises(RunRefused) as refused:
        start_run(actor=actor(dana), dataset=dataset, target="sign")
    assert [p["code"] for p in refused.value.problems if p["severity"] == "error"] == ["patient_two_names"]


def test_one_series_has_one_record_whether_a_table_or_an_importer_comes_first(
    arrived: None, alice: Any, dana: Any, client_of: Any, run_jobs: Run
) -> None:
    row = mapped(actor(alice), of_received(alice), run_jobs, BY_PLANE | {"patient": {"include": False}})
    assert ran(row, actor(alice), run_jobs).rows_added == 3
    row.refresh_from_db()
    assert row.dataset is not None
    upload = more(dana, row.dataset, [["series", "plane"], [A, "ill"], [B, "well"]], run_jobs)
    assert (upload.rows_added, upload.rows_refused) == (0, 2)
    assert refusals(upload)["2"].startswith("an importer of received DICOM has made a record of this series")
    services.remove_importer(actor=actor(alice), importer=row)
    assert more(dana, row.dataset, [["series", "plane"], [C, "ill"]], run_jobs).rows_refused == 1

    labels = imported(dana, [["series", "plane"], [A, "ill"], [B, "well"], [A, "both"]], run_jobs)
    assert labels.rows_added == 3, "a table may name a series twice: two findings in it"
    assert labels.dataset is not None
    beside = received_into(alice, labels.dataset, run_jobs)
    page = client_of(alice).get(f"/datasets/importers/{beside.pk}/look/").content.decode()
    assert "no importer of received DICOM is needed beside it" in page
    kept = {c["name"] for c in beside.look["preview"]["columns"]} - {"series", "plane"}
    given = [{"name": name, "include": False} for name in kept]
    services.confirm_mapping(actor=actor(alice), importer=beside, columns=given)
    run = ran(beside, actor(alice), run_jobs)
    assert (run.rows_added, run.rows_refused) == (1, 2)
    page = client_of(alice).get(f"/datasets/importers/{beside.pk}/runs/{run.pk}/").content.decode()
    assert "this data set already has a record of this series" in page


def test_patients_on_both_sides_are_told_by_their_images(
    stow: Any, organisation: Any, dana: Any, run_jobs: Run, client_of: Any
) -> None:
    uids = [f"1.2.826.0.1.3680043.8.498.{900 + n}" for n in range(8)]
    images = [image for n, uid in enumerate(uids) for image in mr("axial", 1, uid=uid, patient=f"MRN-{n % 2}")]
    stow(*images)
    time_passes(organisation)
    upload = imported(dana, [["picture", "label"], *([uid, "xy"[n % 2]] for n, uid in enumerate(uids))], run_jobs,
                      [{"name": "picture", "kind": "image"}])  # fmt: skip
    dataset = upload.dataset
    assert dataset is not None and upload.rows_added == 8
    for record in dataset.records.order_by("pk")[:4]:
        Record.objects.filter(pk=record.pk).update(split="test")
    Record.objects.filter(pk__in=dataset.records.order_by("pk").values("pk")[4:]).update(split="train")
    assert patient_names.on_both_sides(dataset) == 2
    page = client_of(dana).get(f"/datasets/{dataset.pk}/quality/").content.decode()
    assert "2 patients, told by the pseudonyms of their images, have records both in training" in page
    Record.objects.filter(dataset=dataset).update(split="train")
    assert patient_names.on_both_sides(dataset) == 0
