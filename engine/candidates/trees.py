"""Boosted trees laid out as flat arrays, so that one row is scored without scikit-learn's overhead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Floats

SMALL = 64  # up to this many rows, all trees are walked at once; above, scikit-learn's own loops are faster
NO_CATEGORIES: NDArray[np.uint32] = np.zeros((0, 8), dtype=np.uint32)


class FlatTrees:
    """The trees of a HistGradientBoosting estimator (of its first `rounds` only, if given), read-only.

    Node arrays are joined over all trees; a leaf points to itself, so that walking `depth` steps always ends in one.
    """

    def __init__(self, estimator: Any, rounds: int | None = None) -> None:
        self.predictors = [list(stage) for stage in estimator._predictors[:rounds]]
        self.baseline: Floats = np.asarray(estimator._baseline_prediction, dtype=float).reshape(1, -1)
        self.outputs = self.baseline.shape[1]
        trees = [tree.nodes for stage in self.predictors for tree in stage]
        sizes = np.array([len(nodes) for nodes in trees], dtype=np.int64)
        self.roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        nodes = np.concatenate(trees)
        offset = np.repeat(self.roots, sizes)
        leaf = nodes["is_leaf"].astype(bool)
        here = np.arange(len(nodes))
        self.left = np.where(leaf, here, nodes["left"] + offset)
        self.right = np.where(leaf, here, nodes["right"] + offset)
        self.feature = np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64)
        self.threshold = np.where(leaf, np.inf, nodes["num_threshold"])
        self.missing_left = nodes["missing_go_to_left"].astype(bool)
        self.value = np.asarray(nodes["value"], dtype=float)
        self.depth = int(nodes["depth"].max()) if len(nodes) else 0
        self.width = int(self.feature.max(initial=0)) + 1

    def scores(self, X: Floats) -> Floats:
        """Raw scores (n, outputs) for a dense matrix; NaN goes where training sent it."""
        if X.shape[1] < self.width:  # scikit-learn's loops would read beyond the row
            raise ValueError(f"{X.shape[1]} features, where the trees ask for {self.width}")
        return self._walk(X) if len(X) <= SMALL else self._loop(X)

    def _walk(self, X: Floats) -> Floats:
        rows = np.arange(len(X))[:, None]
        at = np.broadcast_to(self.roots, (len(X), len(self.roots)))
        for _ in range(self.depth):
            x = X[rows, self.feature[at]]
            left = (x <= self.threshold[at]) | (np.isnan(x) & self.missing_left[at])
            at = np.where(left, self.left[at], self.right[at])
        leaves = self.value[at].reshape(len(X), len(self.roots) // self.outputs, self.outputs)
        scores: Floats = leaves.sum(axis=1) + self.baseline
        return scores

    def _loop(self, X: Floats) -> Floats:
        X = np.ascontiguousarray(X, dtype=np.float64)
        scores = np.repeat(self.baseline, len(X), axis=0)
        mapping = np.zeros(0, dtype=np.uint32)
        for stage in self.predictors:
            for output, tree in enumerate(stage):
                scores[:, output] += tree.predict(X, NO_CATEGORIES, mapping, 1)
        return scores
