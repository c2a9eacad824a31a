"""An importer of received DICOM: what a scanner sends becomes records with volumes, once, by itself."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from pynetdicom.presentation import build_context

from datasets.arrivals import services as arrivals
from datasets.arrivals.models import ArrivedFile
from datasets.cells.models import CellFile, RecordFile
from datasets.importing import running, services
from datasets.importing.models import Importer, ImporterRun
from datasets.models import Dataset, Record, StoredFile
from datasets.receiving.models import DicomInstance
from engine.volumes import read_volume
from jobs.models import Job, State
from jobs.reaper import reap
from jobs.runner import run_job
from tests.conftest import actor
from tests.datasets.importing.core.conftest import mapped, ran
from tests.datasets.joining.conftest import Run, mr, of_received, time_passes
from tests.datasets.receiving.conftest import Lines

pytestmark = pytest.mark.django_db
ROLES: dict[str, dict[str, Any]] = {"plane": {"role": "target"}}


def counts(run: ImporterRun) -> tuple[str, int, int, int]:
    return run.state, run.rows_added, run.rows_duplicate, run.rows_refused


@pytest.fixture
def planes(stow: Any, alice: Any, organisation: Any, run_jobs: Run) -> Importer:
    """Three series of three patients in three planes have arrived an hour ago; an importer of them is mapped."""
    stow(*mr("axial", 2), *mr("coronal", 2, patient="MRN-2", PatientAge="031Y"), *mr("sagittal", 2, patient="MRN-3"))
    time_passes(organisation)
    return mapped(actor(alice), of_received(alice), run_jobs, ROLES)


def test_what_a_scanner_sends_becomes_records_with_volumes_once(
    lines: Lines, alice: Any, organisation: Any, run_jobs: Run
) -> None:
    images = [*mr("axial"), *mr("coronal", patient="MRN-2")]  # before the call, which ends by itself when nothing is said
    association = lines.call(contexts=[build_context("1.2.840.10008.5.1.4.1.1.4")])
    for image in images:
        assert association.send_c_store(image).Status == 0
    association.release()
    lines.hang_up()
    run_jobs()
    row = of_received(alice, receiver="AIMASS", least=2, modality="MR", body_part="head")
    run_jobs()
    row.refresh_from_db()
    assert row.look["found"] == "2 series have arrived that fit." and row.look["empty"]
    assert row.look["notes"][0].startswith("Series that are still arriving, or whose last image has just come: 2.")
    time_passes(organisation)
    services.submit_look(actor=actor(alice), importer=row)
    mapped(actor(alice), row, run_jobs, ROLES)
    row.refresh_from_db()
    columns = {c["name"]: (c["kind"], c["role"]) for c in row.options["columns"]}
    assert columns["series"] == ("volume", "feature") and columns["patient"][1] == "patient"
    assert columns["plane"] == ("category", "target") and columns["age"][0] == columns["slices"][0] == "number"
    run = ran(row, actor(alice), run_jobs)
    assert counts(run) == ("done", 2, 0, 0) and run.waiting == {}
    dataset = Dataset.objects.get(pk=row.dataset_id)
    assert dataset.record_count == 2 and Record.objects.count() == 2
    for record in dataset.records.all():
        pointer = record.files.get()
        assert record.values["series"] == pointer.file.sha256 and record.values["slices"] == 5 and record.values["age"] == 59
        cell = pointer.file.cell
        assert (cell.kind, cell.form, cell.pseudonym) == ("volume", "dicom-series", record.patient_key)
        with default_storage.open(pointer.file.path) as stored:
            assert b"Quillfeather" not in stored.read()
        assert read_volume(Path(default_storage.path(pointer.file.path))).known
    assert sorted(r.target for r in dataset.records.all()) == ["axial", "coronal"]
    before = StoredFile.objects.count()
    for _time in range(2):
        assert counts(ran(row, actor(alice), run_jobs)) == ("nothing", 0, 0, 0)
    assert StoredFile.objects.count() == before and Record.objects.count() == 2


def test_grown_series_comes_beside_and_late_instances_are_waited_for(
    planes: Importer, stow: Any, alice: Any, organisation: Any, run_jobs: Run
) -> None:
    assert counts(ran(planes, actor(alice), run_jobs)) == ("done", 3, 0, 0)
    uid = "1.2.826.0.1.3680043.8.498.4711"
    stow(*mr(uid=uid, count=4))
    run = ran(planes, actor(alice), run_jobs)
    assert (run.state, run.waiting) == ("nothing", {"arriving": 1})
    stow(*mr(uid=uid, first=4, count=2))
    time_passes(organisation, 11)
    run = ran(planes, actor(alice), run_jobs)
    assert counts(run) == ("done", 1, 0, 0)
    assert Record.objects.order_by("-pk")[0].values["slices"] == 6
    stow(*mr(uid=uid, first=6, count=1))
    time_passes(organisation, 11)
    assert counts(ran(planes, actor(alice), run_jobs)) == ("done", 1, 0, 0)
    newest, before = Record.objects.order_by("-pk")[:2]
    assert (newest.values["slices"], before.values["slices"]) == (7, 6) and newest.split == before.split
    assert counts(ran(planes, actor(alice), run_jobs)) == ("nothing", 0, 0, 0)


def test_series_with_a_slice_in_quarantine_waits_for_a_person(
    planes: Importer, stow: Any, alice: Any, dana: Any, organisation: Any, run_jobs: Run, client_of: Any
) -> None:
    slices = mr("axial", patient="MRN-4")
    slices[2].BurnedInAnnotation = "YES"
    stow(*slices)
    time_passes(organisation)
    held = ArrivedFile.objects.get(outcome="quarantined")
    assert slices[2].SeriesInstanceUID not in str(held.facts)
    run = ran(planes, actor(alice), run_jobs)
    assert counts(run) == ("done", 3, 0, 0) and run.waiting == {"held": 1}
    page = client_of(alice).get(f"/datasets/importers/{planes.pk}/runs/{run.pk}/").content.decode()
    assert "Series of which some images are in quarantine: 1." in page
    arrivals.try_again(actor=actor(dana), file=held, confirmed=True)
    assert ran(planes, actor(alice), run_jobs).waiting == {"arriving": 1}, "it has just come"
    time_passes(organisation)
    run = ran(planes, actor(alice), run_jobs)
    assert counts(run) == ("done", 1, 0, 0) and Record.objects.order_by("-pk")[0].values["slices"] == 5


class Killed(BaseException):
    """As by SIGKILL: nothing is cleaned up."""


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [(running.keeping, "measured", 0), (running.Run, "_unchanged", 2), (running.intake, "begin_import", 0),
     (running.Run, "_tell", 0)],
)  # fmt: skip
def test_killed_run_goes_on(
    planes: Importer, alice: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> None:
    monkeypatch.setattr("datasets.importing.sources.received.MANY", 1)
    monkeypatch.setattr(running.lots, "ROWS", 1)
    real, calls = getattr(owner, name), iter(range(100))

    def killed(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            raise Killed
        return real(*args, **kwargs)

    job = services.run_now(actor=actor(alice), importer=planes)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, name, killed)
        run_job(job.pk, owner="killed")
    Job.objects.filter(pk=job.pk).update(lease_until="2020-01-01T00:00:00Z")
    reap()
    Job.objects.filter(state=State.QUEUED).update(not_before=None)
    run_jobs()
    assert planes.runs.get().state == "done" and Record.objects.count() == 3
    assert planes.runs.get().deliveries.count() == 3
    assert counts(ran(planes, actor(alice), run_jobs)) == ("nothing", 0, 0, 0)


def test_same_uids_of_two_organisations_never_meet(
    planes: Importer, stow: Any, alice: Any, charlie: Any, other_organisation: Any, run_jobs: Run
) -> None:
    ran(planes, actor(alice), run_jobs)
    other = of_received(charlie)
    run_jobs()
    other.refresh_from_db()
    assert other.look["found"] == "0 series have arrived that fit." and other.look["empty"]
    uid = "1.2.826.0.1.3680043.8.498.4712"
    stow(*mr(uid=uid, count=4))
    stow(*mr(uid=uid, count=3), who=charlie)
    time_passes(other_organisation)
    services.submit_look(actor=actor(charlie), importer=other)
    mapped(actor(charlie), other, run_jobs, {})
    assert counts(ran(other, actor(charlie), run_jobs)) == ("done", 1, 0, 0)
    record = Record.objects.get(dataset__organisation=other_organisation)
    assert record.values["slices"] == 3
    own = DicomInstance.objects.for_organisation(other_organisation)
    assert own.count() == 3 and record.patient_key == own[0].patient_id
    assert not CellFile.objects.filter(pseudonym=record.patient_key).exclude(file__organisation=other_organisation).exists()


def test_erased_patient_goes_with_cells_and_does_not_come_back(
    planes: Importer, stow: Any, alice: Any, organisation: Any, run_jobs: Run, django_capture_on_commit_callbacks: Any
) -> None:
    from datasets.erasure import erase_patient

    slices = mr("axial", patient="MRN-9")
    stow(*slices)
    time_passes(organisation)
    assert counts(ran(planes, actor(alice), run_jobs)) == ("done", 4, 0, 0)
    record = Record.objects.get(values__slices=5, patient_key=DicomInstance.objects.latest("pk").patient_id)
    path = default_storage.path(record.files.get().file.path)
    with django_capture_on_commit_callbacks(execute=True):
        erase_patient(actor=actor(alice), dataset=record.dataset, patient_key=record.patient_key, reason="asked for it")
    assert not default_storage.exists(path)
    assert not DicomInstance.objects.filter(patient_id=record.patient_key).exists()
    assert not CellFile.objects.filter(pseudonym=record.patient_key).exists() and RecordFile.objects.count() == 3
    stow(*slices)  # the scanner sends them once more
    time_passes(organisation)
    assert DicomInstance.objects.filter(patient_id=record.patient_key).count() == 5
    run = ran(planes, actor(alice), run_jobs)
    assert (run.rows_erased, run.rows_added) == (1, 0) and Record.objects.count() == 3


def test_over_rest_and_on_the_receivers_page(
    stow: Any, alice: Any, organisation: Any, api_of: Any, client_of: Any, run_jobs: Run
) -> None:
    stow(*mr("axial", 2), *mr("coronal", 1, patient="MRN-2"))
    api = api_of(alice)
    kind = next(kind for kind in api.get("/api/v1/importers/kinds/").json() if kind["kind"] == "received")
    assert [s["name"] for s in kind["settings"]] == ["modality", "body_part", "receiver", "least", "quiet_minutes"]
    body = {"name": "Received", "kind": "received", "settings": {"least": 2}}
    assert api.post("/api/v1/importers/", {**body, "settings": {"quiet_minutes": 0}}, format="json").status_code == 400
    one = f"/api/v1/importers/{api.post('/api/v1/importers/', body, format='json').json()['id']}/"
    time_passes(organisation)
    run_jobs()
    found = api.get(f"{one}preview/").json()
    assert found["found"] == "1 series has arrived that fits." and len(found["rows"]) == 1
    assert api.post(f"{one}mapping/", {"columns": [{"name": "plane", "role": "target"}]}, format="json").json()["ready"]
    stow(*mr("axial", 2, patient="MRN-3"))
    assert api.post(f"{one}run/").status_code == 202
    run_jobs()
    (run,) = api.get(f"{one}runs/").json()["results"]
    assert (run["state"], run["rows_added"], run["waiting"]["arriving"]) == ("done", 1, 1)
    page = client_of(alice).get("/datasets/receivers/").content.decode()
    assert "/datasets/importers/add/received/" in page
