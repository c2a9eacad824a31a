"""The linear model in pieces: exact penalised maximum likelihood from sums over blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from engine.candidates.base import sigmoid, softmax
from engine.candidates.linear import LinearModel
from engine.checkpoint import Checkpoint
from engine.metrics import Floats
from engine.pieces.mapped import MappedRows
from engine.training_data import TrainingData

NEWTON_STEPS, BOUND_STEPS = 12, 60
CLOSE = 1e-6  # the largest change of a coefficient at which the optimiser stops


def fit_linear(
    kept: Checkpoint, X: MappedRows, y: MappedRows, data: TrainingData, given: Mapping[str, Any], seed: int, rows: int,
    say: Callable[[int], None],
) -> LinearModel:  # fmt: skip
    """Newton's method (two classes and numbers), or Böhning's bound (several classes: Böhning 1992,
    doi:10.1007/BF00048682), with the sums of one step collected from blocks of so many rows."""
    penalty = 1.0 / float(given.get("C", 1.0))
    outputs = len(data.classes) if data.classify and len(data.classes) > 2 else 1
    width = X.width + 1
    state = kept.arrays("linear") or {
        "theta": np.zeros((outputs, width)), "slope": np.zeros((outputs, width)), "curve": np.zeros((width, width)),
        "at": np.array([0, 0]), "done": np.array([0]),
    }  # fmt: skip
    blocks = [(start, min(start + rows, len(X))) for start in range(0, len(X), rows)]
    steps = 1 if not data.classify else NEWTON_STEPS if outputs == 1 else BOUND_STEPS
    ridge = penalty * np.eye(width)
    ridge[-1, -1] = 1e-9 * len(X)  # the intercept is free
    while not state["done"][0] and state["at"][0] < steps:
        step, block = (int(value) for value in state["at"])
        say(step * len(blocks) + block)
        part = blocks[block]
        collect(state, X.block(*part), y.block(*part), data.classify, curve=outputs == 1 or step == 0)
        if block + 1 < len(blocks):
            state["at"] = np.array([step, block + 1])
        else:
            advance(state, ridge, outputs)
            state["at"] = np.array([step + 1, 0])
        kept.put_arrays("linear", state)
    model = LinearModel(task=data.task, seed=seed, **given)
    return _as_linear(model, state["theta"], data, penalty)


def collect(state: dict[str, Any], rows: Any, y: Any, classify: bool, *, curve: bool) -> None:
    """Add one block's part of the slope, and of the curvature where that is asked for."""
    Z = np.concatenate([np.asarray(rows, dtype=float), np.ones((len(rows), 1))], axis=1)
    theta = state["theta"]
    scores = Z @ theta.T
    if not classify:
        state["slope"] = state["slope"] + (scores[:, 0] - np.asarray(y)) @ Z
        state["curve"] = state["curve"] + Z.T @ Z
        return
    codes = np.asarray(y).astype(np.int64)
    if len(theta) == 1:
        p = sigmoid(scores[:, 0])
        state["slope"] = state["slope"] + (p - codes) @ Z
        state["curve"] = state["curve"] + (Z * (p * (1.0 - p))[:, None]).T @ Z
        return
    wrong = softmax(scores)
    wrong[np.arange(len(codes)), codes] -= 1.0
    state["slope"] = state["slope"] + wrong.T @ Z
    if curve:
        state["curve"] = state["curve"] + 0.5 * (Z.T @ Z)


def advance(state: dict[str, Any], ridge: Floats, outputs: int) -> None:
    """One step of the optimiser with the collected sums, which start anew."""
    slope = state["slope"] + state["theta"] @ ridge
    move = np.linalg.solve(state["curve"] + ridge, slope.T).T
    move = move * min(
        1.0, 10.0 / max(float(np.abs(move).max()), 1e-12)
    )  # far steps only happen where classes separate
    state["theta"] = state["theta"] - move
    state["slope"] = np.zeros_like(state["slope"])
    if outputs == 1:
        state["curve"] = np.zeros_like(state["curve"])
    state["done"] = np.array([int(np.abs(move).max() < CLOSE)])


def _as_linear(model: LinearModel, theta: Floats, data: TrainingData, penalty: float) -> LinearModel:
    """The coefficients in the estimator that the linear candidate stores."""
    if data.classify:
        estimator: Any = LogisticRegression(C=1.0 / penalty)
        estimator.classes_ = np.arange(len(data.classes))
        estimator.coef_, estimator.intercept_ = theta[:, :-1].copy(), theta[:, -1].copy()
        estimator.n_iter_ = np.array([1], dtype=np.int32)
    else:
        estimator = Ridge(alpha=penalty)
        estimator.coef_, estimator.intercept_ = theta[0, :-1].copy(), float(theta[0, -1])
    estimator.n_features_in_ = theta.shape[1] - 1
    model.restore({"linear": estimator}, {})
    return model
