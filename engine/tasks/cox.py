"""The linear candidate for survival: Cox's proportional hazards model, L2-penalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.candidates.base import Matrix, Model, StopCheck
from engine.metrics import Floats, Ints
from engine.tasks.penalised import minimised

FURTHEST = 30.0  # log hazard ratio beyond which nothing changes any more
SMALLEST_HAZARD = 1e-12


class Cox(Model):
    """Hazard h0(t) exp(x·b) by Cox 1972 (doi:10.1111/j.2517-6161.1972.tb00899.x), ties by Efron 1977
    (doi:10.1080/01621459.1977.10480613), in Breslow's baseline too; penalised like the linear candidate (see
    `minimised`).

    Own fit (L-BFGS, O(n) per step, sparse matrices too): scikit-survival is GPL-3, which the product can't be bound
    by (the tests compare with it).
    """

    task = "survival"

    def __init__(
        self,
        *,
        times: list[float],
        horizon: int,
        C: float = 1.0,
        l1_ratio: float = 0.0,
        class_weight: str = "none",
        max_iter: int = 300,
        seed: int = 0,
    ) -> None:
        self.times = times
        self.horizon = horizon
        self.C = C
        self.l1_ratio = l1_ratio
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.seed = seed

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """`y` (n, 2): time, and 1 where the event was seen; deterministic."""
        ties = Ties(np.asarray(y[:, 0], dtype=float), np.asarray(y[:, 1]) > 0)

        def loss(beta: Floats) -> tuple[float, Floats]:
            value, by_eta = ties.loss(np.asarray(X @ beta).ravel())
            return value, np.asarray(X.T @ by_eta).ravel()

        self.coef_ = minimised(loss, np.zeros(X.shape[1]), 0, self.C, self.l1_ratio, self.max_iter, stop)
        eta = np.asarray(X @ self.coef_).ravel()
        self.middle_ = float(eta.mean())
        risk = np.exp(np.clip(eta - self.middle_, -FURTHEST, FURTHEST))
        when, jump = ties.baseline(risk)
        reached = np.concatenate([[0.0], np.cumsum(jump)])
        self.hazard_ = reached[np.searchsorted(when, np.asarray(self.times), side="right")]
        return self

    def raw(self, X: Matrix) -> Floats:
        """(n, times) probabilities of being free of the event."""
        eta = np.asarray(X @ self.coef_).ravel() - self.middle_
        risk = np.exp(np.clip(eta, -FURTHEST, FURTHEST))
        result: Floats = np.exp(-risk[:, None] * self.hazard_)
        return result

    def linear_terms(self) -> Floats | None:
        """(1, features): log hazard ratios."""
        return self.coef_[None, :]

    def intercepts(self) -> Floats:
        """(1,) the log cumulative baseline hazard at the horizon."""
        return np.array([np.log(max(self.hazard_[self.horizon], SMALLEST_HAZARD)) - self.middle_])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Coefficients, their centre, and the cumulative baseline hazard at the fixed times."""
        return {"coef": self.coef_, "middle": np.array([self.middle_]), "hazard": self.hazard_}

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """From the arrays."""
        self.coef_, self.hazard_ = arrays["coef"], arrays["hazard"]
        self.middle_ = float(arrays["middle"][0])
        return self


class Ties:
    """The order of times and events that the partial likelihood needs, worked out once.

    Records are sorted by time; at one time there are d events, and the l-th of them (l = 0..d-1) is set against the
    risk set less l/d of those events (Efron).
    """

    def __init__(self, time: Floats, event: NDArray[np.bool_]) -> None:
        self.order = np.argsort(time, kind="stable")
        self.time, self.event = time[self.order], event[self.order]
        self.first = np.searchsorted(self.time, self.time, side="left")  # where a record's tied times begin
        self.last = np.searchsorted(self.time, self.time, side="right")
        before = np.concatenate([[0], np.cumsum(self.event)])
        self.tied = (before[self.last] - before[self.first])[self.event]  # d of each event
        self.rank = (before[:-1] - before[self.first])[self.event] / np.maximum(self.tied, 1)  # l / d of each event
        self.of_event = self.first[self.event]

    def denominators(self, risk: Floats) -> Floats:
        """(events,) sums over the risk sets; `risk` (n,) sorted."""
        later = np.cumsum(risk[::-1])[::-1]
        dead = np.concatenate([[0.0], np.cumsum(np.where(self.event, risk, 0.0))])
        tied = dead[self.last[self.event]] - dead[self.of_event]
        return later[self.of_event] - self.rank * tied

    def loss(self, eta: Floats) -> tuple[float, Floats]:
        """Negative partial log likelihood and its gradient by eta (n,), both in the given order of records."""
        ordered = eta[self.order]
        highest = float(ordered.max())
        risk = np.exp(np.maximum(ordered - highest, -700.0))
        bottom = np.maximum(self.denominators(risk), 1e-300)
        value = float(np.log(bottom).sum()) + highest * len(bottom) - float(ordered[self.event].sum())
        inverse = np.zeros(len(eta))
        np.add.at(inverse, self.of_event, 1.0 / bottom)
        gradient = risk * np.cumsum(inverse)  # everybody who was at risk when an event happened
        gradient = np.where(self.event, gradient - risk * self._own(self.rank / bottom) - 1.0, gradient)
        back = np.empty(len(eta))
        back[self.order] = gradient
        return value, back

    def _own(self, parts: Floats) -> Floats:
        """For each record the sum of `parts` over the events at its time."""
        sums = np.zeros(len(self.time))
        np.add.at(sums, self.of_event, parts)
        return sums[self.first]

    def baseline(self, risk: Floats) -> tuple[Floats, Floats]:
        """(times of events, jumps of the cumulative baseline hazard); `risk` (n,) in the given order."""
        bottom = np.maximum(self.denominators(risk[self.order]), 1e-300)
        return self.time[self.event], 1.0 / bottom
