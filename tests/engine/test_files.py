"""Columns of files: what may be opened, and a table of numbers, text and pictures the whole way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import engine
from engine.errors import FileRefused
from engine.files import resolve
from engine.transformers.files import FileBlock, Tensors, _components, standard

N = 150


def refusal(cell: object, folder: Path | None) -> str:
    with pytest.raises(FileRefused) as caught:
        resolve(cell, folder)
    return caught.value.code


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with a picture, and things around it that no table may reach."""
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    Image.new("L", (8, 8), 128).save(folder / "sub" / "a.png")
    (tmp_path / "secret.png").write_bytes((folder / "sub" / "a.png").read_bytes())
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    (folder / "round").symlink_to(folder / "round")
    os.mkfifo(folder / "pipe")
    return folder


def test_a_name_below_the_folder_is_found(house: Path) -> None:
    assert resolve("sub/a.png", house) == (house / "sub" / "a.png").resolve()
    assert resolve(house.parent / "secret.png", None) is not None  # a Path comes from a trusted caller only


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../secret.png", "sub/../../secret.png", "out.png", "up/secret.png", "~/x", "C:\\x.png", "..\\secret.png",
     "a\0b", "x" * 5000, "round", "pipe", ".", "\\\\host\\share\\x.png"],
)  # fmt: skip
def test_a_hostile_name_is_refused(house: Path, name: str) -> None:
    assert refusal(name, house) == "file_refused"


def test_what_is_not_there_is_missing(house: Path) -> None:
    assert refusal("gone.png", house) == "file_missing"
    assert refusal("sub/a.png/b.png", house) == "file_missing"
    assert refusal("a.png", house / "nowhere") == "file_missing"
    assert resolve(None, house) is None and resolve("", house) is None


def test_without_a_folder_no_text_is_opened() -> None:
    assert refusal("/etc/passwd", None) == "files_folder_missing"
    assert refusal("a.png", None) == "files_folder_missing"


def test_every_hostile_cell_becomes_a_warning_and_a_missing_cell(house: Path, mixed: tuple[pd.DataFrame, Path]) -> None:
    frame, folder = mixed
    fitted = engine.fit(frame, engine.Recipe(target="y", time_budget=2.0, candidates=("linear",)), files=folder)
    cells = ["/etc/passwd", "../secret.png", "out.png", "gone.png", "pipe", 7, np.zeros((2, 2, 2, 2, 2))]
    (house / "text.png").write_text("no picture")
    result = fitted.predict(pd.DataFrame({"film": [*cells, "text.png", None]}), files=house)
    codes = [[w["code"] for w in row if w["column"] == "film"] for row in result.warnings]
    assert codes == [["file_refused"], ["file_refused"], ["file_refused"], ["file_missing"], ["file_refused"],
                     ["file_refused"], ["file_unreadable"], ["file_unreadable"], ["missing_value"]]  # fmt: skip
    assert result.probabilities is not None
    assert np.ptp(result.probabilities[:, 1]) == 0  # nothing of any of them was seen
    without = fitted.predict_records([{"film": "film_0.png"}])
    assert without.warnings[0][0]["code"] == "files_folder_missing"


# The whole way ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    """The diagnosis is a bright patch in the picture together with a number; the text and a second number are noise."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(3)
    patch, high = rng.integers(0, 2, N), rng.normal(size=N)
    rows = []
    for i in range(N):
        pixels = rng.integers(20, 90, (48, 40)).astype(np.uint8)
        if patch[i]:
            x, y = rng.integers(4, 20, 2)
            pixels[y : y + 14, x : x + 14] += 120
        Image.fromarray(pixels).save(folder / f"film_{i}.png")
        note = "patient reports a cough and some fever" if rng.random() < 0.5 else "follow up visit, nothing new to report"
        sick = 3.0 * patch[i] + 1.5 * high[i] + rng.normal() * 0.3 > 1.5
        film = None if i % 9 == 4 else f"film_{i}.png"
        rows.append({"film": film, "crp": high[i] if i % 7 else None, "noise": rng.normal(), "note": f"{note} {i} times",
                     "y": "sick" if sick else "well"})  # fmt: skip
    return pd.DataFrame(rows), folder


@pytest.fixture(scope="module")
def searched(mixed: tuple[pd.DataFrame, Path]) -> engine.Search:
    frame, folder = mixed
    fusion = {"epochs": 20, "batch_size": 16}
    names = ("linear", "boosting", "fusion")
    recipe = engine.Recipe(target="y", time_budget=12.0, candidates=names, hyperparameters={"fusion": fusion})
    return engine.fit_candidates(frame, recipe, files=folder)


def test_the_kind_is_found_by_its_endings(mixed: tuple[pd.DataFrame, Path], searched: engine.Search) -> None:
    assert searched.best.schema["film"].kind is engine.Kind.IMAGE
    assert {r.name: r.status for r in searched.candidates} == {"linear": "done", "boosting": "done", "fusion": "done"}


def test_pictures_help_every_candidate(searched: engine.Search) -> None:
    for result in searched.candidates:
        assert result.validation_score is not None and result.validation_score > 0.75, result.name


def test_it_is_told_what_each_modality_adds(searched: engine.Search) -> None:
    assert searched.modalities is not None
    found = {entry["modality"]: entry for entry in searched.modalities["without"]}
    assert set(found) == {"table", "text", "image"}
    assert found["image"]["low"] > 0 and found["table"]["low"] > 0  # both are causes
    assert found["text"]["low"] <= 0.02  # noise
    assert found["image"]["columns"] == ["film"]
    assert searched.best.validation["modalities"] == searched.modalities
    json.dumps(searched.modalities)
    alone = searched.modalities["value"] - found["image"]["value"]
    assert found["image"]["difference"] == pytest.approx(alone)


@pytest.mark.parametrize("name", ["linear", "fusion"])
def test_a_stored_model_gives_the_same_numbers_in_a_fresh_process(
    name: str, mixed: tuple[pd.DataFrame, Path], searched: engine.Search, tmp_path: Path
) -> None:
    frame, folder = mixed
    fitted = next(r.fitted for r in searched.candidates if r.name == name)
    assert fitted is not None
    engine.save(fitted, tmp_path / "model")
    frame.iloc[:12].to_json(tmp_path / "rows.json", orient="records")
    code = (
        "import json,sys,engine\n"
        "rows=json.load(open(sys.argv[2]))\n"
        "m=engine.load(sys.argv[1])\n"
        "loaded='torch' in sys.modules\n"
        "p=m.predict_records(rows, files=sys.argv[3])\n"
        "r=engine.explain(m, rows[:1], files=sys.argv[3])[0]\n"
        "print(json.dumps([p.probabilities.tolist(), p.ood_score.tolist(), r.to_dict(), loaded]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "rows.json"), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    probabilities, ood, reasons, torch_loaded = json.loads(done.stdout)
    here = fitted.predict_records(json.loads((tmp_path / "rows.json").read_text()), files=folder)
    np.testing.assert_array_equal(np.array(probabilities), here.probabilities)
    np.testing.assert_array_equal(np.array(ood), here.ood_score)
    assert torch_loaded == (name == "fusion")  # its network is tried out before it is trusted
    assert reasons["base"] + sum(c["contribution"] for c in reasons["contributions"]) == pytest.approx(reasons["score"])


def test_no_picture_is_kept_in_an_artefact(searched: engine.Search, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    fitted = next(r.fitted for r in searched.candidates if r.name == "fusion")
    assert fitted is not None and fitted.background is not None
    block = fitted.background.blocks[engine.Kind.IMAGE]
    assert not block.present.any() and not np.asarray(block.tensors).any()
    engine.save(fitted, tmp_path / "model")
    state = load_file(tmp_path / "model" / "state.safetensors")
    assert not any(name.startswith("background/image") for name in state)


def test_the_picture_is_the_reason_where_it_was_the_cause(mixed: tuple[pd.DataFrame, Path], searched: engine.Search) -> None:
    frame, folder = mixed
    fitted = searched.best
    certain = frame[frame["film"].notna()].iloc[:6]
    strength: dict[str, float] = {}
    for reasons in engine.explain(fitted, certain, files=folder):
        for entry in reasons.contributions:
            strength[entry["column"]] = strength.get(entry["column"], 0.0) + abs(entry["contribution"])
    assert strength["film"] > 2 * strength["noise"] and strength["film"] > 2 * strength["note"]


def test_evaluation_opens_the_same_files(mixed: tuple[pd.DataFrame, Path], searched: engine.Search) -> None:
    frame, folder = mixed
    seen = engine.evaluate(searched.best, frame, files=folder, bootstrap=20).metrics["roc_auc"]["value"]
    blind = engine.evaluate(searched.best, frame, bootstrap=20).metrics["roc_auc"]["value"]
    assert seen > blind + 0.05


def test_check_says_what_is_wrong_with_the_files(mixed: tuple[pd.DataFrame, Path]) -> None:
    frame, folder = mixed
    recipe = engine.Recipe(target="y")
    problems = {(p.code, p.severity) for p in engine.check(frame, recipe)}
    assert ("files_folder_missing", "error") in problems
    with pytest.raises(engine.EngineError) as caught:
        engine.fit(frame, recipe)
    assert caught.value.code == "files_folder_missing"
    odd = frame.copy()
    odd.loc[0, "film"], odd.loc[1, "film"] = "gone.png", "../gone.png"
    counts = {p.code: p.params["count"] for p in engine.check(odd, recipe, files=folder) if p.column == "film"}
    assert counts == {"values_file_missing": 1, "values_file_refused": 1}


def test_a_damaged_training_file_is_reported_and_missing(mixed: tuple[pd.DataFrame, Path], tmp_path: Path) -> None:
    frame, folder = mixed
    (folder / "damaged.png").write_bytes((folder / "film_0.png").read_bytes()[:120])
    odd = frame.copy()
    odd.loc[0, "film"] = "damaged.png"
    search = engine.fit_candidates(odd, engine.Recipe(target="y", time_budget=1.0, candidates=("linear",)), files=folder)
    assert [p.params["count"] for p in search.problems if p.code == "values_file_unreadable"] == [1]


def test_a_table_without_files_plans_no_fusion(patients: pd.DataFrame) -> None:
    from engine.plan import make_plans, row_seconds
    from engine.training_data import prepare

    recipe = engine.Recipe(target="diagnosis", patient="mrn")
    data = prepare(patients, recipe)
    assert row_seconds(data) == 0
    assert "fusion" not in [plan.candidate.name for plan in make_plans(data, recipe, (5, 5), 5)]


def test_a_model_from_before_a_kind_was_known_still_loads(patients: pd.DataFrame, tmp_path: Path) -> None:
    """Its schema names an image column that it never used; it has no settings for that kind."""
    frame = patients.assign(scan=[f"{i}.png" for i in range(len(patients))])
    recipe = engine.Recipe(target="diagnosis", patient="mrn", time_budget=1.0, candidates=("linear",), ignore=("scan",))
    engine.save(engine.fit(frame, recipe), tmp_path / "old")
    path = tmp_path / "old" / "manifest.json"
    manifest = json.loads(path.read_text())
    for column in manifest["model"]["schema"]["columns"]:
        if column["name"] == "scan":
            column["role"] = "feature"
    path.write_text(json.dumps(manifest))
    assert engine.load(tmp_path / "old").predict(frame.iloc[:3]).probabilities is not None


# Blocks -----------------------------------------------------------------------------------------------------------


def test_rows_share_their_tensors_and_join_without_their_empty_cells() -> None:
    from engine.schema import ColumnSpec, Kind
    from engine.transformers.image import ImageTransformer

    transformer = ImageTransformer([ColumnSpec("a", Kind.IMAGE), ColumnSpec("b", Kind.IMAGE)])
    pictures = [np.full((9, 9), k, dtype=np.uint8) for k in (10, 200)]
    block, issues = transformer.encode([[pictures[0], None], [pictures[1], pictures[0]]])
    assert not issues and block.present.tolist() == [[True, True], [False, True]]
    assert np.isnan(block.features[1, 0]).all()
    mixed = transformer.mix(block, np.array([[1, 0], [0, 1]]))
    assert mixed.tensors.store is block.tensors.store
    assert np.asarray(mixed.tensors)[:, :, 0, 0, 0].tolist() == [[0, 200], [10, 10]]
    joined = transformer.join(transformer.background(None, np.zeros((1, 2), dtype=np.int64)), block)
    assert isinstance(joined, FileBlock) and isinstance(joined.tensors, Tensors)
    assert np.asarray(joined.tensors)[:, :, 0, 0, 0].tolist() == [[0, 0], [10, 200], [0, 10]]


@pytest.mark.parametrize(("rows", "features"), [(40, 300), (500, 170)])
def test_components_are_those_of_scikit_learn(rows: int, features: int) -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 6)) @ rng.normal(size=(6, features)) + 0.1 * rng.normal(size=(rows, features))
    learned = {"mean": X.mean(axis=0), "span": X.std(axis=0)}
    Z = standard(X, learned)
    own = Z @ _components(Z)
    theirs = PCA(n_components=own.shape[1], svd_solver="full").fit_transform(Z)
    ratio = own.std(axis=0)[0] / theirs.std(axis=0)[0]
    np.testing.assert_allclose(np.abs(own[:, :6]), np.abs(theirs[:, :6]) * ratio, rtol=1e-3, atol=1e-3)
    assert np.mean(own.var(axis=0)) == pytest.approx(1.0, rel=0.05)
