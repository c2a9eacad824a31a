"""Training on records whose cells are files: blood cells told apart, in the portal's own run, with files and fields."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from datasets.cells.folder import fingerprint, hashes_of, laid_out
from datasets.models import Dataset, Record
from datasets.versions import freeze
from tests.conftest import actor
from tests.datasets.test_cells_intake import cells_of, imported, of_classes, with_table
from training.services import start_run

pytestmark = pytest.mark.once  # what is learned from files; how runs are kept is asked by test_runs, on both databases
QUICK = {"candidates": ["linear"], "scaling": "zscore", "normalisation": "none", "imputation": "median",
         "outliers": "none", "feature_selection": "none"}  # fmt: skip
SECONDS = 15.0  # of search, where that is not the question; from 20 on few records are dealt into folds three times


@pytest.fixture
def pictures(dana: Any, run_jobs: Any, shared_data: Path) -> Dataset:
    """120 blood cells of three classes."""
    upload = imported(dana, run_jobs, of_classes(cells_of(shared_data, 40)))
    assert upload.dataset is not None
    return upload.dataset


def trained(person: Any, run_jobs: Any, dataset: Dataset, seconds: float | None = SECONDS, **options: Any) -> Any:
    """A run to its end; `seconds` None leaves the budget to the portal."""
    given = {} if seconds is None else {"time_budget": seconds}
    run = start_run(actor=actor(person), dataset=dataset, options={**QUICK, **given, **options})
    run_jobs()
    run.refresh_from_db()
    assert run.job.state == "done", (run.job.error_person, run.job.error_engineer)
    return run


def test_blood_cells_are_told_apart(
    dana: Any, run_jobs: Any, api_of: Any, pictures: Dataset, shared_data: Path
) -> None:
    run = trained(dana, run_jobs, pictures, seconds=None)
    assert {p["code"] for p in run.problems} == {"patient_contradicts", "test_small"}  # a picture shows cells of all classes
    version = run.versions.get(chosen=True)
    assert [c["name"] for c in version.schema["columns"] if c["role"] == "feature"] == ["image"]
    assert version.metrics["balanced_accuracy"]["value"] > 0.8
    assert version.latency_ms > 0
    fresh = of_classes(cells_of(shared_data, 10, start=1))
    sent = {"file": SimpleUploadedFile("new.zip", fresh.getvalue())}
    answer = api_of(dana).post(f"/api/v1/model-versions/{version.pk}/evaluate/", sent, format="multipart")
    assert answer.status_code == 200, answer.content
    report = answer.json()["report"]
    assert (report["n_records"], report["missing_columns"]) == (30, [])
    assert report["metrics"]["balanced_accuracy"]["value"] > 0.7
    frozen = hashes_of(run.version, ["image"])["image"]
    assert frozen == {r.values["image"] for r in Record.objects.filter(dataset=pictures)}
    assert version.lineage["files"] == {"image": fingerprint(frozen)}
    assert not list(Path(version.artefact).glob("**/*.png"))
    assert run.summary["profile"] == "large"
    assert run.recipe["time_budget"] == 72.0  # a minute, and a tenth of a second for each picture


def test_fields_text_and_picture_in_one_record(dana: Any, run_jobs: Any, shared_data: Path) -> None:
    dataset = imported(dana, run_jobs, with_table(cells_of(shared_data, 40))).dataset
    assert dataset is not None
    run = trained(dana, run_jobs, dataset)
    version = run.versions.get(chosen=True)
    kinds = {c["name"]: c["kind"] for c in version.schema["columns"] if c["role"] == "feature"}
    assert kinds == {"age": "number", "note": "text", "film": "image"}
    assert version.metrics["balanced_accuracy"]["value"] > 0.7


def test_the_folder_holds_the_frozen_files_and_nobody_can_change_it(dana: Any, pictures: Dataset, tmp_path: Path) -> None:
    version = freeze(actor=actor(dana), dataset=pictures)
    with laid_out(version, ["image"], tmp_path) as folder:
        assert folder is not None
        assert {p.name for p in folder.iterdir()} == hashes_of(version, ["image"])["image"]
        assert folder.stat().st_mode & 0o222 == 0
        assert all(p.stat().st_nlink == 2 for p in folder.iterdir())  # nothing is copied
    assert not folder.exists()
    with laid_out(version, [], tmp_path) as none:
        assert none is None


def test_a_file_that_is_gone_is_said_before_the_run(dana: Any, pictures: Dataset) -> None:
    from django.core.files.storage import default_storage

    from training import preflight, recipes

    version = freeze(actor=actor(dana), dataset=pictures)
    lost = Record.objects.filter(split="train").first()
    assert lost is not None
    default_storage.delete(lost.files.get().file.path)
    recipe = recipes.resolve(pictures, None, dict(QUICK))
    found = {p["code"]: p for p in preflight.examine(version, recipe)}
    assert found["values_file_missing"]["params"]["count"] == 1


def test_two_versions_of_the_same_pictures_under_other_names_are_one(dana: Any, run_jobs: Any, shared_data: Path) -> None:
    cells = cells_of(shared_data, 3)
    dataset = imported(dana, run_jobs, of_classes(cells)).dataset
    assert dataset is not None
    first = freeze(actor=actor(dana), dataset=dataset)
    renamed = [(label, f"{name.rsplit('_', 1)[0]}_9{n}.png", c) for n, (label, name, c) in enumerate(cells)]
    again = imported(dana, run_jobs, of_classes(renamed), dataset=dataset)
    assert again.rows_added == 0
    assert freeze(actor=actor(dana), dataset=dataset) == first


