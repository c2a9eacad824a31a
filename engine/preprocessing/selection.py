"""Feature selection on the finished matrix: by variance, by a test of each feature, or by a model's importances."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.feature_selection import f_classif, f_regression

from engine.candidates.base import Matrix
from engine.metrics import Floats, Ints

ALPHA = 0.05


def select_features(X: Matrix, y: Floats, classify: bool, method: str, seed: int) -> Ints | None:
    """The kept columns of (n, features) in order (at least one), or None to keep all.

    `variance`: those that vary; `univariate`: F test with p < 0.05; `model`: importance in 100 extremely randomised
    trees (Geurts et al. 2006, doi:10.1007/s10994-006-6226-1) of at least half the mean.
    """
    if method == "none" or X.shape[1] == 0:
        return None
    if not sparse.issparse(X):
        middle = np.nanmean(np.where(np.isnan(X).all(axis=0), 0.0, X), axis=0)
        X = np.where(np.isnan(X), middle, X)
    strength, floor = _strength(X, y, classify, method, seed)
    kept = np.flatnonzero(strength > floor)
    return kept if len(kept) else np.array([int(np.argmax(strength))])


def _strength(X: Matrix, y: Floats, classify: bool, method: str, seed: int) -> tuple[Floats, float]:
    if method == "variance":
        return _variance(X), 1e-6
    if method == "univariate":
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # constant features have no F value
            p = (f_classif if classify else f_regression)(X, y)[1]
        return 1.0 - np.nan_to_num(p, nan=1.0), 1.0 - ALPHA
    forest: Any = ExtraTreesClassifier if classify else ExtraTreesRegressor
    importance: Floats = (
        forest(100, max_depth=12, min_samples_leaf=3, random_state=seed).fit(X, y).feature_importances_
    )
    return importance, 0.5 * float(importance.mean())


def _variance(X: Matrix) -> Floats:
    if sparse.issparse(X):
        return np.asarray(X.multiply(X).mean(axis=0)).ravel() - np.asarray(X.mean(axis=0)).ravel() ** 2
    return np.var(X, axis=0)
