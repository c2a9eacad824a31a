"""Fixtures of inference's tests: models fitted once per session, stored anew for each test."""

from typing import Any

import numpy as np
import pytest

from tests.inference.stored import fit, heart_frame, notes_frame, store


@pytest.fixture(scope="session")
def heart(tmp_path_factory: Any) -> dict[str, Any]:
    return fit(tmp_path_factory.mktemp("heart"), heart_frame(), target="disease", patient="mrn")


@pytest.fixture(scope="session")
def notes(tmp_path_factory: Any) -> dict[str, Any]:
    return fit(tmp_path_factory.mktemp("notes"), notes_frame(), target="organ")


@pytest.fixture(scope="session")
def pressure(tmp_path_factory: Any) -> dict[str, Any]:
    """A regression: blood pressure from age and cholesterol."""
    frame = heart_frame().drop(columns=["disease", "mrn"])
    frame["pressure"] = 80 + frame["age"] + np.random.default_rng(2).normal(0, 3, len(frame))
    return fit(tmp_path_factory.mktemp("pressure"), frame, target="pressure")


@pytest.fixture
def heart_version(heart: Any, organisation: Any) -> Any:
    return store(heart, organisation, name="Heart")


@pytest.fixture
def notes_version(notes: Any, organisation: Any) -> Any:
    return store(notes, organisation, name="Notes")


@pytest.fixture
def pressure_version(pressure: Any, organisation: Any) -> Any:
    return store(pressure, organisation, name="Pressure")
