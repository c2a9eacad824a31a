"""Calibration, prediction sets, intervals and thresholds keep what they promise."""

import numpy as np
import pandas as pd
import pytest

from engine.calibration import Calibrator, conformal_quantile, operating_point, wilson
from engine.candidates.base import sigmoid, softmax

RNG = np.random.default_rng(0)


def overconfident(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z = RNG.normal(0, 1.5, n)
    truth = (RNG.random(n) < sigmoid(z)).astype(np.int64)
    p = sigmoid(3 * z)
    return np.column_stack([1 - p, p]), truth, sigmoid(z)


def stepped(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A model that is right about the order and wrong about the shape, which no S-curve mends."""
    p = RNG.random(n)
    real = np.select([p < 0.45, p < 0.55], [0.08, 0.5], 0.7)
    return np.column_stack([1 - p, p]), (RNG.random(n) < real).astype(np.int64), real


@pytest.mark.parametrize(
    ("made", "n", "method"),
    [(overconfident, 600, "sigmoid"), (overconfident, 4000, "sigmoid"), (stepped, 4000, "isotonic")],
)
def test_promises_are_set_right_by_a_curve_or_where_that_is_better_by_a_free_shape(made, n: int, method: str) -> None:
    raw, truth, real = made(n)
    calibrator = Calibrator().fit(raw, truth, np.arange(n), 0)
    calibrated = calibrator.apply(raw)[:, 1]
    assert calibrator.method == method
    assert np.abs(calibrated - real).mean() < 0.05 < np.abs(raw[:, 1] - real).mean()


def test_the_order_of_patients_is_kept() -> None:
    for made, n in ((overconfident, 600), (stepped, 4000)):
        raw, truth, _ = made(n)
        calibrated = Calibrator().fit(raw, truth, np.arange(n), 0).apply(raw)[:, 1]
        assert np.all(np.diff(calibrated[np.argsort(raw[:, 1])]) >= 0)
        assert len(np.unique(calibrated)) > 0.9 * n


def test_several_classes_get_a_temperature() -> None:
    z = RNG.normal(0, 1, (800, 3))
    truth = np.array([RNG.choice(3, p=p) for p in softmax(z)])
    calibrator = Calibrator().fit(softmax(2.5 * z), truth, np.arange(800), 0)
    assert calibrator.method == "temperature"
    assert calibrator.slope == pytest.approx(1 / 2.5, rel=0.15)
    assert np.all(calibrator.deviation(softmax(2.5 * z), truth) >= 0)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_patients_never_show_certainty(classes: int) -> None:
    """Each told without a fault: the calibrated probability is no surer than so many hits out of so many allow."""
    truth = np.arange(20 * classes) % classes
    raw = softmax(np.where(np.eye(classes)[truth] == 1, 4.0, 0.0))
    calibrator = Calibrator().fit(raw, truth, np.arange(len(truth)), 0)
    sure = calibrator.apply(raw)[np.arange(len(truth)), truth]
    assert sure == pytest.approx(21 / 22, abs=0.005)
    copies = Calibrator().fit(np.tile(raw, (9, 1)), np.tile(truth, 9), np.tile(np.arange(len(truth)), 9), 0)
    assert copies.apply(raw)[np.arange(len(truth)), truth] == pytest.approx(sure, abs=1e-4)


def test_a_model_worse_than_chance_is_flattened_not_turned_around() -> None:
    raw, truth, _ = overconfident(600)
    calibrated = Calibrator().fit(raw[:, ::-1], truth, np.arange(600), 0).apply(raw)
    assert np.ptp(calibrated[:, 1]) < 0.01


def test_the_standard_error_shrinks_with_patients_not_with_copies() -> None:
    raw, truth, _ = overconfident(300)
    codes = np.ones(300, dtype=np.int64)
    once = Calibrator().fit(raw, truth, np.arange(300), 0).deviation(raw, codes)
    copies = Calibrator().fit(np.tile(raw, (5, 1)), np.tile(truth, 5), np.tile(np.arange(300), 5), 0)
    assert copies.deviation(raw, codes) == pytest.approx(once, rel=0.1)


def test_conformal_quantile_by_hand() -> None:
    scores = np.arange(1.0, 20.0)  # 19 patients: 95% of 20 is the 19th
    assert conformal_quantile(scores, np.arange(19), 0.95) == 19.0
    assert conformal_quantile(scores[:18], np.arange(18), 0.95) == float("inf")
    assert conformal_quantile(np.arange(1.0, 100.0), np.arange(99), 0.9) == 90.0


def test_the_threshold_has_the_largest_youden_index() -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7])
    point = operating_point(p, np.array([False, False, True, False, True, True]), "yes")
    assert point["threshold"] == pytest.approx(0.25)
    assert (point["sensitivity"], point["specificity"], point["n"]) == (1.0, pytest.approx(2 / 3), 6)


def test_wilson_interval_of_the_textbook() -> None:
    assert wilson(81, 263) == pytest.approx(
        [0.2553, 0.3662], abs=1e-4
    )  # Newcombe 1998, doi:10.1002/(SICI)1097-0258


def test_regression_intervals_cover_new_patients(amounts) -> None:
    frame, models = amounts
    unseen = frame.iloc[300:]
    for model in models.values():
        interval = model.predict(unseen).interval
        inside = (interval[:, 0] <= unseen["target"]) & (unseen["target"] <= interval[:, 1])
        assert 0.88 <= inside.mean() <= 1.0
        assert model.predict(unseen).probabilities is None
        assert model.predict(unseen).sets is None


def test_prediction_sets_cover_new_patients(fitted) -> None:
    from tests.engine.conftest import make_patients

    unseen = make_patients(600, seed=9)
    for model in fitted.values():
        sets = model.predict(unseen).sets
        covered = np.mean([truth in found for truth, found in zip(unseen["diagnosis"], sets, strict=True)])
        assert 0.9 <= covered < 1.0
        assert 1 < np.mean([len(found) for found in sets]) < 2


def test_the_probability_lies_in_its_interval_and_the_value_in_its_set(fitted, three, patients) -> None:
    for model, frame in [(m, patients) for m in fitted.values()] + [(m, three[0]) for m in three[1].values()]:
        result = model.predict(frame)
        shown = (
            result.probabilities[:, model.positive]
            if len(model.classes_) == 2
            else result.probabilities.max(axis=1)
        )
        assert np.all((result.interval[:, 0] <= shown + 1e-9) & (shown <= result.interval[:, 1] + 1e-9))
        assert np.allclose(result.probabilities.sum(axis=1), 1)
        assert all(value in found for value, found in zip(result.value, result.sets, strict=True))


def test_the_decision_follows_the_operating_point(fitted, patients) -> None:
    model = fitted["linear"]
    result = model.predict(patients)
    called = result.probabilities[:, 1] >= model.operating_point["threshold"]
    assert np.array_equal(result.value == "yes", called)
    assert pd.Series(result.value).isin(["yes", "no"]).all()


def test_many_small_classes_get_one_temperature_and_no_free_shapes() -> None:
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(2400) % 12)
    raw = softmax(np.where(np.eye(12)[truth] == 1, 2.0, 0.0) + rng.normal(size=(2400, 12)))
    fitted = Calibrator().fit(raw, truth, np.arange(2400), 0)
    assert fitted.method == "temperature"
    assert fitted.deviation(raw, raw.argmax(axis=1)).max() < 0.5
