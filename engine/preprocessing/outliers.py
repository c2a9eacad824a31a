"""Outliers: values beyond Tukey's far-out fences (three interquartile ranges) are clipped or replaced."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.metrics import Floats
from engine.preprocessing.steps import Step


class Outliers(Step):
    """`none`, `clip` (to the fence), `mean` or `median` (of the values inside the fences).

    Fences: Q1 - 3 IQR and Q3 + 3 IQR (Tukey 1977, Exploratory Data Analysis); a column without spread has none.
    """

    learned: ClassVar[tuple[str, ...]] = ("low", "high", "middle")

    def fit(self, X: Floats, y: Floats, classify: bool) -> Outliers:
        """Fences and replacement of each column."""
        if self.method == "none":
            return self
        columns = [column[~np.isnan(column)] for column in X.T]
        self.low, self.high, self.middle = (
            np.array(values) for values in zip(*map(self._fence, columns), strict=True)
        )
        return self

    def _fence(self, values: Floats) -> tuple[float, float, float]:
        if not len(values):
            return -np.inf, np.inf, 0.0
        first, third = np.quantile(values, (0.25, 0.75))
        reach = 3.0 * (third - first)
        low, high = (first - reach, third + reach) if reach > 0 else (-np.inf, np.inf)
        inside = values[(values >= low) & (values <= high)]
        return float(low), float(high), float(np.mean(inside) if self.method == "mean" else np.median(inside))

    def transform(self, X: Floats) -> Floats:
        """NaN stays NaN."""
        if self.method == "none":
            return X
        if self.method == "clip":
            return np.clip(X, self.low, self.high)
        return np.where((self.low > X) | (self.high < X), self.middle, X)
