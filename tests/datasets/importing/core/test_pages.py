"""An administrator sets an importer up in the portal and over REST; who may do what; no secret ever comes out."""

from typing import Any

import pytest
from django.urls import reverse

from accounts.models import AuditEvent
from datasets.importing.models import Importer
from datasets.models import Dataset
from jobs.models import Job
from tests.conftest import actor
from tests.datasets.importing.core.conftest import Drop, Run, Visits, ran
from tests.datasets.importing.databases import PASSWORD

pytestmark = pytest.mark.django_db
LIST = "/datasets/importers/"


def page(client: Any, address: str, status: int = 200, /, **data: Any) -> str:
    response = client.post(address, data, follow=True) if data else client.get(address)
    assert response.status_code == status, response.content.decode()[:3000]
    text: str = response.content.decode()
    assert PASSWORD not in text
    return text


def only() -> Importer:
    return Importer.objects.get()


def test_set_up_from_kind_to_first_run(visits: Visits, alice: Any, client_of: Any, run_jobs: Run) -> None:
    client = client_of(alice)
    assert "No importers yet" in page(client, LIST)
    assert f"{LIST}add/sql/" in page(client, f"{LIST}add/")
    wrong = page(
        client, f"{LIST}add/sql/", 422, **{"importer-name": "", **visits.settings(address="ftp://x")}
    )
    assert "Only postgresql://" in wrong and 'value=""' not in wrong.split("password")[1][:200]
    text = page(client, f"{LIST}add/sql/", **{"importer-name": "Visits", **visits.settings()})
    assert "being tested" in text
    run_jobs()
    address = reverse("datasets:importer_look", args=[only().pk])
    text = page(client, address)
    assert (
        "Connected to 127.0.0.1" in text and "p001" in text and "Which field goes into which column" in text
    )
    chosen = {"c0-kind": "number", "c0-role": "ignore", "c1-include": "on", "c1-kind": "category", "c1-role": "patient",
              "c2-include": "on", "c2-kind": "number", "c2-role": "feature", "c2-number_format": ".|", "c3-include": "on",
              "c3-kind": "category", "c3-role": "target", "new_dataset_name": "From the warehouse",
              "keep_good_rows": "yes"}  # fmt: skip
    assert "When it runs" in page(client, address, **chosen)
    assert only().look.get("preview") is None  # it held patients' values
    wrong = page(
        client, reverse("datasets:importer_schedule", args=[only().pk]), 422, schedule="daily", zone="UTC"
    )
    assert "Give the time of day." in wrong
    text = page(
        client, reverse("datasets:importer_schedule", args=[only().pk]), schedule="daily", at="02:30", zone="Europe/Berlin",
        quiet_days="3",
    )  # fmt: skip
    assert "every day at 02:30 (Europe/Berlin)" in text and "when nothing new came for 3 days" in text
    page(client, reverse("datasets:importer_start", args=[only().pk]), now="1")
    run_jobs()
    text = page(client, reverse("datasets:importer", args=[only().pk]))
    assert (
        "12 new records" in text
        and "12 new, 0 known already, 0 refused" in text
        and "set (never shown)" in text
    )
    dataset = Dataset.objects.get(name="From the warehouse")
    assert dataset.record_count == 12
    assert "Visits" in page(client, f"/datasets/{dataset.pk}/")
    assert "(12 new)" in page(client, LIST)


def test_secret_stays_when_left_empty_but_not_for_another_address(
    nightly: Importer, visits: Visits, alice: Any, client_of: Any, run_jobs: Run
) -> None:
    client, address = client_of(alice), reverse("datasets:importer_settings", args=[nightly.pk])
    text = page(client, address)
    assert "set; leave empty to keep it" in text and visits.database.address in text
    other = visits.settings(password="", query="SELECT mrn, age, diagnosis FROM visits", cursor_column="")
    page(client, address, **{"importer-name": "Visits", "importer-dataset": str(nightly.dataset_id), **other})
    assert only().secrets == {"password": PASSWORD} and only().settings["cursor_column"] == ""
    stolen = {**other, "address": visits.database.address.replace("127.0.0.1", "127.0.0.2")}
    text = page(client, address, 422, **{"importer-name": "Visits", **stolen})
    assert "Enter it again" in text and "127.0.0.1" in only().settings["address"]


def test_who_may_do_what(nightly: Importer, dana: Any, victor: Any, charlie: Any, client_of: Any) -> None:
    start = reverse("datasets:importer_start", args=[nightly.pk])
    settings = reverse("datasets:importer_settings", args=[nightly.pk])
    text = page(client_of(victor), reverse("datasets:importer", args=[nightly.pk]))
    assert "Run now" not in text and "SELECT" not in text and settings not in text
    assert client_of(victor).post(start).status_code == 403
    assert client_of(dana).get(settings).status_code == 403 and client_of(dana).post(start).status_code == 302
    for name in ("importer", "importer_settings", "importer_look", "importer_schedule", "importer_remove"):
        assert client_of(charlie).get(reverse(f"datasets:{name}", args=[nightly.pk])).status_code == 404
    assert client_of(charlie).post(start).status_code == 404


def test_pages_speak_chinese(nightly: Importer, alice: Any, client_of: Any, run_jobs: Run) -> None:
    ran(nightly, actor(alice), run_jobs)
    alice.language = "zh-hans"
    alice.save()
    client = client_of(alice)
    client.cookies["django_language"] = "zh-hans"
    names = ("importer", "importer_settings", "importer_look", "importer_schedule", "importer_remove")
    addresses = [LIST, f"{LIST}add/", *(reverse(f"datasets:{name}", args=[nightly.pk]) for name in names)]
    texts = [page(client, address) for address in addresses]
    assert all("导入器" in text for text in texts)


def test_pause_and_remove(nightly: Importer, alice: Any, client_of: Any) -> None:
    client = client_of(alice)
    assert "Let it go on" in page(client, reverse("datasets:importer_pause", args=[nightly.pk]), paused="yes")
    assert "Run now" in page(client, reverse("datasets:importer_pause", args=[nightly.pk]), paused="no")
    assert "Go back, change nothing" in page(client, reverse("datasets:importer_remove", args=[nightly.pk]))
    page(client, reverse("datasets:importer_remove", args=[nightly.pk]), sure="1")
    assert not Importer.objects.exists() and Dataset.objects.filter(name="Visits").exists()
    assert {"importer.paused", "importer.resumed", "importer.removed"} <= set(
        AuditEvent.objects.values_list("action", flat=True)
    )


def test_rest_from_kinds_to_history(visits: Visits, alice: Any, api_of: Any, run_jobs: Run) -> None:
    api = api_of(alice)
    kinds = {kind["kind"]: kind for kind in api.get("/api/v1/importers/kinds/").json()}
    assert [s["name"] for s in kinds["sql"]["settings"] if s["secret"]] == ["password"]
    body = {"name": "Visits", "kind": "sql", "settings": visits.settings()}
    wrong = api.post(
        "/api/v1/importers/", {**body, "settings": {"address": "x", "colour": "red"}}, format="json"
    )
    assert wrong.status_code == 400 and "colour" in wrong.content.decode()
    made = api.post("/api/v1/importers/", body, format="json")
    assert (
        made.status_code == 201
        and made.json()["secrets_set"] == ["password"]
        and PASSWORD not in made.content.decode()
    )
    assert api.post("/api/v1/importers/", body, format="json").status_code == 400
    one = f"/api/v1/importers/{made.json()['id']}/"
    assert api.post(f"{one}run/").status_code == 409
    assert api.get(f"{one}preview/").json()["state"] == "waiting"
    run_jobs()
    preview = api.get(f"{one}preview/").json()
    assert preview["state"] == "found" and len(preview["rows"]) == 12
    columns = [{"name": "id", "include": False}, {"name": "mrn", "role": "patient", "kind": "category"},
               {"name": "diagnosis", "role": "target", "kind": "category"}, {"name": "age", "kind": "number"}]  # fmt: skip
    mapped = api.post(f"{one}mapping/", {"columns": columns, "new_dataset_name": "Over REST"}, format="json")
    assert mapped.status_code == 200 and mapped.json()["ready"]
    assert {c["column"] for c in mapped.json()["columns"]} == {"mrn", "age", "diagnosis"}
    assert (
        api.post(f"{one}schedule/", {"schedule": "daily", "zone": "Nowhere/City"}, format="json").status_code
        == 400
    )
    assert api.post(f"{one}schedule/", {"schedule": "hours", "every": 6}, format="json").json()["next_run_at"]
    assert api.post(f"{one}run/").status_code == 202
    run_jobs()
    history = api.get(f"{one}runs/").json()["results"]
    assert [(run["state"], run["rows_added"]) for run in history] == [("done", 12)]
    detail = api.get(f"{one}runs/{history[0]['id']}/").json()
    assert len(detail["uploads"]) == 1 and detail["faulty"] == []
    moved = api.patch(one, {"settings": {"tls": "encrypted"}}, format="json")
    assert moved.status_code == 400 and "password" in moved.content.decode()
    assert api.patch(one, {"name": "Renamed"}, format="json").json()["name"] == "Renamed"
    assert api.post(f"{one}pause/", {"paused": True}, format="json").json()["paused"] is True
    assert api.delete(one).status_code == 204 and api.get(one).status_code == 404


def test_rest_hides_settings_from_readers_and_all_from_strangers(
    nightly: Importer, victor: Any, charlie: Any, api_of: Any
) -> None:
    one = f"/api/v1/importers/{nightly.pk}/"
    seen = api_of(victor).get(one).json()
    assert seen["settings"] == {} and seen["secrets_set"] == []
    assert (
        api_of(victor).post(f"{one}run/").status_code == 403
        and api_of(victor).get(f"{one}preview/").status_code == 403
    )
    assert (
        api_of(charlie).get(one).status_code == 404 and api_of(charlie).get(f"{one}runs/").status_code == 404
    )


def test_refused_address_is_told(
    visits: Visits, alice: Any, run_jobs: Run, settings: Any, client_of: Any
) -> None:
    settings.IMPORT_NETWORKS = []
    row = visits.importer(alice)
    run_jobs()
    row.refresh_from_db()
    assert (row.look["state"], row.look["code"]) == ("failed", "address_refused")
    assert "AIMASS_IMPORT_NETWORKS" in page(
        client_of(alice), reverse("datasets:importer_look", args=[row.pk])
    )
    assert Job.objects.get().state == "done"


def test_files_need_no_mapping(drop: Drop, alice: Any, client_of: Any, run_jobs: Run) -> None:
    drop.put("one.txt", "A note.")
    client = client_of(alice)
    given = {
        "importer-name": "Drop",
        "importer-treatment": "arrival",
        "folder": str(drop.folder),
        "subfolders": "on",
    }
    page(client, f"{LIST}add/folder/", **given)
    run_jobs()
    text = page(client, reverse("datasets:importer_look", args=[only().pk]))
    assert "one.txt" in text and "Go on: say when it runs" in text
