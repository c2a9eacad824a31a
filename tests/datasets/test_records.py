"""Records: values made canonical, rows recognised, dealt to a split by patient, added all or none, labels corrected."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import AuditEvent
from datasets.models import Column, Dataset, Record, RecordChange
from datasets.records import RecordRefused, add_record, add_records, change_label, coerce, row_hash
from datasets.services import create_dataset
from datasets.signals import records_added
from datasets.splitting import split_for, splits_for
from tests.conftest import actor
from tests.datasets.conftest import COLUMNS, rows


def column(kind: str, **extra: Any) -> Column:
    return Column(name="x", kind=kind, **extra)


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        ("number", "63", 63),
        ("number", " 1.5 ", 1.5),
        ("number", 5.0, 5),
        ("number", True, 1),
        ("number", "", None),
        ("number", float("nan"), None),
        ("category", 3.0, "3"),
        ("category", " m ", "m"),
        ("category", False, "false"),
        ("text", "咳嗽三天", "咳嗽三天"),
        ("date", "2024-5-31".replace("-5-", "-05-"), "2024-05-31"),
        ("date", "2024/5/3", "2024-05-03"),
        ("date", "2024-05-31T10:20", "2024-05-31T10:20:00"),
        ("image", "a" * 64, "a" * 64),
        ("category", None, None),
    ],
)
def test_a_cell_becomes_canonical(kind: str, raw: Any, value: Any) -> None:
    found = coerce(column(kind), raw)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "raw", "text"),
    [
        ("number", "many", "not a number"),
        ("number", "1_000", "not a number"),
        ("number", float("inf"), "not a number"),
        ("number", 10**400, "not a number"),
        ("number", [1], "not a number"),
        ("category", "x" * 201, "longer than 200"),
        ("text", "nul\x00", "cannot be stored"),
        ("text", {"a": 1}, "not a list or an object"),
        ("date", "31.5.2024", "not a date"),
        ("date", 20240531, "not a date"),
        ("image", "photo.png", "SHA-256"),
    ],
)
def test_what_cannot_be_a_value_is_refused_in_words(kind: str, raw: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        coerce(column(kind), raw)


def test_impossible_numbers_are_refused() -> None:
    age = column("number", minimum=0, maximum=120)
    assert coerce(age, 120) == 120
    with pytest.raises(ValueError, match="above the largest"):
        coerce(age, 121)
    with pytest.raises(ValueError, match="below the least"):
        coerce(age, -1)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no finding
@given(
    keys=st.lists(st.text(max_size=20), max_size=50),
    salt=st.text("0123456789abcdef", min_size=32, max_size=32),
)
def test_split_is_the_same_one_by_one_and_many_at_once(keys: list[str], salt: str) -> None:
    dataset = Dataset(split_salt=salt, test_fraction=0.3)
    assert splits_for(dataset, keys).tolist() == [split_for(dataset, key) for key in keys]


def test_split_rule_never_changes() -> None:
    dataset = Dataset(split_salt="0" * 32, test_fraction=0.2)
    keys = [f"P{i:04d}" for i in range(2000)]
    splits = splits_for(dataset, keys).tolist()
    # The first test patients under this salt, for ever: a change of the rule would move patients into the test.
    assert [k for k, s in zip(keys, splits, strict=True) if s == "test"][:5] == FIRST_TEST_PATIENTS
    assert 0.17 < splits.count("test") / 2000 < 0.23


FIRST_TEST_PATIENTS = ["P0001", "P0003", "P0006", "P0007", "P0010"]


def test_equal_rows_have_equal_hashes_in_one_dataset_only() -> None:
    one, other = Dataset(split_salt="1" * 32), Dataset(split_salt="2" * 32)
    assert (
        row_hash(one, {"a": 5, "b": None}) == row_hash(one, {"a": 5.0}) == row_hash(one, {"c": None, "a": 5})
    )
    assert row_hash(one, {"a": 5}) != row_hash(one, {"a": "5"})
    assert row_hash(one, {"a": 5}) != row_hash(other, {"a": 5})


def test_patients_stay_together_and_counts_are_true(cancer: Dataset) -> None:
    records = Record.objects.filter(dataset=cancer)
    assert (cancer.record_count, cancer.test_count) == (120, records.filter(split="test").count())
    sides: dict[str, set[str]] = {}
    for key, split in records.values_list("patient_key", "split"):
        sides.setdefault(key, set()).add(split)
    assert len(sides) == 108 and all(len(side) == 1 for side in sides.values())


def test_the_same_row_again_changes_nothing(cancer: Dataset, dana: Any) -> None:
    answers = add_records(actor=actor(dana), dataset=cancer, rows=rows(), source="api")
    assert not any(created for _record, created in answers)
    cancer.refresh_from_db()
    assert cancer.record_count == Record.objects.filter(dataset=cancer).count() == 120


def test_one_bad_row_refuses_all_and_says_which(cancer: Dataset, dana: Any) -> None:
    fresh = [{"mrn": "Q1", "mean radius": 9.5}, {"mrn": "Q2", "mean radius": "wide", "wrong": 1}]
    with pytest.raises(RecordRefused) as refused:
        add_records(actor=actor(dana), dataset=cancer, rows=fresh, source="api")
    assert refused.value.index == 1 and set(refused.value.errors) == {"mean radius", "wrong"}
    assert not Record.objects.filter(patient_key="Q1").exists()


def test_adding_tells_the_apps_above_after_the_commit(
    cancer: Dataset, dana: Any, django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[int] = []

    def listen(sender: Any, dataset: Dataset, count: int, **_kwargs: Any) -> None:
        heard.append(count)

    records_added.connect(listen)
    with django_capture_on_commit_callbacks(execute=True):
        record, created = add_record(actor=actor(dana), dataset=cancer, values={"mrn": "Q1"}, source="api")
        assert heard == []
    assert (heard, created, record.target) == ([1], True, None)


def test_corrected_label_leaves_history_and_an_audit_event_without_patient_data(
    cancer: Dataset, dana: Any
) -> None:
    record = Record.objects.filter(dataset=cancer, target="malignant").first()
    assert record is not None
    change_label(actor=actor(dana), record=record, value="benign", reason="pathology")
    change = RecordChange.objects.get(record=record)
    assert (change.old_value, change.new_value, change.changed_by) == ("malignant", "benign", dana)
    event = AuditEvent.objects.get(action="record.label_changed")
    assert "malignant" not in str(event.detail) and record.patient_key not in str(event.detail)
    assert change_label(actor=actor(dana), record=record, value="benign", reason="again") is None


def test_uploading_the_uncorrected_row_again_does_not_bring_the_old_label_back(
    cancer: Dataset, dana: Any
) -> None:
    record = Record.objects.filter(dataset=cancer).order_by("id").first()
    assert record is not None
    change_label(actor=actor(dana), record=record, value="unsure", reason="x")
    again, created = add_record(actor=actor(dana), dataset=cancer, values=rows(1)[0], source="api")
    assert (again.pk, created, again.target) == (record.pk, False, "unsure")


def test_a_label_without_a_target_column_is_refused(dana: Any) -> None:
    dataset = create_dataset(actor=actor(dana), name="No target", columns=COLUMNS[:2])
    record, _created = add_record(actor=actor(dana), dataset=dataset, values={"mrn": "A"}, source="api")
    with pytest.raises(RecordRefused, match="target"):
        change_label(actor=actor(dana), record=record, value="x", reason="y")
