"""Scaling columns to [0, 1], to [-1, 1], or to mean 0 and deviation 1."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.metrics import Floats
from engine.preprocessing.steps import Step


class Scaling(Step):
    """`none`, `minmax` ([0, 1]), `symmetric` ([-1, 1]) or `zscore`; x becomes (x - offset) / span.

    New values outside the training range leave the interval; they are not cut off.
    """

    learned: ClassVar[tuple[str, ...]] = ("offset", "span")

    def fit(self, X: Floats, y: Floats, classify: bool) -> Scaling:
        """A column without spread only has its offset taken away."""
        if self.method == "none":
            return self
        filled = np.where(np.isnan(X).all(axis=0), 0.0, X)
        if self.method == "zscore":
            self.offset, span = np.nanmean(filled, axis=0), np.nanstd(filled, axis=0)
        else:
            low, high = np.nanmin(filled, axis=0), np.nanmax(filled, axis=0)
            symmetric = self.method == "symmetric"
            self.offset, span = ((low + high) / 2, (high - low) / 2) if symmetric else (low, high - low)
        self.span = np.where(span > 1e-12, span, 1.0)
        return self

    def transform(self, X: Floats) -> Floats:
        """NaN stays NaN."""
        return X if self.method == "none" else (X - self.offset) / self.span
