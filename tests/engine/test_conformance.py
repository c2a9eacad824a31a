"""What every candidate of the registry keeps to, for every task that it claims; new candidates are covered by themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import engine
from engine import EngineError, registry
from tests.engine import tiny

HOME = Path(__file__).resolve().parents[2]
TABLE = (engine.Kind.NUMBER, engine.Kind.CATEGORY, engine.Kind.DATE, engine.Kind.TEXT)
pairs = pytest.mark.parametrize(("name", "task"), tiny.PAIRS)
candidates = pytest.mark.parametrize("name", [name for name in registry.CANDIDATES])


@pytest.fixture(scope="module")
def fits() -> dict[tuple[str, str], engine.Search]:
    """Each pair searched once on a table with missing cells; made when first asked for."""
    return {}


def search_of(fits: dict[tuple[str, str], engine.Search], name: str, task: str) -> engine.Search:
    if (name, task) not in fits:
        fits[name, task] = engine.fit_candidates(tiny.table(name, task), tiny.recipe(name, task))
    return fits[name, task]


def fitted_of(fits: dict[tuple[str, str], engine.Search], name: str, task: str) -> engine.Fitted:
    return search_of(fits, name, task).best


def sound(result: engine.Prediction, n: int) -> None:
    """n rows with a value; probabilities are some; intervals hold what they are of."""
    assert len(result.value) == len(result.interval) == len(result.warnings) == n
    assert not np.isnan(np.asarray(result.interval, dtype=float)).any()
    if result.probabilities is not None:
        assert ((result.probabilities >= 0) & (result.probabilities <= 1)).all()
    else:
        assert np.isfinite(result.value.astype(float)).all()


@pairs
def test_it_learns_from_a_table_with_missing_cells(name: str, task: str, fits: dict) -> None:
    fitted = fitted_of(fits, name, task)
    assert (fitted.candidate, fitted.task) == (name, task)
    assert fitted.validation["n"] <= tiny.ROWS
    sound(fitted.predict(tiny.table(name, task, seed=1)), tiny.ROWS)


@pairs
def test_odd_cells_at_prediction_never_fail_and_are_told(name: str, task: str, fits: dict) -> None:
    fitted, frame = (
        fitted_of(fits, name, task),
        tiny.table(name, task, seed=2, rows=12).drop(columns=tiny.TARGETS, errors="ignore").astype(object),
    )
    odd = {"crp": ["high", float("inf"), -float("inf"), 10**400, "1e999", b"7"], "age": [None, "", "NaN", pd.NA, [1], {}],
           "ward": ["moon", "NORTH", 7, None, "", "w" * 5000], "seen": ["soon", "2024-13-45", "", None, 5, "9999-12-31"],
           "note": ["", None, "发热", "\ud800 lone", "x" * 100_000, 3.5]}  # fmt: skip
    for column, cells in odd.items():
        if column in frame:
            frame.loc[frame.index[:6], column] = pd.Series(cells, index=frame.index[:6], dtype=object)
    result = fitted.predict(frame)
    sound(result, 12)
    told = {warning["code"] for row in result.warnings[:6] for warning in row}
    if "crp" in frame:
        assert {"not_a_number", "infinite"} <= told
    if "ward" in frame:
        assert "unseen_category" in told


@pairs
def test_a_missing_column_one_row_and_no_row(name: str, task: str, fits: dict) -> None:
    fitted, frame = fitted_of(fits, name, task), tiny.table(name, task, seed=3)
    whole = fitted.predict(frame)
    near = (
        1e-5 if registry.get(name).model.wants_tensors else 1e-9
    )  # torch adds in another order for another batch
    for column in fitted.encoder.names:
        result = fitted.predict(frame.drop(columns=column))
        sound(result, len(frame))
        assert any(w["code"] == "missing_column" and w["column"] == column for w in result.warnings[0])
    one = fitted.predict(frame.iloc[[5]])
    assert np.allclose(one.interval[0], whole.interval[5], rtol=0, atol=near)
    record = fitted.predict_records([frame.iloc[5].to_dict()])
    assert np.allclose(record.interval[0], whole.interval[5], rtol=0, atol=near)
    assert len(fitted.predict(frame.head(0)).value) == 0
    sound(fitted.predict_records([{}]), 1)


@pairs
def test_odd_training_tables(name: str, task: str) -> None:
    """Missing labels, infinity and text among the numbers, an empty and a constant column."""
    frame = tiny.table(name, task).astype(object)
    frame.loc[frame.index[:5], [column for column in tiny.TARGETS if column in frame]] = None
    frame["empty"], frame["same"] = None, 1.0
    if "crp" in frame:
        frame.loc[frame.index[[7, 8]], "crp"] = [float("inf"), "n/a or so"]
    problems = {problem.code for problem in engine.check(frame, tiny.recipe(name, task))}
    assert {"labels_missing", "column_empty"} <= problems
    fitted = engine.fit(frame, tiny.recipe(name, task))
    assert fitted.training["unlabelled"] == 5
    sound(fitted.predict(frame), len(frame))
    if "crp" in frame:
        assert {"values_infinite", "values_not_a_number"} <= problems


@pairs
def test_the_same_seed_gives_the_same_numbers(name: str, task: str, fits: dict) -> None:
    frame = tiny.table(name, task)
    searches = [search_of(fits, name, task), engine.fit_candidates(frame, tiny.recipe(name, task))]
    if any("time budget" in result.reason for search in searches for result in search.candidates):
        pytest.skip("the machine was too busy for what was planned, and the search was cut off")
    first, again = (search.best for search in searches)
    assert np.array_equal(first.predict(frame).interval, again.predict(frame).interval)
    assert first.validation == again.validation


@pairs
def test_a_model_takes_its_chance_from_its_seed_alone(name: str, task: str) -> None:
    if not set(registry.get(name).kinds) & set(TABLE) or task not in ("classification", "regression"):
        pytest.skip("its model learns from something else than a matrix")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y: Any = (X[:, 0] > 0).astype(np.int64) if task == "classification" else X[:, 0]
    model = registry.get(name).model
    raws = [model(task=task, seed=seed, **tiny.quick(name)).fit(X, y).raw(X) for seed in (3, 3)]
    np.random.seed(1)  # nothing may come from the global state
    raws.append(model(task=task, seed=3, **tiny.quick(name)).fit(X, y).raw(X))
    assert np.array_equal(raws[0], raws[1]) and np.array_equal(raws[0], raws[2])


@pairs
def test_it_is_evaluated_and_explained(name: str, task: str, fits: dict) -> None:
    fitted, frame = fitted_of(fits, name, task), tiny.table(name, task, seed=4)
    report = engine.evaluate(fitted, frame, bootstrap=20)
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.n == len(frame)
    assert len(engine.explain(fitted, frame.head(2))) == 2


LOADER = """
import json, sys, warnings
import numpy as np, pandas as pd
import engine
from tests.engine import tiny
for name, task, folder, table in json.loads(sys.argv[1]):
    result = engine.load(folder).predict(tiny.table(name, task, seed=9))
    p = np.zeros(0) if result.probabilities is None else result.probabilities
    np.savez(folder + ".npz", interval=result.interval, p=p, ood=result.ood_score, torch="torch" in sys.modules, table=table)
"""


@pytest.fixture(scope="module")
def reloaded(fits: dict, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """Every pair saved here and loaded in one fresh process, with what it predicted there."""
    root, work = tmp_path_factory.mktemp("saved"), []
    for name, task in tiny.PAIRS:
        try:
            folder = engine.save(fitted_of(fits, name, task), root / f"{name}-{task}")
        except pytest.skip.Exception:
            continue
        work.append((name, task, str(folder), set(registry.get(name).kinds) <= set(TABLE)))
    work.sort(key=lambda entry: not entry[3])  # tables first: none of them may need torch
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", LOADER, json.dumps(work)]
    done = subprocess.run(
        command, cwd=HOME, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return {(name, task): np.load(f"{folder}.npz") for name, task, folder, _ in work}


@pairs
def test_a_fresh_process_gives_the_same_numbers(name: str, task: str, fits: dict, reloaded: dict) -> None:
    here, there = fitted_of(fits, name, task).predict(tiny.table(name, task, seed=9)), reloaded[name, task]
    assert np.array_equal(here.interval, there["interval"])
    assert np.array_equal(here.ood_score, there["ood"])
    if here.probabilities is not None:
        assert np.array_equal(here.probabilities, there["p"])
    assert not (there["table"] and there["torch"])


@candidates
def test_hyperparameters_have_limits_and_keep_them(name: str) -> None:
    for h in registry.get(name).hyperparameters:
        assert h.meaning and registry.validate(name, {h.name: h.default}) == {h.name: h.default}
        good: list[Any] = (
            list(h.choices or ())
            if h.type == "choice"
            else [True, False]
            if h.type == "bool"
            else [h.low, h.high]
        )
        bad: list[Any] = [None, "text", [], float("nan"), float("inf"), -float("inf")]
        if h.type in ("int", "float"):
            assert h.low is not None and h.high is not None and h.low < h.high
            bad += [True, h.low - 1, h.high + 1, str(h.low)] + ([h.low + 0.5] if h.type == "int" else [])
        for value in good:
            registry.validate(name, {h.name: value})
        for value in bad:
            with pytest.raises(EngineError) as caught:
                engine.Recipe(target="y", hyperparameters={name: {h.name: value}})
            assert caught.value.code == "hyperparameter_invalid"
            assert (caught.value.params["candidate"], caught.value.params["hyperparameter"]) == (name, h.name)
    with pytest.raises(EngineError, match="nothing_like_it"):
        registry.validate(name, {"nothing_like_it": 1})


@pairs
def test_what_the_search_tries_is_within_the_limits(name: str, task: str) -> None:
    model = registry.get(name).model
    for rows in (30, 2000, 100_000):
        for width in (3, 500):
            for values in model.trials(task, rows, width, 3):
                assert registry.validate(name, values) == values
                assert 0 < model.cost(rows, width, 3, values) < 1e6


@pairs
def test_the_model_stores_its_hyperparameters_as_given(name: str, task: str) -> None:
    candidate = registry.get(name)
    model = candidate.model(task=task, seed=5, **candidate.defaults())
    assert model.get_params() == {**candidate.defaults(), "task": task, "seed": 5}


SLOW_WHEN_HIGH = {
    "int"
}  # counts of rounds, nodes and epochs take their time at the upper end, which `validate` accepts


@pairs
def test_it_fits_at_the_ends_of_its_limits(name: str, task: str) -> None:
    if not set(registry.get(name).kinds) & set(TABLE) or task not in ("classification", "regression"):
        pytest.skip("its model learns from something else than a matrix")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y: Any = (X[:, 0] > 0).astype(np.int64) if task == "classification" else X[:, 0]
    candidate = registry.get(name)
    for h in candidate.hyperparameters:
        ends = list(h.choices or ()) if h.type == "choice" else [True, False] if h.type == "bool" else [h.low]
        ends += [] if h.type in ("choice", "bool", *SLOW_WHEN_HIGH) else [h.high]
        for value in ends:
            values = registry.validate(name, {**tiny.quick(name), h.name: value})
            raw = candidate.model(task=task, **values).fit(X, y).raw(X)
            assert raw.shape == ((60, 2) if task == "classification" else (60,)), (h.name, value)
            assert np.isfinite(raw).all(), (h.name, value)


def test_the_ensemble_keeps_to_the_same(tmp_path: Path) -> None:
    """It combines fitted candidates and has no model of its own to check."""
    frame = tiny.table("linear", "classification", rows=120)
    recipe = tiny.recipe(
        "linear", "classification", candidates=("linear", "boosting", "ensemble"), hyperparameters={}
    )
    found = engine.fit_candidates(frame, recipe)
    combined = next((r.fitted for r in found.candidates if r.name == "ensemble"), None)
    if combined is None:
        pytest.skip("one candidate had all the weight")
    again = engine.load(engine.save(combined, tmp_path / "m"))
    assert np.array_equal(again.predict(frame).interval, combined.predict(frame).interval)
    sound(combined.predict_records([{}]), 1)
