"""Normalising a column's distribution: Yeo-Johnson's power transform or the quantile transform to a normal one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import ndtri
from sklearn.preprocessing import PowerTransformer

from engine.metrics import Floats
from engine.preprocessing.steps import Step

LANDMARKS = np.linspace(0.0, 1.0, 101)
EDGE = 1e-3  # the outermost landmarks become the 0.1% and 99.9% points of the normal distribution


class Normalisation(Step):
    """`none`, `yeo-johnson`, `quantile`; `l2` (each row to unit length) is done after scaling by `unit_rows`."""

    learned: ClassVar[tuple[str, ...]] = ("centre", "spread", "power", "landmarks", "targets")

    def fit(self, X: Floats, y: Floats, classify: bool) -> Normalisation:
        """NaN is left out of the estimates."""
        if self.method == "yeo-johnson":
            self._fit_power(X)
        if self.method == "quantile":
            filled = np.where(np.isnan(X).all(axis=0), 0.0, X)
            self.landmarks = np.nanquantile(filled, LANDMARKS, axis=0)
            self.targets = ndtri(np.clip(LANDMARKS, EDGE, 1 - EDGE))
        return self

    def _fit_power(self, X: Floats) -> None:
        filled = np.where(np.isnan(X).all(axis=0), 0.0, X)
        self.centre, spread = np.nanmean(filled, axis=0), np.nanstd(filled, axis=0)
        self.spread = np.where(spread > 1e-12, spread, 1.0)
        standard = np.clip((filled - self.centre) / self.spread, -8.0, 8.0)
        self.power = np.ones(X.shape[1])
        varied = np.flatnonzero(spread > 1e-12)
        if len(varied):
            with np.errstate(all="ignore"):
                lambdas = PowerTransformer(standardize=False).fit(standard[:, varied]).lambdas_
            self.power[varied] = np.clip(np.nan_to_num(lambdas, nan=1.0), -3.0, 5.0)

    def transform(self, X: Floats) -> Floats:
        """NaN stays NaN."""
        if self.method == "yeo-johnson":
            return yeo_johnson((X - self.centre) / self.spread, self.power)
        if self.method == "quantile":
            columns = [
                self._by_rank(column, marks) for column, marks in zip(X.T, self.landmarks.T, strict=True)
            ]
            return np.column_stack(columns) if columns else X
        return X

    def _by_rank(self, column: Floats, marks: Floats) -> Floats:
        # the mean of the interpolation from both sides gives ties the middle of their ranks
        up = np.interp(column, marks, self.targets)
        down = -np.interp(-column, -marks[::-1], -self.targets[::-1])
        mean: Floats = (up + down) / 2.0
        return mean


def yeo_johnson(x: Floats, power: Floats) -> Floats:
    """Yeo & Johnson 2000, doi:10.1093/biomet/87.4.954, equation 2.1, with one exponent per column."""
    x = np.clip(
        x, -8.0, 8.0
    )  # as in fitting: beyond eight deviations nothing is known about the distribution
    up, down = np.log1p(np.maximum(x, 0.0)), np.log1p(np.maximum(-x, 0.0))
    flat, steep = np.abs(power) < 1e-9, np.abs(power - 2.0) < 1e-9
    rising = np.where(flat, up, np.expm1(power * up) / np.where(flat, 1.0, power))
    falling = np.where(steep, -down, -np.expm1((2.0 - power) * down) / np.where(steep, 1.0, 2.0 - power))
    return np.where(x >= 0, rising, np.where(np.isnan(x), x, falling))


def unit_rows(X: Floats) -> Floats:
    """Each row divided by its Euclidean length; a row of zeros stays one."""
    length = np.sqrt(np.nansum(X * X, axis=1, keepdims=True))
    result: Floats = X / np.where(length > 1e-12, length, 1.0)
    return result
