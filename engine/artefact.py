"""Artefacts: a fitted model as a folder that can be loaded without running anybody's code."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

from engine.artefact_guard import (
    LARGEST_MANIFEST,
    inspect_arrays,
    inspect_estimator,
    inspect_model,
    inspect_package,
    strict_json,
    try_out,
)
from engine.artefact_state import describe_fitted, rebuild_fitted, state_arrays
from engine.errors import ArtefactError, EngineError
from engine.fitted import Fitted

FORMAT = 1
MANIFEST = "manifest.json"
LIBRARIES = ("numpy", "scikit-learn", "scipy", "skops", "safetensors", "torch")
FILE_NAME = re.compile(r"[a-z0-9_]{1,80}\.(safetensors|skops)")
LARGEST = 4 * 2**30  # bytes of all files
TRUSTED = [
    "sklearn._loss.link.IdentityLink", "sklearn._loss.link.Interval", "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.LogLink", "sklearn._loss.link.MultinomialLogit", "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss", "sklearn._loss.loss.HalfSquaredError",
    "sklearn._loss._loss.CyHalfBinomialLoss", "sklearn._loss._loss.CyHalfMultinomialLoss",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
]  # fmt: skip


def _skops() -> Any:
    """skops.io, imported when it is first needed, and without torch.

    skops lists all estimators of scikit-learn by walking through its packages, and one of those imports torch if it
    can: seconds of every serving process, and a hang in processes that fork. Made unfindable for the moment, it is
    passed over.
    """
    if "torch" in sys.modules or "skops.io" in sys.modules:
        return importlib.import_module("skops.io")
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("skops.io")
    finally:
        del sys.modules["torch"]


def save(fitted: Fitted, folder: str | Path, *, report: Mapping[str, Any] | None = None) -> Path:
    """Write the model into a new or empty folder, which appears whole or not at all. No pickle is ever written.

    Raises EngineError ("folder_not_empty").
    """
    target = Path(folder)
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise EngineError("folder_not_empty", f"“{target}” is not an empty folder.", {"folder": str(target)})
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".artefact-") as draft:
        _write(fitted, Path(draft) / "model", report)
        if target.exists():
            target.rmdir()
        shutil.move(Path(draft) / "model", target)
    return target


def _write(fitted: Fitted, folder: Path, report: Mapping[str, Any] | None) -> None:
    folder.mkdir()
    save_file(_contiguous(state_arrays(fitted)), folder / "state.safetensors")
    for i, member in enumerate(fitted.members):
        arrays = {**{f"model/{n}": a for n, a in member.model.arrays().items()},
                  **{f"preprocessing/{n}": a for n, a in member.preprocessor.arrays().items()}}  # fmt: skip
        save_file(_contiguous(arrays), folder / f"member_{i}.safetensors")
        for name, estimator in member.model.estimators().items():
            _skops().dump(estimator, folder / f"member_{i}_{name}.skops")
    files = {
        path.name: {"sha256": _sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    manifest = {
        "format": FORMAT, "kind": "ai-mass-model", "files": files,
        "libraries": {name: version(name) for name in LIBRARIES},
        "model": describe_fitted(fitted), "report": None if report is None else dict(report),
    }  # fmt: skip
    text = json.dumps(manifest, ensure_ascii=False, allow_nan=False, sort_keys=True, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _contiguous(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(folder: str | Path) -> str:
    """The sha256 of the manifest, which holds the hash of every other file: one value that seals the whole artefact."""
    return _sha256(Path(folder) / MANIFEST)


def manifest_of(folder: str | Path) -> dict[str, Any]:
    """The manifest, after checking names, hashes and that nothing else lies in the folder. Raises ArtefactError."""
    try:
        return _manifest_of(Path(folder))
    except OSError as error:
        raise ArtefactError("artefact_unreadable", f"The model can't be read ({type(error).__name__}).") from error


def _manifest_of(root: Path) -> dict[str, Any]:
    if root.is_symlink() or not root.is_dir():
        raise ArtefactError("artefact_missing", f"There is no model in “{root.name}”.")
    path = root / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise ArtefactError("artefact_no_manifest", f"The model has no {MANIFEST}.")
    if path.stat().st_size > LARGEST_MANIFEST:
        raise ArtefactError("artefact_too_large", f"{MANIFEST} is too large.", {"file": MANIFEST})
    try:
        manifest = strict_json(path.read_bytes())
        kind, number, files = manifest["kind"], manifest["format"], dict(manifest["files"].items())
    except (AttributeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtefactError(
            "artefact_manifest_invalid", f"{MANIFEST} is not the manifest of a model."
        ) from error
    if kind != "ai-mass-model" or number != FORMAT:
        raise ArtefactError("artefact_format", f"This is a model of format {number!r}; this version reads {FORMAT}.",
                            {"format": number})  # fmt: skip
    _check_files(root, files)
    return dict(manifest)


def _check_files(root: Path, files: Mapping[str, Any]) -> None:
    present = {path.name for path in root.iterdir()} - {MANIFEST}
    for name in files:
        if not isinstance(name, str) or not FILE_NAME.fullmatch(name):
            raise ArtefactError(
                "artefact_file_name",
                f"The manifest names “{_shown(name)}”, which is no file of a model.",
                {"file": _shown(name)},
            )
    extra, lost = sorted(present - set(files)), sorted(set(files) - present)
    if extra:
        raise ArtefactError(
            "artefact_extra_file",
            f"“{_shown(extra[0])}” does not belong to the model.",
            {"file": _shown(extra[0])},
        )
    if lost:
        raise ArtefactError("artefact_file_missing", f"“{lost[0]}” is missing.", {"file": lost[0]})
    total = 0
    for name, entry in files.items():
        path = root / name
        if path.is_symlink() or not path.is_file():
            raise ArtefactError(
                "artefact_not_a_file", f"“{name}” is a link or a folder, not a file.", {"file": name}
            )
        total += path.stat().st_size
        if total > LARGEST:
            raise ArtefactError("artefact_too_large", f"“{name}” is too large.", {"file": name})
        wanted = entry.get("sha256") if isinstance(entry, dict) else None
        if not isinstance(wanted, str) or _sha256(path) != wanted:
            raise ArtefactError(
                "artefact_hash", f"“{name}” was changed after the model was stored.", {"file": name}
            )


def _shown(name: object) -> str:
    """A foreign name as it may stand in a message: short, one line, nothing that can't be encoded."""
    text = str(name)[:100]
    return "".join(c if c.isprintable() else "�" for c in text)


def load(folder: str | Path) -> Fitted:
    """The model of a folder, with the same predictions. Nothing is unpickled and no foreign type is built.

    Raises ArtefactError: missing, changed, extra or linked file, path outside the folder, unknown format, a type that
    is not on the list, anything that is not what it claims to be.
    """
    root = Path(folder)
    manifest = manifest_of(root)
    names = sorted(manifest["files"])
    arrays = {name: _arrays(root / name) for name in names if name.endswith(".safetensors")}
    estimators = {name: _estimator(root / name) for name in names if name.endswith(".skops")}
    try:
        inspect_model(manifest["model"])
        fitted = rebuild_fitted(manifest["model"], arrays, estimators)
        try_out(fitted)
        return fitted
    except ArtefactError:
        raise
    except Exception as error:  # whatever a forged manifest leads to, it is the artefact that is wrong
        raise ArtefactError(
            "artefact_invalid", f"The model can't be rebuilt from its parts ({type(error).__name__})."
        ) from error


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        arrays = dict(load_file(path))
        inspect_arrays(path.name, arrays)
        return arrays
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(
            "artefact_not_safetensors", f"“{path.name}” does not hold arrays.", {"file": path.name}
        ) from error


def _estimator(path: Path) -> Any:
    params = {"file": path.name}
    try:
        inspect_package(path)
        estimator = _skops().load(path, trusted=TRUSTED)
        inspect_estimator(estimator)
        return estimator
    except ArtefactError:
        raise
    except (TypeError, _skops().exceptions.UntrustedTypesFoundException) as error:
        message = f"“{path.name}” holds a type that is not trusted; it was not built."
        raise ArtefactError("artefact_untrusted", message, params) from error
    except Exception as error:  # skops and zipfile raise many kinds for damaged files
        raise ArtefactError(
            "artefact_not_skops", f"“{path.name}” is not a stored estimator.", params
        ) from error
