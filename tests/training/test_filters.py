"""The REST lists of training can be filtered, and a filter never shows what is another organisation's."""

from typing import Any

import pytest

from datasets.models import Dataset, DatasetVersion
from training.models import Model, TrainingRun

pytestmark = pytest.mark.django_db


def model_of(organisation: Any, name: str) -> Model:
    dataset = Dataset.objects.create(organisation=organisation, name=name, split_salt="s")
    version = DatasetVersion.objects.create(
        dataset=dataset, number=1, content_hash="0" * 64, columns=[], record_count=0, test_count=0, patient_count=0
    )
    TrainingRun.objects.create(organisation=organisation, dataset=dataset, version=version, number=1, recipe={"target": "y"})
    return Model.objects.create(organisation=organisation, dataset=dataset, target="y", task="classification", name=name)


def test_models_and_runs_by_data_set(api_of: Any, dana: Any, organisation: Any) -> None:
    heart, _lung = model_of(organisation, "Heart"), model_of(organisation, "Lung")
    api = api_of(dana)
    found = api.get("/api/v1/models/", {"dataset": str(heart.dataset_id)}).json()["results"]
    assert [m["name"] for m in found] == ["Heart"]
    assert len(api.get("/api/v1/models/").json()["results"]) == 2
    runs = api.get("/api/v1/training-runs/", {"dataset": str(heart.dataset_id), "trigger": "manual"}).json()["results"]
    assert [r["dataset"] for r in runs] == [str(heart.dataset_id)]
    assert api.get("/api/v1/training-runs/", {"trigger": "nightly"}).json()["results"] == []


def test_a_filter_that_is_no_id_is_refused(api_of: Any, dana: Any) -> None:
    answer = api_of(dana).get("/api/v1/models/", {"dataset": "heart"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "dataset"


def test_anothers_data_set_finds_nothing(api_of: Any, charlie: Any, organisation: Any) -> None:
    model = model_of(organisation, "Heart")
    Model.objects.update(published_at="2026-01-01T00:00:00Z")
    api = api_of(charlie)
    assert api.get("/api/v1/models/", {"dataset": str(model.dataset_id)}).json()["results"] == []
    assert api.get("/api/v1/training-runs/", {"dataset": str(model.dataset_id)}).json()["results"] == []
