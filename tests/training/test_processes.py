"""Trainings in real processes that are killed, cancelled and delivered twice: one set of versions, the same numbers."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.test import Client, override_settings
from django.urls import reverse

from accounts.models import AuditEvent, Organisation
from datasets.records import add_records
from jobs.models import TERMINAL, Job, State
from jobs.services import cancel
from tests.conftest import actor, make_user
from tests.jobs.process_site import Site, is_running, new_site, until
from tests.training.conftest import COLUMNS, QUICK, make_dataset
from training import artefacts
from training.models import Model, ModelVersion, TrainingRun
from training.services import repeat_run, set_nightly, start_run

pytestmark = pytest.mark.process
# Long enough to be killed in the middle.
OPTIONS = {**QUICK, "candidates": ["linear", "boosting"], "time_budget": 8.0}
RETRAIN = """
import time
from pathlib import Path
from training.tasks import retrain_nightly
Path(%r).touch()
while not Path(%r).exists():
    time.sleep(0.001)
retrain_nightly()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: Any, django_db_blocker: Any) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    storages = {**settings.STORAGES}
    storages["default"] = {**storages["default"], "OPTIONS": {"location": folder / "files"}}
    with new_site(folder, django_db_blocker) as made, override_settings(DATA_DIR=folder, STORAGES=storages):
        made.environment["AIMASS_NODE_MEMORY_MB"] = "6000"
        yield made


@pytest.fixture(scope="module")
def person(site: Site) -> Any:
    return make_user("dana@training.example", Organisation.objects.create(name="St Mary's"), "data_scientist")


@pytest.fixture
def worker(site: Site) -> psutil.Popen:
    """The shared worker; started again by the test after one that killed it."""
    running = [p for p in site.started if is_running(p, "worker")]
    return running[0] if running else site.manage("worker", "--queue", "heavy")


@pytest.fixture(scope="module")
def undisturbed(site: Site, person: Any) -> TrainingRun:
    """A run to its end, on a worker of its own."""
    site.manage("worker", "--queue", "heavy")
    run = start_run(actor=actor(person), dataset=make_dataset(person, rows=300), options=OPTIONS)
    assert ended(run, site).state == State.DONE
    return run


def ended(run: TrainingRun, site: Site) -> Job:
    """The run's job, once it has ended and is settled."""
    job = Job.objects.get(pk=run.job_id)

    def look() -> bool:
        job.refresh_from_db()
        return job.state in TERMINAL and job.settled_at is not None

    try:
        until(look, "the end of the training", 120)
    except AssertionError as error:
        row = Job.objects.filter(pk=job.pk).values().get()
        raise AssertionError(f"{error}\n{row}\n{site.log()[-4000:]}") from None
    return job


def in_the_fit(run: TrainingRun, site: Site) -> psutil.Process:
    """The run's process, once a candidate is being fitted."""
    until(lambda: run.candidates.filter(status="running").exists(), "a candidate being fitted")
    return site.job_process(Job.objects.get(pk=run.job_id))


def kill(process: psutil.Process) -> None:
    for one in (process, *process.children(recursive=True)):
        one.kill()


def numbers(run: TrainingRun) -> dict[str, Any]:
    """All that a run has learnt, without its ids and times."""
    found: dict[str, Any] = {}
    for version in run.versions.all():
        found[version.candidate] = [version.chosen, version.metrics, version.operating_point]
        found[version.candidate].append(artefacts.predictions(version))
    fields = ("name", "status", "validation_score", "validation_low", "validation_high", "hyperparameters")
    return found | {"candidates": sorted(run.candidates.values_list(*fields), key=lambda row: row[0])}


def folders(run: TrainingRun) -> set[str]:
    """Whatever lies among the organisation's models, hidden leftovers included."""
    return {p.name for p in (artefacts.root() / str(run.organisation_id)).iterdir()}


def versions_of_all_runs() -> set[str]:
    return {str(pk) for pk in ModelVersion.objects.values_list("pk", flat=True)}


def test_training_that_is_killed_twice_ends_with_the_same_numbers(
    site: Site, undisturbed: TrainingRun, person: Any, worker: Any
) -> None:
    run = repeat_run(actor=actor(person), run=undisturbed)
    in_the_fit(run, site)
    site.kill_all()  # the host dies: only the end of its lease frees the job
    job = Job.objects.get(pk=run.job_id)
    assert (job.state, job.attempt, run.versions.count()) == (State.RUNNING, 1, 0)
    lease_ended = job.lease_until
    site.manage("worker", "--queue", "heavy")
    hidden = f"*/.writing-{run.pk.hex}-*"
    end = time.monotonic() + 120
    while not list(artefacts.root().glob(hidden)) and time.monotonic() < end:
        time.sleep(0.002)
    process = next((p for p in site.processes() if is_running(p, str(job.pk))), None)
    assert process is not None, "its second attempt was not seen while it laid an artefact down"
    kill(process)
    job.refresh_from_db()
    assert job.started_at >= lease_ended and run.versions.count() == 0
    job = ended(run, site)
    assert (job.state, job.attempt) == (State.DONE, 3), job.error_engineer
    assert run.versions.count() == undisturbed.versions.count() >= 2
    assert numbers(run) == numbers(undisturbed)
    assert folders(run) == versions_of_all_runs()
    assert all(artefacts.load_fitted(v).candidate == v.candidate for v in run.versions.all())
    assert person.notifications.filter(key__startswith=f"run:{run.pk}").count() == 1


def test_training_cancelled_in_the_fit_leaves_no_version_and_says_so(
    site: Site, undisturbed: TrainingRun, person: Any, worker: Any
) -> None:
    before = versions_of_all_runs()
    run = start_run(actor=actor(person), dataset=undisturbed.dataset, options={**OPTIONS, "seed": 1})
    process = in_the_fit(run, site)
    cancel(actor=actor(person), job=Job.objects.get(pk=run.job_id))
    job = ended(run, site)
    assert (job.state, job.attempt, job.result) == (State.CANCELLED, 1, None)
    until(lambda: not is_running(process, str(job.pk)), "the end of its process")
    assert not run.versions.exists()
    assert versions_of_all_runs() == before == folders(run)
    client = Client()
    client.force_login(person)
    page = client.get(reverse("training:run", args=[run.pk])).content.decode()
    assert "cancelled" in page


def test_nightly_retraining_that_is_delivered_twice_at_once_starts_one_run(
    site: Site, undisturbed: TrainingRun, person: Any, tmp_path: Path
) -> None:
    model = Model.objects.get(dataset=undisturbed.dataset)
    set_nightly(actor=actor(person), model=model, nightly=True)
    row = {"mrn": "new", **dict.fromkeys(COLUMNS, 1.5), "finding": "benign"}
    add_records(actor=actor(person), dataset=undisturbed.dataset, rows=[row], source="api")
    go, ready = tmp_path / "go", [tmp_path / "first", tmp_path / "second"]
    processes = [site.manage("shell", "-c", RETRAIN % (str(path), str(go))) for path in ready]
    until(lambda: all(path.exists() for path in ready), "both deliveries")
    go.touch()
    assert [process.wait(60) for process in processes] == [0, 0], site.log()[-4000:]
    run = TrainingRun.objects.get(trigger="nightly")
    assert Job.objects.filter(payload__run=str(run.pk)).count() == 1
    assert AuditEvent.objects.filter(action="run.started", object_id=str(run.pk)).count() == 1
    assert "Traceback" not in site.log() and "could not be started" not in site.log()
    third = site.manage("shell", "-c", RETRAIN % (str(ready[0]), str(go)))
    assert third.wait(60) == 0
    assert TrainingRun.objects.filter(trigger="nightly").count() == 1
