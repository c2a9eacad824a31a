"""Metrics: equal to scikit-learn's, also weighted; undefined is never 0."""

import numpy as np
import pytest
from sklearn import metrics as sk

from engine.metrics import METRICS, Outcomes, score, score_all


def binary(n: int = 200, seed: int = 0) -> tuple[Outcomes, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    p = np.round(np.clip(0.35 * y + rng.random(n) * 0.65, 0, 1), 2)  # rounded: ties
    return Outcomes(y, (p >= 0.5).astype(int), np.column_stack([1 - p, p])), rng.integers(0, 4, n).astype(
        float
    )


BINARY = {
    "roc_auc": lambda y, p, d, w: sk.roc_auc_score(y, p, sample_weight=w),
    "pr_auc": lambda y, p, d, w: sk.average_precision_score(y, p, sample_weight=w),
    "accuracy": lambda y, p, d, w: sk.accuracy_score(y, d, sample_weight=w),
    "balanced_accuracy": lambda y, p, d, w: sk.balanced_accuracy_score(y, d, sample_weight=w),
    "sensitivity": lambda y, p, d, w: sk.recall_score(y, d, sample_weight=w),
    "specificity": lambda y, p, d, w: sk.recall_score(y, d, pos_label=0, sample_weight=w),
    "precision": lambda y, p, d, w: sk.precision_score(y, d, sample_weight=w),
    "f1": lambda y, p, d, w: sk.f1_score(y, d, sample_weight=w),
    "brier": lambda y, p, d, w: sk.brier_score_loss(y, p, sample_weight=w),
    "log_loss": lambda y, p, d, w: sk.log_loss(y, np.clip(p, 1e-15, 1 - 1e-15), sample_weight=w),
}


@pytest.mark.parametrize("name", BINARY)
def test_two_classes_equal_scikit_learn_with_and_without_weights(name: str) -> None:
    outcomes, weights = binary()
    y, p, d = outcomes.truth, outcomes.probabilities[:, 1], outcomes.decided
    assert score(outcomes, name) == pytest.approx(BINARY[name](y, p, d, None), abs=1e-12)
    assert score_all(outcomes, weights[None, :])[name][0] == pytest.approx(
        BINARY[name](y, p, d, weights), abs=1e-12
    )


def test_several_classes_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, 300)
    p = rng.random((300, 4)) + np.eye(4)[y]
    p /= p.sum(axis=1, keepdims=True)
    d = p.argmax(axis=1)
    outcomes = Outcomes(y, d, p)
    assert score(outcomes, "roc_auc") == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"), abs=1e-12)
    assert score(outcomes, "log_loss") == pytest.approx(sk.log_loss(y, p), abs=1e-12)
    assert score(outcomes, "sensitivity") == pytest.approx(sk.recall_score(y, d, average="macro"), abs=1e-12)
    assert score(outcomes, "precision") == pytest.approx(sk.precision_score(y, d, average="macro"), abs=1e-12)
    assert score(outcomes, "f1") == pytest.approx(sk.f1_score(y, d, average="macro"), abs=1e-12)
    assert score(outcomes, "brier") == pytest.approx(((p - np.eye(4)[y]) ** 2).sum(axis=1).mean(), abs=1e-12)
    assert score(outcomes, "pr_auc") == pytest.approx(
        np.mean([sk.average_precision_score(y == c, p[:, c]) for c in range(4)]), abs=1e-12
    )


def test_regression_equals_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    y, guess, w = rng.normal(100, 5, 80), rng.normal(100, 6, 80), rng.integers(0, 3, 80).astype(float)
    scores = score_all(Outcomes(y, guess), w[None, :])
    assert scores["mae"][0] == pytest.approx(sk.mean_absolute_error(y, guess, sample_weight=w))
    assert scores["rmse"][0] == pytest.approx(np.sqrt(sk.mean_squared_error(y, guess, sample_weight=w)))
    assert scores["r2"][0] == pytest.approx(sk.r2_score(y, guess, sample_weight=w), abs=1e-6)


def test_calibration_error_by_hand() -> None:
    p = np.repeat([0.05, 0.95], 10)
    truth = np.array([0] * 10 + [1] * 5 + [0] * 5)
    expected = (0.05 * 10 + 0.45 * 10) / 20  # five bins a side; on the right 5 of 10 are true, in order
    value = score(Outcomes(truth, (p > 0.5).astype(int), np.column_stack([1 - p, p])), "calibration_error")
    by_bin = [abs(truth[i : i + 2].mean() - p[i]) for i in range(0, 20, 2)]
    assert value == pytest.approx(np.mean(by_bin))
    assert value >= expected - 1e-12  # finer bins can only find more


@pytest.mark.parametrize("name", ["roc_auc", "pr_auc", "balanced_accuracy", "sensitivity", "f1"])
def test_one_class_alone_is_undefined_not_zero(name: str) -> None:
    p = np.array([0.1, 0.2, 0.3])
    assert np.isnan(score(Outcomes(np.zeros(3, int), np.zeros(3, int), np.column_stack([1 - p, p])), name))


def test_positive_may_be_the_first_class() -> None:
    outcomes, _ = binary()
    turned = Outcomes(outcomes.truth, outcomes.decided, outcomes.probabilities, positive=0)
    assert score(turned, "sensitivity") == score(outcomes, "specificity")
    assert score(turned, "roc_auc") == pytest.approx(score(outcomes, "roc_auc"), abs=1e-12)


def test_every_metric_says_what_it_is() -> None:
    for metric in METRICS.values():
        assert metric.better in ("higher", "lower")
        assert metric.label
        assert metric.description
        assert metric.source
