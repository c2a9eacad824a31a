"""How many rows a search reads: as many as its budget and this machine's pace leave time for, of whole patients."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.clock import READING, Clock
from engine.errors import EngineError
from engine.plan import CELLS_A_SECOND
from engine.problems import Problem
from engine.recipe import Recipe
from engine.split import deal
from engine.training_data import patients_of, prepare

PROBED = 2_000  # rows that are read to see how quick this machine is now
READ_TIMES = 1.5  # a row takes at most so many times as long to read, check and encode as to read among a few
READ_SHARE = 0.35  # of what is left of the budget, at most, for all of that
CELLS_READ, ROW_READ = 100_000, 5e-5  # cells that an idle machine reads and checks in a second; seconds for each row besides
FEWEST_SAMPLED, RARE_RECORDS, MOST_STRATA = 2_000, 200, 200


def affordable(frame: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """All rows, or as many as can be read and checked in a part of the budget: whole patients, the target's mix kept.

    A class of few records loses none. Larger tables than this are what `fit_chunks` is for.
    """
    most = max(FEWEST_SAMPLED, int(CELLS_A_SECOND * recipe.time_budget / max(frame.shape[1], 1)))
    return sample_of(frame, recipe, most)


def sample_of(frame: pd.DataFrame, recipe: Recipe, most: int) -> pd.DataFrame:
    """About `most` rows of whole patients by the recipe's seed, and all of a class of few; all where there are no more."""
    if len(frame) <= most or recipe.target not in frame.columns:
        return frame
    strata = pd.factorize(frame[recipe.target].astype(str))[0].astype(np.int64)
    size = np.bincount(strata)
    if len(size) > MOST_STRATA:  # an amount
        strata, size = np.zeros(len(frame), dtype=np.int64), np.array([len(frame)])
    patients = patients_of(frame, recipe.patient)
    kept = deal(patients, strata, -(-len(frame) // most), recipe.seed) == 0
    return frame[kept | (size[strata] <= RARE_RECORDS)]


def readable(frame: pd.DataFrame, recipe: Recipe, clock: Clock) -> pd.DataFrame:
    """All rows, or fewer where this machine reads so slowly now that reading and checking would use the budget up.

    A few rows are read first, to see how long that takes. Only where that is far too long is anything left out, and
    the clock's cuts say so: on a machine that keeps its pace the numbers do not depend on the clock.
    """
    rows = len(frame)
    if rows < 2 * PROBED:
        return frame
    probe = frame.iloc[np.linspace(0, rows - 1, PROBED).astype(np.int64)]
    began = clock.now()
    try:
        prepare(probe, recipe)
    except EngineError:  # all rows will tell better what is wrong
        return frame
    took = READ_TIMES * (clock.now() - began) / PROBED
    clock.note(READING, rows * (frame.shape[1] / CELLS_READ + ROW_READ), rows * took)
    most = int(READ_SHARE * clock.left() / max(took, 1e-9))
    if rows <= most:
        return frame
    part = sample_of(frame, recipe, max(most, FEWEST_SAMPLED))
    if len(part) < rows:
        clock.cut(f"{len(part)} of {rows} rows were read, as this machine is slow now")
    return part


def sampled(used: int, of: int) -> Problem:
    """Says that only some of the rows were learned from."""
    return Problem(
        "sampled", "warning", None,
        f"{used} of {of} rows were learned from: more can't be read in the time budget. Give it more time, or train in chunks.",
        {"count": used, "total": of},
    )  # fmt: skip
