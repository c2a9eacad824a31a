"""Splits: no patient on both sides, classes spread evenly, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.split import deal, folds, hold_out, patient_codes, resamples


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 120), st.integers(2, 30))
def test_no_patient_is_on_both_sides(seed: int, n: int, n_patients: int) -> None:
    rng = np.random.default_rng(seed)
    patients = patient_codes(rng.integers(0, n_patients, n))
    y = rng.integers(0, 2, n)
    for train, held in [
        *folds(y, "classification", patients, seed),
        hold_out(y, "classification", patients, seed),
    ]:
        assert not set(patients[train]) & set(patients[held])
        assert sorted([*train, *held]) == list(range(n))


def test_a_rare_class_reaches_every_fold() -> None:
    y = np.array([1] * 10 + [0] * 190)
    held = [y[rows].sum() for _, rows in folds(y, "classification", np.arange(200), 3)]
    assert held == [2, 2, 2, 2, 2]


def test_the_seed_decides() -> None:
    strata = np.zeros(50, dtype=np.int64)
    assert np.array_equal(deal(np.arange(50), strata, 5, 1), deal(np.arange(50), strata, 5, 1))
    assert not np.array_equal(deal(np.arange(50), strata, 5, 1), deal(np.arange(50), strata, 5, 2))


def test_a_resample_draws_whole_patients() -> None:
    patients = np.array([0, 0, 0, 1, 2, 2])
    weights = np.concatenate(list(resamples(patients, 200, 0, cells=60)))
    assert weights.shape == (200, 6)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert np.array_equal(weights[:, 4], weights[:, 5])
    assert np.all(weights[:, 0] + weights[:, 3] + weights[:, 4] == 3)


def test_the_size_of_the_blocks_does_not_change_what_is_drawn() -> None:
    patients = np.repeat(np.arange(40), 2)
    small, large = (np.concatenate(list(resamples(patients, 50, 3, cells=cells))) for cells in (80, 4_000_000))
    assert np.array_equal(small, large)
    assert max(len(block) * 5000 for block in resamples(np.arange(5000), 120, 0)) <= 250_000  # 2 MB


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_large_data_has_one_held_out_fifth(task: str) -> None:
    y = np.random.default_rng(0).integers(0, 2, 20_500).astype(float)
    (split,) = folds(y, task, np.arange(20_500), 0)
    assert len(split[1]) == 4100
