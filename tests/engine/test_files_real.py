"""Real pictures and volumes: blood cells, and slabs of the MNI brain that nilearn ships."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import engine
from tests.real import brain

SHARED = Path(os.environ.get("AIMASS_SHARED_DATA", "/nowhere")) / "bccd_blood_cells" / "images"


@pytest.mark.slow  # 300 real pictures are decoded and cross-validated: about 8 s
@pytest.mark.skipif(not SHARED.is_dir(), reason="AIMASS_SHARED_DATA names no blood cells")
def test_blood_cells_are_told_apart_from_pictures_never_seen() -> None:
    """A sixth of each class; a quarter of the smears is the test set. All 1,050 gave 0.996, as frozen networks do."""
    paths = sorted(SHARED.rglob("*.png"))[::3]
    frame = pd.DataFrame({
        "cell": [str(path.relative_to(SHARED)) for path in paths],
        "smear": [path.stem.split("_")[1] for path in paths],
        "kind": [path.parent.name for path in paths],
    })  # fmt: skip
    smears = np.random.default_rng(0).permutation(frame["smear"].unique())
    test = frame["smear"].isin(smears[: len(smears) // 4])
    recipe = engine.Recipe(target="kind", patient="smear", time_budget=5.0, candidates=("linear",))
    fitted = engine.fit(frame[~test], recipe, files=SHARED)
    report = engine.evaluate(fitted, frame[test], files=SHARED, bootstrap=50)
    assert report.metrics["balanced_accuracy"]["value"] > 0.96


@pytest.mark.slow  # a real volume is cut into 60 slabs that are resampled: about 10 s
def test_slabs_of_a_brain_are_told_apart(tmp_path: Path) -> None:
    import nibabel

    image = nibabel.load(brain())
    values, rng = np.asarray(image.dataobj), np.random.default_rng(0)
    rows = []
    for k in range(60):
        upper = bool(k % 2)
        start = rng.integers(110, 130) if upper else rng.integers(30, 50)
        slab = values[:, :, start : start + 30] + rng.normal(0, 100, (*values.shape[:2], 30))
        nibabel.save(nibabel.Nifti1Image(slab.astype(np.float32), image.affine), tmp_path / f"{k}.nii.gz")
        rows.append({"mri": f"{k}.nii.gz", "place": "upper" if upper else "lower"})
    frame = pd.DataFrame(rows)
    recipe = engine.Recipe(target="place", time_budget=3.0, candidates=("linear",), allow_leaks=True)
    fitted = engine.fit(frame, recipe, files=tmp_path)
    assert fitted.validation["value"] > 0.95
