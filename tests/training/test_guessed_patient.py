"""A column that looks like the patient's number but did not deal the locked test split: refused, and it can be chosen."""

from typing import Any

import pytest

from accounts.models import AuditEvent
from datasets import columns, records, services
from datasets.models import Dataset, DatasetVersion, Record, StoredFile
from datasets.versions import freeze
from jobs.models import State
from tests.conftest import actor
from tests.training.conftest import QUICK, make_dataset
from training import services as training_services
from training.models import TrainingRun
from training.services import RunRefused, start_run


@pytest.fixture
def visits(dana: Any) -> Dataset:
    """200 rows of 50 patients, four each; nobody has said that `mrn` is the patient."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True).frame.head(200)
    dataset = services.create_dataset(
        actor=actor(dana),
        name="Visits",
        columns=[
            {"name": "mrn", "kind": "category", "role": "feature"},
            {"name": "mean radius", "kind": "number", "role": "feature"},
            {"name": "mean texture", "kind": "number", "role": "feature"},
            {"name": "finding", "kind": "category", "role": "target"},
        ],
    )
    rows = [
        {
            "mrn": f"p{i // 4:03d}",
            "mean radius": float(row["mean radius"]),
            "mean texture": float(row["mean texture"]),
            "finding": "benign" if row["target"] else "malignant",
        }
        for i, (_, row) in enumerate(data.iterrows())
    ]
    records.add_records(actor=actor(dana), dataset=dataset, rows=rows, source="api")
    dataset.refresh_from_db()
    return dataset


def codes(found: Any) -> list[str]:
    return [p["code"] for p in found if p["severity"] == "error"]


def test_it_is_refused_and_says_what_to_choose(visits: Dataset, dana: Any) -> None:
    with pytest.raises(RunRefused) as refused:
        start_run(actor=actor(dana), dataset=visits, options=QUICK)
    assert codes(refused.value.problems) == ["patient_not_dealt"]
    assert "patient_guessed" not in {p["code"] for p in refused.value.problems}
    assert "columns page" in refused.value.problems[0]["message"]


def test_after_the_refusal_the_patient_column_can_be_chosen_and_it_trains(
    visits: Dataset, dana: Any, run_jobs: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with pytest.raises(RunRefused), django_capture_on_commit_callbacks(execute=True):
        start_run(actor=actor(dana), dataset=visits, options=QUICK)
    assert not DatasetVersion.objects.exists() and not StoredFile.objects.exists()
    assert AuditEvent.objects.filter(action="dataset.version_discarded").count() == 1
    change = [{"name": "mrn", "role": "patient"}]
    columns.change_columns(actor=actor(dana), dataset=visits, changes=change)
    sides = Record.objects.order_by().values_list("patient_key", "split").distinct()
    assert len(sides) == 50
    visits.refresh_from_db()
    run = start_run(actor=actor(dana), dataset=visits, options=QUICK)
    run_jobs()
    run.refresh_from_db()
    assert run.job is not None and run.job.state == State.DONE


def test_a_version_that_a_person_froze_stays(visits: Dataset, dana: Any) -> None:
    version = freeze(actor=actor(dana), dataset=visits)
    with pytest.raises(RunRefused):
        start_run(actor=actor(dana), dataset=visits, options=QUICK)
    assert DatasetVersion.objects.get() == version


def test_a_column_that_is_left_out_is_no_patient(visits: Dataset, dana: Any) -> None:
    run = start_run(actor=actor(dana), dataset=visits, options={**QUICK, "ignore": ["mrn"]})
    assert not codes(run.problems)


def test_a_different_value_in_every_record_is_on_one_side_only(dana: Any) -> None:
    dataset = make_dataset(dana)
    columns.change_columns(actor=actor(dana), dataset=dataset, changes=[{"name": "mrn", "role": "feature"}])
    run = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    assert "patient_guessed" in {p["code"] for p in run.problems}


def test_the_job_of_a_large_run_refuses_it_too_and_takes_its_version_back(
    visits: Dataset, dana: Any, run_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_services, "AT_ONCE", 100)
    start_run(actor=actor(dana), dataset=visits, options=QUICK)
    run_jobs()
    run = TrainingRun.objects.get()
    assert run.job is not None and run.job.state == State.FAILED
    assert codes(run.problems) == ["patient_not_dealt"]
    assert not DatasetVersion.objects.exists()
