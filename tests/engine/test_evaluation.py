"""Evaluation and comparison: intervals by patient, curves, groups, and tests between models."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

import engine
from engine import EngineError
from engine.evaluation import measure
from engine.metrics import Outcomes
from tests.engine.conftest import make_patients


@pytest.fixture(scope="module")
def unseen() -> pd.DataFrame:
    return make_patients(300, seed=7)


@pytest.fixture(scope="module")
def report(fitted, unseen) -> engine.Report:
    return engine.evaluate(fitted["linear"], unseen, groups="smoker", bootstrap=200)


def test_the_report_is_right_and_json(report, fitted, unseen) -> None:
    p = fitted["linear"].predict(unseen).probabilities[:, 1]
    truth = (unseen["diagnosis"] == "yes").astype(int)
    assert report.metrics["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(truth, p))
    assert report.n == 300
    assert report.patients == unseen["mrn"].nunique() < 300
    for entry in report.metrics.values():
        assert entry["low"] <= entry["value"] <= entry["high"]
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["classes"] == ["no", "yes"]
    assert report.baseline["roc_auc"] == 0.5 < report.metrics["roc_auc"]["low"]


def test_curves_and_tables_agree_with_the_metrics(report, unseen) -> None:
    roc = report.curves["roc"]["yes"]
    area = np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"])
    assert area == pytest.approx(report.metrics["roc_auc"]["value"], abs=0.01)
    counts = np.array(report.confusion["counts"])
    assert counts.sum() == 300
    assert np.trace(counts) / 300 == pytest.approx(report.metrics["accuracy"]["value"])
    assert sum(point["n"] for point in report.curves["calibration"]) == 300
    table = {row["class"]: row for row in report.per_class}
    assert table["yes"]["sensitivity"] == pytest.approx(report.metrics["sensitivity"]["value"])
    assert sum(group["n"] for group in report.groups["smoker"].values()) == 300


def test_intervals_are_wider_when_records_share_patients() -> None:
    rng = np.random.default_rng(0)
    y, noise = rng.integers(0, 2, 60), rng.random(60)
    y, p = np.repeat(y, 10), np.repeat(np.clip(0.3 * y + 0.7 * noise, 0, 1), 10)
    outcomes = Outcomes(y, (p > 0.5).astype(int), np.column_stack([1 - p, p]))
    grouped = measure(outcomes, np.repeat(np.arange(60), 10), 300, 0)["accuracy"]
    naive = measure(outcomes, np.arange(600), 300, 0)["accuracy"]
    assert grouped["high"] - grouped["low"] > 2 * (naive["high"] - naive["low"])


def test_one_class_in_the_test_is_undefined_with_a_reason(fitted, unseen) -> None:
    only = engine.evaluate(fitted["linear"], unseen[unseen["diagnosis"] == "no"], bootstrap=50)
    assert only.metrics["roc_auc"]["value"] is None
    assert "one class" in only.metrics["roc_auc"]["reason"]
    assert only.metrics["specificity"]["value"] > 0


def test_unlabelled_rows_and_unknown_classes_are_counted(fitted, unseen) -> None:
    frame = unseen.copy()
    frame.loc[:4, "diagnosis"] = None
    frame.loc[5:6, "diagnosis"] = "perhaps"
    report = engine.evaluate(fitted["linear"], frame, bootstrap=10)
    assert (report.n, report.left_out) == (293, {"unlabelled": 5, "unknown_class": 2})
    with pytest.raises(EngineError, match="diagnosis"):
        engine.evaluate(fitted["linear"], frame.drop(columns="diagnosis"))


def test_several_classes_and_regression_have_reports(three, amounts) -> None:
    report = engine.evaluate(three[1]["linear"], three[0], bootstrap=50)
    assert set(report.curves["roc"]) == {"setosa", "versicolor", "virginica"}
    assert report.metrics["roc_auc"]["value"] > 0.9
    numbers = engine.evaluate(amounts[1]["linear"], amounts[0].iloc[300:], bootstrap=50)
    assert set(numbers.metrics) == {"mae", "rmse", "r2"}
    assert numbers.metrics["r2"]["value"] > 0.3
    json.dumps(numbers.to_dict(), allow_nan=False)


def test_a_thousand_resamples_of_a_thousand_records_are_quick() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    p = rng.random(1000)
    began = time.process_time()
    measure(Outcomes(y, (p > 0.5).astype(int), np.column_stack([1 - p, p])), np.arange(1000), 1000, 0)
    assert time.process_time() - began < 2.0


def test_a_clearly_better_model_is_told_from_a_worse_one(fitted, unseen) -> None:
    good = engine.evaluate(fitted["linear"], unseen, bootstrap=0).predictions
    shuffled = unseen.assign(pressure=np.random.default_rng(0).permutation(unseen["pressure"]))
    bad = engine.evaluate(fitted["linear"], shuffled, bootstrap=0).predictions
    found = engine.compare(good, bad, "roc_auc", patients=good["patient"], seed=1)
    assert found["difference"] > 0.1
    assert found["low"] > 0
    assert found["p"] < 0.01
    assert (
        engine.compare(bad, good, "roc_auc", patients=good["patient"], seed=1)["difference"]
        == -found["difference"]
    )


def test_a_model_is_not_different_from_itself(fitted, unseen) -> None:
    same = engine.evaluate(fitted["linear"], unseen, bootstrap=0).predictions
    assert engine.compare(same, same, "brier", patients=same["patient"]) == {
        "difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0,
    }  # fmt: skip


def test_other_records_cannot_be_compared(fitted, unseen) -> None:
    a = engine.evaluate(fitted["linear"], unseen, bootstrap=0).predictions
    b = engine.evaluate(fitted["linear"], unseen.head(100), bootstrap=0).predictions
    for other, metric in ((b, "roc_auc"), (a, "rmse")):
        with pytest.raises(EngineError) as caught:
            engine.compare(a, other, metric)
        assert caught.value.code == "not_paired"
    with pytest.raises(EngineError, match="beauty"):
        engine.compare(a, a, "beauty")
