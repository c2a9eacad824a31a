"""Training in pieces: exact, bounded in memory, and the same after a kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

import engine
from engine import EngineError, Recipe
from engine.chunked import _advance, _collect
from tests.engine.conftest import make_patients

LIMIT = 1500  # MB; this process already holds what other tests loaded


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return path


def solved(X: np.ndarray, y: np.ndarray, outputs: int, steps: int, penalty: float, classify: bool = True) -> np.ndarray:
    """What the blocks of a chunked fit arrive at."""
    width = X.shape[1] + 1
    ridge = penalty * np.eye(width)
    ridge[-1, -1] = 1e-12
    state = {"theta": np.zeros((outputs, width)), "slope": np.zeros((outputs, width)), "curve": np.zeros((width, width)),
             "done": np.array([0])}  # fmt: skip
    for step in range(steps):
        for block in np.array_split(np.arange(len(y)), 4):
            _collect(state, X[block], y[block], classify, curve=outputs == 1 or step == 0)
        _advance(state, ridge, outputs)
    return state["theta"]


def test_sums_over_blocks_find_scikit_learns_coefficients() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4))
    y = (X[:, 0] + rng.normal(size=400) > 0.3).astype(int)
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(X, y)
    ours = solved(X, y, 1, 12, 2.0)
    assert np.allclose(ours[0, :-1], theirs.coef_[0], atol=1e-5)
    assert ours[0, -1] == pytest.approx(theirs.intercept_[0], abs=1e-5)

    three = np.digitize(X[:, 0] + 0.5 * rng.normal(size=400), [-0.5, 0.5])
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(X, three)
    ours = solved(X, three, 3, 400, 2.0)
    expected = theirs.decision_function(X)
    found = X @ ours[:, :-1].T + ours[:, -1]
    expected, found = (scores - scores.mean(axis=1, keepdims=True) for scores in (expected, found))
    assert np.allclose(found, expected, atol=1e-3)

    amount = X @ [1.0, 2.0, 0.0, -1.0] + 7.0
    theirs = Ridge(alpha=2.0).fit(X, amount)
    assert np.allclose(solved(X, amount, 1, 1, 2.0, classify=False)[0, :-1], theirs.coef_, atol=1e-6)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_is_learned_from_like_a_table(ending: str, tmp_path: Path) -> None:
    path = write(make_patients(3000), tmp_path / f"records{ending}")
    recipe = Recipe(target="diagnosis", patient="mrn")
    fitted = engine.fit_chunks(path, recipe, checkpoint=tmp_path / "work", memory_limit=LIMIT)
    assert list((tmp_path / "work").iterdir()) == []  # nothing of a patient is left behind
    assert fitted.training["n"] == 3000
    assert 2500 < fitted.training["trained_on"] < 2900
    report = engine.evaluate(fitted, make_patients(800, seed=5))
    whole = engine.fit(make_patients(3000), Recipe(target="diagnosis", patient="mrn", candidates=("linear",), time_budget=5))
    theirs = engine.evaluate(whole, make_patients(800, seed=5))
    assert report.metrics["roc_auc"]["value"] > theirs.metrics["roc_auc"]["value"] - 0.02
    assert fitted.validation["value"] == pytest.approx(report.metrics["roc_auc"]["value"], abs=0.06)
    again = engine.load(engine.save(fitted, tmp_path / "model"))
    frame = make_patients(50, seed=6)
    assert np.array_equal(again.predict(frame).interval, fitted.predict(frame).interval)


def test_frames_from_a_function_several_classes_and_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 1500
    frame = pd.DataFrame({"a": rng.normal(size=n), "b": rng.choice(["x", "y"], n)})
    score = frame["a"] + (frame["b"] == "x") + 0.3 * rng.normal(size=n)
    for target, values in (("grade", np.digitize(score, [-0.5, 1.0]).astype(str)), ("amount", 10 * score + 1.5)):
        full = frame.assign(**{target: values})

        def source(full: pd.DataFrame = full) -> Iterator[pd.DataFrame]:
            yield from (full.iloc[start : start + 400] for start in range(0, n, 400))

        fitted = engine.fit_chunks(source, Recipe(target=target), checkpoint=tmp_path / target, memory_limit=LIMIT)
        metrics = fitted.validation["metrics"]
        assert metrics["r2"]["value"] > 0.8 if target == "amount" else metrics["roc_auc"]["value"] > 0.9


def test_a_class_of_few_records_far_down_the_file_is_known(tmp_path: Path) -> None:
    frame = make_patients(3000)
    frame["diagnosis"] = frame["diagnosis"].astype(object)
    frame.loc[2900:2911, "diagnosis"] = "rare"
    path = write(frame, tmp_path / "records.csv")
    fitted = engine.fit_chunks(path, Recipe(target="diagnosis"), checkpoint=tmp_path / "w", memory_limit=LIMIT)
    assert fitted.classes_.tolist() == ["no", "rare", "yes"]


def test_too_little_memory_and_another_recipe_are_refused(tmp_path: Path) -> None:
    path = write(make_patients(300), tmp_path / "records.csv")
    with pytest.raises(EngineError) as caught:
        engine.fit_chunks(path, Recipe(target="diagnosis"), checkpoint=tmp_path / "w", memory_limit=50)
    assert caught.value.code == "memory_limit_too_small"
    stop = iter([False, False, True, True, True, True])
    with pytest.raises(engine.Stopped):
        engine.fit_chunks(path, Recipe(target="diagnosis"), checkpoint=tmp_path / "x", memory_limit=LIMIT,
                          should_stop=lambda: next(stop))  # fmt: skip
    with pytest.raises(EngineError) as caught:
        engine.fit_chunks(path, Recipe(target="diagnosis", seed=1), checkpoint=tmp_path / "x", memory_limit=LIMIT)
    assert caught.value.code == "checkpoint_other"


PROGRAM = """
import hashlib, sys, time
import engine, engine.chunked
from bench.memory import peak_megabytes
from tests.engine.conftest import make_patients
path, work, limit, piece, slow = sys.argv[1:]
plain = engine.chunked._Sizes.of
def cut(limit, columns):
    sizes = plain(limit, columns)
    return engine.chunked._Sizes(int(piece) or sizes.piece, sizes.sample, sizes.room)
engine.chunked._Sizes.of = cut
def told(progress):
    print(progress.step, progress.detail["piece"], flush=True)
    time.sleep(float(slow))
fitted = engine.fit_chunks(path, engine.Recipe(target="diagnosis", patient="mrn"), checkpoint=work,
                           memory_limit=int(limit), on_progress=told)
print("same", hashlib.sha256(fitted.predict(make_patients(50, 1)).interval.tobytes()).hexdigest())
print("peak", peak_megabytes())
"""


def program(path: Path, work: Path, limit: int, piece: int = 0, slow: float = 0.0) -> list[str]:
    return [sys.executable, "-W", "ignore", "-c", PROGRAM, str(path), str(work), str(limit), str(piece), str(slow)]


@pytest.mark.slow  # starts the engine in four processes and kills two of them
def test_after_a_kill_it_goes_on_and_ends_with_the_same_model(tmp_path: Path) -> None:
    path = write(make_patients(1200), tmp_path / "records.csv")
    run = subprocess.run(program(path, tmp_path / "whole", 600, 200), capture_output=True, text=True, check=True)
    whole = next(line for line in run.stdout.splitlines() if line.startswith("same"))
    for stage in ("scan 3", "matrix 2"):
        process = subprocess.Popen(
            program(path, tmp_path / "cut", 600, 200, 0.3), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == stage:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        time.sleep(0.1)
        assert (tmp_path / "cut" / "state.json").exists()
    run = subprocess.run(program(path, tmp_path / "cut", 600, 200), capture_output=True, text=True, check=True)
    assert "scan 0" not in run.stdout and "matrix 1" not in run.stdout  # what was done is not done again
    assert next(line for line in run.stdout.splitlines() if line.startswith("same")) == whole


@pytest.mark.slow  # a table that alone takes more memory than the limit allows
def test_memory_stays_below_the_limit(tmp_path: Path) -> None:
    base = make_patients(100_000)
    rng = np.random.default_rng(0)
    for j in range(20):
        base[f"noise {j}"] = rng.normal(size=len(base)).round(3)
    path = write(base, tmp_path / "records.csv")
    limit = 400
    run = subprocess.run(program(path, tmp_path / "work", limit), capture_output=True, text=True, check=True)
    peak = float(next(line for line in run.stdout.splitlines() if line.startswith("peak")).split()[1])
    assert peak < limit
