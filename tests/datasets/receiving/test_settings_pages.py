"""Who receives from whom: an administrator's pages and resources, and what they write into the audit log."""

from typing import Any

import pytest

from accounts.models import AuditEvent
from datasets.receiving.models import Peer, Receiver
from tests.datasets.receiving.conftest import MODALITY, TITLE

pytestmark = pytest.mark.django_db


def test_administrator_adds_allows_pauses_and_removes(alice: Any, client_of: Any) -> None:
    client = client_of(alice)
    added = client.post("/datasets/receivers/add/", {"title": "AIMASS"}, follow=True)
    assert "Nobody may send yet" in added.content.decode()
    row = Receiver.objects.get()
    page = client.post(f"/datasets/receivers/{row.pk}/peers/", {"title": "CT1", "address": "10.1.2.3/16"}, follow=True)
    assert "10.1.0.0/16" in page.content.decode()
    client.post(f"/datasets/receivers/{row.pk}/", {"dataset": ""})
    row.refresh_from_db()
    assert not row.active and "Paused" in client.get("/datasets/receivers/").content.decode()
    peer = Peer.objects.get()
    assert client.get(f"/datasets/receivers/{row.pk}/peers/{peer.pk}/remove/").status_code == 200
    client.post(f"/datasets/receivers/{row.pk}/peers/{peer.pk}/remove/")
    client.post(f"/datasets/receivers/{row.pk}/remove/")
    assert not Receiver.objects.exists()
    actions = AuditEvent.objects.filter(action__startswith="receiver.").order_by("pk").values_list("action", flat=True)
    assert [a.partition(".")[2] for a in actions] == ["added", "peer_added", "changed", "peer_removed", "removed"]


@pytest.mark.parametrize("title", ["", "seventeen letters", "back\\slash", "umläut", "  "])
def test_bad_titles_are_refused_with_a_sentence(alice: Any, client_of: Any, title: str) -> None:
    answer = client_of(alice).post("/datasets/receivers/add/", {"title": title})
    assert answer.status_code == 422 and "form-error" in answer.content.decode()


def test_taken_title_and_bad_address_are_told(
    alice: Any, charlie: Any, api_of: Any, client_of: Any, allowed: Receiver
) -> None:
    answer = api_of(charlie).post("/api/v1/receivers/", {"title": TITLE})
    assert answer.status_code == 400 and answer.json()["errors"][0]["field"] == "title"
    client = client_of(alice)
    for title, address, word in (("A", "home", "10.1.0.0/16"), (MODALITY, "127.0.0.1", "already")):
        page = client.post(f"/datasets/receivers/{allowed.pk}/peers/", {"title": title, "address": address})
        assert page.status_code == 422 and word in page.content.decode()


def test_a_removed_title_is_given_to_nobody_else(alice: Any, charlie: Any, api_of: Any, allowed: Receiver) -> None:
    own, stranger = api_of(alice), api_of(charlie)
    assert own.delete(f"/api/v1/receivers/{allowed.pk}/").status_code == 204
    answer = stranger.post("/api/v1/receivers/", {"title": TITLE})
    assert answer.status_code == 400 and "taken" in answer.json()["errors"][0]["message"]
    assert own.post("/api/v1/receivers/", {"title": TITLE}).status_code == 201
    assert stranger.post("/api/v1/receivers/", {"title": TITLE}).status_code == 400


def test_programs_do_the_same(alice: Any, api_of: Any) -> None:
    client = api_of(alice)
    made = client.post("/api/v1/receivers/", {"title": "AIMASS"}).json()
    address = f"/api/v1/receivers/{made['id']}/"
    peer = client.post(f"{address}peers/", {"title": "CT1", "address": "fd00::/8"}).json()
    assert client.patch(address, {"active": False}).json()["peers"] == [peer]
    assert client.get("/api/v1/receivers/").json()["results"][0]["active"] is False
    assert client.delete(f"{address}peers/{peer['id']}/").status_code == 204
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404


def test_others_may_not(dana: Any, charlie: Any, client_of: Any, api_of: Any, allowed: Receiver) -> None:
    assert client_of(dana).get("/datasets/receivers/").status_code == 403
    assert api_of(dana).post("/api/v1/receivers/", {"title": "MINE"}).status_code == 403
    assert client_of(charlie).get(f"/datasets/receivers/{allowed.pk}/").status_code == 404
    assert api_of(charlie).delete(f"/api/v1/receivers/{allowed.pk}/").status_code == 404
    peer = allowed.peers.get()
    assert api_of(charlie).delete(f"/api/v1/receivers/{allowed.pk}/peers/{peer.pk}/").status_code == 404
