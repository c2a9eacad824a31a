"""What the engine's tests share: made-up patients with a planted cause, and one search over them."""

import numpy as np
import pandas as pd
import pytest

import engine


def make_patients(n: int = 320, seed: int = 0) -> pd.DataFrame:
    """Two records for half of the patients; pressure and smoking cause the disease, the rest is noise."""
    rng = np.random.default_rng(seed)
    mrn = np.sort(rng.integers(0, int(n * 0.66), n))
    pressure = rng.normal(130, 15, n)
    smoker = rng.choice(["never", "former", "current"], n)
    odds = (pressure - 130) / 6 + np.where(smoker == "current", 1.5, -0.7)
    sick = rng.random(n) < 1 / (1 + np.exp(-odds))
    frame = pd.DataFrame({
        "mrn": [f"P{number:05d}" for number in mrn],
        "age": rng.integers(30, 85, n).astype(float),
        "pressure": pressure,
        "smoker": smoker,
        "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, n), unit="D"),
        "diagnosis": np.where(sick, "yes", "no"),
    })  # fmt: skip
    frame.loc[rng.random(n) < 0.15, "age"] = np.nan
    frame.loc[rng.random(n) < 0.1, "smoker"] = None
    return frame


@pytest.fixture(scope="session")
def patients() -> pd.DataFrame:
    return make_patients()


@pytest.fixture(scope="session")
def recipe() -> engine.Recipe:
    return engine.Recipe(target="diagnosis", patient="mrn", time_budget=10.0)


@pytest.fixture(scope="session")
def search(patients: pd.DataFrame, recipe: engine.Recipe) -> engine.Search:
    return engine.fit_candidates(patients, recipe)


@pytest.fixture(scope="session")
def fitted(search: engine.Search) -> dict[str, engine.Fitted]:
    """Every candidate's fitted model, by name."""
    return {result.name: result.fitted for result in search.candidates if result.fitted is not None}


@pytest.fixture(scope="session")
def amounts() -> tuple[pd.DataFrame, dict[str, engine.Fitted]]:
    """A regression: half of scikit-learn's diabetes study, and its fitted models."""
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True).frame
    found = engine.fit_candidates(frame.iloc[:300], engine.Recipe(target="target", time_budget=3.0))
    return frame, {result.name: result.fitted for result in found.candidates if result.fitted is not None}


@pytest.fixture(scope="session")
def three() -> tuple[pd.DataFrame, dict[str, engine.Fitted]]:
    """Three classes: scikit-learn's iris, with names instead of numbers."""
    from sklearn.datasets import load_iris

    frame = load_iris(as_frame=True).frame
    frame["target"] = frame["target"].map({0: "setosa", 1: "versicolor", 2: "virginica"})
    recipe = engine.Recipe(target="target", time_budget=3.0, candidates=("linear", "boosting", "network"))
    found = engine.fit_candidates(frame, recipe)
    return frame, {result.name: result.fitted for result in found.candidates if result.fitted is not None}
