"""The SDK's connection: what it retries, what it never repeats, and how it names errors. Against a real WSGI server."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

import ai_mass as am
from ai_mass import client as client_module
from ai_mass import session

Answer = tuple[int, dict[str, str], Any]


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Portal:
    """Answers from a list and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        self.asked.append({
            "method": environ["REQUEST_METHOD"], "path": environ["PATH_INFO"], "query": environ["QUERY_STRING"],
            "body": body, "key": environ.get("HTTP_IDEMPOTENCY_KEY"), "authorization": environ.get("HTTP_AUTHORIZATION"),
        })  # fmt: skip
        status, headers, answer = self.answers.pop(0)
        payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        start_response(
            f"{status} X",
            [("Content-Type", "application/json"), ("Content-Length", str(len(payload))), *headers.items()],
        )
        return [payload]


@pytest.fixture
def portal() -> Iterator[Portal]:
    application = Portal()
    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    application.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield application
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> Iterator[am.Client]:
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.001)
    with am.Client(portal.url, "am_key") as made:  # type: ignore[attr-defined]
        yield made


def test_it_sends_the_key_and_reads_json(portal: Portal, client: am.Client) -> None:
    portal.answers = [(200, {}, {"email": "dana@example.org"})]
    assert client.get("me/") == {"email": "dana@example.org"}
    assert portal.asked[0]["path"] == "/api/v1/me/"
    assert portal.asked[0]["authorization"] == "Bearer am_key"


def test_a_read_is_retried_until_it_works(portal: Portal, client: am.Client) -> None:
    portal.answers = [(503, {}, {}), (502, {}, {}), (200, {}, {"ok": True})]
    assert client.get("me/") == {"ok": True}
    assert len(portal.asked) == 3


def test_a_creating_request_is_retried_with_the_same_idempotency_key(
    portal: Portal, client: am.Client
) -> None:
    portal.answers = [(503, {}, {}), (201, {}, {"id": 1})]
    assert client.post("diagnoses/", {"records": []}) == {"id": 1}
    keys = [asked["key"] for asked in portal.asked]
    assert keys[0] and keys[0] == keys[1]


def test_a_request_that_is_not_safe_is_sent_once(portal: Portal, client: am.Client) -> None:
    portal.answers = [(503, {}, {"detail": "busy"})]
    with pytest.raises(am.ServerError, match="busy"):
        client.post("jobs/1/cancel/", {}, creates=False)
    assert len(portal.asked) == 1


def test_too_many_requests_waits_as_asked_then_gives_up(portal: Portal, client: am.Client) -> None:
    portal.answers = [(429, {"Retry-After": "0"}, {"detail": "slow down"})] * 4
    with pytest.raises(am.RateLimitedError, match="slow down"):
        client.get("me/")
    assert len(portal.asked) == 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, am.RequestInvalid), (401, am.AuthenticationError), (403, am.NotAllowedError), (404, am.NotFoundError),
        (409, am.ConflictError), (413, am.RequestInvalid), (422, am.RequestInvalid), (500, am.ServerError),
    ],
)  # fmt: skip
def test_each_status_has_its_error(
    portal: Portal, client: am.Client, status: int, kind: type[am.AIMassError]
) -> None:
    portal.answers = [(status, {}, {"type": "urn:aimass:problem:x", "detail": "the reason"})]
    with pytest.raises(kind, match="the reason") as caught:
        client.get("me/")
    assert type(caught.value) is kind


def test_an_invalid_request_names_the_fields(portal: Portal, client: am.Client) -> None:
    errors = [{"field": "records[3].age", "message": "“old” is not a number.", "code": "invalid"}]
    portal.answers = [(400, {}, {"detail": "records[3].age: “old” is not a number.", "errors": errors})]
    with pytest.raises(am.RequestInvalid) as caught:
        client.post("diagnoses/", {})
    assert caught.value.errors == errors
    assert str(caught.value).count("records[3].age") == 1


def test_refused_training_carries_its_problems(portal: Portal, client: am.Client) -> None:
    problems = [
        {"code": "leak", "severity": "error", "column": "num", "message": "num gives the answer away"}
    ]
    portal.answers = [(422, {}, {"detail": "Training was not started.", "problems": problems})]
    with pytest.raises(am.TrainingRefused) as caught:
        client.post("training-runs/", {})
    assert caught.value.problems == problems


def test_what_is_wrong_is_said_once(portal: Portal, client: am.Client) -> None:
    error = {"field": "file", "message": "The column “y” is missing.", "code": "target"}
    portal.answers = [(422, {}, {"detail": error["message"], "errors": [error]})]
    with pytest.raises(am.RequestInvalid) as caught:
        client.post("model-versions/1/evaluate/", {})
    assert str(caught.value) == "The column “y” is missing."


def test_an_upload_without_the_target_is_discarded(portal: Portal, client: am.Client, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("age\n63\n")
    columns = [{"name": "age", "kind": "number", "role": "feature"}]
    portal.answers = [
        (200, {}, {"results": [], "next": None}),
        (201, {}, {"id": "u1", "preview": {"columns": columns}}),
        (200, {}, {}),
    ]
    with pytest.raises(am.ImportFailed, match="no column “sick”"):
        session.upload(client, tmp_path / "data.csv", None, "sick", quiet=True)
    assert portal.asked[-1]["path"] == "/api/v1/uploads/u1/discard/"


def test_pages_are_followed(portal: Portal, client: am.Client) -> None:
    url = f"{portal.url}/api/v1/datasets/?cursor=2"  # type: ignore[attr-defined]
    portal.answers = [
        (200, {}, {"results": [{"id": 1}], "next": url}),
        (200, {}, {"results": [{"id": 2}], "next": None}),
    ]
    assert [item["id"] for item in client.pages("datasets/")] == [1, 2]
    assert portal.asked[1]["query"] == "cursor=2"


def test_something_else_at_the_address_is_said(portal: Portal, client: am.Client) -> None:
    portal.answers = [(200, {}, b"<html>Welcome</html>")]
    with pytest.raises(am.AIMassError, match="not AI Mass's API"):
        client.get("me/")


def test_an_unknown_model_is_named_with_those_that_exist(portal: Portal, client: am.Client) -> None:
    from ai_mass.session import find_model

    portal.answers.append((200, {}, {"next": None, "results": [{"id": "1", "name": "Heart: outcome"}]}))
    portal.answers.append((404, {}, {"type": "urn:aimass:problem:not-found", "status": 404, "detail": "Nothing"}))
    with pytest.raises(am.AIMassError, match=r"no model or version “Hart”\. The models: “Heart: outcome”"):
        find_model(client, "Hart")


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.001)
    with (
        am.Client("http://127.0.0.1:9", "am_key") as lonely,
        pytest.raises(am.UnreachableError, match="does not answer"),
    ):
        lonely.get("me/")


def test_a_file_is_sent_whole_again_after_a_failure(portal: Portal, client: am.Client) -> None:
    import io

    portal.answers = [(503, {}, {}), (201, {}, {"id": 1})]
    client.post("uploads/", files={"file": ("a.csv", io.BytesIO(b"age,sex\n63,f\n"))})
    assert all(b"age,sex\n63,f\n" in asked["body"] for asked in portal.asked)
    assert len(portal.asked) == 2


def test_half_a_connection_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIMASS_KEY", raising=False)
    monkeypatch.delenv("AIMASS_URL", raising=False)
    with pytest.raises(am.AIMassError, match="AIMASS_KEY"):
        am.connect("http://127.0.0.1:9")


RUN: list[Answer] = [(200, {}, {"versions": []})]
VERSION = {"id": "v1", "number": 1, "gate_passed": True, "chosen": True}
DONE = {"state": "done", "subject_url": "/training/r1/", "result": {"versions": [{"id": "v1"}]}}


def test_versions_of_a_run_that_is_being_settled_are_waited_for_and_that_is_shown(
    portal: Portal, client: am.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from ai_mass import session
    from ai_mass.progress import Progress

    monkeypatch.setattr(session.time, "sleep", lambda _seconds: None)
    portal.answers = [*RUN * 60, (200, {}, {"versions": [VERSION]}), (200, {}, VERSION)]
    written = io.StringIO()
    version = session.best_version(client, "r1", DONE, Progress("Training", stream=written))
    assert version.id == "v1"
    assert "settling: filing and ranking the versions" in written.getvalue()


def test_a_run_that_settles_for_too_long_is_said_with_its_page(
    portal: Portal, client: am.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ai_mass import session
    from ai_mass.progress import Progress

    assert session.SETTLE_LONGEST == 120
    monkeypatch.setattr(session, "SETTLE_LONGEST", 0.0)
    portal.answers = list(RUN)
    with pytest.raises(am.StillSettling, match=r"goes on in the portal.*/training/r1/") as caught:
        session.best_version(client, "r1", DONE, Progress("Training", quiet=True))
    assert (caught.value.run, caught.value.path) == ("r1", "/training/r1/")
    assert not isinstance(caught.value, am.TrainingFailed)


def test_a_failed_job_is_told_in_the_persons_words() -> None:
    from ai_mass.session import reason_of

    assert reason_of({"error": {"person": "Add more records.", "engineer": "3 < 20"}}) == "Add more records."
    assert reason_of({"error": None}) == ""
