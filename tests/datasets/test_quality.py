"""The quality report finds what is planted in real data, and never looks at the locked test."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from datasets import quality as q
from datasets.models import Dataset, Record
from datasets.records import add_records, change_label
from datasets.services import create_dataset
from tests.conftest import actor
from tests.datasets.conftest import COLUMNS, NAMES, rows

EXTRA = [
    {"name": "answer", "kind": "category"},
    {"name": "ward", "kind": "category"},
    {"name": "file number", "kind": "number"},
    {"name": "nothing", "kind": "number"},
    {"name": "seldom", "kind": "number"},
]


@pytest.fixture
def planted(dana: Any) -> Dataset:
    """400 real rows with a leak, a constant, an identifier, an empty and a mostly missing column, and an outlier."""
    who = actor(dana)
    dataset = create_dataset(actor=who, name="Planted", columns=COLUMNS + EXTRA)
    given = [
        {
            **row,
            "answer": row["diagnosis"][:1],
            "ward": "A",
            "file number": 10_000 + i,
            "seldom": 1.5 if i % 4 == 0 else None,
        }
        for i, row in enumerate(rows(400))
    ]
    for row in given[:10]:
        row["mean radius"] = 9000 + row["mean radius"]
    add_records(actor=who, dataset=dataset, rows=given, source="api")
    dataset.refresh_from_db()
    return dataset


def column(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in report["columns"] if c["name"] == name)


def test_planted_faults_are_found_and_sound_columns_are_not_blamed(planted: Dataset) -> None:
    report = q.quality(planted)
    found = {c["name"]: c["findings"] for c in report["columns"]}
    assert found["answer"] == ["gives_away"]
    assert found["ward"] == ["constant"]
    assert found["file number"] == ["identifier"]
    assert found["nothing"] == ["empty"]
    assert "mostly_missing" in found["seldom"]
    assert "outliers" in found["mean radius"]
    assert found["mean texture"] == found["mrn"] == found["diagnosis"] == []
    assert 0.4 < column(report, "mean radius")["gives_away"] < q.GIVES_AWAY


def test_numbers_are_those_of_the_training_records_alone(planted: Dataset) -> None:
    train = Record.objects.filter(dataset=planted, split="train")
    report = q.quality(planted)
    assert report["sampled"] == report["records"] == train.count() < 400
    missing = sum(r.values["seldom"] is None for r in train)
    assert column(report, "seldom")["missing"] == missing
    assert report["target"]["distribution"]["counts"] == sorted(
        (train.filter(target=t).count() for t in ("benign", "malignant")), reverse=True
    )
    assert report["patients"]["most"] == 2
    several = train.values_list("patient_key", flat=True)
    assert report["patients"]["several"] == pd.Series(list(several)).duplicated().sum()


def test_contradicting_labels_of_a_patient_are_counted(planted: Dataset, dana: Any) -> None:
    before = q.quality(planted)["patients"]["contradicting"]
    keys = Record.objects.filter(dataset=planted, split="train").values_list("patient_key", flat=True)
    twice = next(
        k
        for k in keys
        if Record.objects.filter(patient_key=k).count() == 2
        and Record.objects.filter(patient_key=k).values("target").distinct().count() == 1
    )
    record = Record.objects.filter(patient_key=twice).first()
    assert record is not None
    change_label(actor=actor(dana), record=record, value="unsure", reason="x")
    assert q.quality(planted)["patients"]["contradicting"] == before + 1


def test_outlier_rules_are_the_published_ones() -> None:
    numbers = np.array([*range(1, 20), 100], dtype=float)
    found = q.outliers(numbers)
    assert found is not None
    low, high = np.quantile(numbers, [0.25, 0.75])
    assert (found["high"], found["iqr"], found["robust_z"]) == (high + 1.5 * (high - low), 1, 1)
    assert q.outliers(np.ones(50)) == {"n": 50, "iqr": 0, "robust_z": 0, "low": 1.0, "high": 1.0}


def test_a_column_tells_all_something_or_nothing() -> None:
    rng = np.random.default_rng(0)
    y = pd.Series(rng.integers(0, 3, 600).astype(str))
    assert q.gives_away(y.map({"0": 1.0, "1": 2.0, "2": 7.0}), y, True) == 1
    assert (q.gives_away(pd.Series(rng.normal(size=600)), y, True) or 0) < 0.2
    number = pd.Series(rng.normal(size=2000))
    assert (q.gives_away(number * 3 + 1, number, True) or 0) > 0.98
    assert q.gives_away(pd.Series([1.0] * 10), pd.Series(["a", "b"] * 5), True) is None


def test_duplicates_apart_from_patient_and_identifier_are_counted(dana: Any) -> None:
    who = actor(dana)
    dataset = create_dataset(actor=who, name="Twice", columns=COLUMNS)
    given = [{**row, "mrn": f"{copy}{row['mrn']}{i}"} for i, row in enumerate(rows(60)) for copy in "AB"]
    add_records(actor=who, dataset=dataset, rows=given, source="api")
    train = [tuple(r.values[n] for n in NAMES) for r in Record.objects.filter(dataset=dataset, split="train")]
    assert q.quality(dataset)["duplicates"] == len(train) - len(set(train)) > 0


def test_report_of_an_empty_dataset_and_of_one_without_target(dana: Any) -> None:
    dataset = create_dataset(actor=actor(dana), name="Bare", columns=COLUMNS[1:2])
    report = q.quality(dataset)
    assert (report["sampled"], report["target"], report["patients"]) == (0, None, None)


def test_page_says_what_it_means(planted: Dataset, bob: Any, client_of: Any) -> None:
    from django.urls import reverse

    text = client_of(bob).get(reverse("datasets:quality", args=[planted.pk])).content.decode()
    assert (
        "gives the label away" in text
        and "The locked test is left out" in text
        and "rarest of 2 classes" in text
    )
