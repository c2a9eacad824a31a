"""The forest candidate: extremely randomised trees, laid out flat for quick answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from engine.candidates.base import Matrix, Model, StopCheck
from engine.metrics import Floats, Ints
from engine.registry import Hyperparameter, candidate

SLICE = 50  # trees between two looks at the clock
QUICK, FEW = 5_000, 8  # of more rows than the first, so few trees are grown between two looks at the clock
ROWS_AT_ONCE = 256  # rows walked together: (rows, trees) indices stay in the processor's cache
LEAVES = 4096  # of one tree at most, so that a forest of large data stays a few MB
MOST_ROWS = 20_000  # records that each tree is grown on at most (a bootstrap sample of them)


@candidate(
    "forest",
    label="Randomised trees",
    description="Many trees with random thresholds, averaged: steady on small tables and a good partner of linear models.",
    hyperparameters=(
        Hyperparameter("trees", "int", 200, "Number of trees.", low=1, high=2000),
        Hyperparameter("min_samples_leaf", "int", 3, "Fewest records in a leaf.", low=1, high=10_000),
        Hyperparameter("max_features", "float", 0.3, "Share of the features that each split may look at.",
                       low=0.01, high=1.0),
        Hyperparameter("class_weight", "choice", "none", "“balanced” counts rare classes as much as common ones.",
                       choices=("none", "balanced")),
    ),
)  # fmt: skip
class ForestModel(Model):
    """Geurts, Ernst & Wehenkel 2006, doi:10.1007/s10994-006-6226-1, grown by scikit-learn and kept as flat arrays."""

    wants_dense = True

    def __init__(
        self, *, task: str = "classification", trees: int = 200, min_samples_leaf: int = 3, max_features: float = 0.3,
        class_weight: str = "none", seed: int = 0,
    ) -> None:  # fmt: skip
        self.task = task
        self.trees = trees
        self.min_samples_leaf = min_samples_leaf
        self.max_features = max_features
        self.class_weight = class_weight
        self.seed = seed

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """Same seed and data: same trees, however many are grown between two looks at the clock."""
        settings: dict[str, Any] = {
            "min_samples_leaf": self.min_samples_leaf, "max_features": self.max_features, "max_leaf_nodes": None,
            "random_state": self.seed, "warm_start": True, "n_jobs": 1,
        }  # fmt: skip
        if len(y) > MOST_ROWS:
            settings |= {"bootstrap": True, "max_samples": MOST_ROWS, "max_leaf_nodes": LEAVES}
        if self.task == "classification":
            weight = _balanced(y) if self.class_weight == "balanced" else None
            forest: Any = ExtraTreesClassifier(class_weight=weight, **settings)
        else:
            forest = ExtraTreesRegressor(**settings)
        each = SLICE if len(y) <= QUICK else FEW
        for grown in [*range(each, self.trees, each), self.trees]:
            if stop is not None:
                stop({})
            forest.set_params(n_estimators=grown).fit(np.asarray(X, dtype=np.float32), y)
        if self.task == "classification":
            self.classes_ = np.asarray(forest.classes_, dtype=np.int64)
        return self._adopt(_flat([tree.tree_ for tree in forest.estimators_], self.task == "classification"))

    def _adopt(self, arrays: Mapping[str, NDArray[Any]]) -> Model:
        self.left_, self.right_ = arrays["left"].astype(np.int64), arrays["right"].astype(np.int64)
        self.feature_, self.threshold_ = arrays["feature"].astype(np.int64), arrays["threshold"]
        self.value_, self.roots_ = arrays["value"].astype(float), arrays["roots"].astype(np.int64)
        self.depth_ = int(arrays["depth"][0])
        if self.task == "classification":
            self.classes_ = np.arange(self.value_.shape[1])
        return self

    def raw(self, X: Matrix) -> Floats:
        """Probabilities (n, k) or numbers (n,): the mean over the trees."""
        X = np.asarray(X, dtype=np.float32)  # as in training: thresholds are between single-precision values
        parts = [self._walk(X[start : start + ROWS_AT_ONCE]) for start in range(0, len(X), ROWS_AT_ONCE)]
        mean = np.concatenate(parts) if parts else np.zeros((0, self.value_.shape[1]))
        return mean if self.task == "classification" else mean[:, 0]

    def _walk(self, X: NDArray[np.float32]) -> Floats:
        rows = np.arange(len(X))[:, None]
        at = np.broadcast_to(self.roots_, (len(X), len(self.roots_)))
        for _ in range(self.depth_):
            at = np.where(X[rows, self.feature_[at]] <= self.threshold_[at], self.left_[at], self.right_[at])
        mean: Floats = self.value_[at].mean(axis=1)
        return mean

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Nodes of all trees joined; a leaf points to itself. Leaves hold class shares or means (single precision)."""
        return {
            "left": self.left_.astype(np.int32), "right": self.right_.astype(np.int32),
            "feature": self.feature_.astype(np.int32), "threshold": self.threshold_,
            "value": self.value_.astype(np.float32), "roots": self.roots_.astype(np.int32),
            "depth": np.array([self.depth_]),
        }  # fmt: skip

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """From the stored arrays."""
        nodes = len(arrays["left"])
        for name in ("left", "right", "roots"):  # a forged artefact must not make numpy read anywhere else
            if len(arrays[name]) and not 0 <= int(arrays[name].min()) <= int(arrays[name].max()) < nodes:
                raise ValueError(f"{name} points outside the trees")
        self._adopt(arrays)
        if self.depth_ != self._deepest():
            raise ValueError("the trees are not as deep as they claim to be")
        return self

    def _deepest(self) -> int:
        """Steps from a root to the furthest leaf. Raises ValueError for a branch that leads back, which has no end."""
        depth, at = 0, self.roots_
        while len(at := at[self.left_[at] != at]):
            children = np.concatenate([self.left_[at], self.right_[at]])
            if (children <= np.concatenate([at, at])).any():
                raise ValueError("a branch leads back")
            depth, at = depth + 1, np.unique(children)
        return depth

    @classmethod
    def trials(cls, task: str, rows: int, width: int, classes: int) -> list[dict[str, Any]]:
        """How fine the leaves are matters most."""
        return [{}, {"min_samples_leaf": 5, "max_features": 0.5}, {"min_samples_leaf": 10}, {"trees": 80}]

    @classmethod
    def cost(cls, rows: int, width: int, classes: int, hyperparameters: Mapping[str, Any]) -> float:
        """Seconds: every tree sorts its records down to its leaves."""
        trees, share = hyperparameters.get("trees", 200), hyperparameters.get("max_features", 0.3)
        used = min(rows, MOST_ROWS)
        return float(trees * (1.2e-3 + used * (1e-6 + 2.5e-8 * share * width) * np.log2(max(used, 2)) / 6))


def _balanced(y: Floats | Ints) -> dict[int, float]:
    """scikit-learn's “balanced” weights of the classes, spelled out: with a warm start it warns of the word."""
    codes, counts = np.unique(y, return_counts=True)
    return {int(code): len(y) / (len(codes) * int(count)) for code, count in zip(codes, counts, strict=True)}


def _flat(trees: list[Any], classify: bool) -> dict[str, NDArray[Any]]:
    sizes = np.array([tree.node_count for tree in trees], dtype=np.int64)
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    offset, here = np.repeat(roots, sizes), np.arange(int(sizes.sum()))
    left, right = (
        np.concatenate([getattr(tree, side) for tree in trees])
        for side in ("children_left", "children_right")
    )
    leaf = left < 0
    values = np.concatenate([tree.value[:, 0, :] for tree in trees]).astype(float)
    if classify:
        values = values / values.sum(axis=1, keepdims=True)
    return {
        "left": np.where(leaf, here, left + offset), "right": np.where(leaf, here, right + offset),
        "feature": np.where(leaf, 0, np.concatenate([tree.feature for tree in trees])),
        "threshold": np.where(leaf, np.inf, np.concatenate([tree.threshold for tree in trees])),
        # stored in single precision, so that a loaded model computes with the very same numbers
        "value": values.astype(np.float32).astype(float), "roots": roots,
        "depth": np.array([max(tree.max_depth for tree in trees)]),
    }  # fmt: skip
