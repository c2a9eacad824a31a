"""Attacks on manifest.json: its text, the names in it, and the description of the model."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.engine.attacks.registry import ATTACKS, Attack, Canary, attack, edit, unsealed


def _raw(text: str) -> Attack:
    def write(folder: Path, canary: Path) -> None:
        (folder / "manifest.json").write_text(text, encoding="utf-8", errors="surrogatepass")

    return write


for title, text in {
    "nested_lists": "[" * 200_000, "nested_objects": '{"a":' * 200_000, "not_utf8": "\udcff\udcfe", "empty": "",
    "a_number": "7", "a_pickle": pickle.dumps(Canary(Path("/nowhere"))).decode("latin-1"),
}.items():  # fmt: skip
    ATTACKS[f"manifest_{title}"] = unsealed(_raw(text))
    ATTACKS.pop("write")


def _textual(change: Callable[[str], str]) -> Attack:
    def rewrite(folder: Path, canary: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(change(path.read_text()))

    rewrite.unsealed = True
    return rewrite


for title, old, new in (
    ("nan", '"format": 1', '"format": 1, "other": NaN'), ("infinity", '"format": 1', '"format": 1, "other": -Infinity'),
    ("endless", '"format": 1', '"format": 1, "other": 1e999'), ("twice", '"format": 1', '"format": 1, "format": 1'),
    ("digits", '"format": 1', '"format": ' + "9" * 100_000), ("surrogate", '"format": 1', '"format": 1, "other": "\\ud800"'),
    ("version", '"format": 1', '"format": "1"'),
):  # fmt: skip
    ATTACKS[f"manifest_{title}"] = _textual(lambda text, old=old, new=new: text.replace(old, new, 1))


def _named(name: Any) -> Attack:
    def write(folder: Path, canary: Path) -> None:
        edit(folder, lambda manifest: manifest["files"].update({name: {"sha256": "0" * 64}}))

    write.unsealed = True
    return write


for title, name in {
    "parent": "../state.safetensors", "absolute": "/etc/passwd", "folder": "a/b.skops", "backslash": "..\\x.skops",
    "wide": "ｓtate.safetensors", "turned": "state\u202e.safetensors", "newline": "state.safetensors\n", "null": "a\0.skops",
    "dot": ".safetensors", "long": "a" * 300 + ".skops", "upper": "STATE.safetensors", "code": "x.py", "pickle": "model.pkl",
    "url": "file:///etc/passwd", "nothing": "", "surrogate": "\ud800.skops", "cyrillic": "stаte.safetensors",
}.items():  # fmt: skip
    ATTACKS[f"name_{title}"] = _named(name)


@unsealed
def files_as_pairs(folder: Path, canary: Path) -> None:
    edit(
        folder,
        lambda manifest: manifest.update(files=[[name, value] for name, value in manifest["files"].items()]),
    )


@unsealed
def hashes_of_another_kind(folder: Path, canary: Path) -> None:
    edit(folder, lambda manifest: manifest.update(files={key: ["sha256"] for key in manifest["files"]}))


@unsealed
def no_files_named(folder: Path, canary: Path) -> None:
    edit(folder, lambda manifest: manifest.update(files={}))


@attack
def endless_n_grams(folder: Path, canary: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for setting in manifest["model"]["settings"].get("text", {}).get("columns", []):
            setting |= {"analyzer": "char", "chars": [1, 10**6]}

    edit(folder, change)


@attack
def a_hundred_thousand_texts(folder: Path, canary: Path) -> None:
    column = {"name": "t", "kind": "text", "role": "feature"}
    edit(
        folder,
        lambda m: m["model"]["schema"]["columns"].extend(column | {"name": f"t{i}"} for i in range(100_000)),
    )


@attack
def other_classes(folder: Path, canary: Path) -> None:
    edit(folder, lambda manifest: manifest["model"].update(classes=["a", "b", "c", "d", "e"]))


@attack
def another_task(folder: Path, canary: Path) -> None:
    edit(
        folder, lambda m: m["model"].update(task="regression" if m["model"]["classes"] else "classification")
    )


@attack
def a_candidate_that_is_code(folder: Path, canary: Path) -> None:
    edit(folder, lambda manifest: manifest["model"]["members"][0].update(candidate="os.system"))


@attack
def no_members(folder: Path, canary: Path) -> None:
    edit(folder, lambda manifest: manifest["model"].update(members=[]))
