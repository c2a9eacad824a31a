"""Every metric against scikit-learn or scipy, both ways: perfect, inverted, tied, weighted, two and several classes."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from engine.metrics import AUTO, METRICS, Outcomes, equal_mass_bins, score, score_all

TWO = [name for name, metric in METRICS.items() if "classification" in metric.tasks]
NUMBERS = [name for name, metric in METRICS.items() if "regression" in metric.tasks]
CLIP = 1e-15


def calibration_by_hand(confidence: np.ndarray, hit: np.ndarray, weights: np.ndarray) -> float:
    bins = equal_mass_bins(confidence)
    gaps = [abs((weights * (confidence - hit))[bins == k].sum()) for k in range(10)]
    return float(np.sum(gaps) / weights.sum())


def reference(name: str, y: np.ndarray, d: np.ndarray, p: np.ndarray, w: np.ndarray) -> float:
    """The same figure from scikit-learn; several classes as the metric's description says: averaged over the classes."""
    k = p.shape[1]
    two, labels = k == 2, list(range(k))
    average = {"average": "binary"} if two else {"average": "macro", "labels": labels}
    if name == "roc_auc":
        if two:
            return sk.roc_auc_score(y, p[:, 1], sample_weight=w)
        return np.mean([sk.roc_auc_score(y == c, p[:, c], sample_weight=w) for c in labels])
    if name == "pr_auc":
        codes = [1] if two else labels
        return np.mean([sk.average_precision_score(y == c, p[:, c], sample_weight=w) for c in codes])
    if name == "accuracy":
        return sk.accuracy_score(y, d, sample_weight=w)
    if name == "balanced_accuracy":
        return sk.balanced_accuracy_score(y, d, sample_weight=w)
    if name == "sensitivity":
        return sk.recall_score(y, d, sample_weight=w, **average)
    if name == "specificity":
        tables = sk.multilabel_confusion_matrix(y, d, sample_weight=w, labels=labels)
        each = tables[:, 0, 0] / tables[:, 0].sum(axis=1)
        return float(each[1]) if two else float(each.mean())
    if name == "precision":
        return sk.precision_score(y, d, sample_weight=w, zero_division=0.0, **average)
    if name == "f1":
        return sk.f1_score(y, d, sample_weight=w, zero_division=0.0, **average)
    if name == "brier":
        loss = ((p - np.eye(k)[y]) ** 2).sum(axis=1)
        return sk.brier_score_loss(y, p[:, 1], sample_weight=w) if two else np.average(loss, weights=w)
    if name == "log_loss":
        return -np.average(np.log(np.clip(p[np.arange(len(y)), y], CLIP, 1)), weights=w)
    confidence, hit = (p[:, 1], y == 1) if two else (p.max(axis=1), y == p.argmax(axis=1))
    return calibration_by_hand(confidence, hit.astype(float), w)


def table(case: str, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, 240)
    y[:k] = np.arange(k)
    if case == "perfect":
        p = np.eye(k)[y]
    elif case == "inverted":
        p = np.eye(k)[(y + 1) % k]
    elif case == "constant":
        p = np.full((240, k), 1.0 / k)
    else:
        p = rng.dirichlet(np.ones(k), 240) + (0.5 * np.eye(k)[y] if case != "chance" else 0.0)
        p /= p.sum(axis=1, keepdims=True)
        if case == "tied":
            p = np.round(p, 1)
            p = np.maximum(p, 0.02) / np.maximum(p, 0.02).sum(axis=1, keepdims=True)
    return y, p.argmax(axis=1), p


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("case", ["perfect", "inverted", "constant", "tied", "chance", "good"])
@pytest.mark.parametrize("name", TWO)
def test_equal_to_the_reference(name: str, case: str, k: int) -> None:
    y, d, p = table(case, k)
    outcomes = Outcomes(y, d, p)
    weights = np.random.default_rng(1).integers(0, 4, len(y)).astype(float)
    weights[:k] = 1.0
    rows = np.stack([np.ones(len(y)), weights])
    found = score_all(outcomes, rows, (name,))[name]
    for value, w in zip(found, rows, strict=True):
        expected = reference(name, y, d, p, w)
        if name == "precision" and k == 2 and not (w * (d == 1)).any():
            assert np.isnan(value)  # nobody was called positive: undefined, where scikit-learn says 0
        else:
            assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("name", TWO)
def test_perfect_is_the_best_and_inverted_is_worse_than_chance(name: str, k: int) -> None:
    values = {case: score(Outcomes(*table(case, k)), name) for case in ("perfect", "chance", "inverted")}
    best = METRICS[name].upper if METRICS[name].better == "higher" else METRICS[name].lower
    assert values["perfect"] == pytest.approx(best, abs=1e-12)
    sign = 1.0 if METRICS[name].better == "higher" else -1.0
    assert sign * values["perfect"] > sign * values["chance"] > sign * values["inverted"]


def test_the_area_is_mann_whitneys_statistic_ties_counted_half() -> None:
    y, d, p = table("tied", 2)
    u = stats.mannwhitneyu(p[y == 1, 1], p[y == 0, 1]).statistic
    assert score(Outcomes(y, d, p), "roc_auc") == pytest.approx(u / ((y == 1).sum() * (y == 0).sum()), abs=1e-12)
    constant = Outcomes(*table("constant", 2))
    assert score(constant, "roc_auc") == 0.5
    assert score(Outcomes(y, d, p), "roc_auc") == pytest.approx(1 - score(Outcomes(y, d, 1 - p), "roc_auc"), abs=1e-12)


@pytest.mark.parametrize("case", ["perfect", "inverted", "constant", "tied", "good"])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_equal_the_reference(name: str, case: str) -> None:
    rng = np.random.default_rng(3)
    y = rng.gamma(2.0, 30.0, 150)
    guess = {"perfect": y, "inverted": 2 * y.mean() - y, "constant": np.full(150, y.mean()),
             "tied": np.round(y, -1), "good": y + rng.normal(0, 10, 150)}[case]  # fmt: skip
    for w in (np.ones(150), rng.integers(0, 3, 150).astype(float)):
        value = score_all(Outcomes(y, guess), w[None, :])[name][0]
        expected = {"mae": sk.mean_absolute_error, "r2": sk.r2_score, "rmse": sk.root_mean_squared_error}
        assert value == pytest.approx(expected[name](y, guess, sample_weight=w), rel=1e-7, abs=1e-9)


def test_r2_of_the_mean_is_nothing_and_of_the_inverted_is_minus_three() -> None:
    y = np.arange(20.0)
    assert score(Outcomes(y, np.full(20, y.mean())), "r2") == pytest.approx(0.0, abs=1e-12)
    assert score(Outcomes(y, 2 * y.mean() - y), "r2") == pytest.approx(-3.0)
    assert np.isnan(score(Outcomes(np.ones(5), np.arange(5.0)), "r2"))


def test_every_task_has_a_metric_of_its_own_by_default() -> None:
    assert set(AUTO.values()) <= set(METRICS)
