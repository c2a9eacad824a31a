"""Many records written at once, past the ORM: those that are there already are left as they are.

All rows go in with one statement, which runs without Python's lock, so that the next rows are read and converted meanwhile.
"""

import io
import sqlite3
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from numpy.typing import NDArray

from datasets.importers.rows import Rows
from datasets.models import Record, Split, Upload

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
CACHE_KB, PLACES = 65_536, 10_000


@dataclass
class Inserted:
    """What became of rows: how many were added, of these in the locked test, and the range of ids that they are in."""

    added: int
    test: int
    first: int
    last: int


def tune() -> None:
    """Make this process's connection fit for an import: on SQLite, indexes stay in its own bounded memory."""
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            cursor.execute("PRAGMA mmap_size = 0")  # mapped pages would count as this process's memory


def insert(upload: Upload, rows: Rows) -> Inserted:
    """Insert the rows that are new. Call it inside a transaction."""
    before = _newest()
    if not rows:
        return Inserted(0, 0, before + 1, before)
    write = _copy if connection.vendor == "postgresql" else _insert_select
    added = write(upload, rows)
    all_new = added == len(rows)
    test = int(rows.test.sum()) if all_new else _own(upload, before).filter(split=Split.TEST).count()
    return Inserted(added, test, before + 1, _newest())


def _newest() -> int:
    return Record.objects.order_by("-id").values_list("id", flat=True).first() or 0


def _own(upload: Upload, before: int) -> Any:
    """The upload's records with ids behind `before`, read by id."""
    return Record.objects.filter(upload=upload, id__gt=before)


def _names() -> str:
    return ", ".join(connection.ops.quote_name(name) for name in COLUMNS)


def _digits(numbers: Any, width: int) -> NDArray[np.uint8]:
    """Whole numbers as (n, width) ASCII digits."""
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    digits: NDArray[np.uint8] = (np.asarray(numbers, np.int64)[:, None] // powers % 10 + 48).astype(np.uint8)
    return digits


def _texts(array: pa.StringArray) -> tuple[Any, NDArray[np.int64], NDArray[np.int64]]:
    """(the bytes of all texts, where each begins counting from 1, its length in bytes). No text at all gives a space,
    because SQLite would take an empty buffer for NULL."""
    if array.offset:
        array = pa.concat_arrays([array])
    _valid, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[: len(array) + 1].astype(np.int64)
    return content if ends[-1] else b" ", ends[:-1] + 1, np.diff(ends)


def _insert_select(upload: Upload, rows: Rows) -> int:
    """SQLite: the texts are bound as a few long blobs, and each row is cut out of them by a line of digits.

    `executemany` would go through Python and take its lock for every row, so that nothing could be made meanwhile.
    """
    values, keys, labels = _texts(rows.values), _texts(rows.keys), _texts(rows.labels)
    fields = [_digits(values[1], 10), _digits(values[2], 10), _digits(keys[1], 10), _digits(keys[2], 4)]
    fields += [_digits(labels[1], 10), _digits(labels[2], 4), _digits(rows.numbers, 12)]
    fields += [(rows.test[:, None] + 48).astype(np.uint8)]
    fields += [(pc.is_null(rows.labels).to_numpy(False)[:, None] + 48).astype(np.uint8)]
    fields += [np.frombuffer(rows.hashes, np.uint8).reshape(len(rows), 32)]
    lines = np.ascontiguousarray(np.hstack(fields))
    table, width = connection.ops.quote_name(Record._meta.db_table), lines.shape[1]
    sql = f"""
        INSERT INTO {table} ({_names()})
        SELECT ?1, ?2, CAST(substr(m, 49, 12) AS INTEGER),
            CAST(substr(?4, substr(m, 1, 10), substr(m, 11, 10)) AS TEXT),
            CAST(substr(?5, substr(m, 21, 10), substr(m, 31, 4)) AS TEXT),
            CASE substr(m, 62, 1) WHEN '1' THEN NULL
                ELSE CAST(substr(?6, substr(m, 35, 10), substr(m, 45, 4)) AS TEXT) END,
            substr(m, 63, 32), CASE substr(m, 61, 1) WHEN '1' THEN 'test' ELSE 'train' END, 'upload', ?7
        FROM (
            SELECT CAST(substr(?3, 1 + ({PLACES} * high.place + low.place) * {width}, {width}) AS TEXT) AS m
            FROM temp.places AS high CROSS JOIN temp.places AS low
            WHERE high.place <= (?8 - 1) / {PLACES} AND {PLACES} * high.place + low.place < ?8
            ORDER BY high.place, low.place LIMIT -1 OFFSET 0
        ) WHERE TRUE ON CONFLICT (dataset_id, row_hash) DO NOTHING
    """  # noqa: S608 - only names and numbers of ours are put in; the limit keeps each line from being cut out again
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    parts: list[Any] = [_key(upload.dataset_id), _key(upload.pk), lines.data, values[0], keys[0], labels[0]]
    with connection.cursor() as cursor:
        _make_places(cursor)
        raw = cursor.cursor  # sqlite3's own cursor: past Django's translation of placeholders
        return int(sqlite3.Cursor.execute(raw, sql, [*parts, now, len(rows)]).rowcount)


def _make_places(cursor: Any) -> None:
    """A table of this connection with the numbers below PLACES."""
    cursor.execute("CREATE TEMPORARY TABLE IF NOT EXISTS places (place INTEGER PRIMARY KEY)")
    cursor.execute("SELECT COUNT(*) FROM temp.places")
    if not cursor.fetchone()[0]:
        count = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %s) SELECT i FROM n"
        cursor.execute("INSERT INTO temp.places " + count, [PLACES - 1])


def _key(value: Any) -> str:
    return str(value.hex) if connection.vendor == "sqlite" else str(value)


def _escaped(texts: pa.StringArray) -> pa.StringArray:
    """Cells in the text form of COPY."""
    for character, written in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        texts = pc.replace_substring(texts, character, written)
    return texts


def _copy(upload: Upload, rows: Rows) -> int:
    """PostgreSQL: COPY into the table itself, as most often no row is there yet; else see `_copy_aside`."""
    hashes = np.arange(len(rows) + 1, dtype=np.int32) * 32
    digests = pa.StringArray.from_buffers(len(rows), pa.py_buffer(hashes), pa.py_buffer(rows.hashes))
    splits = pc.if_else(pa.array(rows.test), Split.TEST.value, Split.TRAIN.value)
    lines = pc.binary_join_element_wise(
        f"{upload.dataset_id}\t{upload.pk}",
        pa.array(rows.numbers).cast(pa.string()),
        # JSON itself escapes all control characters.
        pc.replace_substring(rows.values, "\\", "\\\\"),
        _escaped(rows.keys),
        _escaped(rows.labels).fill_null("\\N"),
        digests,
        splits,
        f"upload\t{timezone.now().isoformat()}\n",
        "\t",
    )
    content = _texts(lines)[0]
    table, names = connection.ops.quote_name(Record._meta.db_table), _names()
    with connection.cursor() as cursor:
        try:
            with transaction.atomic():
                _send(cursor, f"COPY {table} ({names}) FROM STDIN", content)
            return len(rows)
        except IntegrityError:
            return _copy_aside(cursor, table, names, content)


def _copy_aside(cursor: Any, table: str, names: str, content: Any) -> int:
    """COPY into a table of this transaction, then one INSERT that skips what is there; how many were new."""
    cursor.execute(
        f"CREATE TEMPORARY TABLE arriving ON COMMIT DROP AS SELECT {names} FROM {table} WITH NO DATA"  # noqa: S608
    )
    _send(cursor, f"COPY arriving ({names}) FROM STDIN", content)
    selected = f"SELECT {names} FROM arriving ORDER BY row_number"  # noqa: S608
    cursor.execute(f"INSERT INTO {table} ({names}) {selected} ON CONFLICT DO NOTHING")
    count = int(cursor.rowcount)
    cursor.execute("DROP TABLE arriving")
    return count


def _send(cursor: Any, sql: str, content: Any) -> None:
    with connection.wrap_database_errors:
        cursor.cursor.copy_expert(sql, io.BytesIO(content), 1 << 20)


def duplicates(upload: Upload, rows: Rows, before: int) -> tuple[int, int, list[int]]:
    """(twice in this file, in the data set before, the first few row numbers) among rows just inserted behind id `before`."""
    added = np.fromiter(_own(upload, before).values_list("row_number", flat=True).iterator(), np.int64)
    assert upload.dataset_id is not None
    left = np.flatnonzero(~np.isin(rows.numbers, added)).tolist()
    own: set[str] = set()
    for start in range(0, len(left), LOOK_UP):
        some = [rows.hash_of(place) for place in left[start : start + LOOK_UP]]
        found = Record.objects.filter(dataset_id=upload.dataset_id, row_hash__in=some, upload=upload)
        own.update(found.values_list("row_hash", flat=True))
    twice = [int(rows.numbers[place]) for place in left if rows.hash_of(place) in own]
    return len(twice), len(left) - len(twice), twice[:20]
