"""The API keys page: made, shown once, listed, revoked."""

import re

from django.urls import reverse

from accounts import services
from accounts.keys import actor_for_key
from accounts.models import ApiKey
from tests.conftest import actor


def make(user, scopes=("data:read",)):
    return services.create_key(actor=actor(user), name="ward system", scopes=scopes)


def test_it_works_and_the_text_is_shown_exactly_once(client_of, bob):
    client = client_of(bob)
    response = client.post("/keys/new/", {"name": "lab", "scopes": ["data:read", "diagnoses:create"], "days": "30"})
    plain = re.search(r'value="(am_[^"]+)"', response.content.decode()).group(1)
    assert response.status_code == 201 and "no-store" in response["Cache-Control"]
    assert actor_for_key(plain).user == bob
    page = client.get("/keys/").content.decode()
    assert plain not in page and ApiKey.objects.get().prefix in page and "Never" not in page


def test_the_form_offers_only_what_the_role_allows(client_of, bob):
    page = client_of(bob).get("/keys/new/").content.decode()
    assert "diagnoses:create" in page and "members:manage" not in page and "data:erase" not in page


def test_a_scope_beyond_the_role_is_refused(client_of, bob):
    response = client_of(bob).post("/keys/new/", {"name": "lab", "scopes": ["members:manage"], "days": "30"})
    assert b"form-error" in response.content and not ApiKey.objects.exists()


def test_more_than_a_year_is_refused(client_of, bob):
    client_of(bob).post("/keys/new/", {"name": "lab", "scopes": ["data:read"], "days": "3650"})
    assert not ApiKey.objects.exists()


def test_revoking_asks_first(client_of, bob):
    key, plain = make(bob)
    url = reverse("accounts:key_revoke", args=[key.pk])
    assert "Revoke the key" in client_of(bob).get(url).content.decode()
    assert actor_for_key(plain) is not None
    client_of(bob).post(url)
    assert actor_for_key(plain) is None
    assert "Revoked" in client_of(bob).get("/keys/").content.decode()


def test_outsider_gets_404(client_of, bob, charlie):
    key, plain = make(bob)
    assert client_of(charlie).post(reverse("accounts:key_revoke", args=[key.pk])).status_code == 404
    assert "ward system" not in client_of(charlie).get("/keys/").content.decode()
    assert actor_for_key(plain) is not None


def test_a_colleague_gets_404_and_the_administrator_may(client_of, bob, dana, alice):
    key, plain = make(bob)
    url = reverse("accounts:key_revoke", args=[key.pk])
    assert client_of(dana).post(url).status_code == 404
    assert "ward system" not in client_of(dana).get("/keys/").content.decode()
    assert "ward system" in client_of(alice).get("/keys/").content.decode()
    client_of(alice).post(url)
    assert actor_for_key(plain) is None


def test_auditor_gets_403(client_of, victor):
    assert client_of(victor).get("/keys/").status_code == 403
    assert client_of(victor).post("/keys/new/", {"name": "x", "scopes": ["data:read"], "days": "7"}).status_code == 403
    assert not ApiKey.objects.exists()
