"""Splits that go forward in time: learned from the past, judged on later records of other patients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from engine.cells import to_days, to_number
from engine.errors import EngineError
from engine.metrics import Floats, Ints
from engine.recipe import Recipe
from engine.schema import Kind, Role, describe_column, infer_schema
from engine.split import LARGE, MIDDLING, Fold
from engine.training_data import TrainingData, patients_of

FEWEST_TRAINING = 10  # records


def times_of(frame: pd.DataFrame, recipe: Recipe) -> Floats:
    """(n,) the time of each row, in days or in the column's own unit; NaN where it is missing.

    Raises EngineError ("column_missing", "split_by_invalid") when `split_by` names no column of dates or numbers.
    """
    name = recipe.split_by
    if name is None or name not in frame.columns:
        raise EngineError("column_missing", f"There is no column “{name}”.", {"column": name})
    chosen = recipe.columns.get(name)
    kind = Kind(chosen) if chosen is not None else describe_column(name, frame[name]).kind
    if kind not in (Kind.DATE, Kind.NUMBER):
        why = {"column": name, "kind": kind.value}
        raise EngineError(
            "split_by_invalid", f"“{name}” holds neither dates nor numbers: it orders nothing.", why
        )
    parse = to_days if kind is Kind.DATE else to_number
    return np.array([parse(cell)[0] for cell in frame[name].tolist()], dtype=float)


def forward_folds(data: TrainingData, recipe: Recipe, count: int = 5) -> list[Fold]:
    """(training rows, validation rows) pairs, each validated on a later stretch of time than it was trained on.

    The records in order of time are cut into `count` + 1 stretches of about equal size (4 for middling data; the last
    fifth alone for large data); stretch k + 1 validates what was learned from stretches 0 to k. Records of a patient
    who comes again in the later stretch are left out of the training rows, so patients stay on one side and nothing later
    than the validation rows is learned. Rows without a time are in neither. Raises EngineError ("split_by_impossible").
    """
    times = times_of(data.frame, recipe)
    if len(data.y) > LARGE:
        limits = [_limit(times, 0.8), np.inf]
    else:
        count = count if len(data.y) <= MIDDLING else 3
        limits = [*(_limit(times, k / (count + 1)) for k in range(1, count + 1)), np.inf]
    pairs = [
        _forward(times, data.patients, start, end) for start, end in itertools.pairwise(limits) if start < end
    ]
    good = [pair for pair in pairs if _usable(data, pair)]
    if not good:
        raise EngineError(
            "split_by_impossible",
            f"“{recipe.split_by}” does not divide these records into a past to learn from and a later time to judge by.",
            {"column": recipe.split_by},
        )
    return good


def _limit(times: Floats, share: float) -> float:
    known = times[np.isfinite(times)]
    return float(np.quantile(known, share, method="higher")) if len(known) else np.inf


def _forward(times: Floats, patients: Ints, start: float, end: float) -> Fold:
    held = np.flatnonzero((times >= start) & (times < end))
    before = (times < start) & ~np.isin(patients, patients[held])
    return np.flatnonzero(before), held


def _usable(data: TrainingData, pair: Fold) -> bool:
    """All classes are there to be learned, and two to be told apart; numbers vary."""
    train, held = pair
    if len(train) < FEWEST_TRAINING or len(held) < 2:
        return False
    if not data.classify:
        return float(np.ptp(data.y[train])) > 0
    return len(np.unique(data.y[train])) == len(data.classes) and len(np.unique(data.y[held])) > 1


def time_split(frame: pd.DataFrame, recipe: Recipe, share: float = 0.2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(training rows, test rows): the test is the latest `share` of the rows in time, by `recipe.split_by`.

    Earlier rows of a patient who is in the test are in neither part, and so are rows without a time: patients stay on
    one side, and the test lies after all that is learned. Rows keep their index and order. Raises EngineError
    ("column_missing", "split_by_invalid", "split_by_impossible").
    """
    if not 0.0 < share < 1.0:
        raise EngineError(
            "split_by_impossible", "The share must lie between 0 and 1.", {"column": recipe.split_by}
        )
    named = frame.rename(columns=str)
    times = times_of(named, recipe)
    patient = recipe.patient or _patient_column(named, recipe)
    train, test = _forward(times, patients_of(named, patient), _limit(times, 1.0 - share), np.inf)
    if not len(train) or not len(test):
        raise EngineError(
            "split_by_impossible", f"“{recipe.split_by}” leaves nothing to learn from or to judge by.",
            {"column": recipe.split_by},
        )  # fmt: skip
    return frame.iloc[train], frame.iloc[test]


def _patient_column(frame: pd.DataFrame, recipe: Recipe) -> str | None:
    found: Any = infer_schema(frame, target=recipe.target).with_role(Role.PATIENT)
    return found[0].name if found else None
