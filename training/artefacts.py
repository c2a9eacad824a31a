"""Where fitted models lie, how they get there whole or not at all, and how they are loaded again.

DATA_DIR/models/<organisation>/<version>/ holds `model/` (the engine's artefact), `predictions.json` (the test split's
predictions by record id, for paired tests) and `version.json` (what the ModelVersion row is made of).
"""

import hashlib
import json
import shutil
import tempfile
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from django.conf import settings

from training.models import ModelVersion, TrainingRun

KEPT = 16
_loaded: "OrderedDict[tuple[uuid.UUID, str], Any]" = OrderedDict()
_lock = Lock()


def root() -> Path:
    """The folder of all models."""
    return Path(settings.DATA_DIR) / "models"


def version_id(run: TrainingRun, candidate: str) -> uuid.UUID:
    """The id that this run's version of a candidate has, however often the run is executed."""
    return uuid.uuid5(run.pk, f"candidate:{candidate}")


def folder_of(organisation_id: Any, pk: Any) -> Path:
    """The folder of a version by its ids, also before its row exists."""
    return root() / str(organisation_id) / str(pk)


def folder(version: ModelVersion) -> Path:
    """The version's own folder."""
    return root() / version.artefact


@contextmanager
def writing(target: Path, run: TrainingRun) -> Iterator[Path]:
    """A private folder that takes the target's place in one rename when the block ends well, and vanishes otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix=f".writing-{run.pk.hex}-", dir=target.parent))
    try:
        yield private
        if (
            target.exists()
        ):  # left by an attempt that was killed after its rename; the same numbers, made again
            old = Path(tempfile.mkdtemp(prefix=f".old-{run.pk.hex}-", dir=target.parent))
            target.replace(old / "was")
            private.replace(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            private.replace(target)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def clear_unfinished_of(run: TrainingRun) -> None:
    """Remove what killed attempts of this run left half-written, and nothing of other runs."""
    for path in (root() / str(run.organisation_id)).glob(f".*-{run.pk.hex}-*"):
        shutil.rmtree(path, ignore_errors=True)


def files_of(path: Path) -> list[Path]:
    """All files below a folder, in a stable order."""
    return sorted(p for p in path.rglob("*") if p.is_file())


def size_of(path: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(p.stat().st_size for p in files_of(path))


def hash_of(path: Path) -> str:
    """One sha256 over the names and contents of the files below a folder."""
    total = hashlib.sha256()
    for p in files_of(path):
        with p.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{p.relative_to(path).as_posix()}:{digest}\n".encode())
    return total.hexdigest()


def load_fitted(version: ModelVersion) -> Any:
    """The version's `engine.Fitted`, from this process's cache; its hash is checked when it is read.

    Raises engine.ArtefactError when the files are missing, changed or unsafe.
    """
    key = (version.pk, version.artefact_hash)
    with _lock:
        if key in _loaded:
            _loaded.move_to_end(key)
            return _loaded[key]
    import engine

    path = folder(version) / "model"
    if not path.is_dir():
        raise engine.ArtefactError("artefact_missing", "The files of this model version are gone.")
    if hash_of(path) != version.artefact_hash:
        raise engine.ArtefactError(
            "artefact_changed", "The files of this model version are not those that were stored."
        )
    fitted = engine.load(path)
    with _lock:
        _loaded[key] = fitted
        while len(_loaded) > KEPT:
            _loaded.popitem(last=False)
    return fitted


def write_json(path: Path, value: Any) -> None:
    """Compact JSON."""
    path.write_text(json.dumps(value, separators=(",", ":"), allow_nan=False), encoding="utf-8")


def read_json(path: Path) -> Any:
    """What `write_json` wrote; None when there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def predictions(version: ModelVersion) -> dict[str, Any] | None:
    """{"records": [record ids], "report": engine predictions of the same rows}; None when there are none."""
    found: dict[str, Any] | None = read_json(folder(version) / "predictions.json")
    return found


def write_predictions(version: ModelVersion, value: dict[str, Any]) -> None:
    """Replace the stored predictions in one rename."""
    path = folder(version) / "predictions.json"
    temporary = path.with_suffix(".new")
    write_json(temporary, value)
    temporary.replace(path)


def remove(organisation_id: Any, pk: Any) -> None:
    """Delete a version's folder; harmless when there is none."""
    shutil.rmtree(folder_of(organisation_id, pk), ignore_errors=True)
