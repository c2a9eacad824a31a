"""Where real data lies that packages ship."""

from importlib.util import find_spec
from pathlib import Path

import pytest


def brain(pattern: str = "mni_icbm152_t1*.nii.gz") -> Path:
    """A volume of the MNI average brain that nilearn ships; the test is skipped without it. Nothing of nilearn is imported."""
    found = find_spec("nilearn")
    if found is None or found.origin is None:
        pytest.skip("nilearn is not installed")
    return next((Path(found.origin).parent / "datasets" / "data").glob(pattern))
