"""Survival's figures and Cox's model against published tables, hand-worked cases, and scikit-survival where installed.

scikit-survival is GPL-3: it is a source to compare with in tests, and no part of the product.
"""

import importlib.util

import numpy as np
import pandas as pd
import pytest

import engine
from engine.tasks import survival_metrics as figures
from engine.tasks.cox import Cox
from engine.tasks.hazards import free_of_event, intervals

needs_sksurv = pytest.mark.skipif(
    importlib.util.find_spec("sksurv") is None, reason="scikit-survival is not installed"
)
# Remission of leukaemia in weeks under 6-mercaptopurine and placebo: Freireich et al. 1963, as in Cox 1972.
TREATED = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
TREATED_EVENTS = [1] * 9 + [0] * 12
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_kaplan_meier_of_the_leukaemia_trial() -> None:
    """Published: Kalbfleisch & Prentice, The Statistical Analysis of Failure Time Data, chapter 1."""
    curve = figures.kaplan_meier(np.array(TREATED, float), np.array(TREATED_EVENTS) == 1, np.ones((1, 21)))
    published = [1.0, 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert curve.at(np.array([5.0, 6, 7, 10, 13, 16, 22, 23]))[0] == pytest.approx(published, abs=5e-4)


def test_cox_of_the_leukaemia_trial() -> None:
    """Published: the log hazard ratio of placebo is 1.572 with Efron's ties (R's coxph, survival 3.5)."""
    time = np.array(TREATED + PLACEBO, float)
    event = np.array(TREATED_EVENTS + [1] * 21)
    placebo = np.repeat([0.0, 1.0], 21)[:, None]
    model = Cox(times=[10.0], horizon=0, C=1e8).fit(placebo, np.column_stack([time, event]))
    assert model.coef_[0] == pytest.approx(1.5721, abs=1e-4)


def test_concordance_by_hand() -> None:
    """Five records; comparable pairs: the event at 1 with all, the event at 3 with those after it."""
    time, risk = np.array([1.0, 2, 3, 3, 5]), np.array([0.9, 0.1, 0.5, 0.5, 0.7])
    event = np.array([True, False, True, False, True])
    # at 1: 0.9 above all four. At 3: the censoring at 3 comes after it, equal risk: half; 5 has the larger risk: none.
    assert figures.concordance(time, event, risk, np.ones((1, 5)))[0] == pytest.approx((4 + 0.5 + 0) / 6)


def test_concordance_equals_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = int(rng.integers(2, 40))
        time, risk = rng.integers(1, 8, n).astype(float), rng.integers(0, 5, n).astype(float)
        event, w = rng.random(n) < 0.6, rng.integers(0, 3, n).astype(float)
        good = total = 0.0
        for i in np.flatnonzero(event):
            for j in range(n):
                if time[i] < time[j] or (time[i] == time[j] and not event[j]):
                    total += w[i] * w[j]
                    good += w[i] * w[j] * (float(risk[i] > risk[j]) + 0.5 * float(risk[i] == risk[j]))
        value = figures.concordance(time, event, risk, w[None, :])[0]
        assert np.isnan(value) if total == 0 else value == pytest.approx(good / total)


def test_without_censoring_the_figures_are_the_ordinary_ones() -> None:
    from sklearn.metrics import brier_score_loss, roc_auc_score

    rng = np.random.default_rng(0)
    time = rng.exponential(5, 200)
    event, risk, weights = np.ones(200, bool), np.clip(np.exp(-time / 5) + rng.normal(0, 0.2, 200), 0, 1), np.ones((1, 200))
    own, fixed = figures.inverse_of_censoring(time, event, weights, np.array([4.0]))
    gone = time <= 4
    assert figures.auc_at(time, event, risk, 4.0, weights, own)[0] == pytest.approx(roc_auc_score(gone, risk))
    brier = figures.brier(time, event, 1 - risk[:, None], np.array([4.0]), weights, own, fixed)
    assert brier[0, 0] == pytest.approx(brier_score_loss(gone, risk))
    bins = figures.bins_of(risk)
    gaps = [abs(risk[bins == k].mean() - gone[bins == k].mean()) * (bins == k).mean() for k in np.unique(bins)]
    assert figures.calibration_at(time, event, risk, 4.0, weights)[0] == pytest.approx(sum(gaps))


def test_intervals_by_hand() -> None:
    """Times 2, 4, 6. An event at 3; censored at 3.5 (past the half of (2, 4]), at 2.5 (not), and an event after all."""
    found = intervals(np.array([3.0, 3.5, 2.5, 9.0, 4.0]), np.array([1, 0, 0, 1, 1]), np.array([2.0, 4, 6]))
    nan = np.nan
    expected = [[0, 1, nan], [0, 0, nan], [0, nan, nan], [0, 0, 0], [0, 1, nan]]
    assert np.array_equal(found, expected, equal_nan=True)
    assert free_of_event(np.array([[0.5, 0.5, 0.1]]))[0] == pytest.approx([0.5, 0.25, 0.225])


def test_weights_are_repetitions() -> None:
    rng = np.random.default_rng(3)
    time, event = rng.integers(1, 30, 150).astype(float), rng.random(150) < 0.5
    risk, times = np.round(rng.random(150), 1), np.array([5.0, 10, 15])
    weights = rng.integers(0, 3, (1, 150)).astype(float)
    again = np.repeat(np.arange(150), weights[0].astype(int))
    found = [_all(time, event, risk, times, weights),
             _all(time[again], event[again], risk[again], times, np.ones((1, len(again))))]  # fmt: skip
    for name in found[0]:
        assert found[0][name] == pytest.approx(found[1][name]), name


def _all(time, event, risk, times, weights) -> dict:
    own, fixed = figures.inverse_of_censoring(time, event, weights, times)
    free = np.exp(-np.outer(risk, times) / 10)
    return {
        "concordance": figures.concordance(time, event, risk, weights),
        "uno": figures.concordance(time, event, risk, weights, own**2 * (time < 15)),
        "auc": figures.auc_at(time, event, risk, 10.0, weights, own),
        "brier": figures.brier(time, event, free, times, weights, own, fixed)[0],
        "integrated": figures.integrated(figures.brier(time, event, free, times, weights, own, fixed), times),
    }


def made(n: int, tied: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    time, censored = rng.exponential(10, n), rng.exponential(14, n)
    event, time = time <= censored, np.minimum(time, censored)
    risk = -np.log(time) + rng.normal(size=n)
    return (np.ceil(time), event, np.round(risk * 2) / 2) if tied else (time, event, risk)


@needs_sksurv
@pytest.mark.parametrize("tied", [False, True])
def test_figures_equal_scikit_survivals(tied: bool) -> None:
    from sksurv import metrics
    from sksurv.util import Surv

    time, event, risk = made(300, tied)
    times, ones, y = np.array([3.0, 6.0, 10.0, 15.0]), np.ones((1, 300)), Surv.from_arrays(event, time)
    free = np.exp(-np.exp((risk - risk.mean()) / risk.std())[:, None] * times / 20)
    own, fixed = figures.inverse_of_censoring(time, event, ones, times)
    brier = figures.brier(time, event, free, times, ones, own, fixed)
    harrell = metrics.concordance_index_censored(event, time, risk)[0]
    uno = metrics.concordance_index_ipcw(y, y, risk, tau=15.0)[0]
    assert figures.concordance(time, event, risk, ones)[0] == pytest.approx(harrell, abs=1e-12)
    assert figures.concordance(time, event, risk, ones, own**2 * (time < 15))[0] == pytest.approx(uno, abs=1e-12)
    assert brier[0] == pytest.approx(metrics.brier_score(y, y, free, times)[1], abs=1e-12)
    whole = metrics.integrated_brier_score(y, y, free, times)
    assert figures.integrated(brier, times)[0] == pytest.approx(whole, abs=1e-12)
    auc = metrics.cumulative_dynamic_auc(y, y, risk, [10.0])[0][0]
    assert figures.auc_at(time, event, risk, 10.0, ones, own)[0] == pytest.approx(auc, abs=1e-12)


@needs_sksurv
@pytest.mark.parametrize("C", [1e8, 0.05])
def test_cox_equals_scikit_survivals(C: float) -> None:
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 4))
    time, event, _ = made(300, tied=True)
    time = np.ceil(time * np.exp(-0.5 * X[:, 0]))
    model = Cox(times=[2.0, 5.0], horizon=0, C=C).fit(X, np.column_stack([time, event]))
    other = CoxPHSurvivalAnalysis(alpha=1 / C, ties="efron", n_iter=100, tol=1e-12).fit(X, Surv.from_arrays(event, time))
    assert model.coef_ == pytest.approx(other.coef_, abs=1e-6)
    time = time + rng.random(300) * 1e-3  # without ties the baselines agree too
    model = Cox(times=[2.0, 5.0], horizon=0, C=C).fit(X, np.column_stack([time, event]))
    other = CoxPHSurvivalAnalysis(alpha=1 / C, n_iter=100, tol=1e-12).fit(X, Surv.from_arrays(event, time))
    curves = [[f(2.0), f(5.0)] for f in other.predict_survival_function(X[:20])]
    assert model.raw(X[:20]) == pytest.approx(np.array(curves), abs=1e-6)


@needs_sksurv
def test_lasso_cox_equals_scikit_survivals() -> None:
    from sksurv.linear_model import CoxnetSurvivalAnalysis
    from sksurv.util import Surv

    rng = np.random.default_rng(2)
    X = rng.normal(size=(250, 8))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    time, event, _ = made(250, tied=False)
    time = time * np.exp(-0.6 * X[:, 0] + 0.4 * X[:, 1])
    other = CoxnetSurvivalAnalysis(alphas=[0.08], l1_ratio=1.0, tol=1e-12, max_iter=100_000)
    other.fit(X, Surv.from_arrays(event, time))
    model = Cox(times=[5.0], horizon=0, C=1 / (250 * 0.08), l1_ratio=1.0).fit(X, np.column_stack([time, event]))
    assert model.coef_ == pytest.approx(other.coef_[:, 0], abs=1e-5)
    assert (model.coef_ == 0).sum() == (other.coef_[:, 0] == 0).sum() > 0


@needs_sksurv
@pytest.mark.slow  # fits three real studies of 500 to 1,151 patients
@pytest.mark.parametrize("study", ["whas500", "gbsg2", "aids"])
def test_real_studies_are_ranked_as_well_as_by_a_plain_cox_model(study: str) -> None:
    from sksurv import datasets
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.metrics import concordance_index_censored
    from sksurv.preprocessing import OneHotEncoder

    x, y = getattr(datasets, f"load_{study}")()
    event, time = y.dtype.names
    frame = pd.DataFrame(x).assign(time=y[time], event=y[event].astype(int))
    order = np.random.default_rng(0).permutation(len(frame))
    train, test = order[: int(0.7 * len(order))], order[int(0.7 * len(order)) :]
    recipe = engine.Recipe(target="time", event="event", candidates=("linear", "boosting"), time_budget=2.0)
    fitted = engine.fit(frame.iloc[train], recipe)
    report = engine.evaluate(fitted, frame.iloc[test], bootstrap=200)
    wide = OneHotEncoder().fit_transform(x)
    wide = (wide - wide.mean()) / wide.std()
    plain = CoxPHSurvivalAnalysis(alpha=1.0).fit(wide.iloc[train], y[train])
    theirs = concordance_index_censored(y[test][event], y[test][time], plain.predict(wide.iloc[test]))[0]
    assert report.metrics["concordance"]["value"] > theirs - 0.02
    assert report.metrics["concordance"]["high"] > theirs
    assert report.metrics["integrated_brier"]["value"] < report.baseline["integrated_brier"]
    assert abs(fitted.validation["value"] - report.metrics["concordance"]["value"]) < 0.08
