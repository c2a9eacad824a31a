"""The auditor's pages: filters, paging, export, and that signing in and refusals are in the log."""

import csv
import io
from datetime import UTC, datetime

import pytest
from django.urls import reverse

from accounts import audit, services
from accounts.models import AuditEvent
from tests.conftest import actor


def log(user, action="record.read", obj=None, at=None, **extra):
    row = audit.event(actor(user), action, obj, **extra)
    if at:
        row.at = at
    row.save(force_insert=True)
    return row


def exported(response):
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


class TestPage:
    url = "/audit/"

    def test_it_works(self, client_of, victor, bob):
        log(bob, "record.read", bob, rows=3)
        page = client_of(victor).get(self.url).content.decode()
        assert "record.read" in page and "bob@example.org" in page and "127.0.0.1" in page and "rows: 3" in page

    @pytest.mark.parametrize("person", ["bob", "dana"])
    def test_who_may_not_gets_403(self, client_of, request, person):
        client = client_of(request.getfixturevalue(person))
        assert client.get(self.url).status_code == 403
        assert client.get(reverse("accounts:audit_export")).status_code == 403

    def test_outsiders_see_only_their_own(self, client_of, bob, charlie):
        log(bob, "record.secret")
        assert "record.secret" not in client_of(charlie).get(self.url).content.decode()

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({}, {"record.read", "record.changed", "model.confirmed"}),
            ({"person": "BOB@"}, {"record.read", "record.changed"}),
            ({"action": "record."}, {"record.read", "record.changed"}),
            ({"object_type": "user"}, {"record.changed"}),
            ({"outcome": "denied"}, {"model.confirmed"}),
            ({"since": "2026-03-02"}, {"record.changed", "model.confirmed"}),
            ({"until": "2026-03-02"}, {"record.read", "record.changed"}),
            ({"since": "2026-03-02", "until": "2026-03-02"}, {"record.changed"}),
            ({"person": "nobody"}, set()),
            ({"since": "junk"}, set()),
            ({"outcome": "junk"}, set()),
            ({"person": "\0"}, set()),
            ({"since": "0001-01-01", "until": "9999-12-31"}, {"record.read", "record.changed", "model.confirmed"}),
        ],
    )
    def test_filters(self, client_of, victor, bob, dana, query, found):
        log(bob, "record.read", at=datetime(2026, 3, 1, 12, tzinfo=UTC))
        log(bob, "record.changed", bob, at=datetime(2026, 3, 2, 23, 59, tzinfo=UTC))
        log(dana, "model.confirmed", at=datetime(2026, 3, 3, tzinfo=UTC), outcome="denied")
        response = client_of(victor).get(self.url, query)
        shown = {event.action for event in response.context["page"].rows if event.at.month == 3}
        assert shown == found

    def test_pages_keep_the_filters_and_the_queries_stay_few(self, client_of, victor, bob, django_assert_max_num_queries):
        AuditEvent.objects.bulk_create(audit.event(actor(bob), "record.read", None) for _ in range(70))
        client = client_of(victor)
        with django_assert_max_num_queries(7):
            response = client.get(self.url, {"action": "record"})
        following = client.get(response.context["page"].next_url)
        assert len(following.context["page"].rows) == 20
        assert {event.action for event in following.context["page"].rows} == {"record.read"}


class TestExport:
    url = "/audit/export/"

    def test_it_works_and_is_itself_in_the_log(self, client_of, victor, bob):
        log(bob, "record.read", rows=3)
        response = client_of(victor).get(self.url, {"action": "record."})
        assert "attachment" in response["Content-Disposition"]
        rows = exported(response)
        assert [row["action"] for row in rows] == ["record.read"] and rows[0]["detail"] == '{"rows": 3}'
        event = AuditEvent.objects.get(action="audit.exported")
        assert event.actor_user == victor and event.detail == {"filters": {"action": "record."}}

    @pytest.mark.parametrize("agent", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
    def test_no_cell_is_taken_for_a_formula(self, client_of, victor, bob, agent):
        row = log(bob)
        AuditEvent(organisation=row.organisation, actor_label="x", action="record.trick", user_agent=agent).save()
        rows = exported(client_of(victor).get(self.url, {"action": "record.trick"}))
        assert rows[0]["user_agent"].startswith("'")

    def test_a_wrong_filter_exports_nothing(self, client_of, victor):
        assert client_of(victor).get(self.url, {"since": "junk"}).status_code == 400
        assert not AuditEvent.objects.filter(action="audit.exported").exists()

    def test_other_organisations_are_not_in_it(self, client_of, victor, charlie):
        log(charlie, "record.elsewhere")
        actions = {row["action"] for row in exported(client_of(victor).get(self.url))}
        assert "record.elsewhere" not in actions


class TestSignIns:
    def test_success_failure_and_leaving(self, client, alice, organisation):
        good = {"login": "alice@example.org", "password": "correct horse battery"}
        client.post("/accounts/login/", good | {"password": "wrong"}, REMOTE_ADDR="203.0.113.7")
        failed = AuditEvent.objects.get(action="person.sign_in_failed")
        assert (failed.organisation, failed.outcome, failed.ip) == (organisation, "denied", "203.0.113.7")
        assert not AuditEvent.objects.filter(action="person.signed_in").exists()
        client.post("/accounts/login/", good)
        assert AuditEvent.objects.get(action="person.signed_in").actor_user == alice
        client.post("/accounts/logout/")
        assert AuditEvent.objects.get(action="person.signed_out").organisation == organisation

    def test_what_a_stranger_typed_is_not_kept(self, client, db):
        client.post("/accounts/login/", {"login": "hunter2@secret.example", "password": "x"})
        event = AuditEvent.objects.get(action="person.sign_in_failed")
        assert "hunter2" not in str(vars(event))

    def test_every_organisation_of_the_person_sees_it(self, client_of, alice, other_organisation):
        services.Membership.objects.create(organisation=other_organisation, user=alice, role="auditor")
        client_of(alice)
        assert AuditEvent.objects.filter(action="person.signed_in").count() == 2

    def test_a_new_password(self, client_of, alice):
        client = client_of(alice)
        new = "a much longer passphrase"
        data = {"oldpassword": "correct horse battery", "password1": new, "password2": new}
        client.post("/accounts/password/change/", data)
        alice.refresh_from_db()
        assert alice.check_password(new)
        assert AuditEvent.objects.get(action="person.password_changed").actor_user == alice

    def test_forwarded_addresses_count_only_behind_as_many_proxies(self, client, alice, settings):
        data = {"login": "alice@example.org", "password": "wrong"}
        client.post("/accounts/login/", data, REMOTE_ADDR="10.0.0.1", headers={"x-forwarded-for": "1.2.3.4"})
        settings.TRUSTED_PROXIES = 1
        client.post("/accounts/login/", data, REMOTE_ADDR="10.0.0.1", headers={"x-forwarded-for": "1.2.3.4, 5.6.7.8"})
        assert list(AuditEvent.objects.order_by("pk").values_list("ip", flat=True)) == ["10.0.0.1", "5.6.7.8"]

    @pytest.mark.parametrize(
        ("header", "ip"),
        [
            ("not-an-ip", None),
            ("unknown", None),
            ("x" * 500, None),
            ("1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ],
    )
    def test_whatever_a_proxy_says_is_an_address_or_nothing(self, client, alice, settings, header, ip):
        settings.TRUSTED_PROXIES = 1
        data = {"login": "alice@example.org", "password": "wrong"}
        assert client.post("/accounts/login/", data, headers={"x-forwarded-for": header}).status_code == 200
        assert AuditEvent.objects.get().ip == ip
