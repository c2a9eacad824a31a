"""Champions, the leaderboard, publishing, erasing, nightly runs and the recommendation."""

import copy
from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import AuditEvent, Preference
from tests.conftest import actor
from tests.training.conftest import COLUMNS, QUICK
from training import artefacts, leaderboard, recommendation
from training.errors import ChangeRefused
from training.models import ChampionChange, ModelVersion, PairedTest, Ranking
from training.services import confirm_champion, publish, roll_back, unpublish


def twin(version: Any, candidate: str, *, worse: float = 0.0, **changes: Any) -> Any:
    """Another version of the same run, whose predictions are mixed with their opposite by `worse`."""
    row = copy.copy(version)
    row.pk = artefacts.version_id(version.run, candidate)
    row._state = copy.copy(version._state)
    row._state.adding = True
    row.candidate, row.number, row.chosen = candidate, version.model.versions.count() + 1, False
    row.artefact = f"{version.model.organisation_id}/{row.pk}"
    row.metrics = copy.deepcopy(version.metrics)
    for name, value in changes.items():
        setattr(row, name, value)
    stored = copy.deepcopy(artefacts.predictions(version))
    assert stored is not None
    if worse:
        stored["report"]["probabilities"] = [
            [(1 - worse) * a + worse * b, (1 - worse) * b + worse * a]
            for a, b in stored["report"]["probabilities"]
        ]
    artefacts.folder(row).mkdir(parents=True, exist_ok=True)
    artefacts.write_predictions(row, stored)
    row.save(force_insert=True)
    return row


def test_confirming_makes_the_champion_and_is_audited(version: Any, bob: Any) -> None:
    change = confirm_champion(actor=actor(bob), version=version, reason="looks good")
    version.model.refresh_from_db()
    assert version.model.champion == version
    assert change is not None and change.changed_by == bob and change.reason == "looks good"
    event = AuditEvent.objects.get(action="champion.confirmed")
    assert event.actor_user_id == bob.pk and event.object_id == str(version.pk)
    assert confirm_champion(actor=actor(bob), version=version) is None
    assert ChampionChange.objects.count() == 1


def test_rolling_back_is_one_step_at_a_time(version: Any, dana: Any) -> None:
    second, third = twin(version, "boosting"), twin(version, "network")
    for v in (version, second, third):
        confirm_champion(actor=actor(dana), version=v)
    model = version.model
    assert roll_back(actor=actor(dana), model=model).version == second
    assert roll_back(actor=actor(dana), model=model).version == version
    with pytest.raises(ChangeRefused):
        roll_back(actor=actor(dana), model=model)
    confirm_champion(actor=actor(dana), version=third)
    assert roll_back(actor=actor(dana), model=model).version == version
    assert AuditEvent.objects.filter(action="champion.rolled_back").count() == 3


def test_rolling_back_passes_over_a_retired_version(version: Any, dana: Any) -> None:
    second, third = twin(version, "boosting"), twin(version, "network")
    for v in (version, second, third):
        confirm_champion(actor=actor(dana), version=v)
    ModelVersion.objects.filter(pk=second.pk).update(retired_at=timezone.now())
    assert roll_back(actor=actor(dana), model=version.model).version == version


def test_versions_that_cannot_be_told_apart_share_a_rank(version: Any) -> None:
    alike = twin(version, "boosting")
    bad = twin(version, "network", worse=0.35)
    bad.metrics["brier"] = {"value": 0.25, "low": 0.2, "high": 0.3, "n": 114}
    bad.save()
    leaderboard.rebuild(version.model)
    rows = leaderboard.rows(version.model, "brier")
    ranks = {r.version.candidate: r.rank for r in rows}
    assert ranks == {"linear": 1, "boosting": 1, "network": 3}
    assert all(r.tied for r in rows if r.version in (version, alike))
    test = PairedTest.objects.filter(metric="brier", second=bad).get()
    assert test.high is not None and test.high < 0 and test.records == version.metrics["brier"]["n"]


def test_paired_tests_are_made_once(version: Any, monkeypatch: Any) -> None:
    import engine

    twin(version, "boosting")
    leaderboard.rebuild(version.model)
    count = PairedTest.objects.count()
    assert count and Ranking.objects.filter(model=version.model, metric="roc_auc").exists()
    monkeypatch.setattr(engine, "compare", lambda *a, **k: pytest.fail("computed again"))
    leaderboard.rebuild(version.model)
    assert PairedTest.objects.count() == count


def test_errors_are_ordered_from_the_smallest(version: Any) -> None:
    worse = twin(version, "boosting")
    worse.metrics["log_loss"] = {"value": 9.0, "low": 8.0, "high": 10.0, "n": 114}
    worse.save()
    assert [r.version.candidate for r in leaderboard.rows(version.model, "log_loss")] == [
        "linear",
        "boosting",
    ]


def test_an_undefined_metric_comes_last_and_has_no_rank(version: Any) -> None:
    odd = twin(version, "boosting")
    odd.metrics["brier"] = {"value": None, "low": None, "high": None, "n": 114}
    odd.metrics["roc_auc"] = {"value": None, "low": None, "high": None, "n": 114}
    odd.save()
    leaderboard.rebuild(version.model)
    for metric in ("brier", "roc_auc"):
        assert [(r.version.candidate, r.rank) for r in leaderboard.rows(version.model, metric)] == [
            ("linear", 1),
            ("boosting", None),
        ]


def test_publishing_never_tells_what_the_data_set_is_called(version: Any, dana: Any) -> None:
    confirm_champion(actor=actor(dana), version=version)
    model = version.model
    assert model.dataset.name.casefold() in model.name.casefold()  # as every new model is named
    for name in ("", f"  My {model.dataset.name.upper()} model"):
        with pytest.raises(ChangeRefused) as refused:
            publish(actor=actor(dana), model=model, name=name)
        assert refused.value.code == "name-tells-data-set"
    model.refresh_from_db()
    assert model.published_at is None
    assert publish(actor=actor(dana), model=model, name="Narrowing").name == "Narrowing"


def test_publishing_needs_a_champion(version: Any, dana: Any) -> None:
    with pytest.raises(ChangeRefused):
        publish(actor=actor(dana), model=version.model, name="Narrowing")
    confirm_champion(actor=actor(dana), version=version)
    assert publish(actor=actor(dana), model=version.model, name="Narrowing").published_at is not None
    assert unpublish(actor=actor(dana), model=version.model).published_at is None


def test_erasing_a_patient_flags_what_learned_from_them(
    version: Any, dana: Any, django_capture_on_commit_callbacks: Any
) -> None:
    from datasets.erasure import erase_patient, preview_erasure

    confirm_champion(actor=actor(dana), version=version)
    other = twin(version, "boosting")
    dataset = version.model.dataset
    record = dataset.records.filter(split="test").first()
    touched = dict(preview_erasure(dataset=dataset, patient_key=record.patient_key).others)
    assert 2 in touched.values()
    gone = record.pk
    with django_capture_on_commit_callbacks(execute=True):
        erase_patient(
            actor=actor(dana), dataset=dataset, patient_key=record.patient_key, reason="asked for it"
        )
    version.refresh_from_db()
    other.refresh_from_db()
    assert version.erased_at and version.retired_at is None, "the champion keeps serving"
    assert other.erased_at and other.retired_at
    stored = artefacts.predictions(version)
    assert stored is not None and gone not in stored["records"]
    assert len(stored["records"]) == len(stored["report"]["true"]) == version.metrics["roc_auc"]["n"] - 1
    assert dana.notifications.filter(key=f"erased:{version.pk}").exists()


def add_patients(user: Any, dataset: Any, count: int) -> None:
    from datasets import records

    rows = [
        {"mrn": f"new{i}", **dict.fromkeys(COLUMNS, 10.0 + i), "finding": "benign" if i % 2 else "malignant"}
        for i in range(count)
    ]
    records.add_records(actor=actor(user), dataset=dataset, rows=rows, source="api")


def test_nightly_runs_only_for_new_records_and_once_a_night(version: Any, dana: Any, run_jobs: Any) -> None:
    from training.nightly import retrain_all

    today = date(2026, 11, 23)
    assert retrain_all(today) == 0
    add_patients(dana, version.model.dataset, 3)
    assert retrain_all(today) == 1
    assert retrain_all(today) == 0
    run_jobs()
    assert retrain_all(today) == 0
    run = version.model.dataset.training_runs.get(trigger="nightly")
    assert run.trigger_day == today and run.recipe == version.run.recipe | {"task": "classification"}
    assert run.version != version.run.version
    assert retrain_all(today + timedelta(days=1)) == 0, "nothing is new since"
    version.model.refresh_from_db()
    assert version.model.champion is None, "nobody has confirmed"


def test_a_model_that_is_not_retrained_at_night_stays(version: Any, dana: Any) -> None:
    from training.nightly import retrain_all
    from training.services import set_nightly

    set_nightly(actor=actor(dana), model=version.model, nightly=False)
    add_patients(dana, version.model.dataset, 3)
    assert retrain_all() == 0


def test_the_database_allows_one_nightly_run_a_day(run: Any) -> None:
    from django.db import IntegrityError, transaction

    run.__class__.objects.filter(pk=run.pk).update(trigger="nightly", trigger_day=date(2026, 1, 1))
    run.refresh_from_db()
    run.pk, run.number = None, 99
    run._state.adding = True
    with pytest.raises(IntegrityError), transaction.atomic():
        run.save(force_insert=True)


def test_a_better_challenger_is_told_but_does_not_take_over(version: Any, dana: Any, bob: Any) -> None:
    from training.challengers import tell_if_better

    bad = twin(version, "network", worse=0.3)
    confirm_champion(actor=actor(dana), version=bad)
    version.model.refresh_from_db()
    version.run.summary["metric"] = "brier"
    tell_if_better(version.run, [version])
    tell_if_better(version.run, [version])
    assert bob.notifications.filter(key=f"challenger:{version.pk}").count() == 1
    version.model.refresh_from_db()
    assert version.model.champion == bad


def prefer(user: Any, organisation: Any, **values: Any) -> Any:
    row, _ = Preference.objects.update_or_create(user=user, organisation=organisation, defaults=values)
    return row


def test_the_recommendation_goes_by_the_lower_end(version: Any, bob: Any, organisation: Any) -> None:
    wide = twin(version, "boosting")
    wide.metrics["roc_auc"] = {"value": 0.999, "low": 0.6, "high": 1.0, "n": 114}
    wide.save()
    prefer(bob, organisation, outcome="finding", weights={"roc_auc": 1.0}, floors={})
    made = recommendation.recommend(organisation=organisation, user=bob)
    assert made.version == version and made.reasons["state"] == "best"
    assert made.reasons["score"] == pytest.approx(version.metrics["roc_auc"]["low"], abs=1e-6)
    other = made.reasons["others"][0]
    assert other["version"] == str(wide.pk) and other["code"] == "score" and other["behind"] > 0.2
    assert recommendation.recommend(organisation=organisation, user=bob) == made
    assert bob.notifications.filter(key=f"recommendation:{made.pk}").count() == 1


def test_who_has_not_chosen_is_weighed_as_their_preferences_page_shows(
    version: Any, bob: Any, organisation: Any, api_of: Any
) -> None:
    made = recommendation.current(organisation, bob)
    assert made.weights == api_of(bob).get("/api/v1/preferences/").data["weights"]


def test_floors_hold_for_the_lower_end_and_the_nearest_is_shown(
    version: Any, bob: Any, organisation: Any
) -> None:
    for one, value in ((version, 0.95), (twin(version, "boosting"), 0.5)):
        one.metrics["sensitivity"] = {"value": value, "low": value - 0.1, "high": value + 0.05, "n": 114}
        one.save()
    prefer(bob, organisation, outcome="finding", weights={"roc_auc": 1.0}, floors={"sensitivity": 0.9})
    made = recommendation.recommend(organisation=organisation, user=bob)
    assert made.version is None and made.nearest == version and made.reasons["state"] == "nearest"
    assert made.reasons["missed"][0]["metric"] == "sensitivity"
    assert "at least" in recommendation.missed_text(made.reasons["missed"][0])


def test_errors_count_by_their_upper_end() -> None:
    assert recommendation.goodness("brier", {"value": 0.1, "low": 0.05, "high": 0.2}) == pytest.approx(0.9)
    assert recommendation.goodness("mae", {"value": 1.0, "low": 0.5, "high": 3.0}) == pytest.approx(0.25)
    assert recommendation.goodness("r2", {"value": 0.1, "low": -0.5, "high": 0.3}) == 0.0
    assert recommendation.goodness("roc_auc", {"value": None}) == 0.0


def test_an_outcome_that_nothing_predicts_gets_no_model(version: Any, bob: Any, organisation: Any) -> None:
    prefer(bob, organisation, outcome="appendicitis", weights={"roc_auc": 1.0}, floors={})
    made = recommendation.recommend(organisation=organisation, user=bob)
    assert made.version is None and made.nearest is None and made.reasons["state"] == "none"


def test_a_new_version_makes_the_recommendation_again(
    version: Any, bob: Any, organisation: Any, dana: Any, train: Any
) -> None:
    prefer(bob, organisation, outcome="finding", weights={"fit": 0, "roc_auc": 1.0}, floors={})
    recommendation.recommend(organisation=organisation, user=bob)
    train(version.model.dataset, ignore=["mean texture"])
    latest = recommendation.last_of(organisation, bob)
    assert latest is not None
    assert len(latest.reasons["others"]) == 1


def test_known_outcomes_and_metrics_feed_the_registration(
    version: Any, organisation: Any, other_organisation: Any, dana: Any
) -> None:
    from accounts.choices import metric_choices, outcome_choices

    assert outcome_choices(other_organisation) == []
    confirm_champion(actor=actor(dana), version=version)
    assert outcome_choices(organisation)[0][0] == "finding"
    assert outcome_choices(None) == [] and outcome_choices(other_organisation) == []
    publish(actor=actor(dana), model=version.model, name="Narrowing")
    assert outcome_choices(None)[0][0] == "finding" == outcome_choices(other_organisation)[0][0]
    by_name = {m["name"]: m for m in metric_choices()}
    assert by_name["brier"]["better"] == "lower" and by_name["roc_auc"]["high"] == 1.0


def test_quick_options_are_a_whole_recipe() -> None:
    from engine import Recipe

    assert Recipe.from_dict({"target": "y", **QUICK}).candidates == ("linear",)


def test_many_shared_records_are_compared_by_evenly_spaced_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from training import comparisons

    monkeypatch.setattr(comparisons, "MOST_SHARED", 40)
    n = 100
    report = {"classes": ["0", "1"], "true": [0, 1] * 50, "patient": list(range(n)), "decided": [0] * n}
    one = {"records": list(range(n)), "report": {**report, "probabilities": [[0.5, 0.5]] * n}}
    found = comparisons.shared(one, one)
    assert found is not None
    first, second, records = found
    assert records == len(first["true"]) == 34 and first["patient"] == list(range(0, n, 3)) == second["patient"]


def test_the_leaderboard_says_when_versions_were_judged_on_different_test_records(
    dataset: Any, train: Any, dana: Any, client_of: Any, api_of: Any
) -> None:
    from datasets.models import Record
    from datasets.records import add_records

    model = train(dataset).versions.get(chosen=True).model
    query, page = f"/api/v1/leaderboard/?model={model.pk}", f"/models/{model.pk}/"
    train(dataset, seed=1)  # the same frozen version, so the same test records
    board = api_of(dana).get(query).data
    assert (len(board["rows"]), board["test_sets_differ"], board["note"]) == (2, False, "")
    assert "not directly comparable" not in client_of(dana).get(page).content.decode()
    first = Record.objects.filter(dataset=dataset).order_by("pk")[:40]
    more = [{**r.values, "mrn": f"new{i}", "mean radius": r.values["mean radius"] + 0.1} for i, r in enumerate(first)]
    add_records(actor=actor(dana), dataset=dataset, rows=more, source="api")
    dataset.refresh_from_db()
    train(dataset)
    board = api_of(dana).get(query).data
    assert board["test_sets_differ"] is True and "not directly comparable" in board["note"]
    assert "not directly comparable" in client_of(dana).get(page).content.decode()
