"""Artefacts: the same numbers after loading; nothing foreign, changed or executable is accepted."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.preprocessing import FunctionTransformer

import engine
from engine import ArtefactError, EngineError


@pytest.fixture
def stored(tmp_path: Path, fitted) -> Path:
    return engine.save(fitted["boosting"], tmp_path / "model", report={"n": 3})


def reseal(folder: Path, **changes: object) -> None:
    """What an attacker can do: write the right hashes of wrong files into the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def refused(folder: Path) -> str:
    with pytest.raises(ArtefactError) as caught:
        engine.load(folder)
    assert isinstance(caught.value, EngineError)
    return caught.value.code


@pytest.mark.parametrize("name", ["linear", "boosting", "network", "ensemble"])
def test_a_loaded_model_gives_the_same_numbers(name: str, tmp_path: Path, fitted, patients) -> None:
    if name not in fitted:
        pytest.skip("one candidate had all the weight")
    again = engine.load(engine.save(fitted[name], tmp_path / "m"))
    before, after = fitted[name].predict(patients), again.predict(patients)
    for part in ("value", "probabilities", "interval", "ood_score"):
        assert np.array_equal(getattr(before, part), getattr(after, part))
    assert (before.sets, before.warnings) == (after.sets, after.warnings)
    assert again.recipe == fitted[name].recipe
    assert again.validation == fitted[name].validation
    records = patients.head(2).to_dict("records")
    assert engine.explain(again, records) == engine.explain(fitted[name], records)


def test_several_classes_and_numbers_are_stored_too(tmp_path: Path, three, amounts) -> None:
    for place, (frame, models) in enumerate((three, amounts)):
        for name, model in models.items():
            again = engine.load(engine.save(model, tmp_path / f"{place}-{name}"))
            assert np.array_equal(again.predict(frame).interval, model.predict(frame).interval)


def test_the_folder_holds_no_pickle_and_no_patient(stored: Path, patients) -> None:
    assert {path.suffix for path in stored.iterdir()} == {".json", ".safetensors", ".skops"}
    text = b"".join(path.read_bytes() for path in stored.iterdir())
    assert not any(mrn.encode() in text for mrn in patients["mrn"])
    manifest = json.loads((stored / "manifest.json").read_text())
    assert manifest["report"] == {"n": 3}
    assert {"numpy", "scikit-learn", "skops"} <= set(manifest["libraries"])


def test_a_full_folder_is_not_overwritten(stored: Path, fitted) -> None:
    with pytest.raises(EngineError, match="not an empty folder"):
        engine.save(fitted["linear"], stored)


def test_a_changed_file_is_refused(stored: Path) -> None:
    path = next(stored.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert refused(stored) == "artefact_hash"


def test_a_missing_and_an_extra_file_are_refused(stored: Path) -> None:
    (stored / "notes.txt").write_text("hello")
    assert refused(stored) == "artefact_extra_file"
    (stored / "notes.txt").unlink()
    (stored / "state.safetensors").unlink()
    assert refused(stored) == "artefact_file_missing"


def test_an_unknown_format_is_refused(stored: Path) -> None:
    reseal(stored, format=99)
    assert refused(stored) == "artefact_format"


@pytest.mark.parametrize("text", ["", "[]", "{}", "{" * 5000, '{"kind": 1}', "\x00"])
def test_what_is_no_manifest_is_refused(stored: Path, text: str) -> None:
    (stored / "manifest.json").write_text(text)
    assert refused(stored) == "artefact_manifest_invalid"


@pytest.mark.parametrize("name", ["../state.safetensors", "/etc/passwd", "a/b.skops", "model.pkl", "x.py"])
def test_a_path_outside_and_a_foreign_name_are_refused(stored: Path, name: str) -> None:
    manifest = json.loads((stored / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64}
    (stored / "manifest.json").write_text(json.dumps(manifest))
    assert refused(stored) == "artefact_file_name"


def test_a_link_is_refused(stored: Path, tmp_path: Path) -> None:
    path = stored / "state.safetensors"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert refused(stored) == "artefact_not_a_file"


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("pattern", ["*.skops", "state.safetensors"])
def test_a_pickle_in_disguise_is_refused_and_never_run(stored: Path, tmp_path: Path, pattern: str) -> None:
    target = tmp_path / "executed"
    next(stored.glob(pattern)).write_bytes(pickle.dumps(Bomb(target)))
    reseal(stored)
    assert refused(stored) in {"artefact_not_skops", "artefact_not_safetensors"}
    assert not target.exists()


def test_an_untrusted_type_is_refused(stored: Path) -> None:
    skops.io.dump(FunctionTransformer(func=np.linalg.norm), next(stored.glob("*.skops")))
    reseal(stored)
    assert refused(stored) in {"artefact_untrusted", "artefact_invalid"}


def test_an_operator_function_is_refused(stored: Path) -> None:
    import os

    skops.io.dump(FunctionTransformer(func=os.system), next(stored.glob("*.skops")))
    reseal(stored)
    assert refused(stored) == "artefact_untrusted"


def test_a_forged_description_is_refused(stored: Path) -> None:
    manifest = json.loads((stored / "manifest.json").read_text())
    manifest["model"]["members"][0]["candidate"] = "os.system"
    (stored / "manifest.json").write_text(json.dumps(manifest))
    assert refused(stored) == "artefact_invalid"


def test_the_fingerprint_seals_everything(stored: Path) -> None:
    before = engine.fingerprint(stored)
    manifest = json.loads((stored / "manifest.json").read_text())
    manifest["model"]["operating_point"]["threshold"] = 0.0
    (stored / "manifest.json").write_text(json.dumps(manifest))
    assert engine.fingerprint(stored) != before
