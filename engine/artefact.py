"""Artefacts: a fitted model as a folder that can be loaded without running anybody's code."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

from engine.artefact_state import describe_fitted, rebuild_fitted, state_arrays
from engine.errors import ArtefactError, EngineError
from engine.fitted import Fitted

FORMAT = 1
MANIFEST = "manifest.json"
LIBRARIES = ("numpy", "scikit-learn", "scipy", "skops", "safetensors", "torch")
FILE_NAME = re.compile(r"[a-z0-9_]{1,80}\.(safetensors|skops)")
LARGEST = 4 * 2**30  # bytes of one file, packed or unpacked
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
    root = Path(folder)
    if root.is_symlink() or not root.is_dir():
        raise ArtefactError("artefact_missing", f"There is no model in “{root.name}”.")
    path = root / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise ArtefactError("artefact_no_manifest", f"The model has no {MANIFEST}.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        kind, number, files = manifest["kind"], manifest["format"], dict(manifest["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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
                f"The manifest names “{name}”, which is no file of a model.",
                {"file": name},
            )
    extra, lost = sorted(present - set(files)), sorted(set(files) - present)
    if extra:
        raise ArtefactError(
            "artefact_extra_file", f"“{extra[0]}” does not belong to the model.", {"file": extra[0]}
        )
    if lost:
        raise ArtefactError("artefact_file_missing", f"“{lost[0]}” is missing.", {"file": lost[0]})
    for name, entry in files.items():
        path = root / name
        if path.is_symlink() or not path.is_file():
            raise ArtefactError(
                "artefact_not_a_file", f"“{name}” is a link or a folder, not a file.", {"file": name}
            )
        if path.stat().st_size > LARGEST:
            raise ArtefactError("artefact_too_large", f"“{name}” is too large.", {"file": name})
        wanted = entry.get("sha256") if isinstance(entry, dict) else None
        if not isinstance(wanted, str) or _sha256(path) != wanted:
            raise ArtefactError(
                "artefact_hash", f"“{name}” was changed after the model was stored.", {"file": name}
            )


def load(folder: str | Path) -> Fitted:
    """The model of a folder, with the same predictions. Nothing is unpickled and no foreign type is built.

    Raises ArtefactError: missing, changed, extra or linked file, path outside the folder, unknown format, a type that
    is not on the list, anything that is not what it claims to be.
    """
    root = Path(folder)
    manifest = manifest_of(root)
    names = set(manifest["files"])
    arrays = {name: _arrays(root / name) for name in names if name.endswith(".safetensors")}
    estimators = {name: _estimator(root / name) for name in names if name.endswith(".skops")}
    try:
        return rebuild_fitted(manifest["model"], arrays, estimators)
    except ArtefactError:
        raise
    except Exception as error:  # whatever a forged manifest leads to, it is the artefact that is wrong
        raise ArtefactError(
            "artefact_invalid", f"The model can't be rebuilt from its parts ({type(error).__name__})."
        ) from error


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        return dict(load_file(path))
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            "artefact_not_safetensors", f"“{path.name}” does not hold arrays.", {"file": path.name}
        ) from error


def _estimator(path: Path) -> Any:
    params = {"file": path.name}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise ArtefactError(
                    "artefact_too_large", f"“{path.name}” is too large when unpacked.", params
                )
        return _skops().load(path, trusted=TRUSTED)
    except ArtefactError:
        raise
    except (TypeError, _skops().exceptions.UntrustedTypesFoundException) as error:
        message = f"“{path.name}” holds a type that is not trusted; it was not built."
        raise ArtefactError("artefact_untrusted", message, params) from error
    except Exception as error:  # skops and zipfile raise many kinds for damaged files
        raise ArtefactError(
            "artefact_not_skops", f"“{path.name}” is not a stored estimator.", params
        ) from error
