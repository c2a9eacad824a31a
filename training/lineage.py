"""Where a version comes from: data, recipe, seed, code, libraries, requester."""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from datasets.cells.folder import fingerprint, hashes_of
from training import recipes
from training.models import TrainingRun

LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "torch", "skops", "safetensors", "django")


def library_versions() -> dict[str, str]:
    """The versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def code_version() -> str:
    """A hash of the engine's source: the same hash is the same learning code, also without a repository at hand."""
    import engine

    total = hashlib.sha256()
    root = Path(engine.__file__).parent
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"engine-{total.hexdigest()[:16]}"


def files_of(run: TrainingRun) -> dict[str, dict[str, Any]]:
    """For each column of files that was learned from: how many different files, and one hash over all their hashes."""
    columns = list(recipes.columns_of_files(run.recipe))
    return {name: fingerprint(found) for name, found in hashes_of(run.frozen, columns).items()}


def lineage_of(run: TrainingRun, fitted: Any, floors: dict[str, float]) -> dict[str, Any]:
    """JSON for ModelVersion.lineage. Counts, hashes and names; no patient's value."""
    return {
        "data_hash": run.frozen.content_hash,
        "erased_before": run.frozen.erased_count,
        "dataset_version": str(run.version_id),
        "dataset_version_number": run.frozen.number,
        "training_records": run.frozen.record_count - run.frozen.test_count,
        "test_records": run.frozen.test_count,
        "recipe": run.recipe,
        "seed": run.recipe["seed"],
        "preprocessing": fitted.preprocessing,
        "hyperparameters": fitted.hyperparameters,
        "gate": floors,
        "run": str(run.pk),
        "run_number": run.number,
        "requester": run.requested_by.email if run.requested_by else "system",
        "files": files_of(run),
        "code_version": code_version(),
        "libraries": library_versions(),
    }
