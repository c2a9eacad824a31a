"""Missing numbers: filled by mode, mean, median or the label's mean, with a marker that they were missing."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.metrics import Floats
from engine.preprocessing.steps import Step


class Imputation(Step):
    """`mode`, `mean`, `median`, `label_mean`, or `native` (left to models that can do with missing values).

    `label_mean` is the mean of the column's mean within each label, weighted by how common the label is (regression:
    within each fifth of the target). The label of a new patient is not known, so one number per column is used in
    training and prediction alike: nothing of a row's own label reaches its features. It differs from `mean` where
    values are missing more often under one label than another.
    A column with missing values in training also gets a marker column: that a value is missing often says something.
    """

    learned: ClassVar[tuple[str, ...]] = ("fill", "marked")

    def fit(self, X: Floats, y: Floats, classify: bool) -> Imputation:
        """A fill value per column (0 for an empty column) and which columns are marked."""
        if self.method == "native":
            return self
        missing = np.isnan(X)
        groups = _groups(y, classify) if self.method == "label_mean" else None
        self.fill = np.array(
            [self._fill(column[~gone], groups, gone) for column, gone in zip(X.T, missing.T, strict=True)]
        )
        share = missing.mean(axis=0)
        self.marked = np.flatnonzero((share > 0) & (share < 1)).astype(np.int64)
        return self

    def _fill(self, values: Floats, groups: Floats | None, gone: Floats) -> float:
        if not len(values):
            return 0.0
        if self.method == "median":
            return float(np.median(values))
        if self.method == "mode":
            distinct, counts = np.unique(values, return_counts=True)
            return float(distinct[counts.argmax()])
        if groups is None:
            return float(np.mean(values))
        return _label_mean(values, groups, groups[~gone.astype(bool)])

    def transform(self, X: Floats) -> Floats:
        """(n, m) filled; the markers are given by `markers`."""
        return X if self.method == "native" else np.where(np.isnan(X), self.fill, X)

    def markers(self, X: Floats) -> Floats:
        """(n, marked) ones where the value was missing."""
        if self.method == "native":
            return np.zeros((len(X), 0))
        return np.isnan(X[:, self.marked]).astype(float)


def _groups(y: Floats, classify: bool) -> Floats:
    return y if classify else np.searchsorted(np.quantile(y, (0.2, 0.4, 0.6, 0.8)), y).astype(float)


def _label_mean(values: Floats, groups: Floats, present: Floats) -> float:
    means, weights = [], []
    for group in np.unique(present):
        means.append(float(np.mean(values[present == group])))
        weights.append(float(np.mean(groups == group)))
    return float(np.average(means, weights=weights))
