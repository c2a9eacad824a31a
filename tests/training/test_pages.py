"""The portal's pages of training, as people with and without rights see them."""

from typing import Any

import pytest
from django.urls import reverse

from tests.conftest import actor
from training.models import Model, ModelVersion, TrainingRun
from training.services import confirm_champion, publish, start_run


def page(client: Any, name: str, *args: Any, **query: Any) -> Any:
    return client.get(reverse(f"training:{name}", args=args), query)


def test_training_works_with_no_choice(dataset: Any, dana: Any, client_of: Any) -> None:
    client = client_of(dana)
    assert "Advanced" in page(client, "start", dataset.pk).content.decode()
    response = client.post(reverse("training:start", args=[dataset.pk]))
    run = TrainingRun.objects.get()
    assert response.status_code == 302 and response.url == reverse("training:run", args=[run.pk])
    assert (
        run.recipe["target"] == "finding"
        and run.recipe["patient"] == "mrn"
        and run.recipe["scaling"] == "search"
    )


def test_advanced_shows_every_hyperparameter_with_meaning_and_limits(
    dataset: Any, dana: Any, client_of: Any
) -> None:
    from django.utils.html import escape

    from engine import registry

    text = page(client_of(dana), "start", dataset.pk).content.decode()
    for candidate in registry.describe():
        if candidate["reference"]:
            continue
        for parameter in candidate["hyperparameters"]:
            assert f"hp__{candidate['name']}__{parameter['name']}" in text
            assert escape(parameter["meaning"]) in text
    for step in ("scaling", "normalisation", "imputation", "outliers", "feature_selection"):
        assert f'name="{step}"' in text


def test_chosen_hyperparameters_reach_the_recipe(dataset: Any, dana: Any, client_of: Any) -> None:
    from engine import registry

    parameter = registry.get("network").hyperparameters[0]
    data = {"candidates": ["network"], "scaling": "minmax", "seed": "5", "time_budget": "2", "ignore": ["mean radius"],
            f"hp__network__{parameter.name}": str(parameter.default)}  # fmt: skip
    client_of(dana).post(reverse("training:start", args=[dataset.pk]), data)
    recipe = TrainingRun.objects.get().recipe
    assert recipe["hyperparameters"] == {"network": {parameter.name: parameter.default}}
    assert recipe["scaling"] == "minmax" and recipe["seed"] == 5 and recipe["candidates"] == ["network"]
    assert recipe["ignore"] == ["mean radius"]


def test_a_hyperparameter_outside_its_limits_is_marked(dataset: Any, dana: Any, client_of: Any) -> None:
    response = client_of(dana).post(
        reverse("training:start", args=[dataset.pk]), {"hp__network__dropout": "7"}
    )
    assert response.status_code == 422 and "form-error" in response.content.decode()
    assert not TrainingRun.objects.exists()


def test_a_refused_run_says_why(dana: Any, client_of: Any) -> None:
    from tests.training.conftest import make_dataset

    dataset = make_dataset(dana, rows=120, labels=lambda i, _: "benign")
    response = client_of(dana).post(reverse("training:start", args=[dataset.pk]))
    assert response.status_code == 422
    assert "nothing to tell apart" in response.content.decode()


def test_run_page_shows_candidates_versions_and_log(run: Any, victor: Any, client_of: Any) -> None:
    text = page(client_of(victor), "run", run.pk).content.decode()
    assert "Linear model" in text and "best by validation" in text and "passed the gate" in text
    assert "Learning from" in text
    assert "Repeat with the same recipe" not in text, "an auditor changes nothing"


def test_a_waiting_run_asks_for_itself_again(dataset: Any, dana: Any, client_of: Any) -> None:
    run = start_run(actor=actor(dana), dataset=dataset)
    text = page(client_of(dana), "run_live", run.pk).content.decode()
    assert f'hx-get="{reverse("training:run_live", args=[run.pk])}"' in text


def test_cancel_and_retry(dataset: Any, dana: Any, client_of: Any, run_jobs: Any) -> None:
    from tests.training.conftest import QUICK

    run = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    client = client_of(dana)
    client.post(reverse("training:cancel", args=[run.pk]))
    run.job.refresh_from_db()
    assert run.job.state == "cancelled"
    client.post(reverse("training:retry", args=[run.pk]))
    run.refresh_from_db()
    assert run.job.state == "queued"
    run_jobs()
    run.job.refresh_from_db()
    assert run.job.state == "done" and run.versions.count() == 1


def test_retrying_what_was_started_anew_leads_there(dataset: Any, dana: Any, client_of: Any) -> None:
    """The old run never takes the new run's job for its own: it would then show "done" without any version."""
    from tests.training.conftest import QUICK

    old = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    client = client_of(dana)
    client.post(reverse("training:cancel", args=[old.pk]))
    new = start_run(actor=actor(dana), dataset=dataset, options=QUICK)
    response = client.post(reverse("training:retry", args=[old.pk]))
    assert response.url == reverse("training:run", args=[new.pk])
    old.refresh_from_db()
    assert old.job.state == "cancelled" and old.job_id != new.job_id


def test_leaderboard_shows_intervals_and_confirm(
    version: Any, dana: Any, victor: Any, client_of: Any
) -> None:
    url = reverse("training:confirm", args=[version.pk])
    text = page(client_of(dana), "model", version.model_id, metric="brier").content.decode()
    assert url in text and "Brier score" in text and "n = " in text and "best by validation" in text
    assert url not in page(client_of(victor), "model", version.model_id).content.decode()
    assert page(client_of(dana), "model", version.model_id, metric="nonsense", start="x").status_code == 200


def test_the_leaderboard_starts_with_what_weighs_most_for_the_person(
    version: Any, dana: Any, bob: Any, client_of: Any, api_of: Any
) -> None:
    from accounts.services import save_preference

    weights = {"sensitivity": 1, "brier": 3, "mae": 9}  # the last measures no classes
    save_preference(actor=actor(bob), outcome="finding", weights=weights)
    first = page(client_of(bob), "model", version.model_id).content.decode()
    assert '<option value="brier" selected>' in first
    assert '<option value="brier" selected>' not in page(client_of(dana), "model", version.model_id).content.decode()
    answer = api_of(bob).get("/api/v1/leaderboard/", {"model": str(version.model_id)})
    assert answer.json()["metric"] == "brier"


def test_confirm_asks_first_then_changes(version: Any, bob: Any, client_of: Any) -> None:
    client, url = client_of(bob), reverse("training:confirm", args=[version.pk])
    assert "audit log" in client.get(url).content.decode()
    assert Model.objects.get().champion is None
    assert client.post(url, {"reason": "best"}).status_code == 302
    assert Model.objects.get().champion == version


def test_version_page_tells_it_all_to_its_own(version: Any, dana: Any, client_of: Any) -> None:
    text = page(client_of(dana), "version", version.pk).content.decode()
    for wanted in (
        "ROC curve",
        "Calibration",
        "Confusion matrix",
        version.lineage["data_hash"],
        "dana@example.org",
        "scikit-learn",
    ):
        assert wanted in text
    assert "of 100" in text, "the operating point in words"


def test_published_model_shows_its_report_and_nothing_else(
    version: Any, dana: Any, charlie: Any, client_of: Any
) -> None:
    outsider = client_of(charlie)
    assert page(outsider, "version", version.pk).status_code == 404
    assert page(outsider, "model", version.model_id).status_code == 404
    confirm_champion(actor=actor(dana), version=version)
    publish(actor=actor(dana), model=version.model, name="Narrowing")
    listed = page(outsider, "models").content.decode()
    assert "Narrowing" in listed and version.model.name not in listed
    response = outsider.get(reverse("training:model", args=[version.model_id]), follow=True)
    text = response.content.decode()
    assert response.status_code == 200 and "ROC curve" in text
    for hidden in (
        version.lineage["data_hash"],
        "dana@example.org",
        str(version.run_id),
        str(version.model.dataset_id),
        version.model.dataset.name,
        "Recipe",
    ):
        assert hidden not in text
    assert page(outsider, "run", version.run_id).status_code == 404
    assert page(outsider, "confirm", version.pk).status_code == 404
    assert page(outsider, "publish", version.model_id).status_code == 404


def test_an_unconfirmed_version_of_a_published_model_stays_hidden(
    version: Any, dana: Any, charlie: Any, client_of: Any
) -> None:
    from tests.training.test_models import twin

    other = twin(version, "boosting")
    confirm_champion(actor=actor(dana), version=version)
    publish(actor=actor(dana), model=version.model, name="Narrowing")
    assert page(client_of(charlie), "version", other.pk).status_code == 404


def test_publish_page_says_what_others_will_see(version: Any, dana: Any, client_of: Any) -> None:
    confirm_champion(actor=actor(dana), version=version)
    client, url = client_of(dana), reverse("training:publish", args=[version.model_id])
    assert "They never see your data set" in client.get(url).content.decode()
    told = client.post(url, {"published": "yes", "name": version.model.name})
    assert told.status_code == 422 and "Give the model a name without it" in told.content.decode()
    assert client.post(url, {"published": "yes", "name": ""}).status_code == 422
    assert Model.objects.get().published_at is None
    client.post(url, {"published": "yes", "name": "Narrowing of the vessels"})
    published = Model.objects.get()
    assert published.published_at is not None and published.name == "Narrowing of the vessels"
    client.post(url, {"published": "no"})
    assert Model.objects.get().published_at is None


def test_making_private_in_two_tabs_never_publishes(version: Any, dana: Any, client_of: Any) -> None:
    """The form says what it does; a second one, sent from an older page, does the same and not the opposite."""
    confirm_champion(actor=actor(dana), version=version)
    publish(actor=actor(dana), model=version.model, name="Narrowing")
    client, url = client_of(dana), reverse("training:publish", args=[version.model_id])
    assert 'name="published" value="no"' in client.get(url).content.decode()
    for _tab in range(2):
        client.post(url, {"published": "no"})
        assert Model.objects.get().published_at is None
    assert 'name="published" value="yes"' in client.get(url).content.decode()
    assert client.post(url).status_code == 400 and Model.objects.get().published_at is None


def test_a_second_click_rolls_back_no_further(version: Any, dana: Any, client_of: Any) -> None:
    from tests.training.test_models import twin

    second, third = twin(version, "boosting"), twin(version, "network")
    for each in (version, second, third):
        confirm_champion(actor=actor(dana), version=each)
    client, url = client_of(dana), reverse("training:roll_back", args=[version.model_id])
    assert f'name="to" value="{second.pk}"' in page(client, "model", version.model_id).content.decode()
    for _click in range(2):
        text = client.post(url, {"to": str(second.pk)}, follow=True).content.decode()
        assert Model.objects.get().champion == second
    assert "nothing was rolled back" in text


def test_the_gate_is_set_for_a_data_set(dataset: Any, dana: Any, client_of: Any) -> None:
    client = client_of(dana)
    client.post(reverse("training:gate_save"), {"sensitivity": "0.95", "dataset": str(dataset.pk)})
    text = page(client, "gate", dataset=str(dataset.pk)).content.decode()
    assert "Sensitivity (recall) at least 0.95" in text
    assert "No floors" in page(client, "gate").content.decode()
    assert client.post(reverse("training:gate_save"), {"sensitivity": "2"}).status_code == 422
    assert page(client, "gate", dataset="junk").status_code == 404


def test_recommendation_page_says_why_and_changes_nothing(version: Any, dana: Any, client_of: Any) -> None:
    from training.models import Recommendation

    before = Recommendation.objects.count()
    text = page(client_of(dana), "recommendation").content.decode()
    assert "You have not said yet what matters to you" in text
    assert "very likely no worse than" in text and str(version) in text
    assert Recommendation.objects.count() == before


def test_dataset_panel_counts_what_is_new(version: Any, dana: Any, rf: Any) -> None:
    from tests.training.test_models import add_patients
    from training.panels import dataset_panel

    confirm_champion(actor=actor(dana), version=version)
    add_patients(dana, version.model.dataset, 4)
    version.model.dataset.refresh_from_db()
    request = rf.get("/")
    request.actor, request.user = actor(dana), dana
    assert "4 new since the champion was trained" in dataset_panel(request, version.model.dataset)


POSTS = ("roll_back", "publish", "nightly", "confirm", "repeat", "cancel", "retry", "start")


@pytest.fixture
def targets(version: Any) -> dict[str, Any]:
    model, run = version.model_id, version.run_id
    return {"roll_back": model, "publish": model, "nightly": model, "confirm": version.pk, "repeat": run, "cancel": run,
            "retry": run, "start": version.model.dataset_id}  # fmt: skip


def test_outsider_gets_404_and_auditor_403(
    targets: dict[str, Any], charlie: Any, victor: Any, client_of: Any
) -> None:
    for name in POSTS:
        url = reverse(f"training:{name}", args=[targets[name]])
        assert client_of(charlie).post(url).status_code == 404, name
        assert client_of(victor).post(url).status_code == 403, name
        assert client_of().post(url).status_code == 302, name
    assert client_of(victor).post(reverse("training:gate_save")).status_code == 403
    assert TrainingRun.objects.count() == 1 and ModelVersion.objects.count() == 1


def test_a_clinician_may_confirm_but_not_publish(version: Any, bob: Any, client_of: Any) -> None:
    assert page(client_of(bob), "confirm", version.pk).status_code == 200
    assert page(client_of(bob), "publish", version.model_id).status_code == 403


def test_lists_are_empty_for_others(run: Any, charlie: Any, dana: Any, client_of: Any) -> None:
    assert "Breast cancer" in page(client_of(dana), "runs").content.decode()
    assert "Breast cancer" not in page(client_of(charlie), "runs").content.decode()
    assert "Breast cancer" not in page(client_of(charlie), "models").content.decode()


def test_the_profile_is_chosen_on_the_advanced_form(client_of: Any, dana: Any, organisation: Any) -> None:
    from datasets.models import Dataset
    from training.forms import StartForm

    dataset = Dataset.objects.create(organisation=organisation, name="Profile", split_salt="s")
    form = StartForm({"profile": "large"}, dataset=dataset)
    assert form.is_valid(), form.errors
    assert form.options()["profile"] == "large"
    assert not StartForm({"profile": "small"}, dataset=dataset).is_valid(), "a training does not run in the light queue"
