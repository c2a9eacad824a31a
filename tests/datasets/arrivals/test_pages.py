"""The pages and the REST resource of arrivals: who may, who may not, and the whole way through each."""

import csv
import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from datasets.arrivals import services
from datasets.arrivals.models import Arrival
from tests.conftest import actor
from tests.datasets.arrivals import samples

pytestmark = pytest.mark.django_db


def a_file(name: str, content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


@pytest.fixture
def arrival(dana: Any, run_jobs: Any) -> Arrival:
    files = {"=cmd|'/c calc'!A1.png": samples.picture("PNG"), "bad.png": b"MZ not a picture", "a.txt": samples.NOTE.encode()}
    sent = services.receive(actor=actor(dana), files=[(n, io.BytesIO(c)) for n, c in files.items()])
    run_jobs()
    return sent


def test_the_whole_way_through_the_portal(dana: Any, client_of: Any, run_jobs: Any) -> None:
    client = client_of(dana)
    assert "DICOMDIR" in client.get(reverse("datasets:arrival_send")).content.decode()
    note = "患者姓名：王小明\n王小明自述头痛。李医生检查。\n".encode()
    answer = client.post(
        reverse("datasets:arrival_send"),
        {"file": [a_file("p.png", samples.picture("PNG")), a_file("n.txt", note)], "known": "王小明\n", "hold_texts": "on"},
    )
    sent = Arrival.objects.get()
    assert answer.url == reverse("datasets:arrival", args=[sent.pk])
    assert "job-progress" in client.get(answer.url).content.decode()
    run_jobs()
    page = client.get(answer.url).content.decode()
    assert "p.png" in page and "This text waits until a person has seen" in page
    held = sent.files.get(code="to_confirm")
    address = reverse("datasets:arrived_file", args=[held.pk])
    page = client.get(address).content.decode()
    assert "<mark>王小明" in page and "李医生" in page and "<mark>李医生" not in page
    retry = reverse("datasets:arrived_file_retry", args=[held.pk])
    page = client.post(retry, {"action": "preview", "known": "李医生"}).content.decode()
    assert "<mark>李医生" in page
    assert client.post(retry, {"action": "confirm", "known": "李医生"}).status_code == 302
    run_jobs()
    page = client.get(address).content.decode()
    assert "王小明" not in page and "李医生" not in page and "<mark>[姓名]</mark>" in page


def test_report_is_safe_for_spreadsheets(arrival: Arrival, victor: Any, client_of: Any) -> None:
    answer = client_of(victor).get(reverse("datasets:arrival_report", args=[arrival.pk]))
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(r["File"], r["Outcome"], r["Code"]) for r in rows] == [
        ("'=cmd|'/c calc'!A1.png", "imported", ""),
        ("bad.png", "quarantined", "program"),
        ("a.txt", "imported", ""),
    ]
    assert rows[1]["Reason"].startswith("This is a program")


def test_quarantine_lists_reasons_and_discards_after_asking(arrival: Arrival, dana: Any, client_of: Any) -> None:
    client = client_of(dana)
    page = client.get(reverse("datasets:quarantine")).content.decode()
    assert "bad.png" in page and "This is a program or script" in page
    row = arrival.files.get(code="program")
    discard = reverse("datasets:arrived_file_discard", args=[row.pk])
    assert "cannot be undone" in client.get(discard).content.decode()
    row.refresh_from_db()
    assert row.discarded_at is None
    client.post(discard)
    assert "bad.png" not in client.get(reverse("datasets:quarantine")).content.decode()
    row.refresh_from_db()
    assert row.discarded_at is not None and row.original is None and row.discarded_by == dana


def test_only_who_may_write_may_try_again_or_discard(arrival: Arrival, victor: Any, client_of: Any) -> None:
    client, row = client_of(victor), arrival.files.get(code="program")
    page = client.get(reverse("datasets:arrived_file", args=[row.pk])).content.decode()
    assert "Try again" not in page and "Discard" not in page
    for name in ("arrived_file_retry", "arrived_file_discard"):
        assert client.post(reverse(f"datasets:{name}", args=[row.pk])).status_code == 403


def test_auditor_does_not_see_a_held_text(dana: Any, victor: Any, client_of: Any, run_jobs: Any) -> None:
    sent = services.receive(actor=actor(dana), files=[("n", io.BytesIO(b"Peter Jones was here.\nWell.\n"))], hold_texts=True)
    run_jobs()
    page = client_of(victor).get(reverse("datasets:arrived_file", args=[sent.files.get().pk])).content.decode()
    assert "Peter Jones" not in page


def test_filter_by_outcome_and_kind(arrival: Arrival, dana: Any, client_of: Any) -> None:
    client, address = client_of(dana), reverse("datasets:arrival", args=[arrival.pk])
    assert "bad.png" not in client.get(address, {"outcome": "imported"}).content.decode()
    assert "a.txt" not in client.get(address, {"kind": "image"}).content.decode()
    assert "a.txt" not in client.get(address, {"kind": "nonsense"}).content.decode()


def test_reasons_in_chinese(arrival: Arrival, dana: Any, client_of: Any) -> None:
    client = client_of(dana)
    client.cookies["django_language"] = "zh-hans"
    assert "这是程序或脚本" in client.get(reverse("datasets:quarantine")).content.decode()


def test_the_whole_way_through_rest(dana: Any, charlie: Any, client_of: Any, run_jobs: Any) -> None:
    client = client_of(dana)
    files = [a_file("p", samples.picture("PNG")), a_file("b", b"MZ")]
    answer = client.post("/api/v1/arrivals/", {"files": files, "known": ["John Smith"]})
    assert answer.status_code == 201, answer.content
    sent = answer.json()
    assert sent["counts"]["waiting"] == 2
    run_jobs()
    sent = client.get(f"/api/v1/arrivals/{sent['id']}/").json()
    assert sent["counts"] == {"files": 2, "waiting": 0, "imported": 1, "duplicate": 0, "quarantined": 1, "discarded": 0}
    address = f"/api/v1/arrivals/{sent['id']}/files/"
    page = client.get(address, {"page_size": 1}).json()
    assert len(page["results"]) == 1 and page["next"]
    assert [f["name"] for f in client.get(page["next"]).json()["results"]] == ["b"]
    (bad,) = client.get(address, {"outcome": "quarantined"}).json()["results"]
    assert (bad["code"], bad["reason"][:17]) == ("program", "This is a program")
    (good,) = client.get(address, {"kind": "image"}).json()["results"]
    assert good["file"] == good["sha256"] and good["facts"]["width"] == 40
    assert client.get(address, {"outcome": "nonsense"}).status_code == 400
    assert client_of(charlie).get(address).status_code == 404
    one = f"/api/v1/arrived-files/{bad['id']}/"
    assert client.post(one + "retry/", {}, content_type="application/json").status_code == 202
    run_jobs()
    assert client.get(one).json()["code"] == "program"
    assert client.post(one + "discard/", {}, content_type="application/json").json()["discarded_at"]
    assert client.post(one + "retry/", {}, content_type="application/json").status_code == 409
    other = f"/api/v1/arrived-files/{good['id']}/discard/"
    assert client.post(other, {}, content_type="application/json").status_code == 409


def test_repeat_of_a_sending_sends_nothing_more(dana: Any, client_of: Any) -> None:
    client = client_of(dana)
    answers = [
        client.post("/api/v1/arrivals/", {"files": [a_file("p", b"a note\n")]}, headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]
    assert [a.status_code for a in answers] == [201, 201] and Arrival.objects.count() == 1


def test_too_many_files_side_by_side_are_said(dana: Any, client_of: Any, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 2
    client, files = client_of(dana), [a_file(str(n), b"x") for n in range(3)]
    for address, name in ((reverse("datasets:arrival_send"), "file"), ("/api/v1/arrivals/", "files")):
        assert client.post(address, {name: files}).status_code == 400
