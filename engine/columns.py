"""Whole columns at once: the same answers as engine/cells.py gives cell by cell, at a fraction of the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.cells import LARGEST, MISSING, is_missing, to_number
from engine.metrics import Floats

FEW = 64  # cells; below, looking at their types costs more than it saves (serving one record must be quick)
NOTHING = type(None)
# Within each of these sets equal values are the same cell. Python holds True, 1 and 1.0 for equal, but they are not the
# same category, so truth values are never put together with numbers.
ALIKE = (
    frozenset({str, float, int, NOTHING}),
    frozenset({str, bool, NOTHING}),
    frozenset({pd.Timestamp, type(pd.NaT), NOTHING}),
)
Result = TypeVar("Result")


def each(cells: Sequence[Any], convert: Callable[[Any], Result]) -> list[Result]:
    """`[convert(cell) for cell in cells]`; each different cell is converted once where that can't be told apart.

    `convert` must give equal moments the same answer whatever their time zone (to_days and is_missing do).
    """
    if len(cells) < FEW:
        return [convert(cell) for cell in cells]
    types = set(map(type, cells))
    if not any(types <= alike for alike in ALIKE):
        return [convert(cell) for cell in cells]
    known = {cell: convert(cell) for cell in set(cells)}
    return [known[cell] for cell in cells]


def categories_of(cells: Sequence[Any], keep_words: bool = False) -> list[str | None]:
    """`to_category` of each cell."""
    from engine.cells import to_category

    if len(cells) >= FEW and set(map(type, cells)) == {float}:  # measurements: nearly every cell differs
        return [
            None if cell != cell else str(int(cell)) if cell.is_integer() else repr(cell) for cell in cells
        ]
    if len(cells) >= FEW and pd.Timestamp in set(
        map(type, cells)
    ):  # the same moment is written in several ways
        return [to_category(cell, keep_words) for cell in cells]
    return each(cells, partial(to_category, keep_words=keep_words))


def numbers_of(
    cells: Sequence[Any], parse: Callable[[Any], tuple[float, str | None]] = to_number
) -> tuple[Floats, list[tuple[int, str]]]:
    """`parse` of each cell: (n,) numbers with NaN for missing, and (row, what was wrong) of the odd ones."""
    if parse is to_number and len(cells) >= FEW and set(map(type, cells)) <= {float, int}:
        try:
            numbers = np.array(cells, dtype=float)
        except OverflowError:
            pass
        else:
            endless = np.flatnonzero(np.abs(numbers) > LARGEST)
            numbers[endless] = MISSING
            return numbers, [(int(row), "infinite") for row in endless]
    pairs = each(cells, parse)
    odd = [(row, problem) for row, (_, problem) in enumerate(pairs) if problem is not None]
    return np.array([number for number, _ in pairs], dtype=float), odd


def missing_in(cells: Sequence[Any], keep_words: bool = False) -> NDArray[np.bool_]:
    """(n,) `is_missing` of each cell."""
    if len(cells) >= FEW and set(map(type, cells)) <= {float, int}:
        try:
            return np.isnan(np.array(cells, dtype=float))
        except OverflowError:
            pass
    return np.array(each(cells, partial(is_missing, keep_words=keep_words)), dtype=bool)


def present_in(cells: Sequence[Any], keep_words: bool = False) -> list[Any]:
    """The cells that are not missing."""
    gone = missing_in(cells, keep_words)
    return (
        list(cells)
        if not gone.any()
        else [cell for cell, missing in zip(cells, gone.tolist(), strict=True) if not missing]
    )
