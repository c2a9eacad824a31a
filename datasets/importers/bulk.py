"""Many records written at once, past the ORM: those that are there already are left as they are."""

import io
import sqlite3
from collections.abc import Sequence

from django.db import connection
from django.utils import timezone

from datasets.models import Record, Split, Upload

Row = tuple[int, str, str, str | None, str, str]
COLUMNS = (
    "dataset_id",
    "upload_id",
    "row_number",
    "values",
    "patient_key",
    "target",
    "row_hash",
    "split",
    "source",
    "created_at",
)
LOOK_UP = 500


def insert(upload: Upload, rows: Sequence[Row]) -> tuple[int, int]:
    """(added, of these in the locked test). Call it inside a transaction."""
    if not rows:
        return 0, 0
    before = Record.objects.filter(upload=upload).order_by("-id").values_list("id", flat=True).first() or 0
    if connection.vendor == "postgresql":
        _copy(upload, rows)
    else:
        _execute_many(upload, rows)
    splits = Record.objects.filter(upload=upload, id__gt=before)
    return splits.count(), splits.filter(split=Split.TEST).count()


def _names() -> str:
    return ", ".join(connection.ops.quote_name(name) for name in COLUMNS)


def _execute_many(upload: Upload, rows: Sequence[Row]) -> None:
    table = connection.ops.quote_name(Record._meta.db_table)
    dataset, own = _key(upload.dataset_id), _key(upload.pk)
    # `?`: past Django's translation of each statement's placeholders.
    sql = f"INSERT OR IGNORE INTO {table} ({_names()}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'upload', ?)"  # noqa: S608
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        raw = cursor.cursor  # sqlite3's own cursor
        sqlite3.Cursor.executemany(raw, sql, [(dataset, own, *row, now) for row in rows])


def _key(value: object) -> object:
    return value.hex if hasattr(value, "hex") and connection.vendor == "sqlite" else str(value)


def _escaped(text: str | None) -> str:
    """One cell in the text form of COPY."""
    if text is None:
        return "\\N"
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _copy(upload: Upload, rows: Sequence[Row]) -> None:
    """COPY into a table of this transaction, then one INSERT that skips what is there."""
    table = connection.ops.quote_name(Record._meta.db_table)
    start, end = f"{upload.dataset_id}\t{upload.pk}\t", f"\tupload\t{timezone.now().isoformat()}\n"
    lines = [
        f"{start}{n}\t{_escaped(values)}\t{_escaped(key)}\t{_escaped(label)}\t{digest}\t{split}{end}"
        for n, values, key, label, digest, split in rows
    ]
    names = _names()
    with connection.cursor() as cursor:
        make = f"CREATE TEMPORARY TABLE arriving ON COMMIT DROP AS SELECT {names} FROM {table} WITH NO DATA"  # noqa: S608
        cursor.execute(make)
        cursor.cursor.copy_expert(f"COPY arriving ({names}) FROM STDIN", io.StringIO("".join(lines)))
        selected = f"SELECT {names} FROM arriving ORDER BY row_number"  # noqa: S608
        cursor.execute(f"INSERT INTO {table} ({names}) {selected} ON CONFLICT DO NOTHING")
        cursor.execute("DROP TABLE arriving")


def duplicates(upload: Upload, rows: Sequence[Row], first: int) -> tuple[int, int, list[int]]:
    """(twice in this file, in the data set before, the first few row numbers) among rows from row `first` on."""
    added = set(
        Record.objects.filter(upload=upload, row_number__gte=first)
        .order_by("-id")
        .values_list("row_number", flat=True)[: len(rows)]
    )
    assert upload.dataset_id is not None
    left = [row for row in rows if row[0] not in added]
    own: set[str] = set()
    for start in range(0, len(left), LOOK_UP):
        some = [row[4] for row in left[start : start + LOOK_UP]]
        own.update(
            Record.objects.filter(dataset_id=upload.dataset_id, row_hash__in=some, upload=upload).values_list(
                "row_hash", flat=True
            )
        )
    twice = [row[0] for row in left if row[4] in own]
    return len(twice), len(left) - len(twice), twice[:20]
