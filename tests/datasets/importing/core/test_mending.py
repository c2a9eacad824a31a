"""What came and could not be imported is not forgotten; and a pause is one."""

from typing import Any

import pytest

from accounts.models import Notification
from datasets.erasure import erase_patient
from datasets.importing import pending, services
from datasets.importing.models import Delivery, Importer, ImporterRun
from datasets.models import Upload
from jobs.models import Job
from jobs.services import retry
from tests.conftest import actor
from tests.datasets.importing.core.conftest import Run, Visits, ran, records

pytestmark = pytest.mark.django_db


def strict(row: Importer, strictly: bool = True) -> None:
    """Whether one wrong row fails the import of all."""
    row.refresh_from_db()
    Importer.objects.filter(pk=row.pk).update(options={**row.options, "keep_good_rows": not strictly})


def mend(run: ImporterRun) -> None:
    """As where what was wrong with an import has gone since."""
    upload = run.deliveries.get().upload
    Upload.objects.filter(pk=upload.pk).update(options={**upload.options, "keep_good_rows": True})


def works_again(row: Importer) -> bool:
    row.refresh_from_db()
    told = Notification.objects.filter(key__contains=":works:").exists()
    assert told == (row.failing_since is None)
    return told


@pytest.fixture
def broken(nightly: Importer, visits: Visits, alice: Any, run_jobs: Run) -> ImporterRun:
    """A run whose upload could not be imported; the cursor stands behind it."""
    strict(nightly)
    visits.add(("p900", "old", "ill"))
    run = ran(nightly, actor(alice), run_jobs)
    assert (run.state, run.error_code) == ("failed", "import_failed") and not works_again(nightly)
    return run


def test_failed_import_is_tried_by_the_next_runs_and_keeps_the_importer_failing(
    broken: ImporterRun, nightly: Importer, alice: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = Job.objects.filter(task="datasets.tasks.import_upload")
    monkeypatch.setattr(pending, "TRIES", 2)
    for _time in range(2):
        assert ran(nightly, actor(alice), run_jobs).state == "nothing"
        assert imports.count() == 2 and not works_again(nightly)
    monkeypatch.setattr(pending, "TRIES", 5)
    mend(broken)
    assert ran(nightly, actor(alice), run_jobs).state == "nothing"
    broken.refresh_from_db()
    assert (broken.state, broken.rows_added, len(records(nightly))) == ("done", 12, 12)
    assert imports.count() == 3 and works_again(nightly)


def test_old_run_that_is_mended_ends_no_streak_of_the_newest(
    broken: ImporterRun, nightly: Importer, visits: Visits, alice: Any, run_jobs: Run
) -> None:
    visits.database.run("ALTER TABLE visits RENAME TO gone")
    mend(broken)
    run = ran(nightly, actor(alice), run_jobs)
    visits.database.run("ALTER TABLE gone RENAME TO visits")
    broken.refresh_from_db()
    assert (broken.state, run.state) == ("done", "failed") and not works_again(nightly)
    assert ran(nightly, actor(alice), run_jobs).state == "nothing" and works_again(nightly)


def test_what_failed_is_read_again_where_an_erasure_takes_its_file(
    nightly: Importer, visits: Visits, alice: Any, run_jobs: Run
) -> None:
    who = actor(alice)
    ran(nightly, who, run_jobs)
    strict(nightly)
    visits.add(("p900", "old", "ill"), ("p901", 44, "well"))
    assert ran(nightly, who, run_jobs).state == "failed"
    nightly.refresh_from_db()
    before = nightly.revision
    erase_patient(actor=who, dataset=nightly.dataset, patient_key="p001", reason="asked for it")
    nightly.refresh_from_db()
    assert (nightly.cursor, nightly.revision) == ({}, before + 1)
    assert Delivery.objects.filter(superseded=True).count() == 1
    failed = nightly.runs.get(state="failed")
    assert "forgotten" in failed.error_text and failed.faulty == []
    strict(nightly, False)
    run = ran(nightly, who, run_jobs)
    assert (run.state, run.rows_added, run.rows_erased, run.rows_refused) == ("done", 1, 1, 1)
    names = [name for name, _age, _diagnosis in records(nightly)]
    assert "p901" in names and "p001" not in names and works_again(nightly)


def test_a_pause_stops_what_waits_and_what_is_retried(nightly: Importer, alice: Any, run_jobs: Run) -> None:
    who = actor(alice)
    job = services.run_now(actor=who, importer=nightly)
    services.pause(actor=who, importer=nightly, paused=True)
    job.refresh_from_db()
    assert job.state == "cancelled"
    again = retry(actor=who, job=job)  # from the jobs' page
    run_jobs()
    again.refresh_from_db()
    assert again.state == "cancelled" and not Upload.objects.exists()
    assert set(nightly.runs.values_list("state", flat=True)) == {"cancelled"}
    services.pause(actor=who, importer=nightly, paused=False)
    assert ran(nightly, who, run_jobs).rows_added == 12


def test_a_pause_while_it_reads_delivers_nothing_more(
    nightly: Importer, alice: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.importing import running

    real = running.keeping.measured

    def paused(path: Any) -> Any:
        Importer.objects.filter(pk=nightly.pk).update(paused=True)
        return real(path)

    monkeypatch.setattr(running.keeping, "measured", paused)
    job = services.run_now(actor=actor(alice), importer=nightly)
    run_jobs()
    job.refresh_from_db()
    nightly.refresh_from_db()
    assert job.state == "cancelled" and nightly.runs.get().state == "cancelled"
    assert nightly.cursor == {} and not Upload.objects.exists()
