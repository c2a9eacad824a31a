"""An importer of a real database: what comes comes once, whatever happens in between."""

from functools import partial
from typing import Any

import pytest

from accounts.models import AuditEvent, Notification
from datasets.importing import refusals, running, services, tasks, values
from datasets.importing.models import Importer, ImporterRun
from datasets.importing.sources import sql
from datasets.models import Dataset, Upload
from jobs.models import Job, State
from tests.conftest import actor
from tests.datasets.importing.core.conftest import Run, Visits, mapped, ran, records
from tests.datasets.importing.databases import PASSWORD

pytestmark = pytest.mark.django_db


def counts(run: ImporterRun) -> tuple[str, int, int, int, int]:
    return run.state, run.rows_read, run.rows_added, run.rows_duplicate, run.rows_refused


def test_first_run_brings_all_the_second_nothing_new_rows_only_themselves(
    nightly: Importer, visits: Visits, alice: Any, run_jobs: Run
) -> None:
    run = ran(nightly, actor(alice), run_jobs)
    assert counts(run) == ("done", 12, 12, 0, 0)
    dataset = Dataset.objects.get(pk=nightly.dataset_id)
    assert (dataset.name, dataset.record_count, dataset.created_by) == ("Visits", 12, alice)
    assert 0 < dataset.records.filter(split="test").count() < 12
    uploads, before = Upload.objects.count(), records(nightly)

    run = ran(nightly, actor(alice), run_jobs)
    assert counts(run) == ("nothing", 0, 0, 0, 0)
    assert (Upload.objects.count(), records(nightly)) == (uploads, before)

    visits.add_many(3, first=12)
    run = ran(nightly, actor(alice), run_jobs)
    assert counts(run) == ("done", 3, 3, 0, 0)
    assert records(nightly)[:12] == before and len(records(nightly)) == 15


def test_without_a_cursor_column_all_is_read_and_the_known_changes_nothing(
    visits: Visits, alice: Any, run_jobs: Run
) -> None:
    who = actor(alice)
    row = services.add_importer(
        actor=who,
        name="All",
        kind="sql",
        settings=visits.settings(cursor_column=""),
        treatment="rows",
        dataset=None,
        zone="UTC",
    )
    mapped(who, row, run_jobs)
    assert counts(ran(row, who, run_jobs)) == ("done", 12, 12, 0, 0)
    assert counts(ran(row, who, run_jobs)) == ("nothing", 12, 0, 12, 0)
    assert Upload.objects.count() == 1  # the very same content makes no second upload
    visits.add_many(1, first=12)
    assert counts(ran(row, who, run_jobs)) == ("done", 13, 1, 12, 0)


def test_refused_rows_are_counted_and_told(
    nightly: Importer, visits: Visits, alice: Any, run_jobs: Run, client_of: Any, api_of: Any
) -> None:
    visits.add(("p900", "old", "ill"))
    run = ran(nightly, actor(alice), run_jobs)
    assert counts(run) == ("done", 13, 12, 0, 1)
    page = client_of(alice).get(f"/datasets/importers/{nightly.pk}/runs/{run.pk}/").content.decode()
    upload = run.deliveries.get().upload
    assert f"/datasets/uploads/{upload.pk}/refused/" in page
    reasons = b"".join(
        client_of(alice).get(f"/datasets/uploads/{upload.pk}/refused/").streaming_content
    ).decode()
    assert "age" in reasons and "“old” is not a number" in reasons
    assert "1 of 1 row is shown" in page and "<td>age</td><td>“…” is not a number</td>" in page and "“old”" not in page
    detail = api_of(alice).get(f"/api/v1/importers/{nightly.pk}/runs/{run.pk}/").json()
    told = {"upload": str(upload.pk), "row": "14", "column": "age", "reason": "“…” is not a number"}
    assert detail["refused"] == [told]


def test_the_first_refused_rows_are_shown_and_no_value(
    nightly: Importer, visits: Visits, alice: Any, run_jobs: Run
) -> None:
    visits.add(*((f"p{n}", f"old {n}”", "ill") for n in range(900, 930)))
    run = ran(nightly, actor(alice), run_jobs)
    shown = refusals.first(run)
    assert run.rows_refused == 30
    assert [row.row for row in shown] == [str(n) for n in range(14, 34)]
    assert {row.reason for row in shown} == {"“…” is not a number"}
    assert refusals.without_values("2071-05-31 is in the future") == "… is in the future"
    assert refusals.without_values("-4.5e+06 is below the least possible value 3") == "… is below the least possible value 3"
    assert refusals.without_values("the row has 3 cells, the header 4") == "the row has 3 cells, the header 4"


class Killed(BaseException):
    """As by SIGKILL: nothing is cleaned up."""


STEPS = {
    "begun": (running.Run, "_check"), "asked": (running.opening, "opened"), "gathered": (running.keeping, "measured"),
    "kept": (running.Run, "_unchanged"), "upload": (running.intake, "begin_import"), "noted": (running.audit, "record"),
    "counted": (running.Run, "_note"), "told": (running.Run, "_tell"),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_killed_before_any_step_nothing_is_lost_or_doubled(
    nightly: Importer, alice: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(running.lots, "ROWS", 5)
    monkeypatch.setattr(
        sql, "batches", partial(values.batches, size=5)
    )  # of twelve rows: three pieces, three lots
    owner, name = STEPS[step]
    real, calls = getattr(owner, name), iter(range(100))

    def killed(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == (1 if step in ("kept", "upload", "counted", "told") else 0):
            raise Killed
        return real(*args, **kwargs)

    job = services.run_now(actor=actor(alice), importer=nightly)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, name, killed)
        from jobs.runner import run_job

        run_job(job.pk, owner="killed")
    Job.objects.filter(pk=job.pk).update(lease_until="2020-01-01T00:00:00Z")  # as time does
    from jobs.reaper import reap

    reap()
    Job.objects.filter(state=State.QUEUED).update(not_before=None)
    run_jobs()
    run = nightly.runs.get()
    assert run.state == "done" and len(records(nightly)) == 12
    assert Upload.objects.count() == 3 == run.deliveries.count()
    assert counts(ran(nightly, actor(alice), run_jobs))[2:] == (0, 0, 0)
    assert len(records(nightly)) == 12


def test_wrong_password_is_told_once_and_its_end_too(
    nightly: Importer, visits: Visits, alice: Any, dana: Any, run_jobs: Run
) -> None:
    who = actor(alice)
    services.change_importer(
        actor=who, importer=nightly, name="Visits", settings=visits.settings(password="wrong-secret-1"), treatment="rows",
        dataset=nightly.dataset,
    )  # fmt: skip
    run_jobs()
    for _time in range(2):
        run = ran(nightly, who, run_jobs)
        assert run.state == "failed" and run.error_code and "password" in run.error_text.lower()
    notes = Notification.objects.filter(key__contains=":failed:")
    assert [note.user for note in notes] == [alice] and notes[0].level == "danger"
    nightly.refresh_from_db()
    assert nightly.failing_since is not None
    services.change_importer(
        actor=who,
        importer=nightly,
        name="Visits",
        settings=visits.settings(),
        treatment="rows",
        dataset=nightly.dataset,
    )
    run_jobs()
    assert ran(nightly, who, run_jobs).state == "done"
    nightly.refresh_from_db()
    assert nightly.failing_since is None and Notification.objects.filter(key__contains=":works:").count() == 1
    for text in (PASSWORD, "wrong-secret-1"):
        assert not any(text in str(row) for row in AuditEvent.objects.values_list("detail", "object_label"))
        assert not any(
            text in str(row)
            for row in Job.objects.values_list("payload", "error_person", "error_engineer", "result")
        )
        assert not any(text in str(row) for row in Importer.objects.values_list("settings", "look", "secret"))


def test_lost_column_is_told_and_nothing_is_taken(
    nightly: Importer, visits: Visits, alice: Any, run_jobs: Run
) -> None:
    visits.database.run("ALTER TABLE visits RENAME COLUMN age TO years")
    changed = visits.settings(query="SELECT id, mrn, years, diagnosis FROM visits")
    services.change_importer(
        actor=actor(alice),
        importer=nightly,
        name="Visits",
        settings=changed,
        treatment="rows",
        dataset=nightly.dataset,
    )
    run = ran(nightly, actor(alice), run_jobs)
    assert (run.state, run.error_code) == ("failed", "field_lost") and "“age”" in run.error_text
    nightly.refresh_from_db()
    assert nightly.cursor == {} and not Upload.objects.exists()


def test_new_field_is_left_out_and_noted(
    nightly: Importer, visits: Visits, alice: Any, run_jobs: Run
) -> None:
    changed = visits.settings(query="SELECT id, mrn, age, diagnosis, 'x' AS ward FROM visits")
    services.change_importer(
        actor=actor(alice),
        importer=nightly,
        name="Visits",
        settings=changed,
        treatment="rows",
        dataset=nightly.dataset,
    )
    run = ran(nightly, actor(alice), run_jobs)
    assert counts(run)[:3] == ("done", 12, 12) and run.notes == ["id", "ward"]


def test_archived_and_deleted_data_sets_are_told(nightly: Importer, alice: Any, run_jobs: Run) -> None:
    from datasets.services import archive_dataset

    archive_dataset(actor=actor(alice), dataset=nightly.dataset)
    run = ran(nightly, actor(alice), run_jobs)
    assert (run.state, run.error_code) == ("failed", "archived") and "“Visits”" in run.error_text
    Dataset.objects.get(pk=nightly.dataset_id).delete()
    run = ran(nightly, actor(alice), run_jobs)
    assert (run.state, run.error_code) == ("failed", "no_dataset")


def test_changed_row_comes_beside_the_old_one(
    nightly: Importer, visits: Visits, alice: Any, run_jobs: Run
) -> None:
    ran(nightly, actor(alice), run_jobs)
    visits.database.run("UPDATE visits SET id = 100, age = '99' WHERE mrn = 'p001'")
    run = ran(nightly, actor(alice), run_jobs)
    assert counts(run)[:3] == ("done", 12, 1)  # the overlap is read again, and what is known of it left out
    assert [r for r in records(nightly) if r[0] == "p001"] == [("p001", 31, "ill"), ("p001", 99, "ill")]
    splits = nightly.dataset.records.filter(patient_key="p001").values_list("split", flat=True)
    assert len(set(splits)) == 1


def test_erased_patient_does_not_come_back(
    nightly: Importer, visits: Visits, alice: Any, run_jobs: Run
) -> None:
    from datasets.erasure import erase_patient

    ran(nightly, actor(alice), run_jobs)
    erase_patient(actor=actor(alice), dataset=nightly.dataset, patient_key="p001", reason="asked for it")
    services.change_importer(
        actor=actor(alice), importer=nightly, name="Visits", settings=visits.settings(), treatment="rows",
        dataset=nightly.dataset, from_beginning=True,
    )  # fmt: skip
    run = ran(nightly, actor(alice), run_jobs)
    assert (run.rows_read, run.rows_erased, run.rows_added) == (12, 1, 0)
    assert "p001" not in [r[0] for r in records(nightly)] and len(records(nightly)) == 11


def test_change_while_it_runs_starts_it_again(
    nightly: Importer, visits: Visits, alice: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = running.keeping.measured

    def changed(path: Any) -> Any:
        monkeypatch.setattr(running.keeping, "measured", real)
        Importer.objects.filter(pk=nightly.pk).update(revision=99)
        return real(path)

    monkeypatch.setattr(running.keeping, "measured", changed)
    job = services.run_now(actor=actor(alice), importer=nightly)
    run_jobs()
    job.refresh_from_db()
    assert job.attempt == 2 and job.state == "done" and len(records(nightly)) == 12


def test_failed_import_fails_the_run_and_a_retry_mends_it(
    nightly: Importer, visits: Visits, alice: Any, run_jobs: Run
) -> None:
    from jobs.services import retry

    Importer.objects.filter(pk=nightly.pk).update(options={**nightly.options, "keep_good_rows": False})
    visits.add(("p900", "old", "ill"))
    run = ran(nightly, actor(alice), run_jobs)
    assert (run.state, run.error_code, run.rows_added) == ("failed", "import_failed", 0)
    upload = run.deliveries.get().upload
    Upload.objects.filter(pk=upload.pk).update(options={**upload.options, "keep_good_rows": True})
    retry(actor=actor(alice), job=upload.job)
    run_jobs()
    run.refresh_from_db()
    nightly.refresh_from_db()
    assert (run.state, run.rows_added, run.rows_refused, run.error_text) == (
        "done",
        12,
        1,
        "",
    ) and nightly.failing_since is None


def test_never_two_runs_at_once(nightly: Importer, alice: Any) -> None:
    first = services.run_now(actor=actor(alice), importer=nightly)
    assert services.run_now(actor=actor(alice), importer=nightly) == first
    assert Job.objects.filter(task=tasks.run.__module__ + ".run").count() == 1


def test_removed_while_it_waits(nightly: Importer, alice: Any, run_jobs: Run) -> None:
    ran(nightly, actor(alice), run_jobs)
    job = services.run_now(actor=actor(alice), importer=nightly)
    services.remove_importer(actor=actor(alice), importer=nightly)
    run_jobs()
    job.refresh_from_db()
    assert job.state == "cancelled" and Dataset.objects.get(name="Visits").record_count == 12
