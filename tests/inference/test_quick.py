"""The short way before Django answers as Django does, and leaves to it whatever is not usual."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from accounts.keys import make_key
from accounts.models import ApiKey, AuditEvent
from accounts.permissions import ROLES
from aimass_site.wsgi import django_application
from inference.models import Diagnosis
from inference.quick import QuickDiagnoses
from tests.inference.stored import OLD_MAN, YOUNG_WOMAN

pytestmark = pytest.mark.django_db
Ask = Callable[..., tuple[int, dict[str, str], Any]]


@pytest.fixture
def plain_key(bob: Any) -> str:
    from datetime import timedelta

    from django.utils import timezone

    plain, prefix, key_hash = make_key()
    ApiKey.objects.create(
        organisation=bob.last_organisation, user=bob, name="bench", prefix=prefix, key_hash=key_hash,
        scopes=sorted(ROLES["clinician"].permissions), expires_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    return plain


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """Django's handler would close the connection that holds the test's transaction; its test client does the same."""
    from django.core.signals import request_finished, request_started
    from django.db import close_old_connections

    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def handed_on() -> list[str]:
    """The paths that were left to Django."""
    return []


@pytest.fixture
def ask(plain_key: str, handed_on: list[str]) -> Ask:
    def watched(environ: dict[str, Any], start_response: Any) -> Any:
        handed_on.append(environ["PATH_INFO"])
        return django_application(environ, start_response)

    application = QuickDiagnoses(watched)

    def call(body: Any, **extra: Any) -> tuple[int, dict[str, str], Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        environ = {
            "REQUEST_METHOD": "POST", "PATH_INFO": "/api/v1/diagnoses/", "SCRIPT_NAME": "", "QUERY_STRING": "",
            "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
            "REMOTE_ADDR": "127.0.0.9", "HTTP_USER_AGENT": "ward", "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(raw)), "HTTP_AUTHORIZATION": f"Bearer {plain_key}", "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(raw), "wsgi.errors": io.StringIO(), "wsgi.version": (1, 0),
            "wsgi.multithread": False, "wsgi.multiprocess": True, "wsgi.run_once": False, **extra,
        }  # fmt: skip
        started: list[Any] = []
        answer = application(environ, lambda status, headers, *_rest: started.append((status, headers)))
        content = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        status, headers = started[0]
        return int(status[:3]), dict(headers), json.loads(content)

    return call


def test_second_answer_is_like_the_first_that_django_gave(ask: Ask, handed_on: list[str], heart_version: Any) -> None:
    body = {"model": str(heart_version.model_id), "record": OLD_MAN}
    (status, headers, first), (again, quick_headers, second) = ask(body), ask(body)
    assert status == again == 201
    assert len(handed_on) == 1
    own = {"id", "created_at", "url"}
    assert {k: v for k, v in first.items() if k not in own} == {k: v for k, v in second.items() if k not in own}
    assert first["id"] != second["id"] and second["id"] in second["url"]
    for name in ("Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Type"):
        assert quick_headers[name] == headers[name], name
    assert Diagnosis.objects.count() == 2
    events = AuditEvent.objects.filter(action="diagnosis.created").order_by("pk")
    fields = ["actor_label", "action", "object_type", "outcome", "ip", "user_agent", "detail", "organisation"]
    by_django, by_quick = events.values(*fields)
    assert by_django == by_quick
    assert by_quick["ip"] == "127.0.0.9" and by_quick["user_agent"] == "ward"


def test_batch_goes_the_short_way_too(ask: Ask, handed_on: list[str], heart_version: Any) -> None:
    body = {"model": str(heart_version.model_id), "records": [OLD_MAN, YOUNG_WOMAN]}
    ask(body)
    status, _headers, answer = ask(body)
    assert (status, len(handed_on)) == (201, 1)
    assert [d["value"] for d in answer["diagnoses"]] == ["yes", "no"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"HTTP_AUTHORIZATION": "Bearer am_unknown"}, 401), ({"HTTP_AUTHORIZATION": "Basic x"}, 401),
        ({"HTTP_HOST": "evil.example"}, 400), ({"CONTENT_TYPE": "text/plain"}, 415), ({"QUERY_STRING": "reasons=1"}, 201),
        ({"HTTP_IDEMPOTENCY_KEY": "k"}, 201), ({"HTTP_ACCEPT": "text/html"}, 406),
    ],
)  # fmt: skip
def test_whatever_is_unusual_is_left_to_django(
    ask: Ask, handed_on: list[str], heart_version: Any, change: dict[str, str], status: int
) -> None:
    body = {"model": str(heart_version.model_id), "record": OLD_MAN}
    ask(body)
    handed_on.clear()
    assert ask(body, **change)[0] == status
    assert len(handed_on) == 1


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model": "x"}', {"record": {"age": "old"}}, {"record": {}}])
def test_wrong_bodies_get_djangos_problem_and_save_nothing(
    ask: Ask, handed_on: list[str], heart_version: Any, body: Any
) -> None:
    ask({"model": str(heart_version.model_id), "record": OLD_MAN})
    handed_on.clear()
    if isinstance(body, dict):
        body = {"model": str(heart_version.model_id), **body}
    status, headers, answer = ask(body)
    assert (status, headers["Content-Type"]) == (400, "application/problem+json")
    assert answer["errors"] if isinstance(body, dict) else answer["detail"]
    assert len(handed_on) == 1
    assert Diagnosis.objects.count() == 1


def test_missing_permission_and_foreign_model_are_refused_by_django(
    ask: Ask, plain_key: str, heart_version: Any, notes: Any, other_organisation: Any
) -> None:
    from accounts import keys
    from tests.inference.stored import store

    ask({"model": str(heart_version.model_id), "record": OLD_MAN})
    foreign = store(notes, other_organisation, name="Theirs")
    assert ask({"model": str(foreign.model_id), "record": "cough"})[0] == 404
    ApiKey.objects.update(scopes=["diagnoses:read"])
    keys.held.clear()
    assert ask({"model": str(heart_version.model_id), "record": OLD_MAN})[0] == 403
    assert Diagnosis.objects.count() == 1


def test_throttle_counts_here_too(ask: Ask, heart_version: Any, monkeypatch: Any) -> None:
    from accounts.rest.throttling import KeyThrottle
    from inference import quick

    monkeypatch.setattr(KeyThrottle, "THROTTLE_RATES", {"key": "3/min", "store": "3/min"})
    monkeypatch.setattr(quick, "_rate", lambda: (3, 60))
    body = {"model": str(heart_version.model_id), "record": OLD_MAN}
    statuses = [ask(body)[0] for _each in range(5)]
    assert statuses == [201, 201, 201, 429, 429]
    assert Diagnosis.objects.count() == 3


def test_database_failure_while_saving_is_told_and_not_repeated(
    ask: Ask, handed_on: list[str], heart_version: Any, monkeypatch: Any
) -> None:
    from django.db import OperationalError, connection

    from inference import quick

    body = {"model": str(heart_version.model_id), "record": OLD_MAN}
    ask(body)

    def failing(**_kwargs: Any) -> None:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(quick, "ask", failing)
    monkeypatch.setattr(connection, "close", lambda: None)  # the test's transaction lives in this connection
    status, headers, answer = ask(body)
    assert (status, headers["Content-Type"]) == (503, "application/problem+json")
    assert answer["type"] == "urn:aimass:problem:not-saved"
    assert len(handed_on) == 1
    assert Diagnosis.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_champion_that_is_rolled_back_elsewhere_answers_no_more(
    ask: Ask, handed_on: list[str], heart: Any, heart_version: Any, organisation: Any
) -> None:
    """By another process, of which this one hears nothing: the statement that writes asks whether it is still so."""
    from tests.inference.stored import store
    from training.models import Model

    body = {"model": str(heart_version.model_id), "record": OLD_MAN}
    versions = [ask(body)[2]["model_version"] for _each in range(3)]
    assert versions == [str(heart_version.pk)] * 3
    other = store(heart, organisation, name="Other")
    type(other).objects.filter(pk=other.pk).update(model=heart_version.model_id, number=2)
    Model.objects.filter(pk=heart_version.model_id).update(champion=other)
    handed_on.clear()
    status, _headers, answer = ask(body)
    assert (status, answer["model_version"]) == (201, str(other.pk))
    Model.objects.filter(pk=heart_version.model_id).update(champion=None)
    assert ask(body)[0] == 409
    assert Diagnosis.objects.count() == AuditEvent.objects.filter(action="diagnosis.created").count() == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", ["retire", "withdraw"])
def test_version_that_is_retired_or_withdrawn_elsewhere_answers_no_more(
    ask: Ask, notes: Any, other_organisation: Any, change: str
) -> None:
    from django.utils import timezone

    from tests.inference.stored import store
    from training.models import Model, ModelVersion

    theirs = store(notes, other_organisation, name="Theirs")
    Model.objects.filter(pk=theirs.model_id).update(published_at=timezone.now())
    body = {"model": str(theirs.model_id), "record": "cough"}
    assert [ask(body)[0] for _each in range(3)] == [201] * 3
    if change == "retire":
        ModelVersion.objects.filter(pk=theirs.pk).update(retired_at=timezone.now())
    else:
        Model.objects.filter(pk=theirs.model_id).update(published_at=None)
    assert ask(body)[0] == (409 if change == "retire" else 404)
    assert Diagnosis.objects.count() == 3
