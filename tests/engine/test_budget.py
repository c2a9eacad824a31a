"""The budget, what was tried within it, and how candidates are combined."""

import json
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import ElasticNet, LogisticRegression

import engine
import engine.clock
from engine import Recipe, registry
from engine.candidates.additive import AdditiveModel, curves_of
from engine.candidates.boosting import BoostingModel
from engine.candidates.forest import ForestModel
from engine.candidates.linear import LinearModel
from engine.candidates.network import NetworkModel
from engine.cells import is_missing, to_category, to_days, to_number
from engine.clock import Clock, Deadline, OutOfTime
from engine.columns import categories_of, missing_in, numbers_of
from engine.combining import Stack, fit_stack, stacked, weighted
from engine.sampling import affordable, readable
from tests.engine.conftest import make_patients


@pytest.fixture
def strict_clock():
    before = engine.clock.STRETCH
    engine.clock.STRETCH = 1.0
    yield
    engine.clock.STRETCH = before


def planted(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    return X, (X[:, 0] + X[:, 1] ** 2 + rng.normal(size=n) > 1).astype(int)


def test_everything_tried_is_in_the_result_and_in_the_manifest(search, tmp_path) -> None:
    trials = search.trials
    assert {trial["candidate"] for trial in trials} >= {"linear", "boosting"}
    assert all(set(trial) == {"candidate", "hyperparameters", "preprocessing", "folds", "share", "score", "seconds", "stopped"}
               for trial in trials)  # fmt: skip
    assert {trial["stopped"] for trial in trials} <= {"", "weak", "time"}
    assert search.best.training["trials"] == trials
    assert search.best.training["repeatable"] is (not search.cuts)
    folder = engine.save(search.best, tmp_path / "m")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["model"]["training"]["trials"] == json.loads(json.dumps(trials))


def test_weak_settings_stop_early_and_the_chosen_one_saw_every_fold(search) -> None:
    weak = [trial for trial in search.trials if trial["stopped"] == "weak"]
    whole = [trial for trial in search.trials if trial["stopped"] == "" and trial["candidate"] == "linear"]
    assert weak and all(trial["folds"] < 5 for trial in weak)
    assert all(trial["folds"] == 5 for trial in whole)
    linear = next(result for result in search.candidates if result.name == "linear")
    chosen = [t for t in whole if t["hyperparameters"].get("C", 1.0) == linear.hyperparameters["C"]]
    assert chosen


def test_a_slow_candidate_is_cut_and_the_report_says_so(patients, strict_clock, monkeypatch: Any) -> None:
    """Linear models that take a second each: planned by their estimate, cut by the clock."""
    plain = LinearModel.fit

    def slow(self: Any, *args: Any, **kwargs: Any) -> Any:
        time.sleep(1.0)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(LinearModel, "fit", slow)
    began = time.monotonic()
    found = engine.fit_candidates(patients, Recipe(target="diagnosis", candidates=("linear",), time_budget=12.0))
    assert time.monotonic() - began < 1.1 * 12.0
    assert found.cuts and found.best.training["repeatable"] is False
    assert "time" in {trial["stopped"] for trial in found.trials}


@pytest.mark.parametrize("model", [BoostingModel(max_iter=5000), ForestModel(trees=2000), NetworkModel(epochs=5000)])
def test_a_fit_ends_soon_after_its_deadline(model: Any) -> None:
    X, y = planted(3000)
    if isinstance(model, NetworkModel):
        import engine.candidates.torch_loop  # noqa: F401 - loading torch is no part of a fit
    began = time.monotonic()
    with pytest.raises(OutOfTime):
        model.fit(X, y, stop=Deadline(began + 0.2))
    assert time.monotonic() - began < 20.0  # a whole fit would take minutes


def test_watching_the_clock_changes_no_number() -> None:
    X, y = planted()
    far = Deadline(float("inf"))
    for make in (lambda: BoostingModel(max_iter=20), lambda: ForestModel(trees=60), lambda: AdditiveModel()):
        assert np.array_equal(make().fit(X, y).raw(X), make().fit(X, y, stop=far).raw(X))
    watched = BoostingModel(max_iter=20).fit(X, y, stop=far)
    assert type(watched.estimators()["boosting"]._loss).__module__ == "sklearn._loss.loss"
    assert watched.estimators()["boosting"].loss == "log_loss"


def test_a_shorter_boosting_is_what_fewer_rounds_would_have_given() -> None:
    X, y = planted()
    long = BoostingModel(max_iter=40).fit(X, y)
    for change, model in long.shorter():
        assert np.allclose(model.raw(X), BoostingModel(**change).fit(X, y).raw(X), rtol=0, atol=1e-12)


def test_the_numbers_are_the_same_in_two_processes_as_in_one(patients) -> None:
    recipe = Recipe(target="diagnosis", patient="mrn", candidates=("linear", "boosting"), time_budget=2.0)
    one = engine.fit(patients, recipe, cores=1)
    two = engine.fit(patients, recipe, cores=2)
    with parallel_config(backend="threading", n_jobs=2):
        threads = engine.fit(patients, recipe)
    for other in (two, threads):
        assert other.candidate == one.candidate
        assert np.array_equal(other.predict(patients).interval, one.predict(patients).interval)


def test_the_clock_knows_what_is_left_and_how_slow_the_machine_is(strict_clock) -> None:
    clock = Clock(10.0)
    assert 9.0 < clock.left() <= 10.0
    before = clock.seconds_for("linear", 1.0)
    clock.note("linear", 1.0, 4.0)
    assert clock.seconds_for("linear", 1.0) > 3 * before
    assert clock.slowness == 4.0


def test_a_table_too_long_for_the_budget_is_sampled_by_patient_and_keeps_rare_classes() -> None:
    n = 30_000
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"mrn": np.repeat([f"P{i}" for i in range(n // 3)], 3), "a": rng.normal(size=n),
                          "y": rng.choice(["s", "h"], n)})  # fmt: skip
    frame["y"] = frame["y"].astype(object)
    frame.loc[:8, "y"] = "rare"
    recipe = Recipe(target="y", patient="mrn", time_budget=0.2)
    part = affordable(frame, recipe)
    assert 2_000 <= len(part) < 8_000
    assert (part["y"] == "rare").sum() == 9
    outside = frame.drop(index=part.index)
    assert not set(part["mrn"][part["y"] != "rare"]) & set(outside["mrn"])
    assert affordable(frame, Recipe(target="y", time_budget=60.0)) is frame


class Ticking:
    """A clock that is `step` seconds later each time it is looked at."""

    def __init__(self, step: float) -> None:
        self.step, self.moment = step, 0.0

    def __call__(self) -> float:
        self.moment += self.step
        return self.moment


def test_where_reading_is_slow_fewer_rows_are_read_and_the_cuts_say_so(strict_clock) -> None:
    frame = make_patients(6000)
    recipe = Recipe(target="diagnosis", patient="mrn", time_budget=10.0)
    quick = Clock(10.0, now=Ticking(0.01))
    assert readable(frame, recipe, quick) is frame and quick.cuts == []
    slow = Clock(10.0, now=Ticking(1.0))  # 2,000 rows in a second: 6,000 and their checks would take 4.5
    part = readable(frame, recipe, slow)
    assert 1_900 < len(part) < 4_800 and slow.cuts == [f"{len(part)} of 6000 rows were read, as this machine is slow now"]
    assert not set(part["mrn"]) & set(frame.drop(index=part.index)["mrn"])
    assert slow.seconds_for("linear", 1.0) > 3 * quick.seconds_for("linear", 1.0)  # known before any fit
    assert readable(frame.head(3000), recipe, slow) is not None and len(slow.cuts) == 1  # small tables are read anyway


def test_when_the_budget_is_gone_before_any_fit_the_quickest_candidate_is_fitted(patients, strict_clock) -> None:
    recipe = Recipe(target="diagnosis", patient="mrn", candidates=("forest", "linear", "boosting"), time_budget=0.05)
    found = engine.fit_candidates(patients, recipe)
    assert [result.name for result in found.candidates if result.fitted is not None] == ["linear"]
    assert found.best.candidate == "linear" and found.cuts and found.best.training["repeatable"] is False


CELLS = [0.1, 3.0, 1e22, "a", " a ", "1", "1.0", "nan", "?", "", "不详", None, float("nan"), 1, 1.0, -0.0, True,
         False, np.float64(2.5), np.int64(3), np.bool_(True), 1e40, float("inf"), pd.NA, pd.NaT, pd.Timestamp("2024-01-01"),
         pd.Timestamp("2024-01-01", tz="UTC"),
         pd.Timestamp("2024-01-01 08:00", tz="Asia/Shanghai"), "2024-01-01", 10**400]  # fmt: skip


def test_whole_columns_are_read_like_single_cells() -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        some = [CELLS[i] for i in rng.choice(len(CELLS), rng.integers(1, 6), replace=False)]
        cells = [some[i] for i in rng.integers(0, len(some), 90)]
        assert categories_of(cells) == [to_category(cell) for cell in cells]
        assert missing_in(cells).tolist() == [is_missing(cell) for cell in cells]
        measured = [cell for cell in cells if type(cell) is float] * 90
        assert categories_of(measured) == [to_category(cell) for cell in measured]
        assert categories_of(cells, True) == [to_category(cell, True) for cell in cells]
        assert missing_in(cells, True).tolist() == [is_missing(cell, True) for cell in cells]
        for parse in (to_number, to_days):
            numbers, odd = numbers_of(cells, parse)
            wanted = [parse(cell) for cell in cells]
            assert np.array_equal(numbers, [number for number, _ in wanted], equal_nan=True)
            assert odd == [(i, problem) for i, (_, problem) in enumerate(wanted) if problem is not None]


def test_the_forest_equals_scikit_learns_and_is_restored() -> None:
    X, y = planted()
    own = ForestModel(trees=70, seed=3).fit(X, y)
    theirs = ExtraTreesClassifier(70, min_samples_leaf=3, max_features=0.3, random_state=3).fit(X, y)
    assert np.allclose(own.raw(X), theirs.predict_proba(X), atol=1e-6)
    again = ForestModel(trees=70, seed=3).restore({}, own.arrays())
    assert np.array_equal(again.raw(X), own.raw(X))
    forged = own.arrays() | {"left": own.arrays()["left"] + 10**6}
    with pytest.raises(ValueError, match="outside"):
        ForestModel().restore({}, forged)


def test_the_lasso_is_scikit_learns_and_leaves_out_what_says_nothing() -> None:
    X, y = planted(400)
    own = LinearModel(C=0.05, l1_ratio=1.0).fit(X, y)
    theirs = LogisticRegression(C=0.05, l1_ratio=1.0, solver="liblinear", tol=1e-8).fit(X, y)
    assert np.allclose(own.linear_terms()[0] != 0, theirs.coef_[0] != 0)
    amount = 3 * X[:, 0] + np.random.default_rng(0).normal(size=400)
    own = LinearModel(task="regression", C=0.01, l1_ratio=1.0).fit(X, amount)
    theirs = ElasticNet(alpha=float(np.std(amount)) / 4.0, l1_ratio=1.0).fit(X, amount)
    assert np.allclose(own.linear_terms()[0], theirs.coef_)
    assert (own.linear_terms()[0][2:] == 0).all()


def test_splines_are_straight_beyond_the_outer_knots_smooth_inside_and_find_a_bend() -> None:
    places = np.array([[-1.0, 0.0, 1.0, 2.0]])
    x = np.linspace(-4, 6, 4001)[:, None]
    curves = curves_of(x, places)
    bend = np.diff(curves, n=2, axis=0)
    assert np.allclose(bend[x[1:-1, 0] < -1.01], 0) and np.allclose(bend[x[1:-1, 0] > 2.01], 0, atol=1e-9)
    assert np.abs(np.diff(bend, axis=0)).max() < 1e-5  # the second derivative is continuous
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2))
    y = (X[:, 0] ** 2 + 0.3 * rng.normal(size=600) > 1).astype(int)
    straight, bent = LinearModel().fit(X, y).raw(X)[:, 1], AdditiveModel(C=1.0).fit(X, y).raw(X)[:, 1]
    assert np.mean((straight > 0.5) == y) < 0.75 < 0.9 < np.mean((bent > 0.5) == y)


def test_averaged_networks_are_the_mean_of_each() -> None:
    X, y = planted()
    both = NetworkModel(networks=2, epochs=3, seed=1).fit(X, y)
    singles = [NetworkModel(epochs=3, seed=seed).fit(X, y).raw(X) for seed in (1, 1 + 7919)]
    assert np.allclose(both.raw(X), np.mean(singles, axis=0))
    again = NetworkModel(networks=2, epochs=3, seed=1).restore({}, both.arrays())
    assert np.allclose(again.raw(X), both.raw(X), atol=1e-12)


def combined_inputs(n: int = 400) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    z = rng.normal(size=n) * 1.5
    truth = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    raws = []
    for noise, scale in ((0.8, 1.0), (0.8, 3.0), (20.0, 1.0)):  # two half-right members, one of them too sure, and noise
        p = 1 / (1 + np.exp(-scale * (z + noise * rng.normal(size=n))))
        raws.append(np.column_stack([1 - p, p]))
    return raws, truth, np.arange(n) % 5


def test_a_stack_trusts_each_member_as_much_as_it_deserves() -> None:
    raws, truth, _ = combined_inputs()
    stack = fit_stack(raws, truth)
    assert stack.weights[0] > 2 * stack.weights[1] > 0  # the one that is too sure counts less
    assert abs(stack.weights[2]) < 0.1
    few = fit_stack([raw[:10] for raw in raws], truth[:10])
    assert np.abs(few.weights - 1 / 3).max() < 0.35  # ten records change little
    number = fit_stack([np.arange(50.0), np.zeros(50)], 2 * np.arange(50.0) + 1)
    assert 1.6 < number.weights[0] < 2.0  # pulled a little from 2 towards the even half
    assert number.apply([np.array([24.5]), np.zeros(1)])[0] == pytest.approx(50.0)  # the mean is hit whatever the pull


def test_combinations_are_judged_by_weights_that_did_not_see_the_record() -> None:
    raws, truth, parts = combined_inputs()

    def gain(raw: np.ndarray, positions: np.ndarray) -> float:
        p = np.clip(raw[:, 1], 1e-6, 1 - 1e-6)
        t = truth[positions]
        return float(np.mean(t * np.log(p) + (1 - t) * np.log(1 - p)))

    mean, stack = weighted(raws, parts, gain, 20), stacked(raws, truth, parts, gain)
    assert stack is not None and stack.stack is not None
    seen = gain(stack.stack.apply(raws), np.arange(400))
    assert stack.gain < seen  # honest is worse than having looked
    assert stack.gain > mean.gain > max(gain(raw, np.arange(400)) for raw in raws)
    changed = truth.copy()
    changed[parts == 0] = 1 - changed[parts == 0]
    other = stacked(raws, changed, parts, gain)
    assert other is not None and np.array_equal(other.raw[parts == 0], stack.raw[parts == 0])


def test_a_stack_is_served_explained_and_stored(search, tmp_path) -> None:
    fitted = {r.name: r.fitted for r in search.candidates if r.fitted is not None}
    model = fitted["linear"]
    parts = [fitted["linear"].members[0], fitted["boosting"].members[0]]
    stack = engine.Fitted(**{**vars(model), "members": parts, "stack": Stack(np.array([0.7, 0.4]), np.array([0.1, -0.1]))})
    frame = make_patients(40, seed=3)
    again = engine.load(engine.save(stack, tmp_path / "s"))
    assert np.array_equal(again.predict(frame).interval, stack.predict(frame).interval)
    assert not np.array_equal(stack.predict(frame).interval, model.predict(frame).interval)
    (reasons,) = engine.explain(again, frame.head(1))
    assert {c["column"] for c in reasons.contributions} == {"age", "pressure", "smoker", "seen"}


def test_a_rare_class_makes_class_weights_a_trial() -> None:
    frame = make_patients(300)
    rare = np.random.default_rng(0).random(300) < 0.85
    frame.loc[rare & (frame["pressure"] < 140), "diagnosis"] = "no"
    for metric, wanted in (("balanced_accuracy", True), ("log_loss", False)):
        recipe = Recipe(target="diagnosis", candidates=("linear",), time_budget=5.0, metric=metric)
        found = engine.fit_candidates(frame, recipe)
        weights = {trial["hyperparameters"].get("class_weight") for trial in found.trials}
        assert ("balanced" in weights) is wanted


@pytest.mark.parametrize("name", ["additive", "forest"])
def test_new_candidates_do_every_task_they_claim(name: str, amounts, three, tmp_path) -> None:
    assert set(registry.get(name).tasks) == {"classification", "regression"}
    for place, (frame, target) in enumerate(((amounts[0].head(120), "target"), (three[0], "target"))):
        holes = frame.copy()
        holes.iloc[::7, 1] = np.nan
        fitted = engine.fit(holes, Recipe(target=target, candidates=(name,), time_budget=1.0))
        one = fitted.predict_records([{}])
        assert len(one.value) == 1
        again = engine.load(engine.save(fitted, tmp_path / f"{name}{place}"))
        assert np.array_equal(again.predict(frame).interval, fitted.predict(frame).interval)
        times = []
        for _ in range(15):
            began = time.perf_counter()
            fitted.predict_records([{}])
            times.append(time.perf_counter() - began)
        assert min(times) < 0.01
