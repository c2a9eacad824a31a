"""Checks: what would spoil training is found and said before it starts."""

import numpy as np
import pandas as pd
import pytest

from engine import EngineError, Recipe, check, fit_candidates
from engine.schema import Kind
from engine.transformers import TRANSFORMERS
from tests.engine.conftest import make_patients

RECIPE = Recipe(target="diagnosis", patient="mrn")


def codes(frame: pd.DataFrame, recipe: Recipe = RECIPE, severity: str | None = None) -> dict[str, str | None]:
    return {p.code: p.column for p in check(frame, recipe) if severity in (None, p.severity)}


def test_good_data_has_no_error() -> None:
    assert codes(make_patients(), severity="error") == {}


def test_every_message_can_be_made_from_its_params() -> None:
    frame = make_patients(90)
    frame.loc[3, "diagnosis"] = None
    for problem in check(frame, RECIPE):
        assert all(str(value) in problem.message for value in problem.params.values())


def test_one_class_is_an_error() -> None:
    frame = make_patients().assign(diagnosis="yes")
    assert codes(frame, severity="error") == {"one_class": "diagnosis"}
    with pytest.raises(EngineError) as caught:
        fit_candidates(frame, RECIPE)
    assert caught.value.code == "one_class"


def test_a_class_of_one_patient_is_an_error_even_with_two_records() -> None:
    frame = make_patients()
    frame.loc[:1, ["mrn", "diagnosis"]] = ["P-same", "maybe"]
    assert codes(frame, severity="error") == {"class_too_small": "diagnosis"}


def test_few_records_warn_and_very_few_are_an_error() -> None:
    assert "few_records" in codes(make_patients(60), severity="warning")
    assert "too_few_records" in codes(make_patients(15), severity="error")


def test_few_patients_are_an_error() -> None:
    frame = make_patients(100)
    frame["mrn"] = [f"P{i % 5}" for i in range(100)]
    assert "too_few_patients" in codes(frame, severity="error")


@pytest.mark.parametrize("noise", [0, 1])
def test_a_column_that_gives_the_answer_away_is_left_out_unless_allowed(noise: int) -> None:
    frame = make_patients()
    frame["drug"] = np.where(frame["diagnosis"] == "yes", 100.0, 10.0)
    frame.loc[: noise - 1, "drug"] = 55.0
    assert codes(frame, severity="error") == {}
    assert codes(frame, severity="warning")["leak"] == "drug"
    allowed = Recipe(target="diagnosis", patient="mrn", allow_leaks=True)
    assert codes(frame, allowed, "error") == {}
    assert codes(frame, allowed, "warning")["leak_used"] == "drug"


def test_a_column_filled_in_only_for_the_sick_gives_the_answer_away() -> None:
    frame = make_patients()
    frame["surgery"] = [None if d == "no" else "2024-05-01" for d in frame["diagnosis"]]
    assert codes(frame, severity="warning")["leak"] == "surgery"


def test_a_copy_of_a_number_target_is_a_leak() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "y": rng.normal(size=200)})
    frame["copy"] = frame["y"] * 2.2 + 1
    assert codes(frame, Recipe(target="y"), "warning")["leak"] == "copy"


def test_a_strong_honest_column_is_no_leak() -> None:
    frame = make_patients()
    frame["sign"] = np.where((frame["diagnosis"] == "yes") ^ (np.arange(len(frame)) % 12 == 0), "a", "b")
    assert "leak" not in codes(frame)


def test_doubtful_columns_and_rows_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TRANSFORMERS, Kind.VOLUME)  # a kind that nothing handles
    frame = make_patients()
    frame["token"] = [f"t{i:05x}" for i in range(len(frame))]
    frame["nothing"] = None
    frame["scan"] = [f"{i}.dcm" for i in range(len(frame))]
    frame.loc[0, "age"] = np.inf
    frame.loc[1, "diagnosis"] = None
    frame = pd.concat([frame, frame.iloc[[5]]], ignore_index=True)
    frame.loc[len(frame) - 1, ["token", "scan"]] = frame.loc[5, ["token", "scan"]]
    found = codes(frame, severity="warning")
    assert found["column_identifier"] == "token"
    assert found["column_empty"] == "nothing"
    assert found["kind_not_used"] == "scan"
    assert found["values_infinite"] == "age"
    assert found["labels_missing"] == "diagnosis"
    assert "duplicates" in found


def test_a_patient_with_contradicting_labels_is_said() -> None:
    assert codes(make_patients(), severity="warning")["patient_contradicts"] == "diagnosis"


@pytest.mark.parametrize(
    ("recipe", "code"),
    [
        (Recipe(target="weather"), "column_missing"),
        (Recipe(target="diagnosis", ignore=("gone",)), "column_missing"),
        (Recipe(target="diagnosis", metric="rmse"), "metric_wrong_task"),
        (Recipe(target="diagnosis", positive="perhaps"), "positive_unknown"),
        (Recipe(target="diagnosis", ignore=("age", "pressure", "smoker", "seen", "mrn")), "no_features"),
    ],
)
def test_a_recipe_that_does_not_fit_the_table_is_an_error(recipe: Recipe, code: str) -> None:
    assert code in codes(make_patients(), recipe, "error")
