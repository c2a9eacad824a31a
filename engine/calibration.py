"""Calibration: from a model's scores to probabilities that keep their promise, and how sure those are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from engine.candidates.base import sigmoid, softmax
from engine.metrics import Floats, Ints
from engine.split import deal, resamples

LARGE = 2000  # out-of-fold records from which isotonic regression has enough to learn a free shape
# Of the smallest class. A free shape for each of many classes needs more: with 150 records each, a step's standard
# error was 1.7 in log odds, and a probability of 0.76 was given as 0 to 1.
FEWEST_OF_TWO, FEWEST_OF_MANY = 50, 500
EDGE = 1e-7
PARTS = 5  # by patient, on which the two ways of calibrating are compared
GRID = np.linspace(0.0, 1.0, 101)
KEEP_ORDER = 1e-3  # share of the uncalibrated probability that is kept, so that isotonic steps make no ties


def logit(p: Floats) -> Floats:
    """Log odds, finite at 0 and 1."""
    clipped = np.clip(p, EDGE, 1.0 - EDGE)
    result: Floats = np.log(clipped / (1.0 - clipped))
    return result


class Calibrator:
    """Fitted on out-of-fold predictions; codes 0..k-1.

    `sigmoid`: Platt 1999 with his target smoothing, two classes, small data. `temperature`: Guo et al. 2017
    (arXiv:1706.04599) with the same smoothing, several classes, small data: where a class is told from the others
    without a fault, both would else promise certainty that so few patients cannot show. `isotonic`: Zadrozny & Elkan
    2002 (doi:10.1145/775047.775151), one class against the rest: on large data, where on patients held out it gives a
    better log loss than the other, by a standard error. (A model that keeps its promises already is made worse by steps.)
    """

    def __init__(self, method: str = "none", arrays: dict[str, NDArray[Any]] | None = None) -> None:
        self.method = method
        self.state: dict[str, NDArray[Any]] = arrays or {}

    def fit(self, raw: Floats, truth: Ints, patients: Ints, seed: int) -> Calibrator:
        """`raw` (n, k) out-of-fold probabilities; `patients` cluster the uncertainty."""
        smallest = int(np.bincount(truth, minlength=raw.shape[1]).min())
        fewest = FEWEST_OF_TWO if raw.shape[1] == 2 else FEWEST_OF_MANY
        free = len(truth) >= LARGE and smallest >= fewest and self._free_shape_is_better(raw, truth, patients, seed)
        self._fit_one("isotonic" if free else _smooth(raw), raw, truth, patients)
        if free:
            self._fit_deviations(raw, truth, patients, seed)
        return self

    def _fit_one(self, method: str, raw: Floats, truth: Ints, patients: Ints) -> Calibrator:
        self.method = method
        if method == "isotonic":
            self._fit_isotonic(raw, truth)
        elif method == "sigmoid":
            self._fit_sigmoid(logit(raw[:, 1]), truth, patients)
        else:
            self._fit_temperature(np.log(np.clip(raw, EDGE, 1.0)), truth, patients)
        return self

    @staticmethod
    def _free_shape_is_better(raw: Floats, truth: Ints, patients: Ints, seed: int) -> bool:
        """Whether isotonic regression has the smaller log loss on patients who had no part in it, by a standard error."""
        codes = np.unique(patients, return_inverse=True)[1]
        part = deal(codes, truth, PARTS, seed)
        gained = np.zeros(len(truth))
        for k in range(PARTS):
            held, rest = np.flatnonzero(part == k), np.flatnonzero(part != k)
            losses = []
            for method in (_smooth(raw), "isotonic"):
                fitted = Calibrator()._fit_one(method, raw[rest], truth[rest], codes[rest])
                own = np.clip(fitted.apply(raw[held])[np.arange(len(held)), truth[held]], EDGE, 1.0)
                losses.append(-np.log(own))
            gained[held] = losses[0] - losses[1]
        sums = by_patient(gained[:, None], codes)[:, 0]
        return bool(sums.mean() > sums.std(ddof=1) / np.sqrt(len(sums)))

    def _fit_sigmoid(self, z: Floats, truth: Ints, patients: Ints) -> None:
        target = smoothed(truth, patients, 2)[:, 1]
        design = np.column_stack([z, np.ones(len(z))])
        theta = np.array([1.0, 0.0])
        for _ in range(50):
            p = sigmoid(design @ theta)
            hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
            step = np.linalg.solve(hessian, design.T @ (p - target))
            theta = theta - np.clip(step, -1.0, 1.0)
            if np.abs(step).max() < 1e-9:
                break
        theta[0] = max(theta[0], 1e-3)  # a model worse than chance is flattened, never turned around
        p = sigmoid(design @ theta)
        inverse = np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2))
        gradient = by_patient(design * (p - target)[:, None], patients)
        self.state = {"theta": theta, "covariance": inverse @ gradient.T @ gradient @ inverse}

    def _fit_temperature(self, logs: Floats, truth: Ints, patients: Ints) -> None:
        a, target = 1.0, smoothed(truth, patients, logs.shape[1])
        for _ in range(50):
            p = softmax(a * logs)
            mean = (p * logs).sum(axis=1)
            slope = mean - (target * logs).sum(axis=1)
            curvature = float(((p * logs**2).sum(axis=1) - mean**2).sum()) + 1e-6
            step = float(np.clip(slope.sum() / curvature, -0.5, 0.5))
            a = float(np.clip(a - step, 0.05, 20.0))
            if abs(step) < 1e-9:
                break
        clustered = by_patient(slope[:, None], patients)
        self.state = {
            "theta": np.array([a]),
            "deviation": np.array([np.sqrt((clustered**2).sum()) / curvature]),
        }

    def _fit_isotonic(self, raw: Floats, truth: Ints) -> None:
        for code in _shaped(raw):
            model = IsotonicRegression(out_of_bounds="clip").fit(raw[:, code], (truth == code).astype(float))
            self.state[f"x{code}"], self.state[f"y{code}"] = model.X_thresholds_, model.y_thresholds_

    def _fit_deviations(self, raw: Floats, truth: Ints, patients: Ints, seed: int) -> None:
        """How much the isotonic steps would be others with other patients."""
        for code in _shaped(raw):
            hit = (truth == code).astype(float)
            curves = []
            for weights in resamples(patients, 30, seed):
                for weight in weights:
                    again = IsotonicRegression(out_of_bounds="clip").fit(
                        raw[:, code], hit, sample_weight=weight
                    )
                    curves.append(logit(np.clip(again.predict(GRID), 1 / len(hit), 1 - 1 / len(hit))))
            self.state[f"d{code}"] = np.std(curves, axis=0)

    def apply(self, raw: Floats) -> Floats:
        """Calibrated probabilities (n, k), rows sum to 1."""
        if self.method == "sigmoid":
            a, b = self.state["theta"]
            p = sigmoid(a * logit(raw[:, 1]) + b)
            return np.column_stack([1.0 - p, p])
        if self.method == "temperature":
            return softmax(self.state["theta"][0] * np.log(np.clip(raw, EDGE, 1.0)))
        if self.method == "isotonic":
            return self._apply_isotonic(raw)
        return raw

    def _apply_isotonic(self, raw: Floats) -> Floats:
        if raw.shape[1] == 2:
            p = self._shape(raw[:, 1], 1)
            return np.column_stack([1.0 - p, p])
        shaped = np.column_stack([self._shape(raw[:, code], code) for code in range(raw.shape[1])])
        result: Floats = shaped / shaped.sum(axis=1, keepdims=True)
        return result

    def _shape(self, p: Floats, code: int) -> Floats:
        shaped: Floats = np.interp(p, self.state[f"x{code}"], self.state[f"y{code}"])
        return (1.0 - KEEP_ORDER) * shaped + KEEP_ORDER * np.clip(p, EDGE, 1.0 - EDGE)

    @property
    def slope(self) -> float:
        """How much a step in the model's log odds counts after calibration (1 where that is not one number)."""
        return float(self.state["theta"][0]) if self.method in ("sigmoid", "temperature") else 1.0

    def deviation(self, raw: Floats, codes: Ints) -> Floats:
        """(n,) standard error of the calibrated log odds of the class `codes[i]` of each row."""
        rows = np.arange(len(raw))
        if self.method == "sigmoid":
            z = logit(raw[:, 1])
            c = self.state["covariance"]
            return np.sqrt(np.maximum(c[0, 0] * z * z + 2 * c[0, 1] * z + c[1, 1], 0.0))
        if self.method == "temperature":
            logs, d = np.log(np.clip(raw, EDGE, 1.0)), float(self.state["deviation"][0])
            a = self.slope
            up, down = softmax((a + d) * logs)[rows, codes], softmax(max(a - d, 1e-3) * logs)[rows, codes]
            return np.abs(logit(up) - logit(down)) / 2.0
        if self.method == "isotonic":
            own = np.ones(len(raw), dtype=np.int64) if raw.shape[1] == 2 else codes
            deviations = [np.interp(raw[i, own[i]], GRID, self.state[f"d{own[i]}"]) for i in rows]
            return np.array(deviations, dtype=float)
        return np.zeros(len(raw))


def _smooth(raw: Floats) -> str:
    """The method of one number or two."""
    return "sigmoid" if raw.shape[1] == 2 else "temperature"


def _shaped(raw: Floats) -> list[int]:
    """The classes that have a shape of their own."""
    return [1] if raw.shape[1] == 2 else list(range(raw.shape[1]))


def smoothed(truth: Ints, patients: Ints, classes: int) -> Floats:
    """(n, k) what a calibration is fitted to: (N + 1) / (N + 2) for the true class, the rest shared by the others.

    N is the number of patients with that class: the mean of the posterior of a share after N hits out of N, with a
    uniform prior (Platt 1999, Probabilistic outputs for support vector machines, section 2.2).
    """
    counts = np.array([len(np.unique(patients[truth == code])) for code in range(classes)], dtype=float)
    own = ((counts + 1) / (counts + 2))[truth]
    target: Floats = np.repeat(((1 - own) / (classes - 1))[:, None], classes, axis=1)
    target[np.arange(len(truth)), truth] = own
    return target


def by_patient(rows: Floats, patients: Ints) -> Floats:
    """(patients, m) sums of the rows of each patient."""
    sums = np.zeros((int(patients.max()) + 1, rows.shape[1]))
    np.add.at(sums, patients, rows)
    return sums


def conformal_quantile(scores: Floats, patients: Ints, coverage: float) -> float:
    """The score that covers `coverage` of patients; each patient counts once however many records there are.

    Split conformal prediction with its finite-sample correction: Vovk et al. 2005; Angelopoulos & Bates 2023,
    doi:10.1561/2200000101. Infinite when there are too few patients for this coverage.
    """
    weights = 1.0 / np.bincount(patients)[patients]
    n = weights.sum()
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    needed = coverage * (n + 1)
    if needed > n + 1e-9:
        return float("inf")
    return float(scores[order][np.searchsorted(reached, needed - 1e-9)])


def operating_point(p: Floats, positive: NDArray[np.bool_], name: str) -> dict[str, Any]:
    """The threshold with the largest Youden index (Youden 1950), half-way to the next score, and what it reaches.

    Sensitivity and specificity come with Wilson 95% intervals (Wilson 1927, doi:10.1080/01621459.1927.10502953).
    """
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))
    true = np.cumsum(positive[order])[ends]
    false = np.cumsum(~positive[order])[ends]
    positives, negatives = max(int(positive.sum()), 1), max(int((~positive).sum()), 1)
    best = int(np.argmax(true / positives - false / negatives))
    scores = p[order][ends]
    following = scores[best + 1] if best + 1 < len(scores) else 0.0
    found, left = int(true[best]), negatives - int(false[best])
    return {
        "threshold": float((scores[best] + following) / 2.0), "positive": name, "n": len(p),
        "sensitivity": found / positives, "sensitivity_interval": wilson(found, positives),
        "specificity": left / negatives, "specificity_interval": wilson(left, negatives),
    }  # fmt: skip


def wilson(hits: float, n: int) -> list[float]:
    """The 95% score interval of a share."""
    z = 1.959964
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return [float(max(0.0, middle - reach)), float(min(1.0, middle + reach))]
