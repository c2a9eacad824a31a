"""The additive candidate: a linear model in which each number may bend (restricted cubic splines)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.candidates.base import Matrix, Model, StopCheck
from engine.candidates.linear import LinearModel
from engine.metrics import Floats, Ints
from engine.registry import Hyperparameter, candidate

# Harrell 2015, Regression Modeling Strategies (2nd ed.), table 2.3: where the knots lie, as quantiles.
KNOTS = {3: (0.10, 0.5, 0.90), 4: (0.05, 0.35, 0.65, 0.95), 5: (0.05, 0.275, 0.5, 0.725, 0.95)}
FEWEST_VALUES = 10  # a column with fewer different values has no shape to find


@candidate(
    "additive",
    label="Additive model",
    description="A linear model in which each number may act along a smooth curve instead of a straight line.",
    hyperparameters=(
        Hyperparameter("C", "float", 0.1, "Freedom of the model: the inverse of the L2 penalty. Smaller is simpler.",
                       low=1e-6, high=1e6),
        Hyperparameter("knots", "int", 4, "Points at which each curve may bend.", low=3, high=5),
        Hyperparameter("class_weight", "choice", "none", "“balanced” counts rare classes as much as common ones.",
                       choices=("none", "balanced")),
        Hyperparameter("max_iter", "int", 300, "At most this many steps of the optimiser.", low=10, high=10_000),
    ),
)  # fmt: skip
class AdditiveModel(Model):
    """Each varied column gets the curves of a restricted cubic spline beside itself; beyond the knots it stays straight."""

    wants_dense = True

    def __init__(
        self, *, task: str = "classification", C: float = 0.1, knots: int = 4, class_weight: str = "none",
        max_iter: int = 300, seed: int = 0,
    ) -> None:  # fmt: skip
        self.task = task
        self.C = C
        self.knots = knots
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.seed = seed

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """Knots are quantiles of the training values; curves are standardised, so that one penalty suits all."""
        X = np.asarray(X, dtype=float)
        self.columns_, self.places_ = self._place(X)
        curves = curves_of(X[:, self.columns_], self.places_)
        self.centre_, spread = curves.mean(axis=0), curves.std(axis=0)
        self.spread_ = np.where(spread > 1e-9, spread, 1.0)
        self.linear_ = LinearModel(
            task=self.task, C=self.C, class_weight=self.class_weight, max_iter=self.max_iter, seed=self.seed
        )
        self.linear_.fit(self._wide(X), y, patients=patients, stop=stop)
        if self.task == "classification":
            self.classes_ = self.linear_.classes_
        return self

    def _place(self, X: Floats) -> tuple[Ints, Floats]:
        columns, places = [], []
        for j, column in enumerate(X.T):
            knots = np.quantile(column, KNOTS[self.knots])
            if len(np.unique(column)) >= FEWEST_VALUES and np.all(np.diff(knots) > 1e-6):
                columns.append(j)
                places.append(knots)
        return np.array(columns, dtype=np.int64), np.array(places, dtype=float).reshape(-1, self.knots)

    def _wide(self, X: Floats) -> Floats:
        curves = curves_of(X[:, self.columns_], self.places_)
        return np.concatenate([X, (curves - self.centre_) / self.spread_], axis=1)

    def raw(self, X: Matrix) -> Floats:
        """Probabilities (n, k) or numbers (n,)."""
        return self.linear_.raw(self._wide(np.asarray(X, dtype=float)))

    def estimators(self) -> dict[str, Any]:
        """The linear model over columns and curves."""
        return self.linear_.estimators()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Which columns bend, and where."""
        return {
            "columns": self.columns_,
            "places": self.places_,
            "centre": self.centre_,
            "spread": self.spread_,
        }

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """From the linear model and the knots."""
        self.columns_, self.places_ = arrays["columns"], arrays["places"]
        self.centre_, self.spread_ = arrays["centre"], arrays["spread"]
        self.linear_ = LinearModel(
            task=self.task, C=self.C, class_weight=self.class_weight, max_iter=self.max_iter, seed=self.seed
        )
        self.linear_.restore(estimators, arrays)
        if self.task == "classification":
            self.classes_ = self.linear_.classes_
        return self

    @classmethod
    def trials(cls, task: str, rows: int, width: int, classes: int) -> list[dict[str, Any]]:
        """The penalty, then the number of knots; large data can afford less penalty."""
        first = 0.1 if rows <= 20_000 else 1.0
        return [
            {"C": first},
            {"C": first / 10},
            {"C": 10 * first},
            {"C": first, "knots": 5},
            {"C": first, "knots": 3},
        ]

    @classmethod
    def cost(cls, rows: int, width: int, classes: int, hyperparameters: Mapping[str, Any]) -> float:
        """Seconds: a linear model of about twice the width and more steps, and the curves."""
        wide = width + width * (hyperparameters.get("knots", 4) - 2) / 2
        return 0.02 + LinearModel.cost(rows, int(wide), classes, {}) * 1.5 + 1e-7 * rows * width


def curves_of(X: Floats, places: Floats) -> Floats:
    """(n, columns * (knots - 2)) the curved parts of restricted cubic splines.

    Harrell 2015, equation 2.25, divided by the squared distance of the outer knots (his norm = 2): all in the column's unit.
    """
    count = places.shape[1]
    last, before = places[:, -1], places[:, -2]
    width = last - before
    parts = []
    for j in range(count - 2):
        knot = places[:, j]
        part = (
            _cubed(X - knot)
            - _cubed(X - before) * (last - knot) / width
            + _cubed(X - last) * (before - knot) / width
        )
        parts.append(part / (last - places[:, 0]) ** 2)
    result: Floats = np.concatenate(parts, axis=1)
    return result


def _cubed(x: Floats) -> Floats:
    positive: Floats = np.maximum(x, 0.0) ** 3
    return positive
