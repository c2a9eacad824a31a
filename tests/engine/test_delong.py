"""DeLong's test and the decision curve against their definitions."""

import numpy as np
import pytest
from sklearn import metrics as sk

import engine
from engine.decision_curve import THRESHOLDS, decision_curve, net_benefit
from engine.delong import delong
from engine.metrics import Outcomes


def scores(n: int, seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    shared = rng.normal(size=n)
    a, b = 1.2 * y + shared + rng.normal(0, 0.5, n), 0.8 * y + shared + rng.normal(0, 0.8, n)
    return y, np.round(a) if ties else a, np.round(b) if ties else b


def by_definition(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Equations 4 to 7 of DeLong et al. 1988, pair by pair: the difference and its variance."""

    def kernel(score: np.ndarray) -> np.ndarray:
        x, z = score[y][:, None], score[~y][None, :]
        return (x > z) + 0.5 * (x == z)

    first, second = kernel(a), kernel(b)
    v10 = np.stack([first.mean(axis=1), second.mean(axis=1)])
    v01 = np.stack([first.mean(axis=0), second.mean(axis=0)])
    s = np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]
    return first.mean() - second.mean(), s[0, 0] + s[1, 1] - 2 * s[0, 1]


@pytest.mark.parametrize("ties", [False, True])
def test_equal_to_the_definition(ties: bool) -> None:
    y, a, b = scores(150, 3, ties)
    difference, variance = by_definition(y, a, b)
    found = delong(y, a, b)
    assert found["difference"] == pytest.approx(difference, abs=1e-12)
    assert found["difference"] == pytest.approx(sk.roc_auc_score(y, a) - sk.roc_auc_score(y, b), abs=1e-12)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-6)


def test_turned_around_the_sign_turns_and_alike_is_no_difference() -> None:
    y, a, b = scores(100, 1)
    one, other = delong(y, a, b), delong(y, b, a)
    assert (one["difference"], one["p"]) == (-other["difference"], pytest.approx(other["p"]))
    assert delong(y, a, 3 * a + 1) == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    assert delong(np.ones(5, bool), a[:5], b[:5])["p"] is None


def test_the_p_value_is_uniform_when_nothing_is_different() -> None:
    ps = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        y = rng.random(80) < 0.5
        ps.append(delong(y, y + rng.normal(size=80), y + rng.normal(size=80))["p"])
    assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(ps) == pytest.approx(0.5, abs=0.06)


def test_copies_of_records_are_no_new_evidence() -> None:
    y, a, b = scores(80, 2)
    once = delong(y, a, b)
    copies = [np.tile(each, 6) for each in (y, a, b)]
    grouped = delong(*copies, np.tile(np.arange(80), 6))
    assert grouped["p"] == pytest.approx(once["p"], rel=0.05)
    assert delong(*copies)["p"] < 0.5 * once["p"]


def test_a_patient_on_both_sides_of_the_label_counts_by_the_covariance_too() -> None:
    rng = np.random.default_rng(0)
    estimates, variances = [], []
    for _ in range(300):  # each patient has a healthy and a sick record that share a shift
        shift = rng.normal(size=40)
        y = np.repeat([False, True], 40)
        a = np.concatenate([shift, shift + 1]) + rng.normal(0, 0.5, 80)
        b = rng.normal(size=80) + y
        found = delong(y, a, b, np.tile(np.arange(40), 2))
        estimates.append(found["difference"])
        variances.append(((found["high"] - found["low"]) / 2 / 1.959964) ** 2)
    assert np.mean(variances) == pytest.approx(np.var(estimates), rel=0.2)


def stored(y: np.ndarray, p: np.ndarray) -> dict:
    return {"task": "classification", "true": y.astype(int).tolist(), "decided": (p > 0.5).astype(int).tolist(),
            "patient": list(range(len(y))), "classes": ["no", "yes"], "positive": 1,
            "probabilities": np.column_stack([1 - p, p]).tolist()}  # fmt: skip


def test_compare_offers_it_beside_the_bootstrap() -> None:
    y, a, b = scores(200, 5)
    one, other = (stored(y, 1 / (1 + np.exp(-s))) for s in (a, b))
    by_delong = engine.compare(one, other, "roc_auc", method="delong")
    by_bootstrap = engine.compare(one, other, "roc_auc")
    assert by_delong["difference"] == pytest.approx(by_bootstrap["difference"])
    assert by_delong["low"] == pytest.approx(by_bootstrap["low"], abs=0.02)
    for method, metric in (("delong", "accuracy"), ("guess", "roc_auc")):
        with pytest.raises(engine.EngineError) as caught:
            engine.compare(one, other, metric, method=method)
        assert caught.value.code == "method_unknown"


def test_net_benefit_is_the_papers_formula() -> None:
    rng = np.random.default_rng(0)
    p, hit = np.round(rng.random(200), 2), rng.random(200) < 0.3
    weights = rng.integers(0, 4, (3, 200)).astype(float)
    model, everybody = net_benefit(p, hit.astype(float), weights)
    for row, w in enumerate(weights):
        for k in (0, 9, 49, 89):
            t, n = THRESHOLDS[k], w.sum()
            true, false = (w * hit * (p >= t)).sum(), (w * ~hit * (p >= t)).sum()
            assert model[row, k] == pytest.approx(true / n - false / n * t / (1 - t), abs=1e-12)
            assert everybody[row, k] == pytest.approx(
                (w * hit).sum() / n - (w * ~hit).sum() / n * t / (1 - t), abs=1e-12
            )


def test_a_perfect_model_earns_the_prevalence_and_an_inverted_one_never_pays() -> None:
    hit = np.arange(50) < 10
    for p, useful in ((np.where(hit, 1.0, 0.0), 99), (np.where(hit, 0.0, 1.0), 0)):
        outcomes = Outcomes(hit.astype(int), (p > 0.5).astype(int), np.column_stack([1 - p, p]))
        curve = decision_curve(outcomes, np.arange(50), 20, 0)
        assert curve is not None
        assert len(curve["useful"]) == useful
        if useful:
            assert curve["model"] == pytest.approx([0.2] * 99)
        assert all(
            low <= m <= high for low, m, high in zip(curve["low"], curve["model"], curve["high"], strict=True)
        )


def test_other_tasks_have_no_decision_curve() -> None:
    assert decision_curve(Outcomes(np.arange(3.0), np.arange(3.0)), np.arange(3), 10, 0) is None
