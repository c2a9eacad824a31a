"""Reading many: the lists of data sets, and records by key-set paging that is as quick at a million as at a thousand.

Of the filters on records, the one that an index answers best runs in the database; all others, and the search in values,
are applied to at most WINDOW records a page, and the page says how many it has looked at. So no filter, however rare
what it looks for, ever reads the whole table in one request, and the next page goes on from where this one stopped.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Max, OuterRef, QuerySet, Subquery

from accounts.models import Organisation
from datasets.models import Column, Dataset, Record, Role, Split, Upload

WINDOW = 10_000
CHUNK = 500
MAX_CHUNK = 8_000
COUNT_CAP = 10_000
SORTS = ("newest", "oldest", "patient", "label")
NO_LABEL = "(none)"


def datasets_of(organisation: Organisation | None, *, archived: bool = False) -> QuerySet[Any]:
    """An organisation's data sets with `.target_name` and `.last_upload_at`, newest first, in one query."""
    target = Column.objects.filter(dataset=OuterRef("pk"), role=Role.TARGET).values("name")[:1]
    last = (
        Upload.objects.filter(dataset=OuterRef("pk"), state=Upload.State.IMPORTED)
        .order_by()
        .values("dataset")
        .annotate(last=Max("finished_at"))
        .values("last")
    )
    rows: QuerySet[Any] = Dataset.objects.for_organisation(organisation).filter(
        archived_at__isnull=not archived
    )
    annotated: QuerySet[Any] = rows.annotate(target_name=Subquery(target), last_upload_at=Subquery(last))
    return annotated


@dataclass(frozen=True)
class RecordFilter:
    """What a list of records is asked for; empty strings ask for nothing."""

    patient: str = ""  # the beginning of a patient key
    text: str = ""  # anywhere in a value, any case
    target: str = ""  # the label, or NO_LABEL
    split: str = ""
    upload: str = ""
    source: str = ""
    missing: str = ""  # a column's name, or "*" for any column
    sort: str = "newest"

    @property
    def names(self) -> list[str]:
        """The filters in use, without what they ask for: fit for the audit log."""
        return [
            n
            for n in ("patient", "text", "target", "split", "upload", "source", "missing")
            if getattr(self, n)
        ]


class Row(NamedTuple):
    """What the filters look at of a record: far quicker to read than the whole."""

    pk: int
    patient_key: str
    target: str | None
    split: str
    source: str
    upload_id: Any
    values: dict[str, Any] = {}  # read only when a filter looks at it


@dataclass
class Page:
    """One page of records. `next` is the cursor of the next one ("" at the end); `looked_at` records were searched."""

    records: list[Record] = field(default_factory=list)
    next: str = ""
    looked_at: int = 0
    windowed: bool = False  # some filter was applied record by record
    ended_early: bool = False  # the window ended before the page was full
    total: int = 0
    total_is_capped: bool = False


class BadCursor(ValueError):
    """The cursor is not one of ours."""


def encode(*key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode(cursor: str, keyed: bool) -> tuple[str, int]:
    """(key, id) of a cursor; the key is "" when records are sorted by id. Raises BadCursor."""
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        key, pk = (parts[0], parts[1]) if keyed else ("", parts[0])
        if not isinstance(key, str) or "\x00" in key or type(pk) is not int or not 0 <= pk < 2**63:
            raise ValueError
    except (ValueError, TypeError, LookupError, binascii.Error, RecursionError):
        raise BadCursor(cursor) from None
    return key, pk


def page(
    dataset: Dataset, asked: RecordFilter, *, cursor: str = "", size: int = 50, window: int = WINDOW
) -> Page:
    """One page of the data set's records. Raises BadCursor."""
    asked = replace(asked, sort=effective_sort(asked))
    columns = [c.name for c in dataset.columns.all()]
    by_index, tests = _plan(dataset, asked, columns)
    result = Page(windowed=bool(tests))
    result.total, result.total_is_capped = _count(dataset, asked, by_index, tests)
    names = Row._fields if asked.text or asked.missing else Row._fields[:-1]
    rows = by_index.values_list(*names)
    found: list[int] = []
    last: Row | None = None
    for row in _ordered(rows, asked.sort, cursor, chunk=CHUNK if tests else size + 1):
        if len(found) == size or result.looked_at == window:
            result.ended_early = len(found) < size
            result.next = _cursor_after(last, asked.sort)
            break
        last = row
        result.looked_at += 1
        if all(test(row) for test in tests):
            found.append(row.pk)
    records = Record.objects.in_bulk(found)
    result.records = [records[pk] for pk in found if pk in records]
    return result


def _plan(
    dataset: Dataset, asked: RecordFilter, columns: list[str]
) -> tuple[QuerySet[Any], list[Callable[[Row], bool]]]:
    """The rows that one index gives in the order asked for, and what remains to be tested on each."""
    rows: QuerySet[Any] = Record.objects.filter(dataset=dataset)
    tests: dict[str, Callable[[Row], bool]] = {
        "patient": lambda r: r.patient_key.startswith(asked.patient),
        "upload": lambda r: str(r.upload_id) == asked.upload,
        "target": lambda r: r.target is None if asked.target == NO_LABEL else r.target == asked.target,
        "split": lambda r: r.split == asked.split,
        "source": lambda r: r.source == asked.source,
        "text": lambda r: contains(r.values, asked.text.casefold()),
        "missing": lambda r: lacks(r.values, columns if asked.missing == "*" else [asked.missing]),
    }
    tests = {name: test for name, test in tests.items() if getattr(asked, name)}
    if asked.sort == "label":
        rows = rows.exclude(target=None)
    elif "patient" in tests:
        del tests["patient"]
        rows = _patients(rows, asked.patient)
    elif asked.sort != "patient" and "upload" in tests:
        del tests["upload"]
        rows = _uploaded(rows, dataset, asked.upload)
    elif asked.sort != "patient" and "target" in tests:
        del tests["target"]
        rows = rows.filter(target=None if asked.target == NO_LABEL else asked.target)
    return rows, list(tests.values())


def _uploaded(rows: QuerySet[Any], dataset: Dataset, upload: str) -> QuerySet[Any]:
    """An upload's records, looked for only where they are."""
    found = Upload.objects.filter(dataset=dataset, pk=upload).values_list("record_from", "record_to").first()
    if found is None or None in found:
        return rows.none()
    return rows.filter(upload=upload, id__gte=found[0], id__lte=found[1])


def _patients(rows: QuerySet[Any], start: str) -> QuerySet[Any]:
    """Patient keys with this beginning. Binary order lets SQLite's index find them; other orders leave it to LIKE."""
    rows = rows.filter(patient_key__gte=start)
    if connection.vendor == "sqlite":
        return rows.filter(patient_key__lt=start + "\U0010ffff")
    return rows.filter(patient_key__startswith=start)


def _sort_key(sort: str) -> str:
    return {"patient": "patient_key", "label": "target"}.get(sort, "")


def effective_sort(asked: RecordFilter) -> str:
    """Looking for patients gives them in the order of their keys, unless sorted by label."""
    return "patient" if asked.patient and asked.sort != "label" else asked.sort


def _ordered(rows: QuerySet[Any], sort: str, cursor: str, chunk: int) -> Iterator[Row]:
    """Walk the rows in order from behind the cursor, a chunk at a time, each chunk by a seek in the index."""
    key_field = _sort_key(sort)
    key, pk = decode(cursor, bool(key_field)) if cursor else ("", None)
    while True:
        got = [Row(*row) for row in _after(rows, sort, key_field, key, pk, chunk)]
        yield from got
        if len(got) < chunk:
            return
        key, pk = (getattr(got[-1], key_field) if key_field else ""), got[-1].pk
        chunk = min(chunk * 4, MAX_CHUNK)


def _after(
    rows: QuerySet[Any], sort: str, key_field: str, key: str, pk: int | None, chunk: int
) -> Iterator[Row]:
    if not key_field:
        behind = {} if pk is None else {"id__gt" if sort == "oldest" else "id__lt": pk}
        yield from rows.filter(**behind).order_by("id" if sort == "oldest" else "-id")[:chunk]
        return
    if pk is not None:
        # First the rest of the same key, then the greater keys: two seeks instead of one scan.
        rest = list(rows.filter(**{key_field: key, "id__lt": pk}).order_by("-id")[:chunk])
        yield from rest
        chunk -= len(rest)
        rows = rows.filter(**{f"{key_field}__gt": key})
    if chunk:
        yield from rows.order_by(key_field, "-id")[:chunk]


def _cursor_after(record: Row | None, sort: str) -> str:
    if record is None:
        return ""
    key_field = _sort_key(sort)
    return encode(getattr(record, key_field), record.pk) if key_field else encode(record.pk)


def _count(dataset: Dataset, asked: RecordFilter, rows: QuerySet[Any], tests: list[Any]) -> tuple[int, bool]:
    """How many there are: kept counts where there are any, else counted up to a cap; 0 when only the window knows."""
    if asked.names == ["split"] and asked.sort != "label":
        return (
            dataset.test_count if asked.split == Split.TEST else dataset.record_count - dataset.test_count
        ), False
    if tests:
        return 0, False
    if not asked.names and asked.sort != "label":
        return dataset.record_count, False
    count = rows.order_by()[: COUNT_CAP + 1].count()
    return min(count, COUNT_CAP), count > COUNT_CAP


def contains(values: dict[str, Any], text: str) -> bool:
    """Whether any value, as text, holds the case-folded text."""
    return any(text in str(value).casefold() for value in values.values() if value is not None)


def lacks(values: dict[str, Any], columns: list[str]) -> bool:
    """Whether any of the columns has no value."""
    return any(values.get(name) is None for name in columns)


def labels(dataset: Dataset, limit: int = 50) -> list[str]:
    """The first labels in order, each found by one seek in the index (a “loose index scan”), in one query."""
    table = connection.ops.quote_name(Record._meta.db_table)
    pk = Record._meta.get_field("dataset").get_db_prep_value(dataset.pk, connection)
    sql = f"""
        WITH RECURSIVE seek(label, n) AS (
            SELECT MIN(target), 1 FROM {table} WHERE dataset_id = %s
            UNION ALL
            SELECT (SELECT MIN(target) FROM {table} WHERE dataset_id = %s AND target > seek.label), n + 1
            FROM seek WHERE seek.label IS NOT NULL AND n < %s
        ) SELECT label FROM seek WHERE label IS NOT NULL
    """  # noqa: S608 - only the table's own name is put in
    with connection.cursor() as cursor:
        cursor.execute(sql, [pk, pk, limit])
        return [row[0] for row in cursor.fetchall()]


def added_since(dataset: Dataset, moment: datetime, cap: int = COUNT_CAP) -> int:
    """How many of the newest records came after the moment, counted up to the cap."""
    newest = Record.objects.filter(dataset=dataset).order_by("-id").values_list("created_at", flat=True)
    count = 0
    for created_at in newest[:cap]:
        if created_at <= moment:
            break
        count += 1
    return count
