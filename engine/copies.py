"""Rows that are copies of each other: kept on one side of every fold, and counted between training and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.special import pdtrc

from engine.cells import is_missing, to_category
from engine.columns import categories_of
from engine.files import cell_key
from engine.metrics import Ints
from engine.recipe import Recipe
from engine.schema import FILE_KINDS, ColumnSpec, Role, Schema
from engine.training_data import TrainingData

UNLIKELY = 0.01  # coincidences expected by chance, below which equal rows are taken for copies
ROUGH = 3.0  # times that a profile may be more frequent than estimated: the estimates rest on independent columns
NEAR_ROWS = 5_000  # rows among which a profile's neighbours are counted: comparing one profile takes half a millisecond

Bools = NDArray[np.bool_]
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


def copied(columns: Sequence[Ints]) -> Bools:
    """(n,) whether each row is a copy of another one, and not alike by chance. `columns`: each one's codes, -1 for missing.

    All equal rows are, in a table where hardly a pair of them is expected (`expected_coincidences`). In a coarser one each
    group of m equal rows is judged by its own multiplicity: with `p` the chance of its profile (`chance_of`), the number
    of times that it is seen is nearly Poisson with mean n p, and at most 1 / p profiles are as probable as it is, so
    P(Poisson(n p) >= m) / p bounds how many profiles as rare as this are expected m times or more. Below UNLIKELY it is one
    record many times. Coincidences of more than two: Diaconis & Mosteller 1989, Methods for Studying Coincidences,
    J. Am. Stat. Assoc. 84:853-861, section 7.1; the bound is the sum of their Poisson tails over profiles, as
    P(Poisson(x) >= m) / x grows with x up to m - 1.
    """
    n = len(columns[0])
    group = row_codes(columns, n)
    size = np.bincount(group)
    if len(size) == n:
        return np.zeros(n, dtype=bool)
    if expected_coincidences(columns) < UNLIKELY:
        return np.asarray(size[group] > 1)
    codes = np.column_stack(columns) + 1
    shares = [np.bincount(column) / n for column in codes.T]
    near = codes[_drawn(n)]
    found = np.zeros(len(size), dtype=bool)
    first = np.unique(group, return_index=True)[1]
    for number in np.flatnonzero(size > 1):
        profile, times = codes[first[number]], int(size[number])
        p = float(np.prod([share[code] for share, code in zip(shares, profile, strict=True)]))
        if _unlikely(n, p, times):  # most are told apart here; their neighbours are counted for the others only
            found[number] = _unlikely(n, max(p, chance_of(profile, near)), times)
    return np.asarray(found[group])


def _unlikely(n: int, p: float, times: int) -> bool:
    mean = ROUGH * n * p
    return mean < times - 1 and float(pdtrc(times - 1, mean)) < UNLIKELY * p * ROUGH


def _drawn(n: int) -> Ints:
    if n <= NEAR_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, NEAR_ROWS, replace=False))


def chance_of(profile: Ints, codes: Ints) -> float:
    """The chance of a profile (columns,) as the rows (n, columns) around it tell, without the rows that are equal to it.

    Columns of a clinical table go together (who has no symptom has none of ten), so the product of their shares can be far too
    small. With K_i the rows that differ in column i alone and K_ij those that differ in i and j alone, two columns that
    are independent given all others leave K_i K_j / K_ij rows in the cell itself: the missing cell of capture and
    recapture (Fienberg 1972, Biometrika 59:591-603), here pooled over all pairs and with Chapman's one. A record of many
    copies stands alone; a common profile has neighbours nearly as common.
    """
    differs = codes != profile
    count = differs.sum(axis=1)
    one = differs[count == 1].sum(axis=0).astype(float)
    both = float((one.sum() ** 2 - (one**2).sum()) / 2.0)
    return both / (float((count == 2).sum()) + 1.0) / len(codes)


def one_side(data: TrainingData) -> Ints:
    """(n,) codes of what must stay together in a split: patients, joined by rows that are copies.

    Rows that are alike where no two should be, or far oftener than they should be (a table of a few yes-or-no columns has
    many by chance), are the same record again, under other numbers or none; on both sides of a split they would flatter
    the figures.
    """
    labels = pd.factorize(data.y)[0].astype(np.int64)
    columns = [*feature_codes(data.frame, data.schema), labels]
    again = copied(columns)
    if not again.any():
        return data.patients
    rows = row_codes([codes[again] for codes in columns], int(again.sum()))
    count, different = int(data.patients.max()) + 1, int(rows.max()) + 1
    links = sparse.coo_matrix(
        (np.ones(len(rows)), (data.patients[again], count + rows)), shape=(count + different, count + different)
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
