"""Exports: the same rows in every format, nothing that a spreadsheet would run, and never unaudited."""

import csv
import io
from typing import Any

import pandas as pd
import pytest
from django.urls import reverse
from openpyxl import load_workbook

from accounts.models import AuditEvent
from datasets import intake
from datasets.export import ExportRefused, export
from datasets.models import Dataset, Record
from datasets.readers.formulas import safe_cell
from datasets.records import add_record
from tests.conftest import actor
from tests.datasets.conftest import rows


def test_csv_holds_every_row_as_it_is(cancer: Dataset, dana: Any) -> None:
    content = b"".join(export(actor=actor(dana), dataset=cancer, form="csv")).decode("utf-8-sig")
    found = list(csv.DictReader(io.StringIO(content)))
    assert [{**r, **{k: float(v) for k, v in r.items() if k.startswith("mean")}} for r in found] == rows()


def test_excel_holds_the_same(cancer: Dataset, dana: Any) -> None:
    content = b"".join(export(actor=actor(dana), dataset=cancer, form="xlsx"))
    sheet = load_workbook(io.BytesIO(content), read_only=True).active
    header, *body = sheet.iter_rows(values_only=True)
    assert [dict(zip(header, row, strict=True)) for row in body] == rows()


def test_parquet_holds_the_same_with_ids_and_one_split(cancer: Dataset, dana: Any) -> None:
    pieces = export(actor=actor(dana), dataset=cancer, form="parquet", split="test", with_ids=True)
    frame = pd.read_parquet(io.BytesIO(b"".join(pieces)))
    test = Record.objects.filter(dataset=cancer, split="test").order_by("id")
    assert frame["aimass:record"].tolist() == [r.pk for r in test]
    assert frame["mean radius"].tolist() == [r.values["mean radius"] for r in test]
    assert set(frame["aimass:split"]) == {"test"}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_disarmed(text: str, cancer: Dataset, dana: Any) -> None:
    assert safe_cell(text) == "'" + text
    add_record(
        actor=actor(dana),
        dataset=cancer,
        values={"mrn": "X", "diagnosis": "=cmd|' /C calc'!A0"},
        source="api",
    )
    for form in ("csv", "xlsx"):
        content = b"".join(export(actor=actor(dana), dataset=cancer, form=form))
        if form == "csv":
            cell = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))[-1][-1]
        else:
            sheet = load_workbook(io.BytesIO(content)).active
            assert sheet.cell(sheet.max_row, sheet.max_column).data_type == "s"
            cell = sheet.cell(sheet.max_row, sheet.max_column).value
        assert cell == "'=cmd|' /C calc'!A0"


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_exported_file_that_is_uploaded_again_changes_nothing(form: str, dana: Any, run_jobs: Any) -> None:
    """Urine strips read "+" and "-": the apostrophe that disarms them must not become a part of the value."""
    content = "mrn,+protein,outcome\n1,+,ill\n2,-,well\n3,++,=1+1\n4,'tis,well\n" + "".join(
        f"{i},+{i},well\n" for i in range(5, 90)
    )
    first = intake.receive(actor=actor(dana), file=io.BytesIO(content.encode()), name="a.csv")
    words = [{"name": "+protein", "keep_words": True, "kind": "text"}]
    intake.confirm(actor=actor(dana), upload=first, new_dataset_name="Urine", columns=words)
    run_jobs()
    dataset = Dataset.objects.get()
    before = set(Record.objects.values_list("row_hash", flat=True))
    again = b"".join(export(actor=actor(dana), dataset=dataset, form=form))
    second = intake.receive(actor=actor(dana), file=io.BytesIO(again), name="b", dataset=dataset)
    assert second.preview["changes"] == {"new": [], "missing": [], "changed": []}
    assert {w["column"] for w in second.preview["warnings"] if w["code"] == "apostrophes"} == {"+protein", "outcome"}
    intake.confirm(actor=actor(dana), upload=second)
    run_jobs()
    second.refresh_from_db()
    assert (second.state, second.rows_added, second.rows_duplicate) == ("imported", 0, 89)
    assert len(before) == 89 and set(Record.objects.values_list("row_hash", flat=True)) == before


def test_negative_numbers_stay_numbers() -> None:
    assert safe_cell(-1.5) == -1.5


def test_export_is_audited_and_needs_the_permission(
    cancer: Dataset, dana: Any, bob: Any, client_of: Any
) -> None:
    address = reverse("datasets:export", args=[cancer.pk])
    response = client_of(dana).post(address, {"form": "csv", "split": "train"})
    body = b"".join(response.streaming_content).decode("utf-8-sig")
    assert body.count("\n") == 1 + cancer.record_count - cancer.test_count
    assert response["Content-Disposition"] == 'attachment; filename="breast-cancer.csv"'
    assert AuditEvent.objects.get(action="dataset.exported").detail["split"] == "train"
    assert client_of(bob).post(address, {"form": "csv"}).status_code == 403


def test_too_many_records_for_excel_are_refused_with_what_to_do(cancer: Dataset, dana: Any) -> None:
    cancer.record_count = 100_001
    with pytest.raises(ExportRefused, match="CSV or Parquet"):
        export(actor=actor(dana), dataset=cancer, form="xlsx")
