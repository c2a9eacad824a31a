"""Lists of records: every filter, order and page gives exactly the rows that it should, within its window."""

from typing import Any

import pytest

from datasets import queries
from datasets.models import Dataset, Record
from datasets.queries import NO_LABEL, RecordFilter, page
from datasets.records import add_record
from tests.conftest import actor


def walk(dataset: Dataset, asked: RecordFilter, **options: Any) -> list[Record]:
    """All pages, one after the other."""
    found, cursor = [], ""
    while True:
        one = page(dataset, asked, cursor=cursor, **options)
        found += one.records
        if not one.next:
            return found
        cursor = one.next


FILTERS = [
    RecordFilter(),
    RecordFilter(sort="oldest"),
    RecordFilter(sort="patient"),
    RecordFilter(sort="label"),
    RecordFilter(patient="P001"),
    RecordFilter(target="malignant"),
    RecordFilter(target="malignant", split="test"),
    RecordFilter(split="train", sort="patient"),
    RecordFilter(target=NO_LABEL),
    RecordFilter(source="review"),
    RecordFilter(missing="mean texture"),
    RecordFilter(missing="*", target="benign"),
    RecordFilter(text="MALIG"),
    RecordFilter(patient="P001", target="malignant", sort="label"),
]


def expected(record: Record, asked: RecordFilter) -> bool:
    names = ["mrn", "mean radius", "mean texture", "mean smoothness", "diagnosis"]
    lacking = [n for n in names if record.values.get(n) is None]
    return (
        record.patient_key.startswith(asked.patient)
        and (not asked.target or record.target == (None if asked.target == NO_LABEL else asked.target))
        and (not asked.split or record.split == asked.split)
        and (not asked.source or record.source == asked.source)
        and (not asked.missing or (bool(lacking) if asked.missing == "*" else asked.missing in lacking))
        and (not asked.text or any(asked.text.lower() in str(v).lower() for v in record.values.values()))
        and (asked.sort != "label" or record.target is not None)
    )


@pytest.mark.parametrize("asked", FILTERS, ids=str)
@pytest.mark.parametrize("options", [{"size": 7}, {"size": 50}, {"size": 5, "window": 11}], ids=str)
def test_pages_hold_each_matching_record_once_and_in_order(
    cancer: Dataset, dana: Any, asked: RecordFilter, options: dict[str, int]
) -> None:
    who = actor(dana)
    add_record(actor=who, dataset=cancer, values={"mrn": "P0011", "mean radius": 1}, source="review")
    add_record(actor=who, dataset=cancer, values={"mrn": "Z", "diagnosis": "benign"}, source="api")
    found = walk(cancer, asked, **options)
    keys = {
        "newest": lambda r: -r.pk,
        "oldest": lambda r: r.pk,
        "patient": lambda r: (r.patient_key, -r.pk),
        "label": lambda r: (r.target, -r.pk),
    }
    rows = [r for r in Record.objects.filter(dataset=cancer) if expected(r, asked)]
    assert [r.pk for r in found] == [r.pk for r in sorted(rows, key=keys[queries.effective_sort(asked)])]


def test_a_search_looks_at_no_more_than_its_window_and_says_so(cancer: Dataset) -> None:
    one = page(cancer, RecordFilter(text="nowhere"), window=40)
    assert (one.records, one.looked_at, one.ended_early) == ([], 40, True) and one.next


def test_chinese_is_found_in_values(cancer: Dataset, dana: Any) -> None:
    record, _ = add_record(
        actor=actor(dana), dataset=cancer, values={"mrn": "W", "diagnosis": "良性肿瘤"}, source="api"
    )
    assert page(cancer, RecordFilter(text="肿瘤")).records == [record]


def test_totals_are_kept_or_counted(cancer: Dataset) -> None:
    malignant = Record.objects.filter(dataset=cancer, target="malignant").count()
    assert page(cancer, RecordFilter()).total == 120
    assert page(cancer, RecordFilter(split="test")).total == cancer.test_count
    assert page(cancer, RecordFilter(target="malignant")).total == malignant
    assert page(cancer, RecordFilter(patient="P0008")).total == 2


def test_labels_are_found_one_by_one(cancer: Dataset, dana: Any) -> None:
    add_record(actor=actor(dana), dataset=cancer, values={"mrn": "A", "diagnosis": "angioma"}, source="api")
    assert queries.labels(cancer) == ["angioma", "benign", "malignant"]
    assert queries.labels(cancer, limit=2) == ["angioma", "benign"]


@pytest.mark.parametrize("cursor", ["", "x", "W10", "bnVsbA", "WyJhIl0", "W3RydWVd", "Wy0xXQ", "é"])
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(queries.BadCursor):
        queries.decode(cursor, keyed=False)
