"""A run from the button to its versions: starting, refusing, repeating, cancelling, being killed."""

from typing import Any

import pytest

from jobs.models import Job, State
from tests.conftest import actor
from tests.training.conftest import QUICK, make_dataset
from training import artefacts
from training.models import ModelVersion, TrainingRun
from training.services import RunRefused, repeat_run, start_run


def codes(refused: Any) -> set[str]:
    return {p["code"] for p in refused.value.problems if p["severity"] == "error"}


def test_it_works(run: Any, dana: Any) -> None:
    assert run.job.state == State.DONE, run.job.error_engineer
    version = run.versions.get(chosen=True)
    metric = version.metrics["roc_auc"]
    assert 0.9 < metric["low"] < metric["value"] <= metric["high"] <= 1
    assert metric["n"] == run.version.test_count
    assert version.gate_passed and version.number == 1 and version.model.target == "finding"
    assert version.latency_ms > 0 and version.artefact_bytes > 1000
    assert version.lineage["data_hash"] == run.version.content_hash
    assert version.lineage["requester"] == dana.email
    assert version.lineage["recipe"]["seed"] == 0 and "scikit-learn" in version.lineage["libraries"]
    candidate = run.candidates.get(name="linear")
    assert candidate.status == "done" and candidate.chosen and candidate.validation_score > 0.9
    assert dana.notifications.filter(key__startswith=f"run:{run.pk}").count() == 1


def test_report_holds_no_prediction_of_a_single_record(version: Any) -> None:
    assert "predictions" not in version.report
    stored = artefacts.predictions(version)
    assert stored is not None and len(stored["records"]) == version.metrics["roc_auc"]["n"]


def test_the_test_split_is_never_trained_on(run: Any) -> None:
    from datasets.versions import frame

    stored = artefacts.predictions(run.versions.get(chosen=True))
    assert stored is not None
    assert set(stored["records"]) == set(frame(run.version, "test").index)
    assert not set(stored["records"]) & set(frame(run.version, "train").index)


def test_a_stored_model_loads_and_predicts(version: Any) -> None:
    from datasets.versions import frame

    fitted = artefacts.load_fitted(version)
    test = frame(version.run.version, "test")
    again = fitted.predict(test).probabilities
    stored = artefacts.predictions(version)
    assert stored is not None
    assert abs(again - stored["report"]["probabilities"]).max() < 1e-8


def test_a_changed_artefact_is_refused(version: Any) -> None:
    from engine import ArtefactError

    manifest = artefacts.folder(version) / "model" / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    artefacts._loaded.clear()
    with pytest.raises(ArtefactError):
        artefacts.load_fitted(version)


def test_a_double_click_starts_one_run(dataset: Any, dana: Any) -> None:
    first = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    second = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    assert first == second
    assert TrainingRun.objects.count() == 1 and Job.objects.count() == 1
    other = start_run(actor=actor(dana), dataset=dataset, options={**QUICK, "seed": 1})
    assert other != first


def test_repeating_gives_the_same_numbers(run: Any, dana: Any, run_jobs: Any) -> None:
    again = repeat_run(actor=actor(dana), run=run)
    run_jobs()
    assert again.repeat_of == run and again.trigger == "repeat"
    first, second = run.versions.get(), again.versions.get()
    assert first.metrics == second.metrics
    assert artefacts.predictions(first) == artefacts.predictions(second)


def test_settling_twice_makes_no_doubles(run: Any, dana: Any) -> None:
    from training.tasks import settle_training

    before = dana.notifications.count()
    settle_training(run.job)
    settle_training(run.job)
    assert ModelVersion.objects.count() == 1 and dana.notifications.count() == before


def test_a_target_of_one_class_is_refused(dana: Any) -> None:
    dataset = make_dataset(dana, rows=120, labels=lambda i, _: "benign")
    with pytest.raises(RunRefused) as refused:
        start_run(actor=actor(dana), dataset=dataset)
    assert codes(refused) == {"one_class"}
    assert not TrainingRun.objects.exists() and not Job.objects.exists()


def test_too_few_records_are_refused(dana: Any) -> None:
    dataset = make_dataset(dana, rows=15)
    with pytest.raises(RunRefused) as refused:
        start_run(actor=actor(dana), dataset=dataset)
    assert "too_few_records" in codes(refused)


def test_an_empty_data_set_is_refused(dana: Any) -> None:
    dataset = make_dataset(dana, rows=0)
    with pytest.raises(RunRefused) as refused:
        start_run(actor=actor(dana), dataset=dataset)
    assert codes(refused) == {"no_records"}


def test_a_leaking_column_is_left_out_unless_allowed_and_the_report_says_so(
    dana: Any, run_jobs: Any, client_of: Any
) -> None:
    dataset = make_dataset(dana, rows=200)
    for record in dataset.records.all():
        record.values["mean texture"] = 1.0 if record.values["finding"] == "benign" else 0.0
        record.save()
    run = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    problem = next(p for p in run.problems if p["code"] == "leak")
    assert (problem["column"], problem["severity"]) == ("mean texture", "warning")
    assert "mean texture" in problem["message"]
    run_jobs()
    version = run.versions.get()
    roles = {c["name"]: c["role"] for c in version.schema["columns"]}
    assert (roles["mean texture"], roles["mean radius"]) == ("ignore", "feature")
    assert [s["column"] for s in version.report["suspicious"]] == ["mean texture"]
    page = client_of(dana).get(f"/models/versions/{version.pk}/").content.decode()
    assert "alone gives the answer away" in page and "It is left out" in page
    allowed = start_run(actor=actor(dana), dataset=dataset, options={**QUICK, "allow_leaks": True})
    assert any(p["code"] == "leak_used" and p["severity"] == "warning" for p in allowed.problems)


def test_a_run_that_does_not_fit_its_profile_is_refused(dataset: Any, dana: Any) -> None:
    from datasets.models import DatasetVersion

    start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    DatasetVersion.objects.update(record_count=50_000_000)
    with pytest.raises(RunRefused) as refused:
        start_run(actor=actor(dana), dataset=dataset, options={**QUICK, "seed": 3, "profile": "medium"})
    assert codes(refused) >= {"memory"}


def test_a_profile_that_no_computer_has_is_said_before_the_run_waits_for_ever(dataset: Any, dana: Any) -> None:
    from django.utils import timezone

    from jobs.models import Node

    Node.objects.create(name="n", queue="heavy", pid=7, cpus=2, memory_mb=4000, heartbeat_at=timezone.now())
    assert start_run(actor=actor(dana), dataset=dataset, options=QUICK).problems == []
    run = start_run(actor=actor(dana), dataset=dataset, options={**QUICK, "seed": 3, "profile": "gpu"})
    assert [(p["code"], p["severity"]) for p in run.problems] == [("no_node", "warning")]


def test_trying_again_does_not_train_an_archived_data_set(dataset: Any, dana: Any, run_jobs: Any) -> None:
    from django.utils import timezone

    from jobs.services import cancel, retry

    run = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    cancel(actor=actor(dana), job=run.job)
    dataset.archived_at = timezone.now()
    dataset.save()
    again = retry(actor=actor(dana), job=run.job)
    run_jobs()
    again.refresh_from_db()
    assert again.state == State.FAILED and "archived" in again.error_person
    assert not run.versions.exists()


def test_an_erased_version_cannot_be_repeated(run: Any, dana: Any) -> None:
    run.version.file = None
    run.version.save()
    run.refresh_from_db()
    with pytest.raises(RunRefused) as refused:
        repeat_run(actor=actor(dana), run=run)
    assert codes(refused) == {"version_erased"}


@pytest.mark.parametrize(
    ("options", "field", "limit"),
    [
        ({"colour": 1}, "colour", "colour"),
        ({"scaling": "log"}, "scaling", "zscore"),
        ({"time_budget": -1}, "time_budget", "between 0"),
        ({"seed": 1.5}, "seed", "4294967295"),
        ({"metric": "beauty"}, "metric", "roc_auc"),
        ({"candidates": ["oracle"]}, "candidates", "oracle"),
        ({"candidates": "linear"}, "candidates", "list"),
        ({"ignore": ["nobody"]}, "nobody", "nobody"),
        (
            {"hyperparameters": {"network": {"learning_rate": 99}}},
            "hyperparameters.network.learning_rate",
            "learning_rate",
        ),
        ({"profile": "enormous"}, "profile", "medium"),
    ],
)
def test_a_wrong_option_is_named_with_its_limits(
    dataset: Any, dana: Any, options: Any, field: str, limit: str
) -> None:
    with pytest.raises(RunRefused) as refused:
        start_run(actor=actor(dana), dataset=dataset, options=options)
    assert refused.value.problems[0]["column"] == field
    assert limit in refused.value.problems[0]["message"]


def test_a_cancelled_run_leaves_no_version(dataset: Any, dana: Any, run_jobs: Any) -> None:
    from jobs.services import cancel

    run = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    cancel(actor=actor(dana), job=run.job)
    run_jobs()
    run.job.refresh_from_db()
    assert run.job.state == State.CANCELLED
    assert not ModelVersion.objects.exists()


def test_a_killed_attempt_leaves_nothing_half_written(
    dataset: Any, dana: Any, run_jobs: Any, monkeypatch: Any
) -> None:
    """The first attempt dies between writing the artefact and renaming it; the second one starts anew."""
    import engine

    run = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    folder = artefacts.folder_of(run.organisation_id, artefacts.version_id(run, "linear"))

    def dies(fitted: Any, path: Any) -> None:
        path.mkdir()
        (path / "manifest.json").write_text("{")
        raise ConnectionError("the process is gone")

    save = engine.save
    monkeypatch.setattr(engine, "save", dies)
    monkeypatch.setattr("jobs.lease.backoff", lambda attempt: 0)
    from jobs.runner import run_job

    run_job(run.job_id, owner="first")
    assert not folder.exists()
    assert not list(folder.parent.glob(".*")) if folder.parent.exists() else True
    assert not ModelVersion.objects.exists()
    monkeypatch.setattr(engine, "save", save)
    leftover = folder.parent / f".writing-{run.pk.hex}-dead"
    leftover.mkdir(parents=True)
    Job.objects.filter(pk=run.job_id).update(not_before=None)
    run_jobs()
    run.job.refresh_from_db()
    assert run.job.state == State.DONE, run.job.error_engineer
    assert not leftover.exists()
    assert artefacts.load_fitted(run.versions.get()).candidate == "linear"


def test_the_gate_keeps_a_version_from_serving(dataset: Any, dana: Any, train: Any) -> None:
    from training.errors import ChangeRefused
    from training.gate import save_gate
    from training.services import confirm_champion

    save_gate(actor=actor(dana), dataset=None, floors={"roc_auc": 0.5})
    save_gate(actor=actor(dana), dataset=dataset, floors={"sensitivity": 1.0, "brier": 0.0001})
    version = train(dataset).versions.get()
    assert not version.gate_passed
    assert {r["metric"] for r in version.gate_reasons} >= {"brier"}
    with pytest.raises(ChangeRefused):
        confirm_champion(actor=actor(dana), version=version)
    version.model.refresh_from_db()
    assert version.model.champion is None


def test_no_model_is_judged_by_labels_that_a_model_proposed(dataset: Any, dana: Any, train: Any) -> None:
    from datasets.models import Record

    locked = Record.objects.filter(dataset=dataset, split="test")
    reviewed = set(locked.values_list("pk", flat=True)[:15])
    Record.objects.filter(pk__in=reviewed).update(source="review")
    version = train(dataset).versions.get()
    stored = artefacts.predictions(version)
    assert stored is not None
    assert set(stored["records"]) == set(locked.values_list("pk", flat=True)) - reviewed
    assert version.metrics["roc_auc"]["n"] == locked.count() - 15
    Record.objects.filter(pk__in=locked.values("pk")).update(source="review")
    with pytest.raises(RunRefused) as refused:
        start_run(actor=actor(dana), dataset=dataset, options={**QUICK, "seed": 5})
    assert codes(refused) == {"test_empty"}


def test_a_class_called_none_is_learned_when_the_upload_kept_such_words(dana: Any, train: Any) -> None:
    from datasets.models import StoredFile, Upload

    dataset = make_dataset(dana, "Kept", labels=lambda i, finding: "none" if finding == "benign" else finding)
    file = StoredFile.objects.create(organisation=dataset.organisation, sha256="0" * 64, size=1)
    Upload.objects.create(
        organisation=dataset.organisation, dataset=dataset, file=file, state=Upload.State.IMPORTED,
        options={"keep_words": True},
    )  # fmt: skip
    version = train(dataset).versions.get(chosen=True)
    assert version.classes == ["malignant", "none"]
    assert version.metrics["roc_auc"]["n"] == dataset.records.filter(split="test").count()
