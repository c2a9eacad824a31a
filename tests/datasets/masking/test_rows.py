"""Both kinds of batches are masked alike, and a single record as a row of a table."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.masking import columns, preview
from datasets.masking.rows import Masker, added
from datasets.masking.texts import ANY_TOKEN, TOKENS, mask
from datasets.models import Column, Kind, Role
from datasets.readers.base import Batch, Cell, ColumnBatch

ROWS: list[list[Cell]] = [
    ["P-0017", "Peter Jones", "Mr Jones (P-0017) is well.", "Peter called; tel 13800138000"],
    ["P-0018", "王小明", "王小明自述头痛，住院号：ZY0012345", ""],
    ["P-0019", "Ann Wu", "Nothing of Jones.", None],
]
MASKED = [
    ["P-0017", "Peter Jones", "Mr [NAME] ([NUMBER]) is well.", "[NAME] called; tel [PHONE]"],
    ["P-0018", "王小明", "[姓名]自述头痛，住院号：[证件号]", ""],
    ["P-0019", "Ann Wu", "Nothing of Jones.", None],
]
COUNTS = {"note": {"cells": 2, "name": 2, "number": 2}, "plan": {"cells": 1, "name": 1, "phone": 1}}
MASKER = Masker({2: "note", 3: "plan"}, [0, 1])


def test_rows_and_columns_alike() -> None:
    rows, counts = MASKER.batch(Batch(2, ROWS))
    assert isinstance(rows, Batch) and (rows.first, rows.rows, counts) == (2, MASKED, COUNTS)
    whole = ColumnBatch(2, [pa.array(list(cells), pa.string()) for cells in zip(*ROWS, strict=True)])
    by_columns, counts = MASKER.batch(whole)
    assert isinstance(by_columns, ColumnBatch) and (by_columns.first, counts) == (2, COUNTS)
    assert [list(row) for row in zip(*(c.to_pylist() for c in by_columns.columns), strict=True)] == MASKED


def test_without_a_column_that_tells() -> None:
    cells = ["姓名：王小明", "no colon", "write to a.b@c-d.org", "手机１３８００１３８０００", None, "姓名﹕王小明"]
    whole = ColumnBatch(2, [pa.array(cells, pa.string())])
    by_columns, counts = Masker({0: "note"}, []).batch(whole)
    assert isinstance(by_columns, ColumnBatch)
    masked = ["姓名：[姓名]", "no colon", "write to [EMAIL]", "手机[电话]", None, "姓名﹕[姓名]"]
    assert by_columns.columns[0].to_pylist() == masked
    assert counts == {"note": {"cells": 4, "name": 2, "email": 1, "phone": 1}}


def test_rows_that_are_too_short_and_cells_that_are_no_texts() -> None:
    rows, counts = MASKER.batch(Batch(2, [["P-0017"], ["P-0017", None, 13800138000, 5]]))
    assert isinstance(rows, Batch)
    assert rows.rows == [["P-0017"], ["P-0017", None, "[PHONE]", 5]] and counts == {"note": {"cells": 1, "phone": 1}}


def column(name: str, kind: str, role: str = Role.FEATURE, identifies: bool = False) -> Column:
    return Column(name=name, kind=kind, role=role, identifies=identifies)


def test_white_space_makes_no_text_too_long_to_be_masked() -> None:
    long = "Peter Jones coughs" + " " * 200_000
    rows, _counts = MASKER.batch(Batch(2, [["P-0017", "Peter Jones", long, ""]]))
    assert isinstance(rows, Batch) and rows.rows[0][2] == "[NAME] coughs"


def test_a_single_record() -> None:
    own = [
        column("mrn", Kind.CATEGORY, Role.PATIENT), column("name", Kind.TEXT, Role.IGNORE, True),
        column("note", Kind.TEXT), column("old", Kind.TEXT, Role.IGNORE), column("outcome", Kind.TEXT, Role.TARGET),
    ]  # fmt: skip
    record = {"mrn": "P-0017", "name": "Peter Jones", "note": "Jones, P-0017", "old": "Peter", "outcome": "Jones disease"}
    assert columns.values(own, record) == {**record, "note": "[NAME], [NUMBER]", "old": "[NAME]"}
    assert columns.values(own, record, only=[own[3]]) == {**record, "old": "[NAME]"}
    assert columns.values(own, {**record, "note": None}) == {**record, "note": None, "old": "[NAME]"}


def test_counts_add_up() -> None:
    assert added({"note": {"cells": 1, "name": 2}}, {"note": {"cells": 1}, "plan": {"cells": 3}}) == {
        "note": {"cells": 2, "name": 2}, "plan": {"cells": 3},
    }  # fmt: skip


def test_a_preview_says_the_same() -> None:
    shown = [
        {"name": name, "place": place, "kind": kind, "role": role, "identifies": tells, "include": include}
        for place, (name, kind, role, tells, include) in enumerate([
            ("mrn", "category", "patient", True, True), ("name", "text", "ignore", True, False),
            ("note", "text", "feature", False, True), ("plan", "text", "feature", False, True),
        ])
    ]  # fmt: skip
    found = preview.describe(shown, ROWS)
    assert (found["rows"], found["telling"]) == (3, ["mrn", "name"])
    assert {c["name"]: {"cells": c["cells"], **c["counts"]} for c in found["columns"]} == COUNTS
    assert found["columns"][0]["examples"][0] == [
        ["Mr ", ""], ["Jones", "name"], [" (", ""], ["P-0017", "number"], [") is well.", ""],
    ]  # fmt: skip
    assert preview.describe(shown[:2], ROWS) == {}
    shown[3] |= {"kind": "category"}
    found = preview.describe(shown, ROWS)
    assert [(c["name"], c["cells"]) for c in found["columns"]] == [("note", 2)]
    assert [(c["name"], c["cells"]) for c in found["categories"]] == [("plan", 1)]


TOKEN = st.sampled_from([token for both in TOKENS.values() for token in both])
WORDS = st.sampled_from(
    ["姓名：", "address: ", "Patient name: ", "MRN ", "DOB ", "13800138000", "Peter ", "1980-05-03", "x", "\n", "，", "a@b.cd "]
)
TEXT = st.lists(TOKEN | WORDS | st.text(max_size=20), max_size=12).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEXT, st.lists(st.text(max_size=20) | WORDS, max_size=3))
def test_masking_twice_is_masking_once(text: str, known: list[str]) -> None:
    once = mask(text, known)
    assert mask(once.text, known).text == once.text
    assert len(ANY_TOKEN.findall(once.text)) >= len(ANY_TOKEN.findall(text))  # no token is lost
