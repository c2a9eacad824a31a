"""A table that names series by the hospital's UIDs: labels join what has arrived, and what has not is not lost."""

import csv
from typing import Any

import pytest
from django.core.files.storage import default_storage

from datasets import intake
from datasets.arrivals import services as arrivals
from datasets.arrivals.models import ArrivedFile
from datasets.cells import notes
from datasets.cells.models import CellFile
from datasets.dicom.models import PatientKey
from datasets.importing import services
from datasets.importing.models import Importer
from datasets.models import Record, StoredFile, Upload
from datasets.receiving.models import DicomInstance
from tests.conftest import actor
from tests.datasets.importing.core.conftest import Visits, mapped, ran
from tests.datasets.joining.conftest import Run, imported, mr, table, time_passes

pytestmark = pytest.mark.django_db
A, B, C, GONE = (f"1.2.826.0.1.3680043.8.498.{n}" for n in (501, 502, 503, 599))


def refusals(upload: Upload) -> dict[str, str]:
    """Row → reason."""
    assert upload.refused_file is not None
    with default_storage.open(upload.refused_file.path) as stream:
        rows = csv.reader(stream.read().decode("utf-8-sig").splitlines())
        return {row[1]: row[3] for row in rows}


def test_table_of_the_hospitals_uids_joins_labels_with_what_has_arrived(
    stow: Any, dana: Any, charlie: Any, organisation: Any, run_jobs: Run
) -> None:
    held = mr(uid=C, count=4)
    held[1].BurnedInAnnotation = "YES"
    with_a_gap = mr("coronal", uid=B, patient="MRN-2", count=6)
    del with_a_gap[3]
    stow(*mr(uid=A, count=4, StudyInstanceUID="1.2.826.0.1.3680043.8.498.700"), *with_a_gap[2:], *held)
    stow(*with_a_gap[:2])
    time_passes(organisation)
    replaced = DicomInstance.objects.filter(modality="MR").order_by("pk")[0].series
    rows = [
        ["series", "diagnosis", "mrn"], [A, "ill", "1"], [f"urn:oid:{B}", "well", "2"], [C, "ill", "3"], [GONE, "well", "4"],
        [replaced, "well", "5"], [f"{A}.2", "ill", "6"], ["1.2.826.0.1.3680043.8.498.700", "ill", "7"], ["nonsense", "ill", "8"],
    ]  # fmt: skip
    upload = intake.receive(actor=actor(dana), file=table(rows), name="labels.csv")
    column = upload.preview["columns"][0]
    assert column["kind"] == "category", "one of eight cells is no UID"
    rows[-1][0] = GONE
    upload = intake.receive(actor=actor(dana), file=table(rows), name="labels.csv")
    column = upload.preview["columns"][0]
    assert (column["kind"], column["role"]) == ("volume", "feature")
    said = " ".join(w["message"] for w in column["warnings"])
    assert "4 of the DICOM UIDs looked at name series or images" in said and "2 name nothing that is there as a whole" in said
    upload = imported(dana, rows, run_jobs)
    assert (upload.rows_added, upload.rows_refused) == (5, 3), upload.report
    reasons = refusals(upload)
    assert "images of this series are in quarantine (1)" in reasons["4"]
    assert GONE in reasons["5"] and "has arrived: send its images. Then import this table again" in reasons["5"]
    records = {r.values["mrn"]: r for r in Record.objects.all()}
    of_a = records[1].values["series"]
    assert {records[n].values["series"] for n in (5, 6, 7)} == {of_a} and records[2].values["series"] != of_a
    assert CellFile.objects.filter(form="dicom-series").count() == 2
    noted = CellFile.objects.get(file__sha256=records[2].values["series"])
    assert notes.texts(noted.notes)[0].startswith("Slices that seem to be missing: 1.")
    pseudonyms = set(CellFile.objects.values_list("pseudonym", flat=True))
    assert pseudonyms == set(DicomInstance.objects.values_list("patient_id", flat=True))
    assert PatientKey.objects.count() == 2, "no pseudonym of a pseudonym"
    before = StoredFile.objects.count()
    again = imported(dana, rows[:2], run_jobs)
    assert again.rows_added == 1 and StoredFile.objects.count() == before + 1, "only the table itself"
    elsewhere = imported(charlie, rows[:2], run_jobs, [{"name": "series", "kind": "volume", "role": "feature"}])
    assert (elsewhere.rows_added, elsewhere.rows_refused) == (0, 1) and "has arrived" in refusals(elsewhere)["2"]


def test_single_images_are_the_stored_files_themselves(stow: Any, dana: Any, organisation: Any, run_jobs: Run) -> None:
    stow(*mr(uid=A, count=4), *mr(uid=B, count=1, patient="MRN-2"))
    time_passes(organisation)
    rows = [["picture", "label"], [f"{A}.1", "x"], [f"{A}.3", "y"], [B, "x"], [A, "y"]]
    before = StoredFile.objects.count()
    upload = imported(dana, rows, run_jobs, [{"name": "picture", "kind": "image"}])
    assert (upload.rows_added, upload.rows_refused) == (3, 1)
    assert "this is a series of 4 images: make the column one of volumes" in refusals(upload)["5"]
    own = DicomInstance.objects.values_list("file__sha256", flat=True)
    assert {r.values["picture"] for r in Record.objects.all()} <= set(own)
    assert StoredFile.objects.count() == before + 2, "the table and its report"
    assert set(CellFile.objects.values_list("kind", "form")) == {("image", "dicom")}


def test_cell_may_be_the_hash_of_a_stored_file(stow: Any, dana: Any, organisation: Any, run_jobs: Run) -> None:
    stow(*mr(uid=A, count=4))
    time_passes(organisation)
    imported(dana, [["series", "label"], [A, "x"]], run_jobs)
    sha256 = Record.objects.get().values["series"]
    rows = [["scan", "label"], [sha256, "y"], ["0" * 64, "x"]]
    upload = intake.receive(actor=actor(dana), file=table(rows), name="hashes.csv", dataset=None)
    chosen = [{"name": "scan", "kind": "volume", "role": "feature"}]
    intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="Hashes", columns=chosen)
    run_jobs()
    upload.refresh_from_db()
    assert (upload.rows_added, upload.rows_refused) == (1, 1)
    assert Record.objects.latest("pk").files.get().file.sha256 == sha256
    assert "no file with this SHA-256" in refusals(upload)["3"]


@pytest.fixture
def labels(visits: Visits, alice: Any, stow: Any, organisation: Any, run_jobs: Run) -> Importer:
    """An importer of a hospital's database that names series: A has arrived, B and C have not."""
    stow(*mr(uid=A, patient="MRN-A"))
    time_passes(organisation)
    visits.database.run("DELETE FROM visits")
    visits.add(("p1", A, "ill"), ("p2", B, "well"), ("p3", C, "ill"))
    row = visits.importer(alice)
    columns = {"id": {"include": False}, "mrn": {"role": "patient"}, "diagnosis": {"role": "target"}}
    return mapped(actor(alice), row, run_jobs, columns)


def test_rows_that_come_before_their_images_are_tried_again(
    labels: Importer, stow: Any, alice: Any, organisation: Any, run_jobs: Run, client_of: Any
) -> None:
    assert {c["name"]: c["kind"] for c in labels.options["columns"]}["age"] == "volume"
    run = ran(labels, actor(alice), run_jobs)
    assert (run.state, run.rows_added, run.rows_refused) == ("done", 1, 2)
    upload = run.deliveries.get().upload
    assert upload.report["late"] == [3, 4] and "tried again by each run of its importer" in refusals(upload)["3"]
    page = client_of(alice).get(f"/datasets/importers/{labels.pk}/").content.decode()
    assert "Rows that wait for their images" in page
    assert ran(labels, actor(alice), run_jobs).state == "nothing"
    stow(*mr("coronal", uid=B, patient="MRN-B"))
    assert ran(labels, actor(alice), run_jobs).rows_added == 0, "its last image has just come"
    time_passes(organisation)
    run = ran(labels, actor(alice), run_jobs)
    assert (run.state, run.rows_added, run.rows_refused) == ("done", 1, 0)
    upload.refresh_from_db()
    assert upload.report["late"] == [4]
    assert list(Record.objects.order_by("pk").values_list("patient_key", "target")) == [("p1", "ill"), ("p2", "well")]
    # A slice in quarantine: late until a person has looked, then tried again.
    slices = mr("sagittal", uid=C, patient="MRN-C")
    slices[0].BurnedInAnnotation = "YES"
    stow(*slices)
    time_passes(organisation)
    assert ran(labels, actor(alice), run_jobs).rows_added == 0
    arrivals.discard(actor=actor(alice), files=[ArrivedFile.objects.get(outcome="quarantined")])
    assert ran(labels, actor(alice), run_jobs).rows_added == 1
    upload.refresh_from_db()
    assert "late" not in upload.report and Record.objects.count() == 3
    assert ran(labels, actor(alice), run_jobs).state == "nothing"


def test_erasing_by_the_hospitals_number_takes_the_arrived_images_and_forgets_no_other_row(
    labels: Importer, stow: Any, alice: Any, organisation: Any, run_jobs: Run, django_capture_on_commit_callbacks: Any
) -> None:
    from datasets.erasure import erase_patient, preview_erasure
    from datasets.receiving.erasing import received_of

    ran(labels, actor(alice), run_jobs)
    record = Record.objects.get()
    pseudonym = record.files.get().file.cell.pseudonym
    assert [d.pk for d in received_of(organisation, pseudonym).datasets] == [record.dataset_id]
    told = {str(label): count for label, count in preview_erasure(dataset=record.dataset, patient_key="p1").others}
    assert told["stored DICOM instances of the patient's cells"] == 5
    with django_capture_on_commit_callbacks(execute=True):
        erase_patient(actor=actor(alice), dataset=record.dataset, patient_key="p1", reason="asked for it")
    assert not DicomInstance.objects.exists() and not CellFile.objects.exists() and not PatientKey.objects.exists()
    stow(*mr("coronal", uid=B, patient="MRN-B"))
    time_passes(organisation)
    run = ran(labels, actor(alice), run_jobs)
    assert (run.rows_added, run.rows_erased, run.rows_refused) == (1, 1, 1)
    assert list(Record.objects.values_list("patient_key", flat=True)) == ["p2"]


def test_changed_importer_keeps_what_waits(labels: Importer, visits: Visits, alice: Any, run_jobs: Run) -> None:
    from datasets.importing import late

    ran(labels, actor(alice), run_jobs)
    assert late.count(labels) == 2
    labels.refresh_from_db()
    services.change_importer(
        actor=actor(alice), importer=labels, name="W", settings=visits.settings(), treatment="rows", dataset=labels.dataset
    )
    assert late.count(labels) == 2
