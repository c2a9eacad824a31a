"""Validation forward in time: nothing later is learned, patients stay on one side, drift is seen."""

import itertools

import numpy as np
import pandas as pd
import pytest

import engine
from engine import EngineError, Recipe, time_split
from engine.search import splits_of
from engine.split import folds
from engine.time_order import forward_folds, times_of
from engine.training_data import prepare
from tests.engine.conftest import make_patients

RECIPE = Recipe(target="diagnosis", patient="mrn", split_by="seen", candidates=("linear",), time_budget=0.3)


def test_each_fold_is_judged_later_and_on_other_patients() -> None:
    data = prepare(make_patients(600), RECIPE)
    times = times_of(data.frame, RECIPE)
    pairs = forward_folds(data, RECIPE)
    assert len(pairs) == 5
    for train, held in pairs:
        assert times[train].max() < times[held].min()
        assert not set(data.patients[train]) & set(data.patients[held])
    held = np.concatenate([held for _, held in pairs])
    assert len(held) == len(set(held.tolist())) >= 0.8 * 600
    assert all(a[1].size and times[a[1]].max() < times[b[1]].min() for a, b in itertools.pairwise(pairs))


def test_the_method_is_said_and_the_default_is_as_before(patients, recipe) -> None:
    model = engine.fit(patients, RECIPE)
    assert (
        model.validation["method"]
        == "5 steps forward in time by “seen”, each judged on later records of other patients"
    )
    assert model.validation["n"] < len(patients)
    data = prepare(patients, recipe)
    for ours, before in zip(splits_of(data, recipe), folds(data.y, data.task, data.patients, 0), strict=True):
        assert np.array_equal(ours[0], before[0]) and np.array_equal(ours[1], before[1])


def test_drift_is_seen_forward_and_hidden_by_shuffling() -> None:
    rng = np.random.default_rng(0)
    n = 900
    time = np.sort(rng.uniform(2000, 2010, n))
    x = rng.normal(size=n)
    sign = np.where(
        (time - 2000) * 0.6 % 2 < 1, -1.0, 1.0
    )  # the meaning of the measurement turns round and round
    y = np.where(rng.random(n) < 1 / (1 + np.exp(-3 * sign * x)), "yes", "no")
    frame = pd.DataFrame({"x": x, "when": time, "y": y})
    boosted = {"target": "y", "candidates": ("boosting",), "time_budget": 2.0}
    shuffled = engine.fit(frame, Recipe(**boosted)).validation["value"]
    forward = engine.fit(frame, Recipe(**boosted, split_by="when")).validation["value"]
    assert shuffled > forward + 0.1


def test_the_held_out_test_is_the_latest_and_shares_no_patient() -> None:
    frame = make_patients(500)
    frame.loc[:4, "seen"] = pd.NaT
    frame.index = frame.index + 1000
    train, test = time_split(frame, RECIPE, 0.2)
    assert train["seen"].max() < test["seen"].min()
    assert not set(train["mrn"]) & set(test["mrn"])
    assert 95 <= len(test) <= 105
    assert set(train.index) | set(test.index) <= set(frame.index)
    assert not set(train.index) & set(range(1000, 1005))
    guessed = time_split(frame, Recipe(target="diagnosis", split_by="seen"), 0.2)  # “mrn” is a patient's name
    assert guessed[0].equals(train)


def test_rows_without_a_time_are_learned_from_but_judge_nothing() -> None:
    frame = make_patients(400)
    frame.loc[:29, "seen"] = pd.NaT
    found = {p.code: p.params for p in engine.check(frame, RECIPE)}
    assert found["time_missing"]["count"] == 30
    data = prepare(frame, RECIPE)
    for train, held in forward_folds(data, RECIPE):
        assert not set(range(30)) & {*train.tolist(), *held.tolist()}
    model = engine.fit(frame, RECIPE)
    assert model.training["n"] == 400


def test_large_data_is_judged_by_its_last_fifth() -> None:
    n = 20_500
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": rng.normal(size=n), "t": rng.permutation(n).astype(float), "y": rng.choice(["a", "b"], n)}
    )
    recipe = Recipe(target="y", split_by="t")
    (pair,) = forward_folds(prepare(frame, recipe), recipe)
    assert len(pair[1]) == pytest.approx(n / 5, abs=2)
    assert frame["t"].to_numpy()[pair[0]].max() < frame["t"].to_numpy()[pair[1]].min()


@pytest.mark.parametrize(
    ("column", "values", "code"),
    [
        ("gone", None, "column_missing"),
        ("smoker", None, "split_by_invalid"),
        ("same", 7.0, "split_by_impossible"),
    ],
)
def test_what_orders_nothing_is_an_error(column: str, values: float | None, code: str) -> None:
    frame = make_patients()
    if values is not None:
        frame[column] = values
    recipe = Recipe(target="diagnosis", patient="mrn", split_by=column)
    assert code in [p.code for p in engine.check(frame, recipe) if p.severity == "error"]
    with pytest.raises(EngineError) as caught:
        time_split(frame, recipe)
    assert caught.value.code == code


def test_numbers_are_split_too(amounts) -> None:
    frame, _ = amounts
    model = engine.fit(
        frame, Recipe(target="target", split_by="age", candidates=("linear",), time_budget=0.3)
    )
    assert "forward in time" in model.validation["method"]
