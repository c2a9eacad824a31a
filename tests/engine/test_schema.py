"""Schema: kinds and roles are found, free text and rare categories are not kept."""

import numpy as np
import pandas as pd
import pytest

from engine import EngineError, Kind, Role, Schema, infer_schema
from engine.cells import is_missing, sort_classes, to_category, to_days, to_number


def table(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "patient_id": [f"A-{i:04d}" for i in range(n)],
        "age": rng.integers(20, 90, n),
        "weight": [str(round(x, 1)) for x in rng.normal(70, 9, n)],
        "sex": rng.choice(["F", "M"], n),
        "smoker": rng.random(n) < 0.3,
        "seen": [f"2024-0{1 + i % 9}-1{i % 10}" for i in range(n)],
        "note": [f"Patient {i} complains of pain in the left shoulder since {i} days" for i in range(n)],
        "scan": [f"files/{i}.dcm" for i in range(n)],
        "photo": [f"{i}.PNG" for i in range(n)],
        "token": [f"x{i * 7919:08x}" for i in range(n)],
        "empty": [None] * n,
        "diagnosis": rng.choice(["yes", "no"], n),
    })  # fmt: skip


def test_kinds_and_roles_are_found() -> None:
    schema = infer_schema(table())
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds["age"] is kinds["weight"] is Kind.NUMBER
    assert kinds["sex"] is kinds["smoker"] is Kind.CATEGORY
    assert (kinds["seen"], kinds["note"], kinds["scan"], kinds["photo"]) == (
        Kind.DATE,
        Kind.TEXT,
        Kind.VOLUME,
        Kind.IMAGE,
    )
    roles = {column.name: column.role for column in schema.columns}
    assert roles["patient_id"] is Role.PATIENT
    assert roles["diagnosis"] is Role.TARGET
    assert roles["token"] is roles["empty"] is Role.IGNORE
    assert roles["note"] is roles["age"] is Role.FEATURE


def test_no_free_text_is_kept() -> None:
    assert "shoulder" not in str(infer_schema(table()).to_dict())


def test_numbers_have_their_range_and_quantiles() -> None:
    age = infer_schema(pd.DataFrame({"age": [0.0, 50.0, 100.0, None]}))["age"]
    assert (age.minimum, age.maximum, age.missing_share) == (0.0, 100.0, 0.25)
    assert age.quantiles is not None
    assert age.quantiles[3] == 50.0


def test_schema_survives_json() -> None:
    schema = infer_schema(table())
    assert Schema.from_dict(schema.to_dict()) == schema


@pytest.mark.parametrize(
    "data", [{}, {"columns": [{"name": "x", "kind": "colour"}]}, {"columns": [{"kind": "text"}]}]
)
def test_what_is_no_schema_is_refused(data) -> None:
    with pytest.raises(EngineError) as caught:
        Schema.from_dict(data)
    assert caught.value.code == "schema_invalid"


def test_a_target_that_is_no_column_is_refused() -> None:
    with pytest.raises(EngineError, match="weather"):
        infer_schema(table(), target="weather")


@pytest.mark.parametrize(
    "value", [None, float("nan"), pd.NA, pd.NaT, "", " ", "NA", "?", "不详", np.float64("nan")]
)
def test_missing_spellings(value) -> None:
    assert is_missing(value)
    assert to_category(value) is None
    assert np.isnan(to_number(value)[0])


def test_cells_mean_the_same_however_they_are_written() -> None:
    assert to_category(1) == to_category(1.0) == to_category("1") == to_category(np.int64(1)) == "1"
    assert to_category(True) == to_category("True") == "True"
    assert to_number(" 12.5 ") == (12.5, None)
    assert to_number("inf")[1] == to_number(float("-inf"))[1] == "infinite"
    assert to_number("high")[1] == "not_a_number"
    assert to_days("1970-01-02") == to_days(pd.Timestamp("1970-01-02")) == (1.0, None)
    assert to_days("yesterday")[1] == "not_a_date"


def test_classes_are_sorted_as_numbers_when_they_are() -> None:
    assert sort_classes({"10", "9", "0"}) == ["0", "9", "10"]
    assert sort_classes({"b", "10", "a"}) == ["10", "a", "b"]
