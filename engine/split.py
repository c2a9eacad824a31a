"""Splits that keep each patient's records on one side, and resamples of patients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Floats, Ints
from engine.tasks import special

Fold = tuple[Ints, Ints]
MIDDLING = 5_000  # above this many records three folds are enough
LARGE = 20_000  # above this many one held-out split says as much as five folds, in a fifth of the time


def strata_of(y: Floats | Ints, task: str) -> Ints:
    """What is balanced between folds: the classes, or for regression five bins of the target."""
    if task == "classification":
        return y.astype(np.int64)
    own = special(task)
    if own is not None and (strata := own.strata(y.astype(float))) is not None:
        return strata
    edges = np.quantile(y, (0.2, 0.4, 0.6, 0.8))
    return np.searchsorted(edges, y).astype(np.int64)


def patient_codes(patients: NDArray[Any]) -> Ints:
    """Patients numbered from 0 in the order of first appearance."""
    codes: dict[Any, int] = {}
    return np.array([codes.setdefault(patient, len(codes)) for patient in patients.tolist()], dtype=np.int64)


def deal(patients: Ints, strata: Ints, parts: int, seed: int) -> Ints:
    """The part (0..parts-1) of each record: patients are shuffled and dealt out stratum by stratum.

    A patient belongs to the rarest stratum among their records, so that rare classes are spread evenly.
    """
    size = np.bincount(strata)
    order = np.lexsort((size[strata], patients))
    first = order[np.append(True, np.diff(patients[order]) != 0)]
    of_patient = strata[first]  # by patient code, as codes are sorted
    shuffled = np.random.default_rng(seed).permutation(len(of_patient))
    arranged = shuffled[np.argsort(of_patient[shuffled], kind="stable")]
    part_of_patient = np.empty(len(of_patient), dtype=np.int64)
    part_of_patient[arranged] = np.arange(len(arranged)) % parts
    return part_of_patient[patients]


def folds(y: Floats | Ints, task: str, patients: Ints, seed: int, count: int = 5) -> list[Fold]:
    """(training rows, validation rows) pairs: `count` folds, three for middling and one held-out fifth for large data."""
    strata = strata_of(y, task)
    n_patients = int(patients.max()) + 1
    count = max(2, min(count if len(y) <= MIDDLING or len(y) > LARGE else 3, n_patients))
    part = deal(patients, strata, count, seed)
    chosen = range(1) if len(y) > LARGE else range(count)
    return [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in chosen]


def hold_out(y: Floats | Ints, task: str, patients: Ints, seed: int, share: float = 0.15) -> Fold:
    """One split into training and held-out rows by patient; `share` is of the patients."""
    part = deal(patients, strata_of(y, task), max(2, round(1.0 / share)), seed)
    return np.flatnonzero(part != 0), np.flatnonzero(part == 0)


def resamples(patients: Ints, count: int, seed: int, cells: int = 250_000) -> Iterator[Floats]:
    """Bootstrap weights in blocks (b, n): patients drawn with replacement, all records of a drawn patient kept.

    The draws do not depend on the size of the blocks. One of 250,000 weights is 2 MB, and so is each of the dozen
    matrices that a ranking metric makes of it: in the processor's cache, three times as quick as blocks of 32 MB.
    """
    n_patients = int(patients.max()) + 1
    rng = np.random.default_rng(seed)
    block = max(1, min(count, cells // max(len(patients), 1)))
    done = 0
    while done < count:
        size = min(block, count - done)
        drawn = rng.integers(0, n_patients, size=(size, n_patients))
        drawn += np.arange(size)[:, None] * n_patients
        times = np.bincount(drawn.ravel(), minlength=size * n_patients).reshape(size, n_patients)
        yield times[:, patients].astype(float)
        done += size
