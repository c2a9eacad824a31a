"""The linear candidate for grades: a cumulative-link model with one set of coefficients for all grades."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.candidates.base import Matrix, Model, StopCheck, sigmoid
from engine.metrics import Floats, Ints
from engine.tasks.penalised import minimised

WIDEST_STEP = 10.0  # of the logarithm of the distance between two thresholds, for grades that a fold lacks


class ProportionalOdds(Model):
    """logit P(grade > k) = x·b - t_k with t_0 < t_1 < ... (McCullagh 1980, doi:10.1111/j.2517-6161.1980.tb01109.x),
    penalised like the linear candidate (see `minimised`).

    Own fit (L-BFGS with exact gradients), so that the penalty is the linear candidate's and sparse matrices are taken;
    statsmodels' OrderedModel, which knows no penalty, gives the tests their golden values.
    """

    task = "ordinal"

    def __init__(
        self,
        *,
        grades: int,
        C: float = 1.0,
        l1_ratio: float = 0.0,
        class_weight: str = "none",
        max_iter: int = 300,
        seed: int = 0,
    ) -> None:
        self.grades = grades
        self.C = C
        self.l1_ratio = l1_ratio
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.seed = seed

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """`y` codes 0..grades-1; deterministic."""
        codes = np.asarray(y, dtype=np.int64)
        counts = np.bincount(codes, minlength=self.grades).astype(float)
        weight = np.ones(len(codes))
        if self.class_weight == "balanced":
            weight = (len(codes) / (np.count_nonzero(counts) * np.maximum(counts, 1.0)))[codes]
        above = np.cumsum(counts[::-1])[::-1][1:]
        first = -np.log((above + 0.5) / (len(codes) - above + 0.5))  # the thresholds without features
        steps = np.log(np.maximum(np.diff(first), 1e-3))
        start = np.concatenate([first[:1], steps, np.zeros(X.shape[1])])
        bounds: list[Any] = [(None, None), *[(-WIDEST_STEP, WIDEST_STEP)] * len(steps)]
        found = minimised(
            lambda free: _loss(free, X, codes, weight, self.grades), start, self.grades - 1, self.C, self.l1_ratio,
            self.max_iter, stop, bounds,
        )  # fmt: skip
        self.thresholds_ = _thresholds(found[: self.grades - 1])
        self.coef_ = found[self.grades - 1 :]
        return self

    def raw(self, X: Matrix) -> Floats:
        """(n, grades) probabilities."""
        eta = np.asarray(X @ self.coef_).ravel()
        above = sigmoid(eta[:, None] - self.thresholds_)
        n = len(eta)
        cumulative = np.column_stack([np.ones(n), above, np.zeros(n)])
        result: Floats = cumulative[:, :-1] - cumulative[:, 1:]
        return result

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Coefficients and thresholds."""
        return {"coef": self.coef_, "thresholds": self.thresholds_}

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """From the arrays."""
        self.coef_, self.thresholds_ = arrays["coef"], arrays["thresholds"]
        return self


def _thresholds(free: Floats) -> Floats:
    result: Floats = np.concatenate([free[:1], free[0] + np.cumsum(np.exp(free[1:]))])
    return result


def _loss(free: Floats, X: Matrix, codes: Ints, weight: Floats, grades: int) -> tuple[float, Floats]:
    """The negative log likelihood and its gradient.

    P(y = k) = s(a) - s(b) with a = eta - t_{k-1} > b = eta - t_k, written as (1 - exp(b - a)) s(a) s(-b), so that
    nothing cancels.
    """
    t, beta = _thresholds(free[: grades - 1]), free[grades - 1 :]
    eta = np.asarray(X @ beta).ravel()
    lower, upper = codes > 0, codes < grades - 1  # has a threshold below, above
    a = np.where(lower, eta - t[np.maximum(codes - 1, 0)], np.inf)
    b = np.where(upper, eta - t[np.minimum(codes, grades - 2)], -np.inf)
    inner = lower & upper
    gap = np.maximum(np.where(inner, a - np.where(upper, b, 0.0), 1.0), 1e-12)
    log_p = np.where(inner, np.log(-np.expm1(-gap)), 0.0)
    log_p = log_p - np.where(lower, np.logaddexp(0.0, -np.where(lower, a, 0.0)), 0.0)
    log_p = log_p - np.where(upper, np.logaddexp(0.0, np.where(upper, b, 0.0)), 0.0)
    share = np.where(inner, 1.0 / np.expm1(gap), 0.0)
    by_a = np.where(lower, weight * (share + sigmoid(-np.where(lower, a, 0.0))), 0.0)
    by_b = np.where(upper, weight * (-share - sigmoid(np.where(upper, b, 0.0))), 0.0)
    by_t = np.zeros(grades - 1)
    np.add.at(by_t, np.maximum(codes - 1, 0)[lower], -by_a[lower])
    np.add.at(by_t, np.minimum(codes, grades - 2)[upper], -by_b[upper])
    tail = np.cumsum(by_t[::-1])[::-1]
    by_free = np.concatenate([tail[:1], tail[1:] * np.exp(free[1 : grades - 1])])
    by_beta = np.asarray(X.T @ (by_a + by_b)).ravel()
    return -float((weight * log_p).sum()), np.concatenate([-by_free, -by_beta])
