"""Training in pieces: exact, bounded in memory, and the same after a kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

import engine
from engine import EngineError, Recipe
from engine.candidates.torch_pieces import PieceTrainer
from engine.pieces import network
from engine.pieces.linear import advance, collect
from tests.engine.conftest import make_patients

LIMIT = 1500  # MB; this process already holds what other tests loaded


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return path


def solved(
    X: np.ndarray, y: np.ndarray, outputs: int, steps: int, penalty: float, classify: bool = True
) -> np.ndarray:
    """What the blocks of a chunked fit arrive at."""
    width = X.shape[1] + 1
    ridge = penalty * np.eye(width)
    ridge[-1, -1] = 1e-12
    state = {"theta": np.zeros((outputs, width)), "slope": np.zeros((outputs, width)), "curve": np.zeros((width, width)),
             "done": np.array([0])}  # fmt: skip
    for step in range(steps):
        for block in np.array_split(np.arange(len(y)), 4):
            collect(state, X[block], y[block], classify, curve=outputs == 1 or step == 0)
        advance(state, ridge, outputs)
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


@pytest.fixture(scope="module")
def at_once() -> float:
    """How well a model is that saw the whole table at once."""
    recipe = Recipe(target="diagnosis", patient="mrn", candidates=("linear",), time_budget=5)
    report = engine.evaluate(engine.fit(make_patients(3000), recipe), make_patients(800, seed=5))
    return float(report.metrics["roc_auc"]["value"])


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_is_learned_from_like_a_table(ending: str, tmp_path: Path, at_once: float) -> None:
    path = write(make_patients(3000), tmp_path / f"records{ending}")
    recipe = Recipe(target="diagnosis", patient="mrn")
    fitted = engine.fit_chunks(path, recipe, checkpoint=tmp_path / "work", memory_limit=LIMIT)
    assert list((tmp_path / "work").iterdir()) == []  # nothing of a patient is left behind
    assert fitted.training["n"] == 3000
    assert 2500 < fitted.training["trained_on"] < 2900
    report = engine.evaluate(fitted, make_patients(800, seed=5))
    assert report.metrics["roc_auc"]["value"] > at_once - 0.02
    assert fitted.validation["value"] == pytest.approx(report.metrics["roc_auc"]["value"], abs=0.06)
    again = engine.load(engine.save(fitted, tmp_path / "model"))
    frame = make_patients(50, seed=6)
    assert np.array_equal(again.predict(frame).interval, fitted.predict(frame).interval)


def test_frames_from_a_function_several_classes_and_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 1500
    frame = pd.DataFrame({"a": rng.normal(size=n), "b": rng.choice(["x", "y"], n)})
    score = frame["a"] + (frame["b"] == "x") + 0.3 * rng.normal(size=n)
    for target, values in (
        ("grade", np.digitize(score, [-0.5, 1.0]).astype(str)),
        ("amount", 10 * score + 1.5),
    ):
        full = frame.assign(**{target: values})

        def source(full: pd.DataFrame = full) -> Iterator[pd.DataFrame]:
            yield from (full.iloc[start : start + 400] for start in range(0, n, 400))

        fitted = engine.fit_chunks(
            source, Recipe(target=target), checkpoint=tmp_path / target, memory_limit=LIMIT
        )
        metrics = fitted.validation["metrics"]
        assert metrics["r2"]["value"] > 0.8 if target == "amount" else metrics["roc_auc"]["value"] > 0.9


def test_a_class_of_few_records_far_down_the_file_is_known(tmp_path: Path) -> None:
    frame = make_patients(3000)
    frame["diagnosis"] = frame["diagnosis"].astype(object)
    frame.loc[2900:2911, "diagnosis"] = "rare"
    path = write(frame, tmp_path / "records.csv")
    fitted = engine.fit_chunks(
        path, Recipe(target="diagnosis"), checkpoint=tmp_path / "w", memory_limit=LIMIT
    )
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
        engine.fit_chunks(
            path, Recipe(target="diagnosis", seed=1), checkpoint=tmp_path / "x", memory_limit=LIMIT
        )
    assert caught.value.code == "checkpoint_other"


def smooth(n: int, seed: int = 0) -> pd.DataFrame:
    """A product of two sums of columns: nothing for a straight line, and hard for trees."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 8))
    y = (X[:, :4].sum(axis=1) * X[:, 4:].sum(axis=1) > 0).astype(int)
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(8)])
    return frame.assign(mrn=[f"P{i // 2}" for i in range(n)], y=np.where(y, "sick", "well"))


NETWORK = {"network": {"epochs": 40, "batch_size": 64, "nodes": 32, "dropout": 0.0}}


def test_the_network_takes_part_in_the_choice_and_wins_where_only_it_can_see(tmp_path: Path) -> None:
    frame = smooth(6000).sort_values(
        "y", kind="stable"
    )  # sorted by the answer, as exports are: no piece may hold one class
    path = write(frame, tmp_path / "records.parquet")
    recipe = Recipe(target="y", patient="mrn", hyperparameters=NETWORK)
    fitted = engine.fit_chunks(path, recipe, checkpoint=tmp_path / "w", memory_limit=LIMIT)
    scores = {trial["candidate"]: trial["score"] for trial in fitted.training["trials"]}
    assert set(scores) == {"linear", "network", "boosting"} and fitted.training["skipped"] == {}
    assert scores["network"] > 0.95 > scores["boosting"] > scores["linear"]
    assert "network" in {member.candidate for member in fitted.members}
    new = smooth(1500, seed=1)
    assert engine.evaluate(fitted, new).metrics["roc_auc"]["value"] > 0.95
    again = engine.load(engine.save(fitted, tmp_path / "m"))
    assert np.array_equal(again.predict(new).interval, fitted.predict(new).interval)


def test_only_the_recipes_candidates_are_trained_in_pieces(tmp_path: Path) -> None:
    path = write(make_patients(1200), tmp_path / "records.csv")
    recipe = Recipe(target="diagnosis", candidates=("linear", "forest"))
    fitted = engine.fit_chunks(path, recipe, checkpoint=tmp_path / "w", memory_limit=LIMIT)
    assert [trial["candidate"] for trial in fitted.training["trials"]] == ["linear"]
    with pytest.raises(EngineError) as caught:
        engine.fit_chunks(path, Recipe(target="diagnosis", candidates=("forest",)), checkpoint=tmp_path / "x")
    assert caught.value.code == "not_in_pieces"


def test_patients_who_decide_when_to_stop_are_never_learned_from_nor_compared_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[float]] = {"learn": set(), "judge": set()}
    for name in seen:
        plain = getattr(PieceTrainer, name)

        def noted(
            self: PieceTrainer, X: np.ndarray, *rest: Any, name: str = name, plain: Any = plain
        ) -> None:
            seen[name] |= set(X[:, 0].tolist())
            plain(self, X, *rest)

        monkeypatch.setattr(PieceTrainer, name, noted)
    frame = smooth(3000)
    frame["c0"] = frame.index // 2  # the patient's number is to be seen in the rows
    recipe = Recipe(
        target="y", patient="mrn", candidates=("network",), hyperparameters={"network": {"epochs": 2}}
    )
    fitted = engine.fit_chunks(
        write(frame, tmp_path / "r.csv"), recipe, checkpoint=tmp_path / "w", memory_limit=LIMIT
    )
    assert len(seen["judge"]) > 100 and not seen["learn"] & seen["judge"]
    assert (
        2 * len(seen["learn"] | seen["judge"]) == fitted.training["trained_on"]
    )  # both records of each patient
    compared = len(np.unique(fitted.predict(frame).value)) and fitted.validation["patients"]
    assert len(seen["learn"] | seen["judge"]) + compared == 1500


def stops_often(path: Path, recipe: Recipe, work: Path, every: int) -> tuple[Any, int]:
    """A fit that is stopped after so many looks and called again until it is done; how often it was."""
    stops = 0
    while True:
        looks = iter(range(10**6))
        try:
            fitted = engine.fit_chunks(
                path, recipe, checkpoint=work, memory_limit=LIMIT, should_stop=lambda: next(looks) >= every  # noqa: B023
            )  # fmt: skip
            return fitted, stops
        except engine.Stopped:
            stops += 1
            kinds = {file.suffix for file in work.iterdir()}
            assert kinds <= {".json", ".safetensors", ".parquet", ".f32", ".f64", ".u8"}


@pytest.mark.parametrize("target", ["y", "c7"])
def test_a_network_that_is_stopped_again_and_again_ends_with_the_same_weights(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "rows_in_piece", lambda limit, room, width: 2 * network.STRETCH)
    path = write(smooth(1500), tmp_path / "r.csv")
    settings = {"epochs": 5, "networks": 2, "nodes": 16, "patience": 2, "learning_rate": 0.05}
    recipe = Recipe(
        target=target, patient="mrn", candidates=("network",), hyperparameters={"network": settings}
    )
    whole = engine.fit_chunks(path, recipe, checkpoint=tmp_path / "a", memory_limit=LIMIT)
    cut, stops = stops_often(path, recipe, tmp_path / "b", 4)
    assert stops > 8
    wanted, found = whole.members[0].model, cut.members[0].model
    assert wanted.curve == found.curve
    assert {name: array.tobytes() for name, array in found.arrays().items()} == {
        name: array.tobytes() for name, array in wanted.arrays().items()
    }


def test_what_was_read_of_a_mapped_file_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with path.open("wb") as file:
        file.truncate(400 * 2**20)
    code = """
import sys
import numpy as np
from pathlib import Path
from bench.memory import peak_megabytes
from engine.pieces.mapped import MappedRows
rows = MappedRows(Path(sys.argv[1]), 400 * 2**10, 256, np.float32)
before = peak_megabytes()
total = sum(float(block.sum()) for _, block in rows.blocks(4096))
total += float(rows.take(np.arange(0, len(rows), 100)).sum())
print(total, peak_megabytes() - before)
"""
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    total, more = (float(number) for number in run.stdout.split())
    assert total == 0.0 and more < 120


PROGRAM = """
import hashlib, sys, time
import engine, engine.chunked
from bench.memory import peak_megabytes
from tests.engine.conftest import make_patients
path, work, limit, piece, slow, names = sys.argv[1:]
plain = engine.chunked.Sizes.of
from engine.pieces import network
if int(piece):
    network.rows_in_piece = lambda limit, room, width: network.STRETCH
def cut(limit, columns, wanted):
    sizes = plain(limit, columns, wanted)
    return engine.chunked.Sizes(int(piece) or sizes.piece, sizes.sample, sizes.room, sizes.network)
engine.chunked.Sizes.of = cut
def told(progress):
    print(progress.step, progress.detail["piece"], flush=True)
    time.sleep(float(slow))
settings = {"network": {"epochs": 4}}
recipe = engine.Recipe(target="diagnosis", patient="mrn", candidates=tuple(names.split()), hyperparameters=settings)
fitted = engine.fit_chunks(path, recipe, checkpoint=work, memory_limit=int(limit), on_progress=told)
for member in fitted.members:
    for name, array in sorted(member.model.arrays().items()):
        print("part", member.candidate, name, hashlib.sha256(array.tobytes()).hexdigest())
print("trained", *[trial["candidate"] for trial in fitted.training["trials"]], fitted.training["skipped"])
print("same", hashlib.sha256(fitted.predict(make_patients(50, 1)).interval.tobytes()).hexdigest())
print("peak", peak_megabytes())
"""


def program(
    path: Path, work: Path, limit: int, piece: int = 0, slow: float = 0.0, names: str = ""
) -> list[str]:
    values = (path, work, limit, piece, slow, names)
    return [sys.executable, "-W", "ignore", "-c", PROGRAM, *map(str, values)]


def killed_at(place: str, command: list[str]) -> None:
    """Start it, and kill the process once it has told of this piece."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == place:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow  # starts the engine in four processes and kills two of them
def test_after_a_kill_it_goes_on_and_ends_with_the_same_model(tmp_path: Path) -> None:
    path = write(make_patients(1200), tmp_path / "records.csv")
    run = subprocess.run(
        program(path, tmp_path / "whole", 600, 200), capture_output=True, text=True, check=True
    )
    whole = next(line for line in run.stdout.splitlines() if line.startswith("same"))
    for stage in ("scan 3", "matrix 2"):
        killed_at(stage, program(path, tmp_path / "cut", 600, 200, 0.3))
        assert (tmp_path / "cut" / "state.json").exists()
    run = subprocess.run(
        program(path, tmp_path / "cut", 600, 200), capture_output=True, text=True, check=True
    )
    assert "scan 0" not in run.stdout and "matrix 1" not in run.stdout  # what was done is not done again
    assert next(line for line in run.stdout.splitlines() if line.startswith("same")) == whole


@pytest.mark.slow  # starts the engine with torch in four processes and kills two of them
def test_a_network_that_is_killed_ends_with_exactly_the_same_weights(tmp_path: Path) -> None:
    """Killed while it learns, and while it judges in a later epoch: four pieces to learn from and four to judge in each."""
    path = write(make_patients(1200), tmp_path / "records.csv")
    options = {"limit": 1000, "piece": 300, "names": "network"}
    run = subprocess.run(
        program(path, tmp_path / "whole", **options), capture_output=True, text=True, check=True
    )
    whole = [line for line in run.stdout.splitlines() if line.startswith(("part", "same", "trained"))]
    assert sum(line.startswith("part network weight") for line in whole) == 3
    assert "network 9" in run.stdout
    for place in ("network 2", "network 21"):
        killed_at(place, program(path, tmp_path / "cut", slow=0.1, **options))
        assert (tmp_path / "cut" / "network_0.safetensors").exists()
    run = subprocess.run(
        program(path, tmp_path / "cut", **options), capture_output=True, text=True, check=True
    )
    assert "network 19" not in run.stdout and "scan" not in run.stdout  # what was done is not done again
    assert [line for line in run.stdout.splitlines() if line.startswith(("part", "same", "trained"))] == whole


@pytest.mark.slow  # a table that alone takes more memory than the limit allows
def test_memory_stays_below_the_limit(tmp_path: Path) -> None:
    base = make_patients(100_000)
    rng = np.random.default_rng(0)
    for j in range(20):
        base[f"noise {j}"] = rng.normal(size=len(base)).round(3)
    path = write(base, tmp_path / "records.csv")
    for limit, trained in ((400, "trained linear boosting {'network': 'would not fit into the memory limit'}"),
                           (650, "trained linear network boosting {}")):  # fmt: skip
        command = program(path, tmp_path / f"work {limit}", limit)
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        peak = float(next(line for line in run.stdout.splitlines() if line.startswith("peak")).split()[1])
        assert peak < limit
        assert trained in run.stdout
