"""What all REST resources share: keys and their cache, problems, strict JSON, idempotency, paging, throttling."""

import io
import json
import threading
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, ValidationError
from django.db import connection
from django.http import Http404
from django.utils import timezone
from rest_framework import exceptions
from rest_framework.test import APIClient

from accounts import keys, services
from accounts.actor import Actor
from accounts.models import ApiKey, AuditEvent, IdempotencyKey, Organisation
from accounts.rest.parsers import JSONParser
from accounts.rest.problems import Problem, flatten, problem_handler
from tests.conftest import actor

ME = "/api/v1/me/"
ORGANISATIONS = "/api/v1/organisations/"


def bearer(plain):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {plain}")
    return client


def make_key(user, scopes=("data:read",)):
    return services.create_key(actor=actor(user), name="k", scopes=scopes)


class TestKeys:
    @pytest.mark.parametrize(
        "header",
        ["Bearer", "Bearer ", "Basic abc", "am_x", "Bearer am_unknown", "Bearer \xff\xfe", "Bearer a b"],
    )
    def test_a_wrong_header_is_401_and_says_how(self, db, header):
        client = APIClient()
        response = client.get(ME, HTTP_AUTHORIZATION=header)
        assert response.status_code == 401 and response["WWW-Authenticate"] == "Bearer"
        assert response.json()["detail"]

    def test_a_wrong_key_is_not_rescued_by_a_session(self, client_of, alice):
        assert client_of(alice).get(ME, headers={"authorization": "Bearer am_wrong"}).status_code == 401

    def test_an_expired_key_is_401_even_from_the_cache(self, bob, monkeypatch):
        key, plain = make_key(bob)
        assert bearer(plain).get(ME).status_code == 200
        monkeypatch.setattr(timezone, "now", lambda: key.expires_at)
        assert bearer(plain).get(ME).status_code == 401

    def test_the_auditor_sees_that_a_revoked_key_is_still_tried(self, bob):
        key, plain = make_key(bob)
        services.revoke_key(actor=actor(bob), key=key)
        for _try in range(3):
            assert bearer(plain).get(ME, HTTP_USER_AGENT="old laboratory system").status_code == 401
        bearer("am_unknown").get(ME)
        event = AuditEvent.objects.get(action="key.refused")
        assert (event.organisation, event.outcome, event.object_id) == (key.organisation, "denied", str(key.pk))
        assert event.detail == {"state": "revoked"} and event.user_agent == "old laboratory system" and event.ip
        assert key.prefix in event.actor_label and plain not in str(event.__dict__)

    def test_an_inactive_person_is_401(self, bob):
        _key, plain = make_key(bob)
        bob.is_active = False
        bob.save()
        assert bearer(plain).get(ME).status_code == 401

    def test_from_the_cache_no_query_is_needed(self, bob, django_assert_num_queries):
        _key, plain = make_key(bob)
        keys.actor_for_key(plain)
        keys.actor_for_key(plain)
        with django_assert_num_queries(0):
            assert keys.actor_for_key(plain).user == bob

    def test_last_use_is_written_at_most_once_a_minute(self, bob, django_assert_num_queries):
        key, plain = make_key(bob)
        keys.actor_for_key(plain)
        key.refresh_from_db()
        first = key.last_used_at
        assert timezone.now() - first < timedelta(seconds=5)
        keys.actor_for_key(plain)
        key.refresh_from_db()
        assert key.last_used_at == first
        ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
        keys.held.clear()
        keys.actor_for_key(plain)
        key.refresh_from_db()
        assert key.last_used_at > first - timedelta(seconds=1)

    def test_a_key_revoked_elsewhere_stops_when_the_cache_forgets(self, bob):
        key, plain = make_key(bob)
        assert keys.actor_for_key(plain) is not None
        ApiKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())  # as another process does
        assert keys.CACHE_SECONDS <= 5
        keys.held.delete(key.key_hash)  # as time does
        assert keys.actor_for_key(plain) is None

    def test_a_cached_key_that_was_revoked_is_not_cached_again_when_its_use_is_written(self, bob):
        key, plain = make_key(bob)
        keys.actor_for_key(plain)
        held_key, _membership, _actor = keys.held.get(key.key_hash)
        held_key.last_used_at = timezone.now() - timedelta(minutes=5)
        ApiKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())
        assert keys.actor_for_key(plain) is None
        assert keys.held.get(key.key_hash) is None


class TestProblems:
    def test_nested_errors_name_their_place(self):
        detail = exceptions.ValidationError(
            {"records": [{}, {"age": ["Too old."]}], "name": ["No.", "Never."], "scopes": {1: ["Unknown."]}}
        ).detail
        assert [(e["field"], e["message"]) for e in flatten(detail)] == [
            ("records[1].age", "Too old."),
            ("name", "No."),
            ("name", "Never."),
            ("scopes[1]", "Unknown."),
        ]

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (Http404(), 404, "not-found"),
            (PermissionDenied("no"), 403, "permission-denied"),
            (RequestDataTooBig(), 413, "too-large"),
            (ValidationError({"days": "Too many."}), 400, "invalid"),
            (ValidationError("Just no."), 400, "invalid"),
            (Problem(409, "already-running", "Wait."), 409, "already-running"),
            (exceptions.Throttled(0.2), 429, "throttled"),
        ],
    )
    def test_each_error_is_a_problem(self, error, status, code):
        response = problem_handler(error, {})
        assert response.status_code == status == response.data["status"]
        assert (
            response.data["type"] == f"urn:aimass:problem:{code}"
            and response.data["title"]
            and response.data["detail"]
        )
        assert response.content_type == "application/problem+json"
        if status == 429:
            assert response["Retry-After"] == "1"

    def test_an_unexpected_error_is_left_to_django(self):
        assert problem_handler(ZeroDivisionError(), {}) is None

    def test_unknown_addresses_answer_in_json_too(self, client, db):
        response = client.get("/api/v1/nothing/")
        assert response.status_code == 404 and response["Content-Type"] == "application/problem+json"


class TestJson:
    def parse(self, raw):
        return JSONParser().parse(io.BytesIO(raw), "application/json", {"encoding": "utf-8"})

    @pytest.mark.parametrize(
        "text", ['{"a": [1, 2.5, null, "心"]}', '"\\\\u0000"', '{"a": "\\ud83d\\ude00"}', "1e200", "[]"]
    )
    def test_what_can_be_stored_passes_unchanged(self, text):
        assert self.parse(text.encode()) == json.loads(text)

    @pytest.mark.parametrize(
        "raw",
        [
            b'"a\\u0000b"',
            b'{"a\\u0000": 1}',
            b'[{"a": ["\\uD800"]}]',
            b"1e999",
            b"[-1e400]",
            b"1" * 400 + b".0",
            b"1" * 5000,
            b"NaN",
            b"[Infinity]",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"\xff\xfe",
            b"{",
            b"",
        ],
    )
    def test_what_cannot_is_refused(self, raw):
        with pytest.raises(exceptions.ParseError):
            self.parse(raw)

    def test_through_the_api_it_is_a_400(self, api_of, alice):
        for body in ("[" * 50_000, '{"name": "a\\u0000"}', "{"):
            response = api_of(alice).generic("POST", ORGANISATIONS, body, content_type="application/json")
            assert response.status_code == 400 and response.json()["type"] == "urn:aimass:problem:parse-error"

    def test_another_content_type_is_415(self, api_of, alice):
        assert (
            api_of(alice).generic("POST", ORGANISATIONS, "<x/>", content_type="text/xml").status_code == 415
        )


class TestIdempotency:
    def post(self, api, name="Second", key="k1", url=ORGANISATIONS):
        return api.post(url, {"name": name}, headers={"Idempotency-Key": key})

    def test_a_repeat_gets_the_first_answer_and_creates_nothing(self, api_of, alice):
        api = api_of(alice)
        first, again = self.post(api), self.post(api)
        assert first.status_code == again.status_code == 201 and first.json() == again.json()
        assert "Idempotent-Replayed" not in first and again["Idempotent-Replayed"] == "true"
        assert Organisation.objects.filter(name="Second").count() == 1

    def test_without_the_header_each_request_counts(self, api_of, alice):
        api = api_of(alice)
        for _ in range(2):
            api.post(ORGANISATIONS, {"name": "Second"})
        assert Organisation.objects.filter(name="Second").count() == 2

    def test_the_same_key_for_something_else_is_422(self, api_of, alice):
        api = api_of(alice)
        self.post(api)
        assert self.post(api, name="Third").status_code == 422
        assert self.post(api, url=ORGANISATIONS + "?x=1").status_code == 422
        assert not Organisation.objects.filter(name="Third").exists()

    def test_what_failed_may_be_tried_again_with_the_same_key(self, api_of, alice):
        api = api_of(alice)
        assert self.post(api, name="").status_code == 400
        assert not IdempotencyKey.objects.exists()
        assert self.post(api).status_code == 201

    def test_organisations_do_not_meet(self, api_of, alice, charlie):
        assert self.post(api_of(alice)).json()["id"] != self.post(api_of(charlie)).json()["id"]

    @pytest.mark.parametrize("key", ["x" * 256, "a\tb"])
    def test_a_junk_key_is_400(self, api_of, alice, key):
        assert self.post(api_of(alice), key=key).status_code == 400
        assert Organisation.objects.count() == 1

    @pytest.mark.django_db(transaction=True)
    def test_two_at_the_same_time_create_one(self, api_of, alice):
        api_of(alice)
        plain = make_key(alice, scopes=["organisation:manage"])[1]
        start, answers = threading.Barrier(4), []

        def send():
            client = bearer(plain)
            start.wait()
            try:
                answers.append(self.post(client, key="same"))
            finally:
                connection.close()

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [201] * 4
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert Organisation.objects.filter(name="Second").count() == 1

    def test_files_of_one_name_and_size_are_told_apart(self):
        from django.core.files.uploadedfile import SimpleUploadedFile

        from accounts.rest.idempotency import file_hash

        one, two = SimpleUploadedFile("a.csv", b"x,1"), SimpleUploadedFile("a.csv", b"x,2")
        assert file_hash(one) != file_hash(two)
        assert one.read() == b"x,1", "the file can still be read from its beginning"


class TestPaging:
    def test_every_row_comes_once_though_rows_arrive_meanwhile(self, api_of, alice):
        api = api_of(alice)
        for _ in range(5):
            make_key(alice)
        url, seen = "/api/v1/keys/?page_size=2", []
        while url:
            page = api.get(url).json()
            seen += [row["id"] for row in page["results"]]
            url = page["next"]
            make_key(alice)
        assert len(seen) == len(set(seen)) == 6

    def test_a_page_has_at_most_200(self, api_of, alice):
        api = api_of(alice)
        for number in range(205):
            ApiKey.objects.create(
                organisation=alice.last_organisation, user=alice, name="n", prefix=str(number), key_hash=str(number),
                expires_at=timezone.now(),
            )  # fmt: skip
        assert len(api.get("/api/v1/keys/?page_size=5000").json()["results"]) == 200


class TestThrottling:
    @pytest.fixture(autouse=True)
    def slow(self, monkeypatch):
        from accounts.rest.throttling import KeyThrottle

        monkeypatch.setattr(KeyThrottle, "THROTTLE_RATES", {"key": "3/hour", "store": "3/hour"})

    def test_a_runaway_program_is_stopped_and_told_when_to_come_back(self, bob):
        client = bearer(make_key(bob)[1])
        assert [client.get(ME).status_code for _ in range(4)] == [200, 200, 200, 429]
        response = client.get(ME)
        assert int(response["Retry-After"]) > 0 and response.json()["type"] == "urn:aimass:problem:throttled"

    def test_other_keys_go_on(self, bob):
        first, second = bearer(make_key(bob)[1]), bearer(make_key(bob)[1])
        for _ in range(4):
            first.get(ME)
        assert second.get(ME).status_code == 200


def test_the_system_actor_is_nobodys_person():
    with pytest.raises(ValueError, match="person"):
        services.person(Actor())
    with pytest.raises(ValueError, match="organisation"):
        services.home(Actor())
