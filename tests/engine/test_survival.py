"""Risk over time: learned from censored times, calibrated at the horizon, with curves, reasons and proper figures."""

import numpy as np
import pandas as pd
import pytest

import engine
from engine import EngineError, Recipe
from engine.tasks.survival import SurvivalCalibrator, fixed_times, median_time
from engine.tasks.survival_metrics import kaplan_meier

YEARS = 5.0


def make_survival(n: int = 360, seed: int = 0) -> pd.DataFrame:
    """Two records for each patient; age and a word in the note hasten the event, at a rate known exactly."""
    rng = np.random.default_rng(seed)
    age, smoker, bad = rng.normal(60, 10, n), rng.choice(["never", "current"], n), rng.random(n) < 0.4
    rate = 0.1 * np.exp((age - 60) / 10 + np.where(bad, 1.0, 0.0))
    time, censored = rng.exponential(1 / rate), rng.uniform(2, 14, n)
    note = np.where(bad, "Large necrotic lesion seen today.", "Nothing particular was seen today, all fine.")
    frame = pd.DataFrame({
        "mrn": [f"P{i // 2}" for i in range(n)], "age": age, "smoker": smoker, "note": note,
        "noise": rng.normal(size=n), "years": np.minimum(time, censored),
        "died": np.where(time <= censored, "yes", "no"), "true_risk": 1 - np.exp(-rate * YEARS),
    })  # fmt: skip
    frame.loc[rng.random(n) < 0.05, "noise"] = np.nan
    return frame


def recipe_for(*candidates: str, **settings: object) -> Recipe:
    given = {"boosting": {"max_iter": 30, "max_leaf_nodes": 4}, "network": {"epochs": 8, "batch_size": 32}}
    chosen = {name: given[name] for name in candidates if name in given}
    return Recipe(
        target="years", event="died", horizon=YEARS, patient="mrn", ignore=("true_risk",), candidates=candidates,
        columns={"note": "text"}, time_budget=0.5, hyperparameters=chosen, **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return make_survival()


@pytest.fixture(scope="module")
def found(frame: pd.DataFrame) -> engine.Search:
    return engine.fit_candidates(frame, recipe_for("linear", "boosting", "network", "ensemble"))


@pytest.fixture(scope="module")
def models(found: engine.Search) -> dict[str, engine.Fitted]:
    return {result.name: result.fitted for result in found.candidates if result.fitted is not None}


def test_every_candidate_ranks_by_risk(found, models) -> None:
    assert {"linear", "boosting", "network"} <= set(models)
    assert found.baseline.validation_score == 0.5
    for fitted in models.values():
        assert (fitted.task, fitted.metric) == ("survival", "concordance")
        assert fitted.validation["value"] > 0.65
        assert fitted.validation["low"] <= fitted.validation["value"] <= fitted.validation["high"]
        assert not set(fitted.encoder.names) & {"years", "died", "mrn"}


def test_curves_fall_and_agree_with_risk_interval_and_median(models, frame) -> None:
    for fitted in models.values():
        result = fitted.predict(frame)
        assert (np.diff(result.survival, axis=1) <= 1e-12).all()
        at = int(np.flatnonzero(result.times == YEARS)[0])
        assert np.allclose(result.value, 1 - result.survival[:, at])
        assert (result.interval[:, 0] <= result.value).all()
        assert (result.value <= result.interval[:, 1]).all()
        reached = result.survival[:, -1] <= 0.5
        assert (np.isfinite(result.median) == reached).all()
        assert result.probabilities is None and result.sets is None


def test_risks_are_near_the_true_ones(models) -> None:
    new = make_survival(1500, seed=5)
    for name in ("linear", "boosting"):
        risk = models[name].predict(new).value
        assert abs(risk.mean() - new["true_risk"].mean()) < 0.06
        assert np.corrcoef(risk, new["true_risk"])[0, 1] > 0.8
        low = new["true_risk"] < np.quantile(new["true_risk"], 0.2)
        high = new["true_risk"] > np.quantile(new["true_risk"], 0.8)
        assert abs(risk[low].mean() - new["true_risk"][low].mean()) < 0.1
        assert abs(risk[high].mean() - new["true_risk"][high].mean()) < 0.12
    interval = models["linear"].predict(new).interval
    inside = (interval[:, 0] <= new["true_risk"]) & (new["true_risk"] <= interval[:, 1])
    assert inside.mean() > 0.8


def test_the_report_has_figures_curves_and_groups(models) -> None:
    new = make_survival(300, seed=6)
    new.loc[0, "years"], new.loc[1, "died"], new.loc[2, "years"] = None, None, -1
    report = engine.evaluate(models["linear"], new, groups="smoker", bootstrap=100)
    assert report.left_out == {"unlabelled": 2, "unknown_class": 0, "time_negative": 1}
    assert report.n == 297
    assert set(report.metrics) == {"concordance", "uno_concordance", "horizon_auc", "integrated_brier", "horizon_brier",
                                   "horizon_calibration"}  # fmt: skip
    for name, entry in report.metrics.items():
        assert entry["low"] <= entry["value"] <= entry["high"], name
    assert report.metrics["horizon_auc"]["value"] > 0.7
    assert report.metrics["integrated_brier"]["value"] < report.baseline["integrated_brier"]
    assert report.metrics["horizon_brier"]["value"] < report.baseline["horizon_brier"]
    assert sum(point["n"] for point in report.curves["calibration"]) == 297
    curve = report.curves["survival"]
    assert np.abs(np.subtract(curve["predicted"], curve["observed"])).max() < 0.1
    assert sum(part["n"] for part in report.groups["smoker"].values()) == 297
    for name in report.metrics:
        assert engine.compare(report.predictions, report.predictions, name, resampled=20)["difference"] == 0


def test_a_stored_model_predicts_the_same(models, frame, tmp_path) -> None:
    for name, fitted in models.items():
        again = engine.load(engine.save(fitted, tmp_path / name))
        before, after = fitted.predict(frame), again.predict(frame)
        assert np.array_equal(before.survival, after.survival)
        assert np.array_equal(before.interval, after.interval)
        assert again.details == fitted.details
        one = again.predict_records([{"age": 70, "smoker": "pipe"}])
        assert 0 < one.value[0] < 1


def test_the_same_seed_gives_the_same_numbers(frame) -> None:
    once, twice = (engine.fit(frame, recipe_for("network")).predict(frame).survival for _ in range(2))
    assert np.array_equal(once, twice)


def test_reasons_add_up_to_the_log_risk_and_find_the_causes(models) -> None:
    record = {"age": 85, "smoker": "never", "noise": 0.0, "note": "Large necrotic lesion seen today."}
    for name, fitted in models.items():
        reasons = engine.explain(fitted, [record])[0]
        assert reasons.unit == "log risk"
        causes = {"age"} if name == "network" else {"age", "note"}  # eight epochs are too few for the text
        first = reasons.contributions[: len(causes)]
        assert {item["column"] for item in first} == causes, name
        assert all(item["contribution"] > 0 for item in first)
    exact = engine.explain(models["linear"], [record])[0]
    raw = models["linear"].raw(models["linear"].encoder.from_records([record]))
    assert exact.score == pytest.approx(np.log(-np.log(raw[0, models["linear"].details["at"]])))
    assert {"lesion", "necrotic", "Large"} & {word for word, part in exact.words["note"] if part > 0}


def test_a_patient_is_on_one_side_only() -> None:
    """Noise, each patient eight times: trees would remember the patients if they were on both sides."""
    rng = np.random.default_rng(0)
    one = pd.DataFrame({"mrn": [f"P{i}" for i in range(60)], "a": rng.normal(size=60), "b": rng.normal(size=60),
                        "time": rng.exponential(5, 60), "event": rng.integers(0, 2, 60)})  # fmt: skip
    frame = pd.concat([one] * 8, ignore_index=True)
    frame["a"] += rng.normal(scale=1e-6, size=len(frame))  # equal rows would be known as copies without any number
    # All that lets trees learn rows by heart is said: a small budget would try the smallest trees.
    settings = {"boosting": {"max_iter": 25, "learning_rate": 0.3, "min_samples_leaf": 3, "max_leaf_nodes": 31,
                             "max_features": 1.0, "l2_regularization": 0.0}}  # fmt: skip
    seen = []
    for table in (frame, frame.drop(columns="mrn")):
        recipe = Recipe(target="time", event="event", candidates=("boosting",), time_budget=0.1, hyperparameters=settings)
        seen.append(engine.fit(table, recipe).validation["value"])
    assert seen[0] < 0.65
    assert seen[1] > 0.85


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"years": -1.0}, "time_negative"),
        ({"died": "no"}, "no_events"),
        ({"died": "perhaps"}, "label_not_binary"),
        ({"years": 3.0}, "one_time"),
    ],
)
def test_impossible_times_and_events_are_said(frame, change, code) -> None:
    problems = engine.check(frame.assign(**change), recipe_for("linear"))
    assert [(p.code, p.severity) for p in problems] == [(code, "error")]


def test_a_horizon_beyond_all_or_before_any_event_is_refused(frame) -> None:
    for horizon, code in ((100.0, "horizon_beyond"), (1e-6, "horizon_no_events")):
        recipe = Recipe(target="years", event="died", horizon=horizon, ignore=("true_risk",))
        assert [p.code for p in engine.check(frame, recipe)] == [code]
    chosen = engine.check(frame, Recipe(target="years", event="died", ignore=("true_risk",)))
    said = next(p for p in chosen if p.code == "horizon_chosen")
    assert 1 < said.params["horizon"] < 14


def test_few_events_and_a_column_that_knows_the_end_are_said(frame) -> None:
    leaking = frame.assign(death_certificate=np.where(frame["died"] == "yes", "issued", None))
    assert ("leak", "death_certificate") in {(p.code, p.column) for p in engine.check(leaking, recipe_for("linear"))}
    few = frame.assign(died=np.where(np.arange(len(frame)) < 16, "yes", "no"))
    problems = engine.check(few, recipe_for("linear"))
    assert ("few_events", "error") in {(p.code, p.severity) for p in problems}


def test_recipes_of_survival() -> None:
    recipe = Recipe(target="t", event="e", horizon=2)
    assert recipe.task == "survival"
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    for wrong in ({"task": "survival"}, {"event": "t"}, {"event": "e", "horizon": 0}, {"event": "e", "task": "ordinal"}):
        with pytest.raises(EngineError):
            Recipe(target="t", **wrong)


def test_the_calibrator_puts_right_what_was_put_wrong() -> None:
    """Risks that are too small and too far apart by known amounts: both numbers are found again."""
    rng = np.random.default_rng(0)
    n, times = 20_000, np.linspace(0.5, 6, 12)
    score = rng.normal(size=n)
    time, censored = rng.exponential(1 / (0.2 * np.exp(score))), rng.uniform(1, 8, n)
    truth = np.column_stack([np.minimum(time, censored), time <= censored])
    true = np.exp(-0.2 * np.exp(score)[:, None] * times)
    wrong = np.exp(-0.1 * np.exp(2 * score)[:, None] * times)
    calibrator = SurvivalCalibrator().fit(wrong, truth, times, np.arange(n))
    assert calibrator.slope == pytest.approx(0.5, abs=0.02)
    assert np.abs(calibrator.apply(wrong) - true).mean() < 0.01
    assert calibrator.deviation(wrong, 6).min() == pytest.approx(1 / np.sqrt(truth[:, 1].sum()), rel=0.3)
    right = SurvivalCalibrator().fit(true, truth, times, np.arange(n))
    assert right.state["theta"] == pytest.approx([0, 1], abs=0.03)


def test_fixed_times_are_those_of_events_and_the_horizon() -> None:
    time, event = np.arange(1.0, 201.0), np.arange(200) % 2 == 0
    times = fixed_times(time, event, 100.0)
    assert 100.0 in times
    assert np.all(np.diff(times) > 1.9)
    assert 8 <= len(times) <= 12
    observed = kaplan_meier(time, event, np.ones((1, 200))).at(times)
    assert np.all(np.diff(observed) < 0)


def test_the_median_is_read_off_the_curve() -> None:
    curves = np.array([[0.9, 0.6, 0.4], [0.9, 0.8, 0.7], [0.25, 0.2, 0.1]])
    assert median_time(curves, np.array([1.0, 2.0, 4.0])) == pytest.approx([3.0, np.nan, 2 / 3], nan_ok=True)
