"""Columns that give the target away: each one alone, judged by a small tree on patients that it has not seen."""

from __future__ import annotations

import numpy as np
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from engine.metrics import Floats, Ints
from engine.split import folds
from engine.training_data import TrainingData

NEARLY_ALL = 0.98
MOST = 5000


def leaking_columns(data: TrainingData, seed: int) -> list[tuple[str, float]]:
    """(name, share) of the columns that alone explain at least 98% of what there is to explain.

    The share is Cohen's kappa between a tree of depth 4 and the classes, or R² for regression, out of fold. Missing
    is a value too: a column that is filled in only for the sick gives the answer away as well. Free text is left out.
    """
    rows = np.arange(len(data.y))
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), MOST, replace=False))
    y, patients = data.y[rows], np.unique(data.patients[rows], return_inverse=True)[1]
    data = data.only_table()
    encoder, encoded = data.encode() if len(rows) == len(data.y) else _part(data, rows)
    splits = folds(y, data.task, patients, seed, count=3)
    found = []
    for kind, specs in encoder.specs.items():
        for j, spec in enumerate(specs):
            share = _explained(encoded.blocks[kind][:, j], y, splits, data.classify, seed)
            if share >= NEARLY_ALL:
                found.append((spec.name, share))
    return found


def _part(data: TrainingData, rows: Ints):  # type: ignore[no-untyped-def]
    encoder, encoded = data.encode()
    return encoder, encoder.take(encoded, rows)


def _explained(x: Floats, y: Floats, splits: list[tuple[Ints, Ints]], classify: bool, seed: int) -> float:
    settings = {"max_depth": 4 if classify else 8, "min_samples_leaf": 2, "random_state": seed}
    tree = DecisionTreeClassifier(**settings) if classify else DecisionTreeRegressor(**settings)
    truth, predicted = [], []
    column = x[:, None]
    for train, held in splits:
        predicted.append(tree.fit(column[train], y[train]).predict(column[held]))
        truth.append(y[held])
    actual, guess = np.concatenate(truth), np.concatenate(predicted)
    if not classify:
        spread = float(((actual - actual.mean()) ** 2).sum())
        return 1.0 - float(((actual - guess) ** 2).sum()) / spread if spread > 0 else 0.0
    chance = sum(float(np.mean(actual == c)) * float(np.mean(guess == c)) for c in np.unique(actual))
    return (float(np.mean(actual == guess)) - chance) / (1.0 - chance) if chance < 1.0 else 0.0
