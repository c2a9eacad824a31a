"""The REST resources of training."""

import io
from typing import Any

import pytest

from accounts.models import AuditEvent
from datasets.models import Record
from tests.conftest import actor
from tests.training.conftest import COLUMNS, QUICK
from training.models import TrainingRun
from training.services import confirm_champion, publish

RUNS = "/api/v1/training-runs/"


def labelled(dataset: Any, count: int = 60) -> list[dict[str, Any]]:
    return [r.values for r in dataset.records.order_by("id")[:count]]


def test_a_run_is_started_watched_and_has_versions(
    dataset: Any, dana: Any, api_of: Any, run_jobs: Any
) -> None:
    client = api_of(dana)
    response = client.post(RUNS, {"dataset": str(dataset.pk), "options": QUICK})
    assert response.status_code == 201, response.data
    assert response.data["job"]["state"] == "queued" and response.data["trigger"] == "api"
    run_jobs()
    found = client.get(f"{RUNS}{response.data['id']}/").data
    assert found["job"]["state"] == "done" and found["candidates"][0]["name"] == "linear"
    version = client.get(f"/api/v1/model-versions/{found['versions'][0]['id']}/").data
    assert version["report"]["metrics"]["roc_auc"]["value"] > 0.9 and version["lineage"]["seed"] == 0
    assert client.get(RUNS).data["results"][0]["id"] == found["id"]


def test_starting_is_idempotent_by_key(dataset: Any, dana: Any, api_of: Any) -> None:
    client, body = api_of(dana), {"dataset": str(dataset.pk), "options": QUICK}
    first = client.post(RUNS, body, HTTP_IDEMPOTENCY_KEY="k1")
    second = client.post(RUNS, body, HTTP_IDEMPOTENCY_KEY="k1")
    assert first.data["id"] == second.data["id"] and second.headers["Idempotent-Replayed"] == "true"
    assert TrainingRun.objects.count() == 1


def test_a_refused_run_names_its_problems(dataset: Any, dana: Any, api_of: Any) -> None:
    response = api_of(dana).post(RUNS, {"dataset": str(dataset.pk), "options": {"scaling": "log"}})
    assert response.status_code == 422 and response["Content-Type"].startswith("application/problem+json")
    assert response.data["problems"][0]["column"] == "scaling"
    assert [e["field"] for e in response.data["errors"]] == ["options.scaling"]


@pytest.mark.parametrize("body", [{}, {"dataset": "x"}, {"dataset": None}, [], "text", {"options": 3}])
def test_junk_is_400(dataset: Any, dana: Any, api_of: Any, body: Any) -> None:
    assert api_of(dana).post(RUNS, body).status_code == 400


@pytest.mark.parametrize(
    "options",
    [{"seed": 10**40}, {"time_budget": "1e999"}, {"hyperparameters": {"linear": {"x": [1]}}}, {"metric": ["roc_auc"]},
     {"scaling": {"a": 1}}, {"positive": {}}, {"task": None}, {"columns": {}}, {"target": "x"}, {"profile": []},
     {"hyperparameters": {"network": {"activation": ["relu"]}}}, {"positive": "martian"}],
)  # fmt: skip
def test_strange_options_are_refused_not_crashes(dataset: Any, dana: Any, api_of: Any, options: Any) -> None:
    assert api_of(dana).post(RUNS, {"dataset": str(dataset.pk), "options": options}).status_code == 422


def test_cancel_once(dataset: Any, dana: Any, api_of: Any) -> None:
    client = api_of(dana)
    pk = client.post(RUNS, {"dataset": str(dataset.pk), "options": QUICK}).data["id"]
    assert client.post(f"{RUNS}{pk}/cancel/").data["job"]["state"] == "cancelled"


def test_models_confirm_roll_back_and_publish(version: Any, dana: Any, api_of: Any) -> None:
    from tests.training.test_models import twin

    client, model = api_of(dana), f"/api/v1/models/{version.model_id}/"
    other = twin(version, "boosting")
    assert client.post(f"{model}publish/").status_code == 409
    for v in (version, other):
        assert client.post(f"/api/v1/model-versions/{v.pk}/confirm/", {"reason": "r"}).data["is_champion"]
    other = client.post(f"{model}roll-back/", {"to": model.split("/")[-2]}, content_type="application/json")
    assert other.status_code == 409 and other.json()["type"].endswith("champion-changed")
    assert client.post(f"{model}roll-back/").data["champion"]["id"] == str(version.pk)
    assert client.post(f"{model}roll-back/").status_code == 409
    nameless = client.post(f"{model}publish/")
    assert nameless.status_code == 409 and nameless.json()["type"].endswith("name-tells-data-set")
    assert client.post(f"{model}publish/", {"name": "Narrowing"}).data["published_at"]
    assert client.post(f"{model}publish/", {"published": False}).data["published_at"] is None
    assert client.get("/api/v1/models/").data["results"][0]["own"] is True


def test_leaderboard(version: Any, dana: Any, api_of: Any) -> None:
    client = api_of(dana)
    for query in (f"model={version.model_id}", f"dataset={version.model.dataset_id}&metric=roc_auc"):
        board = client.get(f"/api/v1/leaderboard/?{query}").data
        assert board["rows"][0]["rank"] == 1 and board["rows"][0]["version"]["id"] == str(version.pk)
    nothing = client.get("/api/v1/leaderboard/")
    assert nothing.status_code == 400 and nothing.data["detail"] == "model: Give model or dataset."
    assert client.get(f"/api/v1/leaderboard/?model={version.model_id}&metric=x").status_code == 400
    assert client.get("/api/v1/leaderboard/?model=%00").status_code == 400


def test_evaluating_records_is_audited_and_stores_nothing(version: Any, dana: Any, api_of: Any) -> None:
    rows, before = labelled(version.model.dataset), Record.objects.count()
    response = api_of(dana).post(f"/api/v1/model-versions/{version.pk}/evaluate/", {"records": rows})
    assert response.status_code == 200, response.data
    assert (
        response.data["report"]["n_records"] == 60
        and response.data["report"]["metrics"]["roc_auc"]["value"] > 0.9
    )
    assert "predictions" not in response.data["report"]
    assert Record.objects.count() == before
    assert AuditEvent.objects.get(action="version.evaluated").detail["records"] == 60


def test_evaluating_a_csv_gives_the_same_report(version: Any, dana: Any, api_of: Any) -> None:
    import csv

    rows = labelled(version.model.dataset)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["mrn", *COLUMNS, "finding"])
    writer.writeheader()
    writer.writerows(rows)
    file = io.BytesIO(text.getvalue().encode())
    file.name = "new.csv"
    client, url = api_of(dana), f"/api/v1/model-versions/{version.pk}/evaluate/"
    by_file = client.post(url, {"file": file}, format="multipart")
    assert by_file.status_code == 200, by_file.data
    assert by_file.data["report"]["metrics"] == client.post(url, {"records": rows}).data["report"]["metrics"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"records": []},
        {"records": [{"x": 1}]},
        {"records": [{"finding": None}]},
        {"records": [{"finding": ["a"]}]},
        {"records": 5},
        {"records": [{"finding": "martian"}]},
    ],
)
def test_evaluating_junk_is_refused(version: Any, dana: Any, api_of: Any, body: Any) -> None:
    assert api_of(dana).post(f"/api/v1/model-versions/{version.pk}/evaluate/", body).status_code in (400, 422)


def test_evaluating_a_broken_file_is_refused(version: Any, dana: Any, api_of: Any) -> None:
    file = io.BytesIO(b"PK\x03\x04 not a zip")
    file.name = "x.xlsx"
    response = api_of(dana).post(
        f"/api/v1/model-versions/{version.pk}/evaluate/", {"file": file}, format="multipart"
    )
    assert response.status_code == 422


def test_outsiders_get_404_auditors_403(version: Any, charlie: Any, victor: Any, api_of: Any) -> None:
    run, pk, model = version.run_id, version.pk, version.model_id
    outsider, auditor = api_of(charlie), api_of(victor)
    for url in (
        f"{RUNS}{run}/",
        f"/api/v1/models/{model}/",
        f"/api/v1/model-versions/{pk}/",
        f"/api/v1/leaderboard/?model={model}",
    ):
        assert outsider.get(url).status_code == 404, url
        assert auditor.get(url).status_code == 200, url
    for url in (
        f"{RUNS}{run}/cancel/",
        f"{RUNS}{run}/repeat/",
        f"/api/v1/models/{model}/roll-back/",
        f"/api/v1/models/{model}/publish/",
        f"/api/v1/model-versions/{pk}/confirm/",
    ):
        assert outsider.post(url, {}).status_code == 404, url
        assert auditor.post(url, {}).status_code == 403, url
    evaluate = f"/api/v1/model-versions/{pk}/evaluate/"
    assert outsider.post(evaluate, {"records": [{"finding": "benign"}]}).status_code == 404
    assert auditor.post(evaluate, {}).status_code == 403
    body = {"dataset": str(version.model.dataset_id)}
    assert outsider.post(RUNS, body).status_code == 404 and auditor.post(RUNS, body).status_code == 403
    assert outsider.get("/api/v1/models/").data["results"] == [] == outsider.get(RUNS).data["results"]


def test_a_published_model_hides_where_it_comes_from(
    version: Any, dana: Any, charlie: Any, api_of: Any
) -> None:
    confirm_champion(actor=actor(dana), version=version)
    publish(actor=actor(dana), model=version.model, name="Narrowing")
    outsider = api_of(charlie)
    model = outsider.get(f"/api/v1/models/{version.model_id}/").data
    assert model["dataset"] is None and model["own"] is False and model["champion"]["id"] == str(version.pk)
    found = outsider.get(f"/api/v1/model-versions/{version.pk}/").data
    assert found["lineage"] is None and found["run"] is None and found["report"]["metrics"]
    assert outsider.post(f"/api/v1/model-versions/{version.pk}/confirm/").status_code == 404
    rows = labelled(version.model.dataset)
    assert (
        outsider.post(f"/api/v1/model-versions/{version.pk}/evaluate/", {"records": rows}).status_code == 200
    )


def test_gate_and_options_and_recommendation(version: Any, dana: Any, api_of: Any) -> None:
    client = api_of(dana)
    assert client.put("/api/v1/gate/", {"floors": {"roc_auc": 0.8}}).data["floors"] == {"roc_auc": 0.8}
    assert client.put("/api/v1/gate/", {"floors": {"roc_auc": 8}}).status_code == 400
    assert len(client.get("/api/v1/gate/").data) == 1
    names = {c["name"] for c in client.get("/api/v1/recipe-options/").data["candidates"]}
    assert names >= {"linear", "boosting", "network"} and "baseline" not in names
    found = client.get("/api/v1/recommendation/").data
    assert found["state"] == "best" and found["version"]["id"] == str(version.pk)


def test_the_schema_of_training_has_no_warnings() -> None:
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator

    GENERATOR_STATS.reset()
    schema = SchemaGenerator().get_schema(request=None, public=True)
    assert "/api/v1/training-runs/" in schema["paths"]
    stats = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    assert not [w for w in stats if "training" in str(w)], stats
