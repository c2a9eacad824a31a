"""The REST resources of accounts: what they give, to whom, and what they refuse."""

import base64

import pytest
from django.utils import timezone

from accounts import audit, services
from accounts.models import ApiKey, AuditEvent, Membership, Notification, Organisation, Preference
from accounts.notifications import notify
from tests.conftest import actor

V1 = "/api/v1"


def ids(response, field="id"):
    return [row[field] for row in response.json()["results"]]


class TestEveryResource:
    READS = ["/me/", "/organisations/", "/notifications/", "/keys/", "/preferences/", "/audit-events/"]

    @pytest.mark.parametrize("path", READS)
    def test_it_works_for_the_administrator(self, api_of, alice, path):
        assert api_of(alice).get(V1 + path).status_code == 200

    @pytest.mark.parametrize("path", READS)
    def test_nobody_gets_401(self, client, db, path):
        response = client.get(V1 + path)
        assert response.status_code == 401 and response["WWW-Authenticate"] == "Bearer"
        assert response["Content-Type"] == "application/problem+json" and response.json()["status"] == 401

    @pytest.mark.parametrize(
        ("path", "scope"),
        [("/keys/", "keys:manage"), ("/preferences/", "models:read"), ("/audit-events/", "audit:read")],
    )
    def test_a_key_without_the_scope_gets_403(self, api_of, alice, path, scope):
        assert api_of(alice, scopes=[scope]).get(V1 + path).status_code == 200
        response = api_of(alice, scopes=["data:read"]).get(V1 + path)
        assert response.status_code == 403 and scope in response.json()["detail"]
        assert AuditEvent.objects.filter(action="access.denied", outcome="denied").count() == 1

    def test_the_session_works_too_with_csrf(self, client_of, alice):
        from django.test import Client

        client = Client(enforce_csrf_checks=True)
        client.force_login(alice)
        assert client.get(V1 + "/me/").json()["email"] == alice.email
        body = {"name": "x", "scopes": ["data:read"]}
        assert client.post(V1 + "/keys/", body, content_type="application/json").status_code == 403
        assert not ApiKey.objects.exists()

    def test_somebody_without_an_organisation_gets_403(self, client_of, db):
        from tests.conftest import make_user

        assert client_of(make_user("new@example.org", None, "")).get(V1 + "/me/").status_code == 403


def test_me(api_of, bob, organisation):
    me = api_of(bob, scopes=["data:read", "diagnoses:create"]).get(V1 + "/me/").json()
    assert me["email"] == "bob@example.org" and me["role"] == "clinician"
    assert me["organisation"] == {"id": str(organisation.pk), "name": "St Mary's"}
    assert me["permissions"] == ["data:read", "diagnoses:create"] and me["key"]["name"] == "test"
    assert "key_hash" not in str(me)


class TestOrganisations:
    def test_a_key_sees_only_its_own(self, api_of, client_of, alice, organisation):
        api = api_of(alice)
        mine = services.create_organisation(actor=actor(alice), name="Second")
        assert ids(api.get(V1 + "/organisations/")) == [str(organisation.pk)]
        browser = client_of(alice).get(V1 + "/organisations/")
        assert set(ids(browser)) == {str(organisation.pk), str(mine.pk)}
        assert api.get(f"{V1}/organisations/{mine.pk}/members/").status_code == 404

    def test_creating(self, api_of, alice, organisation):
        response = api_of(alice).post(V1 + "/organisations/", {"name": "Second"})
        assert response.status_code == 201 and response.json()["role"] == "administrator"
        alice.refresh_from_db()
        assert alice.last_organisation == organisation, "a program does not move the person's portal"
        assert AuditEvent.objects.get(action="organisation.created").organisation_id == Organisation.objects.get(name="Second").pk

    def test_clinician_gets_403(self, api_of, bob):
        assert api_of(bob).post(V1 + "/organisations/", {"name": "Second"}).status_code == 403
        assert Organisation.objects.count() == 1

    @pytest.mark.parametrize(
        "body", [{}, {"name": ""}, {"name": " "}, {"name": "x" * 151}, {"name": "a\0b"}, {"name": ["x"]}, []]
    )
    def test_what_is_wrong_is_named(self, api_of, alice, body):
        response = api_of(alice).post(V1 + "/organisations/", body)
        assert response.status_code == 400 and response["Content-Type"] == "application/problem+json"
        assert Organisation.objects.count() == 1

    def test_members(self, api_of, alice, bob, charlie, organisation):
        url = f"{V1}/organisations/{organisation.pk}/members/"
        assert set(ids(api_of(bob).get(url), "email")) == {"alice@example.org", "bob@example.org"}
        assert api_of(charlie).get(url).status_code == 404
        assert api_of(alice, scopes=["data:read"]).get(url).status_code == 403


class TestNotifications:
    def test_list_filter_and_read(self, api_of, bob, dana, organisation):
        for number in range(3):
            notify(organisation=organisation, users=[bob, dana], key=str(number), title=f"T{number}")
        api = api_of(bob)
        assert ids(api.get(V1 + "/notifications/"), "title") == ["T2", "T1", "T0"]
        row = Notification.objects.get(user=bob, title="T1")
        assert api.post(f"{V1}/notifications/{row.pk}/read/").json()["read_at"] is not None
        assert ids(api.get(V1 + "/notifications/?unread=true"), "title") == ["T2", "T0"]
        assert Notification.objects.filter(read_at=None).count() == 5

    def test_somebody_elses_is_404(self, api_of, bob, dana, organisation):
        notify(organisation=organisation, users=[dana], key="a", title="T")
        row = Notification.objects.get()
        assert api_of(bob).post(f"{V1}/notifications/{row.pk}/read/").status_code == 404
        assert api_of(bob).post(f"{V1}/notifications/{'9' * 40}/read/").status_code == 404
        row.refresh_from_db()
        assert row.read_at is None

    def test_a_junk_filter_is_400_and_named(self, api_of, bob):
        response = api_of(bob).get(V1 + "/notifications/?unread=perhaps")
        assert response.status_code == 400 and response.json()["errors"][0]["field"] == "unread"


class TestKeys:
    def test_the_text_is_given_once_and_works(self, api_of, alice):
        api = api_of(alice)
        response = api.post(V1 + "/keys/", {"name": "lab", "scopes": ["data:read"], "days": 1})
        plain = response.json()["key"]
        assert response.status_code == 201 and plain.startswith("am_") and response["Cache-Control"] == "no-store"
        assert plain not in api.get(V1 + "/keys/").content.decode()
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {plain}")
        assert api.get(V1 + "/me/").json()["permissions"] == ["data:read"]

    def test_a_repeat_creates_nothing_and_shows_no_text(self, api_of, alice):
        api = api_of(alice)
        body = {"name": "lab", "scopes": ["data:read"]}
        first = api.post(V1 + "/keys/", body, headers={"Idempotency-Key": "k"}).json()
        again = api.post(V1 + "/keys/", body, headers={"Idempotency-Key": "k"})
        assert again.json() == first | {"key": ""} and again["Idempotent-Replayed"] == "true"
        assert ApiKey.objects.filter(name="lab").count() == 1

    def test_it_can_give_no_more_than_it_has(self, api_of, alice):
        api = api_of(alice, scopes=["keys:manage"])
        response = api.post(V1 + "/keys/", {"name": "lab", "scopes": ["data:erase"]})
        assert response.status_code == 400 and response.json()["errors"][0]["field"] == "scopes"
        assert ApiKey.objects.count() == 1

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"scopes": []}, "scopes"),
            ({"scopes": ["x"]}, "scopes"),
            ({"scopes": "data:read"}, "scopes"),
            ({"days": 0}, "days"),
            ({"days": 366}, "days"),
            ({"days": 10**30}, "days"),
            ({"name": ""}, "name"),
        ],
    )
    def test_what_is_wrong_is_named(self, api_of, bob, change, field):
        response = api_of(bob).post(V1 + "/keys/", {"name": "lab", "scopes": ["data:read"]} | change)
        assert response.status_code == 400 and response.json()["errors"][0]["field"].startswith(field)

    def test_revoking(self, api_of, bob, dana):
        mine, plain = services.create_key(actor=actor(bob), name="lab", scopes=["data:read"])
        assert api_of(dana).post(f"{V1}/keys/{mine.pk}/revoke/").status_code == 404
        assert api_of(bob).post(f"{V1}/keys/{mine.pk}/revoke/").json()["state"] == "revoked"
        api = api_of(bob)
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {plain}")
        assert api.get(V1 + "/me/").status_code == 401


class TestPreferences:
    GOOD = {"outcome": "stroke", "weights": {"sensitivity": 2}, "floors": {"sensitivity": 0.9}, "email_notifications": False}

    def test_defaults_then_what_was_saved(self, api_of, bob):
        api = api_of(bob)
        assert api.get(V1 + "/preferences/").json()["weights"]["sensitivity"] == 3.0
        assert api.put(V1 + "/preferences/", self.GOOD).status_code == 200
        got = api.get(V1 + "/preferences/").json()
        assert {name: got[name] for name in self.GOOD} == self.GOOD and got["updated_at"]
        assert not Preference.objects.exclude(user=bob).exists()

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"outcome": ""}, "outcome"),
            ({"weights": {}}, "weights"),
            ({"weights": {"charm": 1}}, "weights"),
            ({"weights": {"sensitivity": 11}}, "weights"),
            ({"weights": {"sensitivity": "x"}}, "weights.sensitivity"),
            ({"weights": [1]}, "weights"),
            ({"floors": {"sensitivity": 2}}, "floors"),
        ],
    )
    def test_what_is_wrong_is_named(self, api_of, bob, change, field):
        response = api_of(bob).put(V1 + "/preferences/", self.GOOD | change)
        assert response.status_code == 400 and response.json()["errors"][0]["field"] == field
        assert response.json()["detail"].startswith(field)
        assert not Preference.objects.exists()


class TestAuditEvents:
    def test_filters_and_pages(self, api_of, victor, bob, charlie):
        AuditEvent.objects.bulk_create(
            [audit.event(actor(bob), "record.read", None) for _ in range(5)] + [audit.event(actor(charlie), "record.read", None)]
        )
        api = api_of(victor)
        page = api.get(V1 + "/audit-events/?action=record.&page_size=3").json()
        rest = api.get(page["next"]).json()
        found = [row["id"] for row in page["results"] + rest["results"]]
        assert len(found) == 5 and found == sorted(found, reverse=True) and rest["next"] is None
        assert {row["actor"] for row in page["results"]} == {"bob@example.org"}
        today = timezone.localdate().isoformat()
        assert len(ids(api.get(f"{V1}/audit-events/?action=record&since={today}&until={today}"))) == 5
        assert ids(api.get(V1 + "/audit-events/?until=2001-01-01")) == []

    @pytest.mark.parametrize("query", ["since=junk", "outcome=junk", "person=%00", "since=0000-01-01"])
    def test_a_junk_filter_is_400_and_named(self, api_of, victor, query):
        response = api_of(victor).get(f"{V1}/audit-events/?{query}")
        assert response.status_code == 400 and response.json()["errors"][0]["field"] == query.split("=")[0]

    @pytest.mark.parametrize("query", ["since=0001-01-01&until=9999-12-31", "page_size=junk", "page_size=99999999999"])
    def test_extremes_are_not_errors(self, api_of, victor, query):
        assert api_of(victor).get(f"{V1}/audit-events/?{query}").status_code == 200

    @pytest.mark.parametrize("position", ["p=junk", "p=" + "9" * 40, "o=-1", "o=" + "9" * 30, "r=1&p=", "\x00"])
    @pytest.mark.parametrize("path", ["/audit-events/", "/notifications/", "/keys/", "/organisations/"])
    def test_a_junk_cursor_is_never_a_crash(self, api_of, alice, path, position):
        cursor = base64.b64encode(position.encode()).decode()
        assert api_of(alice).get(V1 + path, {"cursor": cursor}).status_code in (200, 404)

    def test_nothing_can_be_changed(self, api_of, alice):
        for method in ("post", "put", "patch", "delete"):
            assert getattr(api_of(alice), method)(V1 + "/audit-events/").status_code == 405


def test_a_removed_member_is_out_at_once(api_of, alice, bob):
    api = api_of(bob)
    assert api.get(V1 + "/me/").status_code == 200
    services.remove_member(actor=actor(alice), membership=Membership.objects.get(user=bob))
    assert api.get(V1 + "/me/").status_code == 401
