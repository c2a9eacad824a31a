"""The reference: what one would say knowing nothing of the patient (class shares, or the mean)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.candidates.base import Matrix, Model, StopCheck
from engine.metrics import Floats, Ints
from engine.registry import candidate


@candidate(
    "baseline",
    label="Baseline",
    description="The share of each class (or the mean) for everyone; only there to be compared with.",
    reference=True,
)
class BaselineModel(Model):
    """Predicts the training data's class shares or mean."""

    def __init__(self, *, task: str = "classification", seed: int = 0) -> None:
        self.task = task
        self.seed = seed

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """Only `y` counts."""
        if self.task == "classification":
            self.prior_ = np.bincount(y.astype(np.int64)) / len(y)
            self.classes_ = np.arange(len(self.prior_))
        else:
            self.prior_ = np.array([float(np.mean(y))])
        return self

    def raw(self, X: Matrix) -> Floats:
        """The same for every row."""
        rows = np.tile(self.prior_, (X.shape[0], 1))
        return rows if self.task == "classification" else rows[:, 0]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The shares."""
        return {"prior": self.prior_}

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """From the shares."""
        self.prior_ = arrays["prior"]
        self.classes_ = np.arange(len(self.prior_))
        return self
