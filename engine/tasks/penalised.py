"""Minimising a smooth loss of coefficients with an elastic-net penalty, for the linear models of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize

from engine.candidates.base import StopCheck
from engine.metrics import Floats

Loss = Callable[[Floats], tuple[float, Floats]]  # value and gradient


def minimised(
    loss: Loss, start: Floats, free: int, C: float, l1_ratio: float, max_iter: int, stop: StopCheck | None,
    bounds: list[tuple[float | None, float | None]] | None = None,
) -> Floats:  # fmt: skip
    """The parameters with the least C x loss + (1 - l1_ratio) / 2 |b|² + l1_ratio |b|, as scikit-learn's
    LogisticRegression has it.

    `start`: first `free` parameters that are not penalised (with their `bounds`), then the coefficients b. With a lasso
    part b is split into what is above and below zero, which L-BFGS-B can bound: zeros are exact.
    """
    first = bounds or [(None, None)] * free
    count = len(start) - free

    def ridge(x: Floats) -> tuple[float, Floats]:
        value, gradient = loss(x)
        b = x[free:]
        gradient = C * gradient
        gradient[free:] += (1.0 - l1_ratio) * b
        return C * value + 0.5 * (1.0 - l1_ratio) * float(b @ b), gradient

    def split(x: Floats) -> tuple[float, Floats]:
        up, down = x[free : free + count], x[free + count :]
        value, gradient = ridge(np.concatenate([x[:free], up - down]))
        by_b = gradient[free:]
        both = np.concatenate([gradient[:free], by_b + l1_ratio, -by_b + l1_ratio])
        return value + l1_ratio * float(up.sum() + down.sum()), both

    def watch(_: Any) -> None:
        if stop is not None:
            stop({})

    settings: dict[str, Any] = {
        "jac": True, "method": "L-BFGS-B", "callback": watch,
        "options": {"maxiter": 5 * max_iter, "ftol": 1e-13, "gtol": 1e-7, "maxfun": 20 * max_iter},
    }  # fmt: skip
    if l1_ratio <= 0:
        found = minimize(ridge, start, bounds=[*first, *[(None, None)] * count], **settings).x
        return np.asarray(found, dtype=float)
    b = start[free:]
    wide = np.concatenate([start[:free], np.maximum(b, 0.0), np.maximum(-b, 0.0)])
    found = minimize(split, wide, bounds=[*first, *[(0.0, None)] * (2 * count)], **settings).x
    return np.concatenate([found[:free], found[free : free + count] - found[free + count :]])
