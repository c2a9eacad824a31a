"""Nothing that identifies a patient is kept in a text: by upload and REST; and what is shown of it."""

import json
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from datasets import intake, versions
from datasets.columns import change_columns
from datasets.models import Record, StoredFile
from datasets.records import add_record, add_records
from datasets.services import create_dataset
from tests.conftest import actor
from tests.datasets.test_intake import imported, received, values

pytestmark = pytest.mark.django_db
SECRETS = ["Jones", "王小明", "ZY-001-2345", "13800138000", "7 June", "Long Street", "11010519491231002X"]
TABLE = """mrn,name,date_of_birth,address,note,outcome
ZY0012345,王小明,1980-05-03,,"患者王小明，住院号 ZY-001-2345，1980年5月3日出生，手机 13800138000。咳嗽三天。",ill
ZY0012346,Peter Jones,1980-06-07,"12 Long Street, Ulm","Mr Jones, born 7 June 1980, of 12 Long Street: cough.",healthy
ZY0012347,Ann Wu,1980-07-08,,"No complaints; 身份证 11010519491231002X.",healthy
""".encode()
NOTES = [
    "患者[姓名]，住院号 [证件号]，[日期]出生，手机 [电话]。咳嗽三天。",
    "Mr [NAME], born [DATE], of [ADDRESS]: cough.",
    "No complaints; 身份证 [NUMBER].",
]


def test_an_upload_keeps_masked_texts_alone(dana: Any, run_jobs: Any) -> None:
    upload = received(dana, TABLE)
    shown = {c["name"]: c for c in upload.preview["columns"]}
    assert [name for name, c in shown.items() if not c["include"]] == ["name", "address"]
    assert [name for name, c in shown.items() if c["identifies"]] == ["mrn", "name", "date_of_birth", "address"]
    masking = upload.preview["masking"]
    assert masking["rows"] == 3 and masking["columns"][0]["cells"] == 3
    assert ["Jones", "name"] in masking["columns"][0]["examples"][1]

    intake.discard(actor=actor(dana), upload=upload)

    upload = imported(dana, run_jobs, TABLE)
    rows = values(upload)
    assert [row["note"] for row in rows] == NOTES and set(rows[0]) == {"mrn", "date_of_birth", "note", "outcome"}
    assert upload.report["masked"] == {
        "note": {"cells": 3, "name": 2, "number": 2, "date": 2, "phone": 1, "address": 1}
    }
    assert "masking" not in upload.preview and not upload.file.path  # the file, which still has it all, is gone
    assert upload.dataset is not None
    frozen = versions.freeze(actor=actor(dana), dataset=upload.dataset)
    files = list(StoredFile.objects.exclude(path=""))
    assert frozen.file in files
    for file in files:
        with default_storage.open(file.path) as stream:
            content = stream.read()
        assert not [secret for secret in SECRETS if secret.encode() in content]


def test_a_file_without_identifiers_stays(dana: Any, run_jobs: Any) -> None:
    upload = imported(dana, run_jobs, b"mrn,note,outcome\n1,cough,ill\n2,a long line of a note about fever and cough,healthy\n")
    assert "masked" not in upload.report and upload.file.path


def test_a_file_with_a_column_that_was_left_out_goes_too(dana: Any, run_jobs: Any) -> None:
    upload = imported(dana, run_jobs, b"mrn,name,age,outcome\n1,Jones,50,ill\n2,Wu,60,healthy\n")
    assert not upload.file.path and "name" not in values(upload)[0]


@pytest.mark.parametrize("header", ["mrn,name,phone,note,outcome", "住院号,姓名,电话,病程,诊断"])
def test_many_rows_of_a_patient_and_a_sparse_phone(dana: Any, header: str) -> None:
    phones = ["13800138000" if i % 15 == 0 else "" for i in range(300)]
    lines = [f"p{i % 20},Peter Jones,{phone},Jones coughs for {i} days or so,ill" for i, phone in enumerate(phones)]
    upload = received(dana, "\n".join([header, *lines]).encode())
    assert [c["identifies"] for c in upload.preview["columns"]] == [True, True, True, False, False]
    assert upload.preview["columns"][0]["role"] == "patient"
    assert [c["include"] for c in upload.preview["columns"]] == [True, False, False, True, True]
    assert upload.preview["masking"]["columns"][0]["cells"] == 300


def test_a_failed_import_keeps_no_examples(dana: Any, run_jobs: Any) -> None:
    upload = imported(dana, run_jobs, TABLE + b"too,few\n", keep_good_rows=False)
    assert upload.state == "failed" and not {"rows", "masking"} & set(upload.preview)


def test_what_a_person_leaves_out_stays_out(dana: Any) -> None:
    upload = received(dana, TABLE)
    for given, kept in (({"role": "feature"}, True), ({"role": "feature", "include": False}, False)):
        preview = json.loads(json.dumps(upload.preview))
        intake.apply_columns(preview, [{"name": "name", **given}])
        assert next(c for c in preview["columns"] if c["name"] == "name")["include"] is kept
    with pytest.raises(intake.IntakeRefused, match="tick “keep” too"):
        intake.apply_columns(upload.preview, [{"name": "name", "role": "patient", "include": False}])


def test_uploaded_again_nothing_is_new(dana: Any, run_jobs: Any) -> None:
    first = imported(dana, run_jobs, TABLE)
    again = imported(dana, run_jobs, TABLE, dataset=first.dataset)
    assert (again.rows_added, again.rows_duplicate) == (0, 3)


def test_a_single_record_is_the_same_row(dana: Any, run_jobs: Any) -> None:
    upload = imported(dana, run_jobs, TABLE)
    row = values(upload)[0]
    raw = TABLE.decode().splitlines()[1].split('"')[1]
    assert upload.dataset is not None
    record, created = add_record(
        actor=actor(dana), dataset=upload.dataset, values={**row, "note": raw}, source=Record.Source.API
    )
    assert created and record.values["note"] == NOTES[0].replace("[姓名]", "王小明")  # nobody told of the name
    record, created = add_record(
        actor=actor(dana), dataset=upload.dataset, values={**row, "note": raw}, source=Record.Source.API, known=["王小明"]
    )
    assert not created and record.values["note"] == NOTES[0]
    with_name = create_dataset(
        actor=actor(dana), name="With names",
        columns=[{"name": "姓名", "kind": "text", "role": "ignore"}, {"name": "note", "kind": "text"}],
    )  # fmt: skip
    assert with_name.columns.get(name="姓名").identifies
    record, _created = add_record(
        actor=actor(dana), dataset=with_name, values={"姓名": "王小明", "note": raw}, source=Record.Source.API
    )
    assert "王小明" not in record.values["note"] and record.values["姓名"] == "王小明"


def test_other_columns_by_hand(dana: Any, api_of: Any, run_jobs: Any) -> None:
    """Over REST: a column whose name says nothing tells who it is; what is masked is shown before the import."""
    api = api_of(dana)
    table = b"nr,pat,note\n1,Jones,cough of Jones\n2,Wu,Wu is well without complaint\n"
    sent = {"file": SimpleUploadedFile("t.csv", table)}
    answer = api.post("/api/v1/uploads/", sent, format="multipart")
    assert answer.status_code == 201, answer.content
    upload = answer.json()
    assert upload["preview"]["masking"]["columns"][0]["cells"] == 0
    choice = [{"name": "pat", "identifies": True, "include": False}, {"name": "note", "kind": "text"}]
    place = f"/api/v1/uploads/{upload['id']}/"
    answer = api.patch(place, {"columns": choice}, format="json")
    assert answer.status_code == 200, answer.content
    again = answer.json()
    assert again["preview"]["masking"]["columns"] == [
        {"name": "note", "cells": 2, "counts": {"name": 2},
         "examples": [[["cough of ", ""], ["Jones", "name"]], [["Wu", "name"], [" is well without complaint", ""]]]}
    ]  # fmt: skip
    assert api.post(f"{place}confirm/", {"columns": choice}, format="json").status_code == 202
    run_jobs()
    notes = [record.values["note"] for record in Record.objects.order_by("row_number")]
    assert notes == ["cough of [NAME]", "[NAME] is well without complaint"]


def test_a_column_that_becomes_a_text_is_masked(dana: Any) -> None:
    dataset = create_dataset(
        actor=actor(dana), name="D",
        columns=[{"name": "mrn", "kind": "category", "role": "patient"}, {"name": "plan", "kind": "category"}],
    )  # fmt: skip
    rows = [{"mrn": "P-0017", "plan": "call P-0017"}]
    add_records(actor=actor(dana), dataset=dataset, rows=rows, source=Record.Source.API)
    change_columns(actor=actor(dana), dataset=dataset, changes=[{"name": "plan", "kind": "text"}])
    assert dataset.records.get().values["plan"] == "call [NUMBER]"


def test_a_text_that_told_who_it_is_and_does_not_any_more_is_masked(dana: Any) -> None:
    own = [{"name": "mrn", "kind": "category", "role": "patient"}, {"name": "who", "kind": "text", "identifies": True}]
    dataset = create_dataset(actor=actor(dana), name="D", columns=own)
    rows = [{"mrn": "P-0017", "who": "P-0017, tel 13800138000"}]
    add_records(actor=actor(dana), dataset=dataset, rows=rows, source=Record.Source.API)
    assert dataset.records.get().values["who"] == rows[0]["who"]
    change_columns(actor=actor(dana), dataset=dataset, changes=[{"name": "who", "identifies": False}])
    assert dataset.records.get().values["who"] == "[NUMBER], tel [PHONE]"


def test_pages_show_what_is_masked(dana: Any, client_of: Any, run_jobs: Any) -> None:
    client, upload = client_of(dana), received(dana, TABLE)
    page = client.get(reverse("datasets:preview", args=[upload.pk])).content.decode()
    assert '<mark>Jones<span class="masked-as"> → name</span></mark>' in page
    upload = imported(dana, run_jobs, TABLE)
    page = client.get(reverse("datasets:upload_report", args=[upload.pk])).content.decode()
    assert "Masked in “note”" in page and "in 3 rows" in page
    record = Record.objects.filter(upload=upload).order_by("row_number").first()
    assert record is not None
    page = client.get(reverse("datasets:record", args=[record.dataset_id, record.pk])).content.decode()
    assert "患者<mark>[姓名]</mark>，住院号 <mark>[证件号]</mark>" in page
