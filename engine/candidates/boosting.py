"""The boosted trees candidate: scikit-learn's histogram gradient boosting."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss, HalfSquaredError
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from engine.candidates.base import Matrix, Model, StopCheck, sigmoid, softmax, two_columns
from engine.candidates.trees import FlatTrees
from engine.metrics import Floats, Ints
from engine.registry import Hyperparameter, candidate


@candidate(
    "boosting",
    label="Boosted trees",
    description="Many small decision trees, each correcting the ones before it: finds thresholds and interactions.",
    hyperparameters=(
        Hyperparameter("learning_rate", "float", 0.1, "How much each tree may correct.", low=1e-4, high=1.0),
        Hyperparameter("max_iter", "int", 100, "Number of rounds (trees per class).", low=1, high=5000),
        Hyperparameter("max_leaf_nodes", "int", 31, "Largest number of leaves of a tree.", low=2, high=1024),
        Hyperparameter("max_depth", "int", 0, "Largest depth of a tree; 0 is unlimited.", low=0, high=64),
        Hyperparameter("min_samples_leaf", "int", 20, "Fewest records in a leaf.", low=1, high=10_000),
        Hyperparameter("l2_regularization", "float", 0.0, "Penalty on large corrections.", low=0.0, high=1e6),
        Hyperparameter("max_features", "float", 1.0, "Share of the features that each split may look at.",
                       low=0.01, high=1.0),
        Hyperparameter("class_weight", "choice", "none", "“balanced” counts rare classes as much as common ones.",
                       choices=("none", "balanced")),
    ),
)  # fmt: skip
class BoostingModel(Model):
    """Never stops early by a random inner split, which would not keep patients together."""

    wants_dense = True
    keeps_missing = True

    def __init__(
        self, *, task: str = "classification", learning_rate: float = 0.1, max_iter: int = 100,
        max_leaf_nodes: int = 31, max_depth: int = 0, min_samples_leaf: int = 20, l2_regularization: float = 0.0,
        max_features: float = 1.0, class_weight: str = "none", seed: int = 0,
    ) -> None:  # fmt: skip
        self.task = task
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.max_leaf_nodes = max_leaf_nodes
        self.max_depth = max_depth
        self.min_samples_leaf = min_samples_leaf
        self.l2_regularization = l2_regularization
        self.max_features = max_features
        self.class_weight = class_weight
        self.seed = seed

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """Same seed and data: same trees."""
        settings: dict[str, Any] = {
            "learning_rate": self.learning_rate, "max_iter": self.max_iter, "max_leaf_nodes": self.max_leaf_nodes,
            "max_depth": self.max_depth or None, "min_samples_leaf": self.min_samples_leaf,
            "l2_regularization": self.l2_regularization, "max_features": self.max_features,
            "early_stopping": False, "random_state": self.seed,
        }  # fmt: skip
        if self.task == "classification":
            weight = "balanced" if self.class_weight == "balanced" else None
            estimator: Any = HistGradientBoostingClassifier(class_weight=weight, **settings)
        else:
            estimator = HistGradientBoostingRegressor(**settings)
        if stop is None:
            return self._adopt(estimator.fit(X, y))
        name, loss = estimator.loss, _plain_loss(self.task, len(np.unique(y)))
        estimator.set_params(loss=_watched(loss, stop)).fit(X, y)
        estimator.set_params(loss=name)._loss = loss  # what is stored and served knows nothing of the clock
        return self._adopt(estimator)

    def _adopt(self, estimator: Any) -> Model:
        self.estimator_ = estimator
        self._trees = FlatTrees(estimator)
        if self.task == "classification":
            self.classes_ = np.asarray(estimator.classes_, dtype=np.int64)
        return self

    def raw(self, X: Matrix) -> Floats:
        """Probabilities (n, k) or numbers (n,)."""
        scores = self._trees.scores(X)
        if self.task != "classification":
            return scores[:, 0]
        return two_columns(sigmoid(scores[:, 0])) if scores.shape[1] == 1 else softmax(scores)

    def shorter(self) -> list[tuple[dict[str, Any], Model]]:
        """The same model after a quarter and half of its rounds: what it would be with that `max_iter`."""
        found: list[tuple[dict[str, Any], Model]] = []
        for rounds in sorted({max(1, self.max_iter // 4), max(1, self.max_iter // 2)} - {self.max_iter}):
            model = copy(self)
            model.max_iter, model._trees = rounds, FlatTrees(self.estimator_, rounds)
            found.append(({"max_iter": rounds}, model))
        return found

    def flat_trees(self) -> Any:
        """The trees, for exact reasons."""
        return self._trees

    def estimators(self) -> dict[str, Any]:
        """The one scikit-learn estimator."""
        return {"boosting": self.estimator_}

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, Any]) -> Model:
        """From the stored estimator."""
        return self._adopt(estimators["boosting"])

    @classmethod
    def trials(cls, task: str, rows: int, width: int, classes: int) -> list[dict[str, Any]]:
        """scikit-learn's defaults first (so that they are never beaten by not being tried), then gentler ones."""
        return [
            {"learning_rate": 0.1, "max_iter": 100},
            {
                "learning_rate": 0.05,
                "max_iter": 150,
                "max_leaf_nodes": 4,
                "l2_regularization": 5.0,
                "max_features": 0.3,
            },
            {
                "learning_rate": 0.03,
                "max_iter": 300,
                "max_leaf_nodes": 3,
                "l2_regularization": 5.0,
                "max_features": 0.3,
            },
            {"learning_rate": 0.05, "max_iter": 100, "max_leaf_nodes": 7, "max_features": 0.5},
            {
                "learning_rate": 0.05,
                "max_iter": 200,
                "max_leaf_nodes": 15,
                "l2_regularization": 5.0,
                "max_features": 0.5,
            },
            {"learning_rate": 0.1, "max_iter": 300, "max_leaf_nodes": 31},
        ]

    @classmethod
    def cost(cls, rows: int, width: int, classes: int, hyperparameters: Mapping[str, Any]) -> float:
        """Seconds: each tree has a fixed part and one that grows with the matrix."""
        trees = hyperparameters.get("max_iter", 100) * (classes if classes > 2 else 1)
        leaves = hyperparameters.get("max_leaf_nodes", 31)
        return float(trees * (5e-4 + leaves * 1.5e-4 + 1.5e-9 * rows * width * np.log2(max(leaves, 2))))


def _plain_loss(task: str, classes: int) -> Any:
    """The loss that scikit-learn itself would take."""
    if task != "classification":
        return HalfSquaredError()
    return HalfBinomialLoss() if classes <= 2 else HalfMultinomialLoss(n_classes=classes)


def _watched(loss: Any, stop: StopCheck) -> Any:
    """The same loss, asking `stop` once a round: the only place where a fit of scikit-learn 1.9 can be left half-way."""
    kind: Any = type(loss)

    class Watched(kind):
        def gradient_hessian(self, *args: Any, **kwargs: Any) -> Any:
            stop({})
            return super().gradient_hessian(*args, **kwargs)

        def gradient(self, *args: Any, **kwargs: Any) -> Any:
            stop({})
            return super().gradient(*args, **kwargs)

    return Watched(n_classes=loss.n_classes) if isinstance(loss, HalfMultinomialLoss) else Watched()
