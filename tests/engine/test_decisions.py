"""Operating points, the rule for rare classes, referral and coverage keep what they promise on records not seen."""

import json

import numpy as np
import pandas as pd
import pytest

import engine
from engine.calibration import operating_point
from engine.candidates.base import sigmoid
from engine.decisions import (
    choose_point,
    class_reaches,
    class_weights,
    decide_by,
    referral_limit,
    undercovered,
)
from tests.engine.conftest import make_patients


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(-1, 1.5, n)
    return sigmoid(z), rng.random(n) < sigmoid(z)


def test_nothing_asked_is_youden_as_before() -> None:
    p, y = draw(300, 0)
    assert choose_point(p, y, "yes", np.arange(300), {}) == operating_point(p, y, "yes")


@pytest.mark.parametrize("share", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("kind", ["sensitivity", "specificity"])
def test_a_promised_share_is_kept_for_new_patients_on_average(kind: str, share: float) -> None:
    p_new, y_new = draw(20_000, 999)
    reached, own = [], []
    for seed in range(150):
        p, y = draw(150, seed)
        point = choose_point(p, y, "yes", np.arange(150), {kind: share})
        called = p_new >= point["threshold"]
        reached.append(called[y_new].mean() if kind == "sensitivity" else (~called)[~y_new].mean())
        own.append(point[kind])
        assert point[f"{kind}_interval"][0] <= point[kind] <= point[f"{kind}_interval"][1]
    assert share - 0.005 <= np.mean(reached) <= share + 0.03
    assert min(own) >= share or min(own) == pytest.approx(share, abs=0.01)


def test_too_few_patients_for_the_promise_is_said_and_everybody_is_called() -> None:
    p, y = np.array([0.2, 0.8, 0.4, 0.6]), np.array([False, True, False, True])
    point = choose_point(p, y, "yes", np.arange(4), {"sensitivity": 0.95})
    assert (point["promised"], point["sensitivity"], point["specificity"]) == (False, 1.0, 0.0)
    none = choose_point(p, y, "yes", np.arange(4), {"specificity": 0.95})
    assert (none["promised"], none["specificity"], none["sensitivity"]) == (False, 1.0, 0.0)
    json.dumps([point, none], allow_nan=False)


def test_copies_of_a_patient_are_one_witness() -> None:
    p, y = draw(60, 1)
    copies = np.repeat(np.arange(60), 10)
    once = choose_point(p, y, "yes", np.arange(60), {"sensitivity": 0.9})
    many = choose_point(np.repeat(p, 10), np.repeat(y, 10), "yes", copies, {"sensitivity": 0.9})
    assert many["threshold"] == pytest.approx(once["threshold"])


def test_the_cost_of_a_miss_sets_the_threshold_and_no_other_is_much_cheaper() -> None:
    p, y = draw(20_000, 3)
    for cost in (1.0, 4.0, 19.0):
        point = choose_point(p, y, "yes", np.arange(len(p)), {"cost_of_miss": cost})
        assert point["threshold"] == pytest.approx(1 / (1 + cost))
        costs = [np.mean(cost * (y & (p < t)) + (~y & (p >= t))) for t in np.linspace(0, 1, 101)]
        assert point["cost"] <= min(costs) + 0.01
        assert point["cost_of_all"] == pytest.approx((~y).mean())
        assert point["cost_of_none"] == pytest.approx(cost * y.mean())


def test_the_model_decides_by_what_was_asked(patients, recipe) -> None:
    from dataclasses import replace

    asked = replace(recipe, candidates=("linear",), time_budget=0.3, operating_point={"sensitivity": 0.95})
    model = engine.fit(patients, asked)
    unseen = make_patients(600, seed=11)
    result, truth = model.predict(unseen), unseen["diagnosis"] == "yes"
    assert np.mean(result.value[truth] == "yes") >= 0.9
    assert model.operating_point["rule"] == "sensitivity"
    assert engine.evaluate(model, unseen, bootstrap=0).operating_point["asked"] == 0.95


def rare_classes(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.choice(["common", "rare", "rarer"], n, p=[0.86, 0.09, 0.05])
    centre = np.select([y == "rare", y == "rarer"], [1.6, -1.6], 0.0)
    return pd.DataFrame({"a": centre + rng.normal(size=n), "b": np.abs(centre) + rng.normal(size=n), "y": y})


def test_probability_over_prior_lifts_balanced_accuracy_and_says_its_price() -> None:
    options = {"target": "y", "candidates": ("linear",), "time_budget": 0.3}
    train, test = rare_classes(900, 0), rare_classes(3000, 1)
    plain = engine.fit(train, engine.Recipe(**options, metric="accuracy"))
    balanced = engine.fit(train, engine.Recipe(**options, metric="balanced_accuracy"))
    by = {name: engine.evaluate(m, test, bootstrap=0).metrics for name, m in (("p", plain), ("b", balanced))}
    assert by["b"]["balanced_accuracy"]["value"] > by["p"]["balanced_accuracy"]["value"] + 0.1
    assert by["b"]["accuracy"]["value"] < by["p"]["accuracy"]["value"]
    price = balanced.decision
    assert price["balanced_accuracy"] > price["balanced_accuracy_of_largest"] + 0.1
    assert price["accuracy"] < price["accuracy_of_largest"]
    assert balanced.validation["value"] == pytest.approx(by["b"]["balanced_accuracy"]["value"], abs=0.08)
    largest = engine.fit(train, engine.Recipe(**options, metric="balanced_accuracy", decision="largest"))
    assert plain.decision is None and largest.decision is None


def test_the_rule_is_the_bayes_rule_for_the_mean_sensitivity() -> None:
    y = np.array([0] * 90 + [1] * 6 + [2] * 4, dtype=float)
    weights = class_weights(y, 3, "balanced_accuracy", "auto")
    assert weights is not None
    assert weights * np.array([0.9, 0.06, 0.04]) == pytest.approx([1 / 3] * 3)
    assert decide_by(np.array([[0.92, 0.05, 0.03], [0.85, 0.05, 0.10]]), weights).tolist() == [0, 2]
    assert class_weights(y, 3, "log_loss", "auto") is None
    assert class_weights(y, 2, "balanced_accuracy", "prior") is None  # two classes have a threshold


def test_everything_new_survives_a_save(tmp_path) -> None:
    recipe = engine.Recipe(target="y", candidates=("linear",), time_budget=0.3, metric="balanced_accuracy", abstain=0.2,
                           sets="class", coverage=0.9)  # fmt: skip
    train = rare_classes(600, 0)
    model = engine.fit(train, recipe)
    engine.save(model, tmp_path / "m")
    again = engine.load(tmp_path / "m")
    a, b = model.predict(train), again.predict(train)
    assert np.array_equal(a.value, b.value) and np.array_equal(a.refer, b.refer) and a.sets == b.sets
    assert again.decision == model.decision and again.referral == model.referral
    assert again.recipe == recipe and a.refer.any()


def test_a_model_stored_before_these_existed_still_loads(tmp_path, fitted, patients) -> None:
    from engine.artefact_state import describe_fitted, rebuild_fitted, state_arrays

    model = fitted["linear"]
    engine.save(model, tmp_path / "m")
    described = json.loads(json.dumps(describe_fitted(model)))
    for name in ("decision", "referral"):
        del described[name]
    for name in ("split_by", "coverage", "sets", "abstain", "operating_point", "decision"):
        del described["recipe"][name]
    arrays = {f"preprocessing/{n}": a for n, a in model.members[0].preprocessor.arrays().items()}
    arrays |= {f"model/{n}": a for n, a in model.members[0].model.arrays().items()}
    files = {"state.safetensors": state_arrays(model), "member_0.safetensors": arrays}
    estimators = {f"member_0_{n}.skops": e for n, e in model.members[0].model.estimators().items()}
    old = rebuild_fitted(described, files, estimators)
    assert np.array_equal(old.predict(patients).value, model.predict(patients).value)
    assert not old.predict(patients).refer.any()


# -- referral --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_the_asked_rate_is_referred_and_those_kept_are_decided_better(rate: float) -> None:
    recipe = engine.Recipe(
        target="diagnosis", patient="mrn", candidates=("linear",), time_budget=0.3, abstain=rate
    )
    model = engine.fit(make_patients(500, seed=1), recipe)
    report = engine.evaluate(model, make_patients(900, seed=2), bootstrap=100, groups=None)
    told = report.referral
    assert told["asked"] == rate
    assert told["share"]["value"] == pytest.approx(rate, abs=0.06)
    assert told["share"]["low"] <= told["share"]["value"] <= told["share"]["high"]
    assert told["kept"]["n"] + told["referred"]["n"] == 900
    assert told["kept"]["loss"] < told["referred"]["loss"]
    accuracy = told["kept"]["metrics"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert accuracy["value"] > report.metrics["accuracy"]["value"]
    curve = report.curves["risk_coverage"]
    assert curve["coverage"][-1] == 1.0
    assert curve["risk"][-1] == pytest.approx(1 - report.metrics["accuracy"]["value"])
    assert curve["area"] < curve["risk"][-1]
    json.dumps(report.to_dict(), allow_nan=False)


def test_strange_records_are_referred_and_nobody_where_nothing_was_asked(fitted, patients) -> None:
    assert not fitted["linear"].predict(patients).refer.any()
    recipe = engine.Recipe(
        target="diagnosis", patient="mrn", candidates=("linear",), time_budget=0.3, abstain=0.05
    )
    model = engine.fit(patients, recipe)
    odd = model.predict_records([{"age": 900, "pressure": 999, "smoker": "never", "seen": "2024-06-01"}])
    assert odd.out_of_distribution.all() and odd.refer.all()


def test_regression_and_several_classes_refer_at_the_rate_too(amounts) -> None:
    frame, _ = amounts
    model = engine.fit(
        frame.iloc[:300], engine.Recipe(target="target", candidates=("linear",), time_budget=0.3, abstain=0.2)
    )
    assert model.predict(frame.iloc[300:]).refer.mean() == pytest.approx(0.2, abs=0.12)
    report = engine.evaluate(model, frame.iloc[300:], bootstrap=20)
    assert report.referral["kept"]["metrics"]["rmse"]["value"] > 0
    several = engine.fit(
        rare_classes(600, 0), engine.Recipe(target="y", candidates=("linear",), time_budget=0.3, abstain=0.2)
    )
    assert several.predict(rare_classes(2000, 1)).refer.mean() == pytest.approx(0.2, abs=0.06)


def test_the_limit_counts_each_patient_once_and_strange_records_first() -> None:
    unsure = np.array([5.0, 5.0, 5.0, 5.0, 1.0, 2.0, 3.0, 4.0])
    patients = np.array([0, 0, 0, 0, 1, 2, 3, 4])
    found = referral_limit(unsure, np.zeros(8), patients, 0.2)
    assert (found["limit"], found["reached"]) == (4.0, pytest.approx(0.2))
    strange = np.array([0, 0, 0, 0, 2.0, 2.0, 0, 0])
    assert referral_limit(unsure, strange, patients, 0.2) == {"rate": 0.2, "limit": None, "reached": 0.0}


# -- coverage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_and_intervals_cover_what_was_promised(coverage: float, amounts) -> None:
    recipe = engine.Recipe(
        target="diagnosis", patient="mrn", candidates=("linear",), time_budget=0.3, coverage=coverage
    )
    model = engine.fit(make_patients(700, seed=3), recipe)
    report = engine.evaluate(model, make_patients(1500, seed=4), bootstrap=100, groups=None)
    told = report.coverage
    assert told["promised"] == coverage
    assert told["reached"]["value"] == pytest.approx(coverage, abs=0.06)
    assert told["reached"]["low"] <= told["reached"]["value"] <= told["reached"]["high"]
    assert 1.0 <= told["size"]["value"] < 2.0
    assert [row["class"] for row in told["classes"]] == ["no", "yes"]
    frame, models = amounts
    numbers = engine.fit(
        frame.iloc[:300],
        engine.Recipe(target="target", candidates=("linear",), time_budget=0.3, coverage=coverage),
    )
    reached = engine.evaluate(numbers, frame.iloc[300:], bootstrap=50).coverage
    assert reached["reached"]["value"] == pytest.approx(coverage, abs=0.09)
    assert (
        reached["size"]["value"]
        < engine.evaluate(models["linear"], frame.iloc[300:], bootstrap=0).coverage["size"]["value"]
    )


def test_a_small_class_that_is_covered_too_rarely_gets_a_limit_of_its_own() -> None:
    train, test = rare_classes(1500, 5), rare_classes(4000, 6)
    options = {"target": "y", "candidates": ("linear",), "time_budget": 0.3, "coverage": 0.9}
    of = {}
    for sets in ("all", "auto"):
        model = engine.fit(train, engine.Recipe(**options, sets=sets))
        of[sets] = engine.evaluate(model, test, bootstrap=0).coverage
    worst = {name: min(row["value"] for row in told["classes"]) for name, told in of.items()}
    assert worst["all"] < 0.8  # the promise holds on the whole, not for the rarest
    assert worst["auto"] > worst["all"] + 0.1
    assert (of["all"]["by_class"], of["auto"]["by_class"]) == (False, True)
    assert of["auto"]["size"]["value"] > of["all"]["size"]["value"]  # its price


def test_each_class_is_covered_as_promised_by_limits_of_its_own() -> None:
    rng = np.random.default_rng(1)
    reached: list[list[float]] = [[], []]
    for _ in range(300):  # 40 patients of the rare class to learn from; its scores are larger
        truth = (np.arange(200) < 40).astype(np.int64)
        reaches = class_reaches(rng.gamma(2.0, 1.0 + truth), truth, np.arange(200), 2, 0.9)
        for c in (0, 1):
            reached[c].append(float(np.mean(rng.gamma(2.0, 1.0 + c, 2000) <= reaches[c])))
    for c in (0, 1):
        assert 0.895 <= np.mean(reached[c]) <= 0.93


def test_classes_that_are_covered_share_one_limit() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.random(400), rng.integers(0, 2, 400)
    assert undercovered(scores, truth, np.arange(400), 0.9, 0.9) == []
    scores[truth == 1] += 0.5
    assert undercovered(scores, truth, np.arange(400), 0.9, 0.9) == [1]
    reaches = class_reaches(scores, truth, np.arange(400), 3, 0.9)
    assert reaches[1] == pytest.approx(reaches[0] + 0.5, abs=0.05)
    assert reaches[2] == np.inf


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"coverage": 1.0}, "coverage"), ({"abstain": -0.1}, "abstain"), ({"abstain": True}, "abstain"),
        ({"operating_point": {"beauty": 1}}, "operating_point"), ({"operating_point": {"sensitivity": 1.0}}, "sensitivity"),
        ({"operating_point": {"sensitivity": 0.9, "specificity": 0.9}}, "operating_point"), ({"decision": "dice"}, "decision"),
        ({"sets": "some"}, "sets"), ({"split_by": "y"}, "split_by"), ({"split_by": 3}, "split_by"),
    ],
)  # fmt: skip
def test_a_wrong_promise_is_named(change, named: str) -> None:
    with pytest.raises(engine.EngineError, match=named):
        engine.Recipe(**{"target": "y", **change})


def test_promises_survive_json() -> None:
    recipe = engine.Recipe(target="y", split_by="seen", coverage=0.9, abstain=0.1, operating_point={"sensitivity": 0.95},
                           decision="prior", sets="class")  # fmt: skip
    assert engine.Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
