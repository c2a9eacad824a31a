"""Runs on many records: the job freezes and looks them over, the request does not."""

from typing import Any

import pytest

from datasets.models import DatasetVersion
from jobs.models import State
from tests.conftest import actor
from tests.training.conftest import COLUMNS, QUICK, make_dataset
from training import services
from training.models import TrainingRun
from training.services import RunRefused, repeat_run, start_run


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 569 records of these tests count as many."""
    monkeypatch.setattr(services, "AT_ONCE", 100)


def test_it_works(dataset: Any, dana: Any, run_jobs: Any) -> None:
    run = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    assert run.version is None and not DatasetVersion.objects.exists()
    run_jobs()
    run = TrainingRun.objects.get()
    assert run.job is not None and run.job.state == State.DONE, run.job and run.job.error_engineer
    assert run.frozen.record_count == 569
    assert run.versions.get().lineage["data_hash"] == run.frozen.content_hash
    again = repeat_run(actor=actor(dana), run=run)
    assert again.version == run.version  # frozen already: the same records, not those of now
    run_jobs()
    assert again.versions.get().metrics == run.versions.get().metrics


def test_a_double_click_starts_one_run(dataset: Any, dana: Any) -> None:
    first = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    assert start_run(actor=actor(dana), dataset=dataset, options=QUICK) == first


def test_its_page_and_its_resource_open_before_it_is_frozen(
    dataset: Any, dana: Any, client_of: Any, api_of: Any
) -> None:
    run = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    assert client_of(dana).get(f"/training/{run.pk}/").status_code == 200
    assert api_of(dana).get(f"/api/v1/training-runs/{run.pk}/").json()["version"] is None


def test_nothing_but_leaks_is_refused_before_it_starts(dana: Any) -> None:
    dataset = make_dataset(dana)
    for record in dataset.records.all():
        for name in COLUMNS:
            record.values[name] = 1.0 if record.values["finding"] == "benign" else 0.0
        record.save()
    with pytest.raises(RunRefused) as refused:
        start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    assert [p["code"] for p in refused.value.problems] == ["only_leaks", *["leak"] * len(COLUMNS)]
    assert not TrainingRun.objects.exists()


def test_what_only_all_records_show_ends_the_job_with_its_reason(dana: Any, run_jobs: Any) -> None:
    dataset = make_dataset(dana, labels=lambda i, _: "benign")
    run = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    run_jobs()
    run.refresh_from_db()
    assert run.job is not None and run.job.state == State.FAILED
    assert "finding" in run.job.error_person
    assert [p["code"] for p in run.problems] == ["one_class"] and run.version is None
    assert repeat_run(actor=actor(dana), run=run).repeat_of == run
