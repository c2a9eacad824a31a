"""Combining candidates: a weighted mean or a stack, each judged on records that had no part in finding its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from engine.candidates.base import softmax
from engine.candidates.ensemble import greedy_weights
from engine.metrics import Floats, Ints
from engine.split import deal, strata_of

EDGE = 1e-6  # probabilities are kept this far from 0 and 1 before their logarithm is taken
HELD_BY_EVEN = 20.0  # how many records' worth of evidence pulls the stack towards the even mean
MOST_STACKED = 4  # members; more cost time with every answer and add little
FEWEST = 100  # records from which a stack is tried


@dataclass(frozen=True)
class Stack:
    """Classes: softmax of the weighted sum of the members' log probabilities plus a bias per class. Numbers: a weighted sum.

    Stacked generalisation (Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1) with one weight per member, held towards the
    even mean by a ridge penalty, so that few records can't make it wild.
    """

    weights: Floats
    bias: Floats

    def apply(self, raws: Sequence[Floats]) -> Floats:
        """`raws`: each member's probabilities (n, k) or numbers (n,)."""
        if raws[0].ndim == 1:
            return np.stack(raws, axis=1) @ self.weights + self.bias[0]
        return softmax(np.tensordot(_logs(raws), self.weights, axes=(0, 0)) + self.bias)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """For the artefact."""
        return {"weights": self.weights, "bias": self.bias}


def fit_stack(raws: Sequence[Floats], truth: Floats | Ints) -> Stack:
    """The weights that explain `truth` (codes or numbers) best, held towards the even mean."""
    members = len(raws)
    even = np.full(members, 1.0 / members)
    if raws[0].ndim == 1:
        return _fit_numbers(np.stack(raws, axis=1), truth.astype(float), even)
    logs, codes, k = _logs(raws), truth.astype(np.int64), raws[0].shape[1]
    rows = np.arange(len(codes))

    def loss(theta: Floats) -> tuple[float, Floats]:
        weights, bias = theta[:members], theta[members:]
        p = softmax(np.tensordot(logs, weights, axes=(0, 0)) + bias)
        wrong = p.copy()
        wrong[rows, codes] -= 1.0
        value = -float(np.log(np.maximum(p[rows, codes], EDGE)).sum())
        pull = weights - even
        value += 0.5 * HELD_BY_EVEN * float(pull @ pull + bias @ bias)
        slope = np.concatenate([np.tensordot(logs, wrong, axes=([1, 2], [0, 1])), wrong.sum(axis=0)])
        return value, slope + HELD_BY_EVEN * np.concatenate([pull, bias])

    found = minimize(
        loss, np.concatenate([even, np.zeros(k)]), jac=True, method="L-BFGS-B", options={"maxiter": 200}
    )
    return Stack(found.x[:members], found.x[members:])


def _fit_numbers(X: Floats, y: Floats, even: Floats) -> Stack:
    centre, middle = X.mean(axis=0), float(y.mean())
    Z, target = X - centre, y - middle - (X - centre) @ even
    scale = float(np.mean(Z * Z)) or 1.0
    pull = np.linalg.solve(Z.T @ Z + HELD_BY_EVEN * scale * np.eye(len(even)), Z.T @ target)
    weights = even + pull
    return Stack(weights, np.array([middle - float(centre @ weights)]))


def _logs(raws: Sequence[Floats]) -> Floats:
    """(members, n, k)."""
    return np.log(np.clip(np.stack(raws), EDGE, 1.0))


class Gain(Protocol):
    """How good predictions of the validation rows at these positions are; more is better."""

    def __call__(self, raw: Floats, positions: NDArray[np.int64]) -> float: ...


@dataclass(frozen=True)
class Combination:
    """A way to combine: `raw` are honest predictions (each record's by weights found without its part of the patients)."""

    weights: Floats
    stack: Stack | None
    raw: Floats
    gain: float


def parts_of(rows: Ints, folds: Sequence[Ints], y: Floats, patients: Ints, task: str, seed: int) -> Ints:
    """(n,) the part of each validation row: its fold, or for one held-out split five parts by patient."""
    if len(folds) > 1:
        return np.concatenate([np.full(len(held), k) for k, held in enumerate(folds)]).astype(np.int64)
    codes = np.unique(patients[rows], return_inverse=True)[1]
    return deal(codes, strata_of(y[rows], task), min(5, int(codes.max()) + 1), seed)


def weighted(raws: Sequence[Floats], parts: Ints, gain: Gain, rounds: int) -> Combination:
    """Greedy selection of weights."""
    every = np.arange(len(parts))
    honest = np.zeros_like(raws[0])
    for part in np.unique(parts):
        inside, outside = np.flatnonzero(parts == part), np.flatnonzero(parts != part)
        weights = greedy_weights([raw[outside] for raw in raws], partial(gain, positions=outside), rounds)
        honest[inside] = sum(w * raw[inside] for w, raw in zip(weights, raws, strict=True))
    weights = greedy_weights(list(raws), partial(gain, positions=every), rounds)
    return Combination(weights, None, honest, gain(honest, every))


def stacked(raws: Sequence[Floats], truth: Floats | Ints, parts: Ints, gain: Gain) -> Combination | None:
    """A stack over the best few; None for too few records or members."""
    every = np.arange(len(parts))
    if len(raws) < 2 or len(truth) < FEWEST:
        return None
    order = sorted(range(len(raws)), key=lambda i: (-gain(raws[i], every), i))[:MOST_STACKED]
    chosen = [raws[i] for i in sorted(order)]
    honest = np.zeros_like(raws[0])
    for part in np.unique(parts):
        inside, outside = np.flatnonzero(parts == part), np.flatnonzero(parts != part)
        honest[inside] = fit_stack([raw[outside] for raw in chosen], truth[outside]).apply(
            [raw[inside] for raw in chosen]
        )
    stack = fit_stack(chosen, truth)
    weights = np.zeros(len(raws))
    weights[sorted(order)] = stack.weights
    return Combination(weights, stack, honest, gain(honest, every))
