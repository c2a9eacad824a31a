"""Attacks on estimators: trees that are none, coefficients that are no numbers, functions in disguise."""

import functools
import operator
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import engine
from tests.engine.attacks.registry import ATTACKS, Attack


def _estimator(change: Callable[[Any, Path], Any]) -> Attack:
    def write(folder: Path, canary: Path) -> None:
        for path in folder.glob("*.skops"):
            estimator = skops.io.load(path, trusted=engine.artefact.TRUSTED)
            changed = change(estimator, canary)
            if changed is not None:
                skops.io.dump(changed, path)

    return write


def _nodes(change: Callable[[Any], Any]) -> Attack:
    """A change to the nodes of all boosted trees; other estimators stay."""

    def apply(estimator: Any, canary: Path) -> Any:
        if not hasattr(estimator, "_predictors"):
            return None
        for stage in estimator._predictors:
            for tree in stage:
                tree.nodes = change(tree.nodes.copy())
        return estimator

    return _estimator(apply)


def _set(field: str, value: Any, every: bool = False) -> Callable[[Any], Any]:
    def change(nodes: Any) -> Any:
        rows = np.ones(len(nodes), dtype=bool) if every else nodes["is_leaf"] == 0
        nodes[field][rows] = value
        return nodes

    return change


def _other(estimator: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


for title, made in {
    "cycle": _nodes(_set("left", 0)), "far_child": _nodes(_set("right", 2**31)),
    "far_feature": _nodes(_set("feature_idx", 2**40)),
    "negative_feature": _nodes(_set("feature_idx", -(2**40))), "deep": _nodes(_set("depth", 2**32 - 1, every=True)),
    "categorical": _nodes(_set("is_categorical", 1)), "bitset": _nodes(_set("bitset_idx", 2**31)),
    "endless_value": _nodes(_set("value", np.inf, every=True)), "nan_value": _nodes(_set("value", np.nan, every=True)),
    "nan_threshold": _nodes(_set("num_threshold", np.nan)), "no_leaf": _nodes(_set("is_leaf", 0, every=True)),
    "no_nodes": _nodes(lambda nodes: nodes[:0]), "two_dimensions": _nodes(lambda nodes: nodes[None]),
    "other_numbers": _nodes(lambda nodes: np.zeros((len(nodes), 3))), "shared_child": _nodes(lambda n: _shared(n)),
}.items():  # fmt: skip
    ATTACKS[f"tree_{title}"] = made


def _shared(nodes: Any) -> Any:
    inner = nodes["is_leaf"] == 0
    nodes["right"][inner] = nodes["left"][inner]
    return nodes


def _far_features(estimator: Any) -> Any:
    """Features that the estimator claims to have, but the record has not."""
    for stage in estimator._predictors:
        for tree in stage:
            tree.nodes["feature_idx"][1:] = 10**9
    return _other(estimator, n_features_in_=10**12)


for title, change in {
    "far_features": lambda e, c: _far_features(e) if hasattr(e, "_predictors") else None,
    "no_stages": lambda e, c: _other(e, _predictors=[]) if hasattr(e, "_predictors") else None,
    "strange_stages": lambda e, c: _other(e, _predictors=[["x"]]) if hasattr(e, "_predictors") else None,
    "nan_baseline": lambda e, c: _other(e, _baseline_prediction=np.array([[np.nan]])) if hasattr(e, "_predictors") else None,
    "nan_coefficients": lambda e, c: _other(e, coef_=e.coef_ * np.nan) if hasattr(e, "coef_") else None,
    "more_coefficients": lambda e, c: _other(e, coef_=np.zeros((1, 10_000))) if hasattr(e, "coef_") else None,
    "text_coefficients": lambda e, c: _other(e, coef_=np.array([["x"]])) if hasattr(e, "coef_") else None,
    "os_system": lambda e, c: FunctionTransformer(func=os.system, kw_args={"command": f"touch {c}"}),
    "operator": lambda e, c: FunctionTransformer(func=operator.methodcaller("touch")),
    "partial": lambda e, c: FunctionTransformer(func=functools.partial(Path.touch, c)),
    "ufunc": lambda e, c: FunctionTransformer(func=np.exp),
    "other_model": lambda e, c: Pipeline([("a", LogisticRegression())]),
    "a_list": lambda e, c: [1, 2, 3],
    "sparse": lambda e, c: _other(LogisticRegression(), coef_=sparse.csr_matrix((3, 10**6))),
}.items():  # fmt: skip
    ATTACKS[f"estimator_{title}"] = _estimator(change)
