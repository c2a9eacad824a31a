"""A figure's interval where every resample says the same: what so many patients can show."""

import numpy as np
import pytest

from engine.calibration import wilson
from engine.evaluation import measure
from engine.intervals import bearing_on, entry_of
from engine.metrics import METRICS, Outcomes

TRUTH = np.array([0] * 30 + [1] * 14)


def judged(truth: np.ndarray, classes: int = 2, sure: float = 0.9) -> Outcomes:
    p = np.full((len(truth), classes), (1 - sure) / (classes - 1))
    p[np.arange(len(truth)), truth] = sure
    return Outcomes(truth, truth.copy(), p, 1)


@pytest.mark.parametrize(
    ("name", "patients"),
    [("accuracy", 44), ("sensitivity", 14), ("specificity", 30), ("precision", 14), ("f1", 14), ("balanced_accuracy", 14),
     ("roc_auc", 14), ("pr_auc", 14)],
)  # fmt: skip
def test_a_perfect_share_is_no_surer_than_its_patients(name: str, patients: int) -> None:
    found = measure(judged(TRUTH), np.arange(44), 200, 0)[name]
    assert (found["value"], found["high"], found["n"]) == (1.0, 1.0, 44)
    assert found["low"] == pytest.approx(wilson(patients, patients)[0])


def test_records_of_one_patient_count_once() -> None:
    once = measure(judged(TRUTH), np.arange(44), 100, 0)["sensitivity"]
    copies = measure(judged(np.tile(TRUTH, 5)), np.tile(np.arange(44), 5), 100, 0)["sensitivity"]
    assert copies["low"] == once["low"]


def test_several_classes_rest_on_the_smallest() -> None:
    truth = np.array([0] * 20 + [1] * 9 + [2] * 30)
    outcomes = judged(truth, 3)
    assert bearing_on("sensitivity", outcomes, np.arange(59)) == 9
    assert measure(outcomes, np.arange(59), 100, 0)["roc_auc"]["low"] == pytest.approx(wilson(9, 9)[0])


def test_all_wrong_is_told_the_same_way() -> None:
    wrong = Outcomes(TRUTH, 1 - TRUTH, judged(TRUTH).probabilities, 1)
    found = measure(wrong, np.arange(44), 100, 0)["accuracy"]
    assert (found["low"], found["value"]) == (0.0, 0.0)
    assert found["high"] == pytest.approx(wilson(0, 44)[1])


def test_an_ordinary_figure_keeps_its_percentiles() -> None:
    drawn = np.linspace(0.7, 0.9, 101)
    found = entry_of(METRICS["accuracy"], 0.8, drawn, 50, 50, "")
    assert (found["low"], found["high"]) == pytest.approx((0.705, 0.895))
    # A figure without bounds that never varies says so: it is not a share.
    assert entry_of(METRICS["mae"], 0.0, np.zeros(50), 50, 50, "")["high"] == 0.0


def test_spans_rest_on_the_patients_that_have_any() -> None:
    from engine.pipelines.measuring import measure

    sheet = {"task": "spans", "true": [1, 1, 1] + [0] * 97, "found": [1] * 4 + [0] * 96}

    def scores(_sheet: object, weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"span_sensitivity": np.ones(len(weights)), "span_precision": np.ones(len(weights))}

    share = METRICS["accuracy"]
    found = measure(scores, {"span_sensitivity": share, "span_precision": share}, sheet, np.arange(100), 100, 0, "")
    assert found["span_sensitivity"]["low"] == pytest.approx(wilson(3, 3)[0])
    assert found["span_precision"]["low"] == pytest.approx(wilson(4, 4)[0])
