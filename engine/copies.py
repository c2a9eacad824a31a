"""Rows that are copies of each other: kept on one side of every fold, and counted between training and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from engine.cells import is_missing, to_category
from engine.columns import categories_of
from engine.files import cell_key
from engine.metrics import Ints
from engine.recipe import Recipe
from engine.schema import FILE_KINDS, ColumnSpec, Role, Schema
from engine.training_data import TrainingData

UNLIKELY = 0.01  # pairs of equal rows expected by chance, below which equal rows are taken for copies

Key = tuple[str | None, ...]


def texts_of(column: ColumnSpec, cells: list[Any]) -> list[str | None]:
    """Cells as texts that are equal when the cells are; a file is told by its name or its content."""
    if column.kind in FILE_KINDS:
        return [None if is_missing(cell) else cell_key(cell) for cell in cells]
    return list(categories_of(cells))


def row_keys(frame: pd.DataFrame, schema: Schema) -> list[Key]:
    """Each row's features as texts: equal for rows that are alike."""
    columns = [
        texts_of(spec, frame[spec.name].tolist()) for spec in schema.features if spec.name in frame.columns
    ]
    return list(zip(*columns, strict=True)) if columns else [()] * len(frame)


def codes_of(column: ColumnSpec, series: pd.Series[Any]) -> Ints:
    """(n,) a number for each different cell, -1 where it is missing: equal where `texts_of` gives equal texts."""
    if column.kind not in FILE_KINDS and isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufb":
        return pd.factorize(series.to_numpy())[0].astype(np.int64)
    texts = np.array(texts_of(column, series.tolist()), dtype=object)
    return pd.factorize(texts)[0].astype(np.int64)


def feature_codes(frame: pd.DataFrame, schema: Schema) -> list[Ints]:
    """`codes_of` each feature that is there."""
    return [codes_of(spec, frame[spec.name]) for spec in schema.features if spec.name in frame.columns]


def row_codes(columns: Sequence[Ints], rows: int) -> Ints:
    """(rows,) a number for each different row of these codes."""
    found = np.zeros(rows, dtype=np.int64)
    for codes in columns:
        found = pd.factorize(found * (int(codes.max(initial=0)) + 2) + codes + 1)[0].astype(np.int64)
    return found


def expected_coincidences(columns: Sequence[Ints]) -> float:
    """How many pairs of rows would be alike by chance if the columns were independent: n (n - 1) / 2 times the product
    over the columns of the chance that two rows agree there. `columns`: each one's codes, -1 for missing."""
    n = len(columns[0])
    expected = n * (n - 1) / 2.0
    for codes in columns:
        expected *= float(((np.bincount(codes + 1) / n) ** 2).sum())
    return expected


def one_side(data: TrainingData) -> Ints:
    """(n,) codes of what must stay together in a split: patients, joined by rows that are copies.

    Rows that are alike where no two should be (a table of a few yes-or-no columns has many by chance) are the same
    record twice, under two numbers or none; on both sides of a split they would flatter the figures.
    """
    labels = pd.factorize(data.y)[0].astype(np.int64)
    columns = [*feature_codes(data.frame, data.schema), labels]
    rows = row_codes(columns, len(labels))
    different = int(rows.max()) + 1
    if different == len(rows) or expected_coincidences(columns) >= UNLIKELY:
        return data.patients
    count = int(data.patients.max()) + 1
    links = sparse.coo_matrix(
        (np.ones(len(rows)), (data.patients, count + rows)), shape=(count + different, count + different)
    )
    joined: Ints = connected_components(links, directed=False)[1][data.patients]
    return np.unique(joined, return_inverse=True)[1].astype(np.int64)


def shared(train: TrainingData, test: pd.DataFrame, recipe: Recipe) -> tuple[int, int]:
    """(rows of the test that equal a training row in every feature, test patients who are in the training rows)."""
    known = set(row_keys(train.frame, train.schema))
    test = test.rename(columns=str)
    rows = sum(key in known for key in row_keys(test, train.schema)) if train.schema.features else 0
    column = next((c.name for c in train.schema.with_role(Role.PATIENT)), recipe.patient)
    if column is None or column not in test.columns:
        return rows, 0
    of_train = {to_category(cell) for cell in train.frame[column].tolist()} - {None}
    of_test = {to_category(cell) for cell in test[column].tolist()} - {None}
    return rows, len(of_train & of_test)
