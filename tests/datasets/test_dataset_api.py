"""REST of data sets, columns, records, versions and quality: what a hospital's program does, and what it is told."""

import json
from typing import Any

import pytest

from accounts.models import AuditEvent
from datasets.models import Dataset, Record
from tests.datasets.conftest import COLUMNS, rows


def address(dataset: Dataset, *parts: Any) -> str:
    return "/api/v1/datasets/" + "".join(f"{part}/" for part in (dataset.pk, *parts))


def test_a_program_makes_a_dataset_fills_it_and_freezes_it(dana: Any, api_of: Any) -> None:
    api = api_of(dana)
    made = api.post("/api/v1/datasets/", {"name": "Over REST", "columns": COLUMNS})
    assert made.status_code == 201 and [c["name"] for c in made.data["columns"]] == [
        c["name"] for c in COLUMNS
    ]
    base = f"/api/v1/datasets/{made.data['id']}/"
    added = api.post(f"{base}records/", {"records": rows(120)})
    assert (added.status_code, added.data["added"], added.data["repeated"]) == (201, 120, 0)
    again = api.post(f"{base}records/", {"values": rows(1)[0]})
    assert (again.data["added"], again.data["repeated"]) == (0, 1)
    found = api.get(base).data
    assert (found["record_count"], found["target"]) == (120, "diagnosis")
    first = api.post(f"{base}versions/")
    second = api.post(f"{base}versions/")
    assert (first.status_code, second.status_code) == (201, 200) and first.data == second.data
    assert api.get(f"{base}versions/").data["results"][0]["content_hash"] == first.data["content_hash"]
    assert api.get(f"{base}quality/").data["target"]["name"] == "diagnosis"


def test_answers_to_added_records_hold_no_patient_data(cancer: Dataset, dana: Any, api_of: Any) -> None:
    answer = api_of(dana).post(address(cancer, "records"), {"values": {"mrn": "Q77", "diagnosis": "benign"}})
    assert answer.status_code == 201 and "Q77" not in json.dumps(answer.data)


def test_repeated_request_with_the_same_key_adds_once(cancer: Dataset, dana: Any, api_of: Any) -> None:
    api, body = api_of(dana), {"values": {"mrn": "Q1", "mean radius": 9}}
    first = api.post(address(cancer, "records"), body, headers={"Idempotency-Key": "k1"})
    second = api.post(address(cancer, "records"), body, headers={"Idempotency-Key": "k1"})
    assert first.data == second.data and second["Idempotent-Replayed"] == "true"
    assert Record.objects.filter(patient_key="Q1").count() == 1


def test_one_bad_record_refuses_all_and_names_the_field(cancer: Dataset, dana: Any, api_of: Any) -> None:
    bad = [{"mrn": "Q1"}, {"mrn": "Q2", "mean radius": "wide"}]
    answer = api_of(dana).post(address(cancer, "records"), {"records": bad})
    assert answer.status_code == 400 and answer["Content-Type"] == "application/problem+json"
    assert [e["field"] for e in answer.data["errors"]] == ["records[1].mean radius"]
    assert not Record.objects.filter(patient_key="Q1").exists()


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "text",
        {"values": []},
        {"values": {"mrn": {"a": 1}}},
        {"values": {"mrn": "\x00"}},
        {"values": {"mrn": "\ud800"}},
        {"values": {"\ud800\x00": 1}},
        {"values": {"mean radius": 10**400}},
        {"values": {}, "records": [{}]},
        {"records": []},
        {"records": [{"mrn": "A"}] * 1001},
        {"records": [1]},
    ],
    ids=repr,
)
def test_junk_is_a_problem_and_never_an_error_of_ours(
    cancer: Dataset, dana: Any, api_of: Any, body: Any
) -> None:
    answer = api_of(dana).post(address(cancer, "records"), json.dumps(body), content_type="application/json")
    assert answer.status_code == 400
    json.loads(answer.content)
    assert Record.objects.filter(dataset=cancer).count() == 120


def test_records_are_listed_page_by_page_with_filters(cancer: Dataset, victor: Any, api_of: Any) -> None:
    api = api_of(victor)
    seen, url = [], address(cancer, "records") + "?target=malignant&page_size=20"
    while url:
        page = api.get(url)
        assert page.status_code == 200
        seen += [r["id"] for r in page.data["results"]]
        url = page.data["next"]
    malignant = Record.objects.filter(dataset=cancer, target="malignant").order_by("-id")
    assert seen == [r.pk for r in malignant]
    assert AuditEvent.objects.filter(action="records.listed").exists()


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "split=other",
        "upload=1",
        "page_size=0",
        "page_size=9999",
        "sort=x",
        "target=%00",
        "cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5XQ",
        "missing=no such column",
    ],
)
def test_a_wrong_filter_is_a_problem_that_names_it(cancer: Dataset, dana: Any, api_of: Any, query: str) -> None:
    answer = api_of(dana).get(f"{address(cancer, 'records')}?{query}")
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [query.partition("=")[0]]


@pytest.mark.parametrize("query", ["missing=mean radius", "missing=*", "missing="])
def test_missing_values_are_asked_for_by_column(cancer: Dataset, dana: Any, api_of: Any, query: str) -> None:
    assert api_of(dana).get(f"{address(cancer, 'records')}?{query}").status_code == 200


def test_label_is_corrected_with_a_reason_only(cancer: Dataset, bob: Any, api_of: Any) -> None:
    record = Record.objects.filter(dataset=cancer, target="malignant").first()
    assert record is not None
    api, url = api_of(bob), address(cancer, "records", record.pk)
    assert api.patch(url, {"label": "benign"}).data["errors"][0]["field"] == "reason"
    assert api.patch(url, {"label": ["x"], "reason": "r"}).status_code == 400
    answer = api.patch(url, {"label": "benign", "reason": "pathology"})
    assert (answer.data["target"], answer.data["changes"][0]["old_value"]) == ("benign", "malignant")
    assert api.get(url).data["changes"][0]["changed_by"] == "bob@example.org"


def test_columns_change_after_confirmation(cancer: Dataset, dana: Any, api_of: Any) -> None:
    api, url = api_of(dana), address(cancer, "columns")
    body: dict[str, Any] = {"columns": [{"name": "mean radius", "kind": "category"}]}
    assert api.patch(url, body).status_code == 409
    answer = api.patch(url, body | {"confirm": True})
    assert answer.status_code == 200 and answer.data[1]["kind"] == "category"
    assert api.patch(url, {"columns": [{"name": "nothing", "kind": "text"}]}).status_code == 400
    assert api.patch(url, {"columns": [{"name": "mrn", "minimum": "Infinity"}]}).status_code == 400


def test_dataset_is_renamed_and_archived(cancer: Dataset, dana: Any, api_of: Any) -> None:
    api = api_of(dana)
    answer = api.patch(address(cancer), {"name": "Mamma", "archived": True})
    assert answer.data["name"] == "Mamma" and answer.data["archived_at"]
    assert api.get("/api/v1/datasets/").data["results"] == []
    refused = api.post(f"{address(cancer)}records/", {"values": {"mrn": "p1"}})
    assert refused.status_code == 409 and "archived" in refused.data["detail"]
    assert api.patch(address(cancer), {"archived": False}).data["archived_at"] is None


def test_a_taken_name_is_a_problem(cancer: Dataset, dana: Any, api_of: Any) -> None:
    answer = api_of(dana).post("/api/v1/datasets/", {"name": "Breast cancer"})
    assert answer.status_code == 400 and answer.data["errors"][0]["field"] == "name"


@pytest.mark.parametrize("parts", [(), ("columns",), ("records",), ("versions",), ("quality",)], ids=str)
def test_outsider_gets_404_and_nobody_401(
    cancer: Dataset, charlie: Any, api_of: Any, client: Any, parts: Any
) -> None:
    assert api_of(charlie).get(address(cancer, *parts)).status_code == 404
    assert client.get(address(cancer, *parts)).status_code == 401


def test_outsider_sees_no_record_and_changes_nothing(cancer: Dataset, charlie: Any, api_of: Any) -> None:
    record, api = Record.objects.filter(dataset=cancer).first(), api_of(charlie)
    assert record is not None
    assert api.get(address(cancer, "records", record.pk)).status_code == 404
    assert api.patch(address(cancer, "records", record.pk), {"label": "x", "reason": "y"}).status_code == 404
    assert api.post(address(cancer, "records"), {"values": {"mrn": "A"}}).status_code == 404
    assert api.post(address(cancer, "versions")).status_code == 404
    assert api.patch(address(cancer), {"name": "x"}).status_code == 404


def test_auditor_and_a_reading_key_may_not_write(
    cancer: Dataset, victor: Any, dana: Any, api_of: Any
) -> None:
    for api in (api_of(victor), api_of(dana, scopes=["data:read"])):
        assert api.get(address(cancer)).status_code == 200
        assert api.post(address(cancer, "records"), {"values": {"mrn": "A"}}).status_code == 403
        assert api.patch(address(cancer), {"name": "x"}).status_code == 403


def test_record_of_another_dataset_is_404(cancer: Dataset, dana: Any, api_of: Any) -> None:
    api = api_of(dana)
    other = Dataset.objects.get(pk=api.post("/api/v1/datasets/", {"name": "Other"}).data["id"])
    record = Record.objects.filter(dataset=cancer).first()
    assert record is not None
    assert api.get(address(other, "records", record.pk)).status_code == 404
    assert api.get(address(cancer, "records", 10**30)).status_code == 404
