"""The linear candidate: logistic regression for classes, ridge regression for numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge

from engine.candidates.base import Matrix, Model, StopCheck, sigmoid, softmax, two_columns
from engine.metrics import Floats, Ints
from engine.registry import Hyperparameter, candidate

LASSO = 1_000_000  # cells up to which the lasso's solver is quick enough to be tried
TEXTUAL = 300  # features of a row from which there must be text among them


@candidate(
    "linear",
    label="Linear model",
    description="Logistic regression (classes) or ridge regression (numbers): quick, steady and exactly explained.",
    hyperparameters=(
        Hyperparameter("C", "float", 1.0, "Freedom of the model: the inverse of the L2 penalty. Smaller is simpler.",
                       low=1e-6, high=1e6),
        Hyperparameter("l1_ratio", "float", 0.0, "Share of the penalty that sets weak coefficients to zero (lasso).",
                       low=0.0, high=1.0),
        Hyperparameter("class_weight", "choice", "none", "“balanced” counts rare classes as much as common ones.",
                       choices=("none", "balanced")),
        Hyperparameter("max_iter", "int", 300, "At most this many steps of the optimiser.", low=10, high=10_000),
    ),
)  # fmt: skip
class LinearModel(Model):
    """L2- or partly L1-penalised (elastic net) linear model; probabilities are computed from the coefficients directly."""

    def __init__(
        self,
        *,
        task: str = "classification",
        C: float = 1.0,
        l1_ratio: float = 0.0,
        class_weight: str = "none",
        max_iter: int = 300,
        seed: int = 0,
    ) -> None:
        self.task = task
        self.C = C
        self.l1_ratio = l1_ratio
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.seed = seed

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """Only the lasso's solver for classes draws numbers, from the seed."""
        if self.task == "classification":
            weight = "balanced" if self.class_weight == "balanced" else None
            estimator: Any = LogisticRegression(C=self.C, class_weight=weight, max_iter=self.max_iter)
            if self.l1_ratio > 0:
                estimator.set_params(l1_ratio=self.l1_ratio, solver="saga", tol=1e-3, random_state=self.seed)
        elif self.l1_ratio > 0:  # the squares of Ridge's objective, halved and averaged; the target's unit is taken out
            strength = float(np.std(y)) / (self.C * len(y))
            estimator = ElasticNet(alpha=strength, l1_ratio=self.l1_ratio, max_iter=10 * self.max_iter)
        else:
            estimator = Ridge(alpha=1.0 / self.C)
        if stop is not None:
            stop({})
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # an early stop is a form of regularisation here
            estimator.fit(X, y)
        return self._adopt(estimator)

    def _adopt(self, estimator: Any) -> Model:
        self.estimator_ = estimator
        self._coef = np.atleast_2d(np.asarray(estimator.coef_, dtype=float))
        self._intercept = np.atleast_1d(np.asarray(estimator.intercept_, dtype=float))
        if self.task == "classification":
            self.classes_ = np.asarray(estimator.classes_, dtype=np.int64)
        return self

    def raw(self, X: Matrix) -> Floats:
        """Probabilities (n, k) or numbers (n,)."""
        scores: Floats = np.asarray(X @ self._coef.T) + self._intercept
        if self.task != "classification":
            return scores[:, 0]
        return two_columns(sigmoid(scores[:, 0])) if len(self.classes_) == 2 else softmax(scores)

    def linear_terms(self) -> Floats | None:
        """The coefficients."""
        return self._coef

    def intercepts(self) -> Floats:
        """The intercepts."""
        return self._intercept

    def estimators(self) -> dict[str, Any]:
        """The one scikit-learn estimator."""
        return {"linear": self.estimator_}

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, Any]) -> Model:
        """From the stored estimator."""
        return self._adopt(estimators["linear"])

    @classmethod
    def trials(cls, task: str, rows: int, width: int, classes: int) -> list[dict[str, Any]]:
        """The penalty matters most; text, whose features are many small numbers, wants more freedom."""
        if width > TEXTUAL:
            return [{"C": c, "max_iter": 60} for c in (10.0, 100.0, 1.0)]
        lasso = [{"C": c, "l1_ratio": 1.0} for c in (0.1, 1.0)] if rows * width <= LASSO else []
        return [{"C": 1.0}, {"C": 0.1}, {"C": 0.01}, *lasso, {"C": 10.0}]

    @classmethod
    def cost(cls, rows: int, width: int, classes: int, hyperparameters: Mapping[str, Any]) -> float:
        """Seconds, from fits of up to 20,000 rows."""
        textual = 0.05 * classes if width > TEXTUAL else 0.0
        if hyperparameters.get("l1_ratio", 0.0) > 0:
            return 0.05 + 3e-7 * rows * width * max(classes, 1)
        return 0.01 + textual + 4e-8 * rows * width * (1 if classes <= 2 else 3 * classes)
