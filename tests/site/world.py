"""One hospital with one of everything, made through the real services: an import, a training, a champion, a review."""

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import actor, make_user

MARK = "Marked-For-The-Guard"  # in the names of all that strangers must never see


@dataclass
class World:
    """What addresses are filled in with: `world.dataset.pk`, …; and the people who ask."""

    organisation: Any
    owner: Any
    viewer: Any
    outsider: Any
    spare: Any
    dataset: Any
    upload: Any
    waiting_upload: Any
    arrival: Any
    arrived_file: Any
    held_picture: Any
    transfer: Any
    record: Any
    version: Any
    job: Any
    run: Any
    model: Any
    model_version: Any
    diagnosis: Any
    batch: Any
    key: Any
    invitation: Any
    token: str
    notification: Any
    patient_key: Any
    stored: Any
    record_file: Any
    diagnosis_file: Any
    receiver: Any
    peer: Any
    instance: Any
    importer: Any
    importer_run: Any
    frames: str = "1"
    size: str = "thumb"
    plane: str = "frames"
    index: int = 0


def table(rows: int = 120, seed: int = 7) -> str:
    """A CSV of made-up patients whose diagnosis depends on their values; one row is bad on purpose."""
    dice = random.Random(seed)
    lines = ["mrn,age,pressure,sex,note,diagnosis"]
    for number in range(rows):
        age, pressure, sex = dice.randint(30, 80), dice.gauss(125, 15), dice.choice(["female", "male"])
        ill = age + pressure / 2 + dice.gauss(0, 8) > 118
        note = "chest pain on effort" if ill == (dice.random() < 0.7) else "routine check without complaints"
        lines.append(f"p{number:04},{age},{pressure:.1f},{sex},{note},{'ill' if ill else 'well'}")
    lines.append("p9999,not a number,120,female,routine check,well")
    return "\n".join(lines) + "\n"


def run_waiting_jobs() -> None:
    from jobs.models import Job, State
    from jobs.runner import run_job

    while (job := Job.objects.filter(state=State.QUEUED).order_by("created_at").first()) is not None:
        run_job(job.pk, owner="tests")


def import_table(who: Any, folder: Path) -> tuple[Any, Any]:
    """Upload, confirm, import: (dataset, upload)."""
    from datasets import intake
    from datasets.models import Dataset

    path = folder / f"{MARK}.csv"
    path.write_text(table(), encoding="utf-8")
    upload = intake.receive(actor=who, file=path, name=path.name)
    columns = [
        {"name": "mrn", "role": "patient"},
        {"name": "age", "kind": "number", "role": "feature"},
        {"name": "diagnosis", "kind": "category", "role": "target"},
    ]
    known = {column["name"]: column for column in upload.preview["columns"]}
    given = [{**known[column["name"]], **column} for column in columns]
    intake.confirm(actor=who, upload=upload, new_dataset_name=f"{MARK} heart study", columns=given)
    run_waiting_jobs()
    upload.refresh_from_db()
    assert upload.state == "imported", (upload.state, upload.report, upload.job and upload.job.error_engineer)
    return Dataset.objects.get(pk=upload.dataset_id), upload


def arrive(who: Any, folder: Path) -> tuple[Any, Any, Any]:
    """Some files sent and sorted out: (arrival, one in quarantine, a picture there that waits for a person's look)."""
    import io

    from datasets.arrivals import services
    from tests.datasets.dicom.files import saved, slice_of

    picture = saved(slice_of(BurnedInAnnotation="YES"), folder / "burned_in.dcm").read_bytes()
    sent = {"note.txt": b"A note.\nIt is short.\n", "bad": b"MZ", "us.dcm": picture}
    files = [(f"{MARK} {name}", io.BytesIO(content)) for name, content in sent.items()]
    arrival = services.receive(actor=who, files=files)
    run_waiting_jobs()
    return arrival, arrival.files.get(code="program"), arrival.files.get(code="burned_in_declared")


def train(who: Any, dataset: Any) -> Any:
    """One quick run to its end: (run)."""
    from training.services import start_run

    options = {"candidates": ["linear"], "time_budget": 10.0, "scaling": "zscore", "imputation": "median", "outliers": "none"}
    run = start_run(actor=who, dataset=dataset, options={**options, "normalisation": "none", "feature_selection": "none"})
    run_waiting_jobs()
    run.refresh_from_db()
    assert run.job.state == "done", (run.job.error_person, run.job.error_engineer)
    return run


def keep_importer(who: Any, folder: Path, dataset: Any) -> tuple[Any, Any]:
    """An importer of a folder of this host, and its first run: (importer, run)."""
    from django.test import override_settings

    from datasets.importing.services import add_importer, run_now

    drop = folder / "drop"
    drop.mkdir()
    (drop / f"{MARK}.txt").write_text("A note.")
    os.utime(drop / f"{MARK}.txt", (1e9, 1e9))  # what has just changed may still be written
    given = {"folder": str(drop), "pattern": "", "subfolders": True}
    with override_settings(IMPORT_FOLDERS=[f"*={drop}"]):
        importer = add_importer(
            actor=who, name=f"{MARK} drop", kind="folder", settings=given, treatment="arrival", dataset=dataset, zone="UTC"
        )
        run_now(actor=who, importer=importer)
        run_waiting_jobs()
    return importer, importer.runs.get(state="done")


def keep_patient(who: Any, folder: Path) -> Any:
    """A de-identified file's patient."""
    from datasets.dicom.models import PatientKey
    from datasets.dicom.services import deidentify_file
    from tests.datasets.dicom.files import saved, slice_of

    source = saved(slice_of(PatientName=f"{MARK}^Patient"), folder / "patient.dcm")
    deidentify_file(actor=who, path=source, out=folder / "patient-out.dcm")
    return PatientKey.objects.get(organisation=who.organisation)


def attach(who: Any, record: Any, diagnosis: Any) -> tuple[Any, Any, Any]:
    """A real CT slice beside the record and the diagnosis, whose own model learns from a table alone."""
    from pydicom.data import get_testdata_file

    from datasets.cells.models import RecordFile
    from datasets.cells.store import take_in
    from inference.files import DiagnosisFile

    cell = take_in(actor=who, file=str(get_testdata_file("CT_small.dcm")), name=f"{MARK}.dcm")
    what = {"column": "scan", "file": cell.file, "name": cell.name}
    return cell.file, RecordFile.objects.create(record=record, **what), DiagnosisFile.objects.create(diagnosis=diagnosis, **what)


def build(folder: Path) -> World:
    """All of it; some seconds, so a module shares it and every test's changes are rolled back."""
    from accounts.models import Notification, Organisation
    from accounts.services import create_key, invite, save_preference
    from datasets import intake
    from datasets.receiving.services import add_peer, add_receiver
    from datasets.tus.services import begin
    from inference.reviews import review
    from inference.services import diagnose
    from training.services import confirm_champion

    organisation = Organisation.objects.create(name=f"{MARK} hospital")
    elsewhere = Organisation.objects.create(name="Elsewhere Clinic")
    owner = make_user(f"owner-{MARK}@example.org".lower(), organisation, "administrator")
    viewer = make_user("viewer@example.org", organisation, "auditor")
    spare = make_user("spare@example.org", organisation, "clinician")
    outsider = make_user("outsider@elsewhere.example", elsewhere, "administrator")
    who = actor(owner)
    dataset, upload = import_table(who, folder)
    second = folder / f"{MARK}-second.csv"
    second.write_text(table(rows=10, seed=8), encoding="utf-8")
    waiting = intake.receive(actor=who, file=second, name=second.name)
    arrival, arrived_file, held_picture = arrive(who, folder)
    transfer = begin(actor=who, length=1000, name=f"{MARK}-third.csv", dataset=dataset)
    run = train(who, dataset)
    version = run.versions.get(chosen=True)
    confirm_champion(actor=who, version=version, reason=MARK)
    values = {"age": 61, "pressure": 140.0, "sex": "male", "note": "chest pain on effort"}
    diagnosis = diagnose(actor=who, version=version, records=[values])[0]
    batch = diagnose(actor=who, version=version, records=[values, {**values, "age": 34}])[0].batch_id
    review(actor=who, diagnosis=diagnosis, verdict="confirmed")
    save_preference(actor=who, outcome=version.model.target, weights={"roc_auc": 1.0}, floors={})
    invitation, token = invite(actor=who, email="invited@example.org", role="auditor")
    key, _plain = create_key(actor=who, name=MARK, scopes=["data:read"])
    patient_key = keep_patient(who, folder)
    receiver = add_receiver(actor=who, title="GUARDED", dataset=dataset)
    peer = add_peer(actor=who, receiver=receiver, title="CT1", address="10.0.0.5")
    importer, importer_run = keep_importer(who, folder, dataset)
    record = dataset.records.first()
    stored, record_file, diagnosis_file = attach(who, record, diagnosis)
    for person in (viewer, owner):
        notification = Notification.objects.create(organisation=organisation, user=person, key="guard", title=MARK)
    return World(
        organisation=organisation, owner=owner, viewer=viewer, outsider=outsider, spare=spare.memberships.get(),
        dataset=dataset, upload=upload, waiting_upload=waiting, arrival=arrival, transfer=transfer,
        arrived_file=arrived_file, held_picture=held_picture, record=record, version=run.version,
        job=run.job, run=run, model=version.model, model_version=version, diagnosis=diagnosis, batch=batch,
        key=key, invitation=invitation, token=token, notification=notification,
        receiver=receiver, peer=peer, instance=stored.dicom, patient_key=patient_key, stored=stored, record_file=record_file,
        diagnosis_file=diagnosis_file, importer=importer, importer_run=importer_run,
    )  # fmt: skip
