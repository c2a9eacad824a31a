"""Messy files of every sort: encodings, delimiters, headers, packing, Excel, and what is refused in words."""

import csv
import gzip
import io
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from openpyxl import Workbook

from datasets.preview import Settings, build
from datasets.readers.base import ReadError
from datasets.readers.delimited import DelimitedTable
from datasets.readers.excel import UNCALCULATED
from datasets.readers.table import open_table


def look(tmp_path: Path, content: bytes, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    path = tmp_path / "file"
    path.write_bytes(content)
    return build(path, Settings(**settings))


def codes(preview: dict[str, Any]) -> set[str]:
    return {w["code"] for w in preview["warnings"]}


def rows_of(tmp_path: Path, content: bytes) -> list[list[Any]]:
    path = tmp_path / "file"
    path.write_bytes(content)
    with open_table(path, {}) as table:
        return [row for batch in table.batches() for row in batch.rows]


def workbook(*sheets: list[list[Any]]) -> bytes:
    book = Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"Sheet {number}")
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


CHINESE = "患者编号,性别,诊断\n1,男,心力衰竭\n2,女,健康\n3,男,高血压病\n"
FRENCH = "prénom;âge;état\nHélène;63;guéri\nZoé;41;traité à l'hôpital\n"


@pytest.mark.parametrize(
    ("encoding", "text", "found"),
    [
        ("utf-8", CHINESE, "utf-8"),
        ("utf-8-sig", CHINESE, "utf-8-sig"),
        ("utf-16", CHINESE, "utf-16"),
        ("utf-16-le", "age,sex\n1,male\n2,female\n", "utf-16-le"),
        ("utf-16-be", "age,sex\n1,male\n2,female\n", "utf-16-be"),
        ("utf-16-le", CHINESE + "4,女,三天前出现胸闷气短伴有双下肢水肿无发热咳嗽\n" * 9, "utf-16-le"),
        ("utf-16-be", CHINESE + "4,女,三天前出现胸闷气短伴有双下肢水肿无发热咳嗽\n" * 9, "utf-16-be"),
        ("gb18030", CHINESE, "gb18030"),
        ("latin-1", FRENCH, "cp1252"),
        ("cp1252", FRENCH.replace("'", "’"), "cp1252"),
    ],
)
def test_encoding_is_found_out(tmp_path: Path, encoding: str, text: str, found: str) -> None:
    options, preview = look(tmp_path, text.encode(encoding))
    assert options["encoding"] == found
    assert [c["name"] for c in preview["columns"]] == text.replace("’", "’").splitlines()[0].replace(
        ";", ","
    ).split(",")
    assert ("encoding_guessed" in codes(preview)) == (found in ("gb18030", "cp1252"))


def test_chinese_character_far_into_a_long_file_is_found(tmp_path: Path) -> None:
    body = "id,name\n" + "".join(f"{i},aspirin\n" for i in range(150_000)) + "1,阿司匹林\n"
    options, _preview = look(tmp_path, body.encode("gb18030"))
    assert options["encoding"] == "gb18030"


def test_encoding_can_be_set_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    options, preview = look(tmp_path, FRENCH.encode("latin-1"), encoding="latin-1")
    assert (options["encoding"], "encoding_guessed" in codes(preview)) == ("latin-1", False)
    with pytest.raises(ReadError, match="cannot be read as"):
        look(tmp_path, FRENCH.encode("latin-1"), encoding="utf-8")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    text = (
        delimiter.join(["age", "note", "x"])
        + "\n"
        + delimiter.join(["63", '"fever, cough; ""bad"""', "1"])
        + "\n"
    )
    options, preview = look(tmp_path, text.encode())
    assert options["delimiter"] == delimiter
    assert preview["rows"] == [["63", 'fever, cough; "bad"', "1"]]


def test_decimal_commas_do_not_look_like_delimiters(tmp_path: Path) -> None:
    options, preview = look(tmp_path, b"crp;wbc\n1,5;2,25\n0,75;3,5\n")
    assert options["delimiter"] == ";"
    assert [(c["kind"], c["decimal"]) for c in preview["columns"]] == [("number", ","), ("number", ",")]


def test_decimal_commas_of_a_single_column_are_no_cells(tmp_path: Path) -> None:
    _options, preview = look(tmp_path, b"crp\n1,5\n2,25\n0,75\n")
    assert [(c["name"], c["kind"], c["decimal"]) for c in preview["columns"]] == [("crp", "number", ",")]
    assert "ragged_rows" not in codes(preview)


def test_commas_in_a_single_column_of_text_are_no_cells(tmp_path: Path) -> None:
    _options, preview = look(tmp_path, b"note\nfever, chills\ncough\nrash, itching, fever\npain\n")
    assert preview["rows"][:2] == [["fever, chills"], ["cough"]] and "ragged_rows" not in codes(preview)


def test_line_that_names_the_delimiter_is_no_header(tmp_path: Path) -> None:
    options, preview = look(tmp_path, b"sep=;\r\nmrn;crp\r\n1;2,5\r\n2;3,5\r\n")
    assert [c["name"] for c in preview["columns"]] == ["mrn", "crp"] and options["skip"] == 2


def test_stray_zero_refuses_its_row_and_not_the_file(tmp_path: Path) -> None:
    options, preview = look(tmp_path, b"mrn,note\n1,co\x00ugh\n2,fever\n")
    assert options["encoding"] == "utf-8" and preview["rows"] == [["1", "co\ufffdugh"], ["2", "fever"]]


def test_quoted_newlines_stay_in_their_cell(tmp_path: Path) -> None:
    assert rows_of(tmp_path, b'a,b\r\n1,"two\r\nlines"\r\n2,x\r\n') == [
        ["a", "b"],
        ["1", "two\r\nlines"],
        ["2", "x"],
    ]


def test_duplicate_and_empty_headers_are_renamed_and_reported(tmp_path: Path) -> None:
    _options, preview = look(tmp_path, b"age,,age,age (2)\n1,2,3,4\n5,6,7,8\n")
    assert [c["name"] for c in preview["columns"]] == ["age", "column 2", "age (3)", "age (2)"]
    assert {"duplicate_header", "empty_header"} <= codes(preview)


def test_ragged_rows_are_reported(tmp_path: Path) -> None:
    _options, preview = look(tmp_path, b"a,b\n1,2\n3\n4,5,6\n7,8\n")
    assert "ragged_rows" in codes(preview)


def test_missing_header_is_noticed(tmp_path: Path) -> None:
    options, preview = look(tmp_path, b"1,2\n3,4\n")
    assert [c["name"] for c in preview["columns"]] == ["column 1", "column 2"]
    assert options["skip"] == 0 and "no_header" in codes(preview)


def test_title_above_the_table_is_left_out_and_reported(tmp_path: Path) -> None:
    options, preview = look(tmp_path, b"Export of ward 3,,,,\na,b,c,d,e\n1,2,3,4,5\n2,3,4,5,6\n")
    assert [c["name"] for c in preview["columns"]] == list("abcde")
    assert options["skip"] == 2 and "title_rows" in codes(preview)


def test_excel_quirks(tmp_path: Path) -> None:
    rows = [
        ["mrn", "seen", "crp", "ok"],
        [1, datetime(2024, 5, 31), "1.5", True],
        [2, datetime(2024, 6, 1, 8, 30), 2.5, False],
        [3, None, "#N/A", True],
        [None, None, None, None],
        [4, date(2024, 6, 2), "7"],
    ]
    options, preview = look(tmp_path, workbook(rows, [["other"], [1]]))
    assert (options["format"], options["sheets"]) == ("xlsx", ["Sheet 1", "Sheet 2"])
    columns = {c["name"]: c for c in preview["columns"]}
    assert [c["kind"] for c in columns.values()] == ["number", "date", "number", "category"]
    assert {w["code"] for w in columns["crp"]["warnings"]} >= {"numbers_as_text", "error_cells"}
    assert preview["rows"][0] == ["1", "2024-05-31", "1.5", "true"]
    _options, second = look(tmp_path, workbook(rows, [["other"], [1]]), sheet="Sheet 2")
    assert [c["name"] for c in second["columns"]] == ["other"]


def test_sheet_with_cells_that_is_shown_is_taken_and_said(tmp_path: Path) -> None:
    book = Workbook()
    book.active.title = "Notes"
    for name, state in (("Old", "hidden"), ("Data", "visible"), ("More", "visible")):
        sheet = book.create_sheet(name)
        sheet.append(["mrn"])
        sheet.append([name])
        sheet.sheet_state = state
    options, preview = look(tmp_path, saved(book))
    assert options["sheet"] == "Data" and preview["rows"] == [["Data"]]
    assert "this is “Data”" in next(w["message"] for w in preview["warnings"] if w["code"] == "several_sheets")
    _options, chosen = look(tmp_path, saved(book), sheet="Old")
    assert chosen["rows"] == [["Old"]] and "several_sheets" not in codes(chosen)


def test_cells_that_only_look_filled_are_reported(tmp_path: Path) -> None:
    """openpyxl stores formulas without results, as many programs do: no spreadsheet has worked them out yet."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["ward", "weight", "bmi"], ["A", 70, "=B2/3"], [None, 80, "=B3/3"], ["B", 90, 30]):
        sheet.append(row)
    sheet.merge_cells("A2:A3")
    _options, preview = look(tmp_path, saved(book))
    found = {w["code"]: w for w in preview["warnings"]}
    assert found["uncalculated_formulas"]["column"] == "bmi"
    assert found["uncalculated_formulas"]["message"].startswith("2 formulas")
    assert found["merged_cells"]["message"].startswith("1 ranges")


def test_results_that_a_spreadsheet_stored_are_not_reported(tmp_path: Path) -> None:
    cells = (
        b'<c r="A2"><f>1+1</f><v>2</v></c><c r="B2" t="str"><f>IF(1,"","x")</f><v></v></c>'
        b'<c r="C2"><f t="shared" si="0"/><v>3</v></c><c r="D2" s="1"><f t="shared" si="0"/></c>'
    )
    assert UNCALCULATED.findall(cells) == [b"D"]


def test_workbook_damaged_below_the_rows_looked_at_is_refused_in_words(tmp_path: Path) -> None:
    rows = [["mrn", "note"], *[[i, f"{i * 7919 % 99991}"] for i in range(30_000)]]
    content = bytearray(workbook(rows))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheet = archive.getinfo("xl/worksheets/sheet1.xml")
    middle = sheet.header_offset + sheet.compress_size * 3 // 4
    content[middle : middle + 200] = bytes(200)
    with pytest.raises(ReadError, match="Excel file is damaged"):
        look(tmp_path, bytes(content))


def saved(book: Workbook) -> bytes:
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def test_merged_excel_header_is_joined(tmp_path: Path) -> None:
    rows = [["mrn", "blood", None], [None, "crp", "wbc"], [1, 2.5, 3.5], [2, 4.5, 5.5]]
    _options, preview = look(tmp_path, workbook(rows))
    assert [c["name"] for c in preview["columns"]] == ["mrn", "blood crp", "blood wbc"]
    assert "merged_header" in codes(preview) and preview["rows"][0] == ["1", "2.5", "3.5"]


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "mrn": [1, 2],
            "crp": [1.5, None],
            "sex": ["m", None],
            "seen": [datetime(2024, 1, 1), datetime(2024, 1, 2, 10)],
        }
    )
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    options, preview = look(tmp_path, buffer.getvalue())
    assert options["format"] == "parquet"
    assert [c["kind"] for c in preview["columns"]] == ["number", "number", "category", "date"]
    assert preview["rows"] == [["1", "1.5", "m", "2024-01-01"], ["2", "", "", "2024-01-02 10:00:00"]]


def test_parquet_resumes_in_the_middle_of_a_group(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": range(100)}).to_parquet(path, index=False)
    with open_table(path, {}) as table:
        got = [(b.first, [r[0] for r in b.rows]) for b in table.batches(skip=31, size=40)]
    assert got[0] == (32, list(range(30, 40)))
    assert [v for _first, values in got for v in values] == list(range(30, 100))


def zipped(content: bytes, name: str = "a.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def test_table_of_a_zip_is_taken_before_its_read_me(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("README.txt", "Extract of ward 3")
        archive.writestr("visits.csv", "mrn,age\n1,2\n")
    options, preview = look(tmp_path, buffer.getvalue())
    assert options["member"] == "visits.csv" and "several_files" in codes(preview)
    with pytest.raises(ReadError, match="no rows below"):
        look(tmp_path, buffer.getvalue(), member="README.txt")


def encrypted() -> bytes:
    content = bytearray(zipped(b"a,b\n1,2\n"))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(signature) + offset] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"a,b\n", "empty"),
        (b"\n\n  \n", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, "not_a_table"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 512, "old_excel"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 1000)[:-20], "damaged"),
        (zipped(b"a,b\n1,2\n")[:-30], "damaged"),
        (encrypted(), "encrypted"),
        (b"PAR1 this is no parquet file PAR1", "damaged"),
        (gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"a,b\n1,2\n")))), "nested"),
    ],
    # Named, because compressed bytes carry the time: each test process would collect other names.
    ids=["no bytes", "header alone", "blank", "png", "xls", "cut gzip", "cut zip", "encrypted", "parquet", "nested"],
)
def test_what_is_not_a_table_is_refused_in_words(tmp_path: Path, content: bytes, code: str) -> None:
    with pytest.raises(ReadError) as caught:
        look(tmp_path, content)
    assert caught.value.code == code
    assert len(str(caught.value)) > 15


@pytest.mark.parametrize("pack", [gzip.compress, zipped])
def test_bomb_is_refused(tmp_path: Path, pack: Any) -> None:
    with pytest.raises(ReadError) as caught:
        look(tmp_path, pack(b"a,b\n" + b"0" * 40_000_000))
    assert caught.value.code == "too_large_unpacked"


def test_content_tells_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "really.csv"
    path.write_bytes(workbook([["a"], [1]]))
    assert build(path, Settings())[0]["format"] == "xlsx"


CELLS = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), min_size=1, max_size=12
).map(lambda t: t.strip() or "x")


@hypothesis_settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=12))
def test_what_csv_writes_is_read_back(rows: list[list[str]], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("round") / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["a", "b", "c"], *rows])
    table = DelimitedTable(path, {"encoding": "utf-8", "delimiter": ","})
    assert [r for b in table.batches(size=5) for r in b.rows] == [["a", "b", "c"], *rows]


def test_utf_16_without_its_mark_does_not_decode(tmp_path: Path) -> None:
    from datasets.readers.encodings import first_failure

    file = tmp_path / "plain.csv"
    file.write_text("age,sex\n1,male\n", encoding="utf-8")
    assert first_failure(file, "utf-16") == 0
