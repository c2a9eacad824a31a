"""Diagnoses over REST: who may, one and many, all or nothing, idempotent, listed, read, reviewed."""

from typing import Any

import pytest

from accounts.models import AuditEvent
from inference.models import Batch, Diagnosis
from tests.inference.stored import OLD_MAN, YOUNG_WOMAN, store

pytestmark = pytest.mark.django_db
URL = "/api/v1/diagnoses/"


def ask(client: Any, version: Any, record: Any = OLD_MAN, **headers: Any) -> Any:
    return client.post(URL, {"model": str(version.model_id), "record": record}, headers=headers)


def test_one_record_is_diagnosed_saved_and_audited(api_of: Any, bob: Any, heart_version: Any) -> None:
    answer = ask(api_of(bob), heart_version, {**OLD_MAN, "mrn": "p-17"})
    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert body["value"] == "yes"
    assert 0.5 < body["probability"] < 1
    assert body["probability"] == body["probabilities"]["yes"]
    assert body["interval"][0] <= body["probability"] <= body["interval"][1]
    assert body["set"] == ["yes"]
    assert body["out_of_distribution"] is False
    assert body["model_version"] == str(heart_version.pk)
    saved = Diagnosis.objects.get()
    assert str(saved.pk) == body["id"]
    assert saved.inputs == OLD_MAN
    assert saved.patient_key == "p-17"
    assert saved.organisation_id == bob.last_organisation_id
    event = AuditEvent.objects.get(action="diagnosis.created")
    assert event.object_id == str(saved.pk)
    assert set(event.detail) == {"model", "version"}


def test_two_clear_patients_get_different_answers_in_order(api_of: Any, bob: Any, heart_version: Any) -> None:
    answer = api_of(bob).post(URL, {"model": str(heart_version.model_id), "records": [YOUNG_WOMAN, OLD_MAN, YOUNG_WOMAN]})
    assert [d["value"] for d in answer.json()["diagnoses"]] == ["no", "yes", "no"]
    batch = Batch.objects.get()
    assert batch.record_count == 3
    assert list(batch.diagnoses.order_by("position").values_list("value", flat=True)) == ["no", "yes", "no"]
    assert AuditEvent.objects.filter(action="diagnosis.created").count() == 3
    assert api_of(bob).get(f"/api/v1/batches/{batch.pk}/").json()["record_count"] == 3


def test_interval_belongs_to_the_decided_class(api_of: Any, bob: Any, heart_version: Any) -> None:
    body = ask(api_of(bob), heart_version, YOUNG_WOMAN).json()
    assert body["value"] == "no"
    assert body["interval"][0] <= body["probabilities"]["no"] <= body["interval"][1]


def test_a_thousand_records_in_one_call(api_of: Any, bob: Any, heart_version: Any) -> None:
    records = [{**OLD_MAN, "age": 40 + i % 50} for i in range(1000)]
    answer = api_of(bob).post(URL, {"model": str(heart_version.model_id), "records": records})
    assert len(answer.json()["diagnoses"]) == 1000
    assert Diagnosis.objects.count() == 1000
    assert AuditEvent.objects.filter(action="diagnosis.created").count() == 1000


@pytest.mark.parametrize("count", [0, 1001])
def test_none_or_too_many_records_are_refused(api_of: Any, bob: Any, heart_version: Any, count: int) -> None:
    answer = api_of(bob).post(URL, {"model": str(heart_version.model_id), "records": [OLD_MAN] * count})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "records"
    assert not Diagnosis.objects.exists()


def test_one_wrong_cell_saves_nothing_and_is_named(api_of: Any, bob: Any, heart_version: Any) -> None:
    records = [OLD_MAN, OLD_MAN, OLD_MAN, {**OLD_MAN, "age": "old"}]
    answer = api_of(bob).post(URL, {"model": str(heart_version.model_id), "records": records})
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert [e["field"] for e in answer.json()["errors"]] == ["records[3].age"]
    assert not Diagnosis.objects.exists()
    assert not Batch.objects.exists()
    assert not AuditEvent.objects.filter(action="diagnosis.created").exists()


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"age": "sixty"}, "record.age"), ({"age": True}, "record.age"), ({"age": [1]}, "record.age"),
        ({"age": 10**400}, "record.age"), ({"sex": {"a": 1}}, "record.sex"),
        ({"sex": "x" * 2000}, "record.sex"), ({"mrn": "x" * 200, "age": 3}, "record.mrn"), ({}, "record"), (None, "record"),
        (7, "record"), ([], "record"), ("a bare text", "record"), ({"unknown": 1}, "record"),
    ],
)  # fmt: skip
def test_junk_is_refused_by_field(api_of: Any, bob: Any, heart_version: Any, record: Any, field: str) -> None:
    answer = ask(api_of(bob), heart_version, record)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
    assert not Diagnosis.objects.exists()


@pytest.mark.parametrize(
    "body",
    [[], 3, None, "x", {}, {"record": {}}, {"model": "no-id", "record": {}}, {"model": 5, "record": {}},
     {"model": "00000000-0000-0000-0000-000000000000"}],
)  # fmt: skip
def test_a_body_that_is_not_a_question_is_400(api_of: Any, bob: Any, heart_version: Any, body: Any) -> None:
    assert api_of(bob).post(URL, body).status_code == 400


@pytest.mark.parametrize("text", ["\\ud800", "a\\u0000b"])
def test_text_that_no_database_holds_is_400(api_of: Any, bob: Any, heart_version: Any, text: str) -> None:
    raw = f'{{"model": "{heart_version.model_id}", "record": {{"sex": "{text}", "age": 60}}}}'
    answer = api_of(bob).generic("POST", URL, raw, content_type="application/json")
    assert answer.status_code == 400


def test_missing_and_unusual_values_are_accepted_with_warnings(api_of: Any, bob: Any, heart_version: Any) -> None:
    body = ask(api_of(bob), heart_version, {"age": 999, "sex": "other", "shoe": 44}).json()
    codes = {(w["code"], w["column"]) for w in body["warnings"]}
    assert ("out_of_range", "age") in codes
    assert ("unseen_category", "sex") in codes
    assert ("unknown_column", "shoe") in codes
    assert any(code.startswith("missing") and column == "chol" for code, column in codes)
    assert Diagnosis.objects.get().inputs == {"age": 999, "sex": "other"}


def test_what_was_left_out_is_said_in_the_callers_language(api_of: Any, bob: Any, heart_version: Any) -> None:
    body = ask(api_of(bob), heart_version, {**OLD_MAN, "shoe": 44}, **{"Accept-Language": "zh-hans"}).json()
    (warning,) = [w for w in body["warnings"] if w["code"] == "unknown_column"]
    assert warning["message"] == "模型没有列“shoe”，已略去。"


def test_numbers_as_text_are_numbers(api_of: Any, bob: Any, heart_version: Any) -> None:
    client = api_of(bob)
    as_text = ask(client, heart_version, {"age": "75", "chol": "280", "sex": "male"}).json()
    assert as_text["probability"] == ask(client, heart_version).json()["probability"]


def test_bare_text_goes_into_the_single_text_column(api_of: Any, bob: Any, notes_version: Any) -> None:
    answer = api_of(bob).post(URL, {"model": str(notes_version.model_id), "records": ["wheezing and cough", "irregular pulse"]})
    assert [d["value"] for d in answer.json()["diagnoses"]] == ["lung", "heart"]
    assert Diagnosis.objects.filter(inputs={"note": "irregular pulse"}).exists()


def test_regression_answers_a_number_with_its_interval(api_of: Any, bob: Any, pressure_version: Any) -> None:
    body = ask(api_of(bob), pressure_version, {"age": 60, "chol": 240}).json()
    assert body["value"] == pytest.approx(140, abs=8)
    assert body["interval"][0] < body["value"] < body["interval"][1]
    assert body["probability"] is None and body["probabilities"] is None and body["set"] is None


def test_replay_with_the_same_key_creates_nothing(api_of: Any, bob: Any, heart_version: Any) -> None:
    client = api_of(bob)
    first = ask(client, heart_version, **{"Idempotency-Key": "k1"})
    second = ask(client, heart_version, **{"Idempotency-Key": "k1"})
    assert second.json() == first.json()
    assert second["Idempotent-Replayed"] == "true"
    assert Diagnosis.objects.count() == 1
    other = ask(client, heart_version, YOUNG_WOMAN, **{"Idempotency-Key": "k1"})
    assert other.status_code == 422
    assert Diagnosis.objects.count() == 1


def test_reasons_come_on_request_and_are_the_same_again(api_of: Any, bob: Any, heart_version: Any) -> None:
    client = api_of(bob)
    answer = client.post(f"{URL}?reasons=1", {"model": str(heart_version.model_id), "record": OLD_MAN}).json()
    by_column = {c["column"]: c for c in answer["reasons"]["contributions"]}
    assert by_column["age"]["direction"] == "for"
    assert answer["reasons"]["explained"] == "yes"
    assert client.get(f"{URL}{answer['id']}/").json()["reasons"] == answer["reasons"]


def test_reasons_are_of_the_decided_class(api_of: Any, bob: Any, heart_version: Any) -> None:
    answer = api_of(bob).post(f"{URL}?reasons=1", {"model": str(heart_version.model_id), "record": YOUNG_WOMAN}).json()
    assert answer["value"] == "no"
    assert answer["reasons"]["explained"] == "no"
    assert {c["column"]: c["direction"] for c in answer["reasons"]["contributions"]}["age"] == "for"


def test_reasons_of_too_many_are_refused(api_of: Any, bob: Any, heart_version: Any) -> None:
    body = {"model": str(heart_version.model_id), "records": [OLD_MAN] * 51}
    assert api_of(bob).post(f"{URL}?reasons=1", body).status_code == 400
    assert not Diagnosis.objects.exists()


def test_nobody_gets_401(api_of: Any, heart_version: Any) -> None:
    from rest_framework.test import APIClient

    for answer in (APIClient().post(URL, {}), APIClient().get(URL)):
        assert answer.status_code == 401
        assert answer["Content-Type"] == "application/problem+json"


def test_auditor_reads_but_may_not_ask_or_review(api_of: Any, bob: Any, victor: Any, heart_version: Any) -> None:
    diagnosis = ask(api_of(bob), heart_version).json()["id"]
    client = api_of(victor)
    assert ask(client, heart_version).status_code == 403
    assert client.post(f"{URL}{diagnosis}/review/", {"verdict": "confirmed"}).status_code == 403
    assert client.get(f"{URL}{diagnosis}/").status_code == 200


def test_key_without_the_scope_gets_403(api_of: Any, bob: Any, heart_version: Any) -> None:
    assert ask(api_of(bob, scopes=["diagnoses:read"]), heart_version).status_code == 403
    assert not Diagnosis.objects.exists()


def test_outsider_gets_404(api_of: Any, bob: Any, charlie: Any, heart_version: Any) -> None:
    diagnosis = ask(api_of(bob), heart_version).json()["id"]
    client = api_of(charlie)
    assert ask(client, heart_version).status_code == 404
    assert client.post(URL, {"version": str(heart_version.pk), "record": OLD_MAN}).status_code == 404
    assert client.get(f"{URL}{diagnosis}/").status_code == 404
    assert client.post(f"{URL}{diagnosis}/review/", {"verdict": "confirmed"}).status_code == 404
    assert client.get(URL).json()["results"] == []


def test_published_model_serves_others_and_its_owner_sees_nothing(
    api_of: Any, alice: Any, charlie: Any, heart_version: Any
) -> None:
    from django.utils import timezone

    heart_version.model.published_at = timezone.now()
    heart_version.model.save()
    answer = ask(api_of(charlie), heart_version)
    assert answer.status_code == 201
    diagnosis = Diagnosis.objects.get()
    assert diagnosis.organisation_id == charlie.last_organisation_id
    assert api_of(alice).get(f"{URL}{diagnosis.pk}/").status_code == 404
    assert api_of(alice).get(URL).json()["results"] == []
    reviewed = api_of(charlie).post(f"{URL}{diagnosis.pk}/review/", {"verdict": "confirmed"})
    assert reviewed.status_code == 201
    assert reviewed.json()["record"] is None


def test_of_a_published_model_only_the_champion_serves_others(
    api_of: Any, bob: Any, charlie: Any, heart: Any, heart_version: Any
) -> None:
    from django.utils import timezone

    newer = store(heart, bob.last_organisation, name="Heart", number=2)
    newer.model.published_at = timezone.now()
    newer.model.save()
    client = api_of(charlie)
    assert client.post(URL, {"version": str(heart_version.pk), "record": OLD_MAN}).status_code == 409
    assert client.post(URL, {"version": str(newer.pk), "record": OLD_MAN}).status_code == 201
    assert api_of(bob).post(URL, {"version": str(heart_version.pk), "record": OLD_MAN}).status_code == 201


def test_champion_is_the_one_at_the_time_of_asking(api_of: Any, bob: Any, heart: Any, heart_version: Any) -> None:
    client = api_of(bob)
    assert ask(client, heart_version).json()["model_version"] == str(heart_version.pk)
    newer = store(heart, bob.last_organisation, name="Heart", number=2)
    assert ask(client, heart_version).json()["model_version"] == str(newer.pk)


def test_model_without_champion_answers_409_and_is_audited(api_of: Any, bob: Any, heart_version: Any) -> None:
    model = heart_version.model
    model.champion = None
    model.save()
    answer = ask(api_of(bob), heart_version)
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:aimass:problem:no-champion"
    assert AuditEvent.objects.get(action="diagnosis.refused").outcome == "failed"
    assert not Diagnosis.objects.exists()


@pytest.mark.parametrize("fields", [{"gate_passed": False}, {"retired_at": "2026-01-01T00:00:00Z"}])
def test_failed_or_retired_version_does_not_serve(
    api_of: Any, bob: Any, heart: Any, organisation: Any, fields: dict[str, Any]
) -> None:
    version = store(heart, organisation, name="Heart", **fields)
    assert ask(api_of(bob), version).status_code == 409
    assert api_of(bob).post(URL, {"version": str(version.pk), "record": OLD_MAN}).status_code == 409
    assert not Diagnosis.objects.exists()


@pytest.mark.parametrize("damage", ["gone", "changed"])
@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "k"}])
def test_damaged_artefact_is_503_audited_and_saves_nothing(
    api_of: Any, bob: Any, heart_version: Any, damage: str, key: dict[str, str]
) -> None:
    import shutil

    from training.artefacts import folder

    path = folder(heart_version) / "model"
    if damage == "gone":
        shutil.rmtree(path)
    else:
        largest = max(path.iterdir(), key=lambda p: p.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:-1] + b"x")
    answer = ask(api_of(bob), heart_version, **key)
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:aimass:problem:model-unavailable"
    assert "Traceback" not in answer.content.decode()
    assert AuditEvent.objects.get(action="diagnosis.refused").detail["version"] == str(heart_version.pk)
    assert not Diagnosis.objects.exists()


def test_list_filters_and_pages(api_of: Any, bob: Any, heart_version: Any, notes_version: Any) -> None:
    client = api_of(bob)
    for i in range(5):
        ask(client, heart_version, {**(OLD_MAN if i % 2 else YOUNG_WOMAN), "mrn": f"p{i}"})
    client.post(URL, {"model": str(notes_version.model_id), "record": "wheezing"})
    newest_first = [d["id"] for d in client.get(URL).json()["results"]]
    assert newest_first == [str(pk) for pk in Diagnosis.objects.order_by("-created_at").values_list("pk", flat=True)]
    pages, url = [], f"{URL}?page_size=4"
    while url:
        page = client.get(url).json()
        pages += [d["id"] for d in page["results"]]
        url = page["next"]
    assert pages == newest_first

    def count(**filters: str) -> int:
        return len(client.get(URL, filters).json()["results"])

    assert count(model=str(heart_version.model_id)) == 5
    assert count(version=str(notes_version.pk)) == 1
    assert count(value="yes") == 2
    assert count(patient="p3") == 1
    assert count(verdict="unreviewed") == 6
    assert count(since="2999-01-01T00:00:00Z") == 0
    assert count(until="2999-01-01T00:00:00Z") == 6
    client.post(f"{URL}{newest_first[0]}/review/", {"verdict": "confirmed"})
    assert count(verdict="confirmed") == 1
    assert count(verdict="unreviewed") == 5
    assert client.get(URL, {"model": "junk"}).status_code == 400


def test_reading_is_audited(api_of: Any, bob: Any, heart_version: Any) -> None:
    client = api_of(bob)
    diagnosis = ask(client, heart_version).json()["id"]
    client.get(f"{URL}{diagnosis}/")
    client.get(URL)
    assert AuditEvent.objects.filter(action="diagnosis.read", object_id=diagnosis).count() == 1
    assert AuditEvent.objects.filter(action="diagnosis.listed").count() == 1
