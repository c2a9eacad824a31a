"""The quick import by columns makes what the careful one makes, cell by cell, and counts rows as csv.reader does."""

import csv
import io
import random
from typing import Any

import pyarrow as pa
import pytest

from datasets.importers.ahead import ahead
from datasets.importers.columnwise import Wholesale
from datasets.importers.convert import Converter, Source
from datasets.importers.rows import Rows
from datasets.models import Column, Dataset
from datasets.readers import blocks
from datasets.readers.base import Batch, ColumnBatch

ODD = [
    *["", " ", "NA", "none", "不详", "?", "5", "5.0", "-0", "-0.00", "0.00001", "0.0001", "1e3", "+5", "007", "12.50", " 7 "],
    *["123456789012345", "99999999999999999", "1.2345678901234567", ".5", "5.", "inf", "x", 'say "a"', "back\\slash"],
    *["tab\there", "\x1fedge", "\u3000wide", "é", "肺炎", "1,5", "2024-02-28", "2024-02-31", "2999-01-01", "2024/1/5"],
    *["1899-01-01", "K", "\x7f", "y" * 99, "y" * 101, "y" * 201, "true", "1_000", "-4", "200", "'+", "'=1+1", "'-5", "'tis"],
]


def cells(seed: int, count: int) -> list[str]:
    """Enough different plain cells that whole columns are looked at, and every odd one."""
    pick = random.Random(seed)
    plain = [f"{pick.uniform(-9, 300):.{pick.randrange(7)}f}" for _ in range(count)]
    plain += [f"20{pick.randrange(30):02d}-0{pick.randrange(1, 10)}-{pick.randrange(1, 32):02d}" for _ in range(count)]
    mixed = plain + ODD * 3
    pick.shuffle(mixed)
    return mixed


@pytest.mark.parametrize("kinds", [("number", "date"), ("category", "number"), ("text", "category"), ("date", "text")])
def test_columnwise_equals_cell_by_cell(kinds: tuple[str, str]) -> None:
    dataset = Dataset(split_salt="s" * 32, test_fraction=0.3)
    limits = {"minimum": -5.0, "maximum": 250.0} if kinds[0] == "number" else {}
    columns = [
        Column(name="b", kind=kinds[0], role="patient", **limits),
        Column(name="a", kind=kinds[1], role="target"),
    ]
    sources = [Source(i, column, future=i == 1) for i, column in enumerate(columns)]
    one, two = cells(1, 150), cells(2, 150)
    careful = Converter(dataset, sources, 2, pad=False, absent=["z"])
    expected = careful.convert(Batch(2, [list(row) for row in zip(one, two, strict=True)]))
    quick = Wholesale(Converter(dataset, sources, 2, pad=False, absent=["z"]))
    got = quick.convert(ColumnBatch(2, [pa.array(one), pa.array(two)]))
    assert isinstance(expected.rows, list) and isinstance(got.rows, Rows)
    rows, wanted = got.rows, Rows.of(expected.rows)
    assert len(rows) > 50 and expected.refused > 5
    assert (rows.values.to_pylist(), rows.keys.to_pylist()) == (wanted.values.to_pylist(), wanted.keys.to_pylist())
    assert (rows.numbers.tolist(), rows.labels.to_pylist()) == (wanted.numbers.tolist(), wanted.labels.to_pylist())
    assert (rows.hashes, rows.test.tolist()) == (wanted.hashes, wanted.test.tolist())
    assert (got.refused, got.empty) == (expected.refused, expected.empty)
    order = lambda r: (r.row, r.column)  # noqa: E731
    assert sorted(got.refusals, key=order) == sorted(expected.refusals, key=order)


TEXTS = {
    "plain": "a,b\n" + "".join(f"{i},x\n" for i in range(40)),
    "quoted": "a,b\n" + "".join(f'{i},"x\n\ny{i}"\n' if i % 7 == 3 else f"{i},x\n" for i in range(40)),
    "ragged": "a,b\n" + "".join(f"{i},x,y\n" if i % 9 == 1 else f"{i},x\n" for i in range(40)),
    "blank lines": "a,b\n1,2\n\n3,4\n,\n\n5,6",
    "windows": "a,b\r\n1,2\r\n3,4\r\n",
    "old mac": "a,b\r1,2\r3,4\r",
    "mixed ends": "a,b\n1,2\r3,4\r\n5,6\n",
    "quote inside": 'a,b\n1,5" pipe\n2,x\n',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("piece", [5, 37, 4_000_000])
@pytest.mark.parametrize("skip", [0, 1, 3, 17])
def test_blocks_give_the_rows_of_csv_reader(monkeypatch: Any, text: str, piece: int, skip: int) -> None:
    monkeypatch.setattr(blocks, "PIECE", piece)
    expected = list(enumerate(csv.reader(io.StringIO(text, newline="")), 1))[skip:]
    found: list[tuple[int, list[Any]]] = []
    for batch in blocks.batches(io.StringIO(text, newline=""), ",", 2, skip, 4):
        if isinstance(batch, ColumnBatch):
            rows = [list(r) for r in zip(*(c.to_pylist() for c in batch.columns), strict=True)]
        else:
            rows = batch.rows
        found += enumerate(rows, batch.first)
    # A blank line may come as blank cells: the import counts both as an empty row.
    assert [(n, row if any(row) else []) for n, row in found] == [(n, row if any(row) else []) for n, row in expected]


def test_what_is_made_ahead_keeps_its_order_and_its_exception() -> None:
    def items() -> Any:
        yield from range(5)
        raise OSError("the disk")

    got = []
    with pytest.raises(OSError, match="the disk"):
        for item in ahead(items()):
            got.append(item)
    assert got == [0, 1, 2, 3, 4]
