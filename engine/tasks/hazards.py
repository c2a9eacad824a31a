"""Survival as a classification: does the event happen in this interval, to those whom it has not happened to yet?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from engine.candidates.base import Curve, Matrix, Model, StopCheck
from engine.metrics import Floats, Ints

MOST_ROWS = 400_000  # of the expanded table; beyond it, records are drawn
CHUNK = 4096  # records expanded at once when predicting
SMALLEST = 1e-7


def intervals(time: Floats, event: Floats, times: Floats) -> Floats:
    """(n, times): 0 where the record got through the interval, 1 where the event happened in it, NaN where it was not
    at risk. Interval j runs from times[j-1] (from 0) to times[j], its end included.

    A record that is censored within an interval counts as having got through it if it was seen for half of it
    (Gensheimer & Narasimhan 2019, doi:10.7717/peerj.6257).
    """
    starts = np.concatenate([[0.0], times[:-1]])
    half = (starts + times) / 2.0
    through = np.where(event[:, None] > 0, time[:, None] > times, time[:, None] >= half)
    here = (event[:, None] > 0) & (time[:, None] > starts) & (time[:, None] <= times)
    here[:, 0] |= (event > 0) & (time <= times[0])  # also at time 0
    return np.where(here, 1.0, np.where(through, 0.0, np.nan))


def free_of_event(hazards: Floats) -> Floats:
    """(n, times) probabilities of being free of the event, from the hazard in each interval."""
    return np.asarray(np.cumprod(1.0 - np.clip(hazards, SMALLEST, 1.0 - SMALLEST), axis=1), dtype=float)


class Hazards(Model):
    """Any model of two classes on the person-period table: a row for every interval that a record was at risk in,
    with the interval as one more feature (Cox 1972; Singer & Willett 1993, doi:10.3102/10769986018002155).

    Models that do not split features by thresholds get a feature for each interval as well, so that the hazard may
    have any shape over time.
    """

    task = "survival"

    def __init__(
        self, *, base: type[Model], hyperparameters: Mapping[str, Any], times: list[float], seed: int = 0
    ) -> None:
        self.base = base
        self.hyperparameters = hyperparameters
        self.times = times
        self.seed = seed

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """`y` (n, 2): time, and 1 where the event was seen."""
        patients = np.arange(len(y)) if patients is None else patients
        questions = intervals(np.asarray(y[:, 0]), np.asarray(y[:, 1]), np.asarray(self.times))
        asked = np.isfinite(questions)
        if int(asked.sum()) > MOST_ROWS:
            n = int(len(y) * MOST_ROWS / asked.sum())
            drawn = np.sort(np.random.default_rng(self.seed).choice(len(y), n, replace=False))
            X, questions, asked, patients = X[drawn], questions[drawn], asked[drawn], patients[drawn]
        rows, interval = np.nonzero(asked)
        answers = questions[rows, interval].astype(np.int64)
        codes = np.unique(patients[rows], return_inverse=True)[1]
        self.model_ = self.base(task="classification", seed=self.seed, **self.hyperparameters)
        if len(np.unique(answers)) < 2:
            raise ValueError("no event in the training part")
        self.model_.fit(self._with(X[rows], interval), answers, patients=codes, stop=stop)
        return self

    def raw(self, X: Matrix) -> Floats:
        """(n, times) probabilities of being free of the event."""
        count = len(self.times)
        parts = []
        for start in range(0, X.shape[0], CHUNK):
            part = X[start : start + CHUNK]
            rows = np.repeat(np.arange(part.shape[0]), count)
            grid = np.tile(np.arange(count), part.shape[0])
            parts.append(self.model_.raw(self._with(part[rows], grid))[:, 1].reshape(-1, count))
        return free_of_event(np.concatenate(parts) if parts else np.zeros((0, count)))

    @property
    def curve(self) -> Curve:
        """The base model's."""
        return self.model_.curve

    def estimators(self) -> dict[str, Any]:
        """The base model's."""
        return self.model_.estimators()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The base model's."""
        return self.model_.arrays()

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """Into the base model."""
        model = self.base(task="classification", seed=self.seed, **self.hyperparameters)
        self.model_ = model.restore(estimators, arrays)
        return self

    def _with(self, X: Matrix, interval: Ints) -> Matrix:
        """The features with the interval (0 to 1) beside them."""
        count = len(self.times)
        extra = (interval / count)[:, None]
        if not self.base.keeps_missing:
            extra = np.concatenate([extra, np.eye(count)[interval]], axis=1)
        return _beside(X, extra)


def _beside(X: Matrix, extra: Floats) -> Matrix:
    if sparse.issparse(X):
        return sparse.hstack([X, sparse.csr_matrix(extra)], format="csr")
    return np.concatenate([X, extra], axis=1)
