"""Changing kinds and roles: the records follow, or nothing changes and it is said why."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from datasets import columns as c
from datasets.models import Dataset, Record
from datasets.records import add_record, add_records, change_label
from datasets.services import create_dataset
from datasets.versions import freeze
from tests.conftest import actor
from tests.datasets.conftest import COLUMNS, rows


def change(dataset: Dataset, who: Any, *changes: dict[str, Any]) -> c.Plan:
    return c.change_columns(actor=actor(who), dataset=dataset, changes=changes)


def test_new_kind_rewrites_values_and_the_same_rows_are_still_recognised(cancer: Dataset, dana: Any) -> None:
    record = Record.objects.filter(dataset=cancer).order_by("id").first()
    assert record is not None
    change_label(actor=actor(dana), record=record, value="unsure", reason="x")
    splits = dict(Record.objects.values_list("pk", "split"))
    change(cancer, dana, {"name": "mean radius", "kind": "category"})
    record.refresh_from_db()
    assert record.values["mean radius"] == str(rows(1)[0]["mean radius"])
    again = add_records(actor=actor(dana), dataset=cancer, rows=rows(), source="api")
    assert not any(created for _record, created in again)
    assert dict(Record.objects.values_list("pk", "split")) == splits


def test_kind_that_does_not_fit_is_refused_with_the_count(cancer: Dataset, dana: Any) -> None:
    with pytest.raises(ValidationError, match="120 records"):
        change(cancer, dana, {"name": "diagnosis", "kind": "number"})
    assert cancer.columns.get(name="diagnosis").kind == "category"
    assert Record.objects.filter(target="malignant").exists()


def test_target_moves_and_labels_with_it(cancer: Dataset, dana: Any) -> None:
    change(cancer, dana, {"name": "mean radius", "role": "target"}, {"name": "diagnosis", "role": "feature"})
    for record in Record.objects.filter(dataset=cancer):
        assert record.target is not None and float(record.target) == record.values["mean radius"]


def test_target_and_patient_swap_in_one_change(cancer: Dataset, dana: Any) -> None:
    change(cancer, dana, {"name": "mrn", "role": "target"}, {"name": "diagnosis", "role": "patient"})
    assert set(Record.objects.values_list("patient_key", flat=True)) == {"benign", "malignant"}
    cancer.refresh_from_db()
    assert cancer.test_count == Record.objects.filter(split="test").count()
    for key in ("benign", "malignant"):
        assert Record.objects.filter(patient_key=key).values("split").distinct().count() == 1


def test_two_targets_are_refused(cancer: Dataset, dana: Any) -> None:
    with pytest.raises(ValidationError, match="Only one column can be the target"):
        change(cancer, dana, {"name": "mrn", "role": "target"})


def test_split_is_never_dealt_anew_once_a_version_is_frozen(cancer: Dataset, dana: Any) -> None:
    freeze(actor=actor(dana), dataset=cancer)
    with pytest.raises(ValidationError, match="has been frozen"):
        change(cancer, dana, {"name": "mrn", "role": "feature"})
    change(cancer, dana, {"name": "mean radius", "role": "ignore"})
    assert cancer.columns.get(name="mean radius").role == "ignore"


def test_a_change_too_large_for_one_request_is_refused_with_what_to_do(
    cancer: Dataset, dana: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(c, "LIMIT", 100)
    with pytest.raises(ValidationError, match="new data set"):
        change(cancer, dana, {"name": "mrn", "role": "feature"})


def test_limits_hold_for_later_records(cancer: Dataset, dana: Any) -> None:
    change(cancer, dana, {"name": "mean radius", "minimum": 0.0, "maximum": 50.0})
    with pytest.raises(ValueError, match="above the largest"):
        add_record(actor=actor(dana), dataset=cancer, values={"mean radius": 51}, source="api")


def test_rows_that_become_equal_are_both_kept(dana: Any) -> None:
    dataset = create_dataset(
        actor=actor(dana), name="Codes", columns=[{"name": "code", "kind": "category"}, *COLUMNS[4:]]
    )
    for code in ("5", "05"):
        add_record(actor=actor(dana), dataset=dataset, values={"code": code}, source="api")
    dataset.refresh_from_db()
    change(dataset, dana, {"name": "code", "kind": "number"})
    assert [r.values["code"] for r in Record.objects.filter(dataset=dataset)] == [5, 5]
