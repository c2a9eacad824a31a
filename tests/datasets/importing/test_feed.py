"""The feed source against a real HTTP server."""

import base64
import json
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from datasets.importing.base import SourceError
from datasets.importing.network import Network
from tests.datasets.importing.conftest import drained, refused, rows_of, source
from tests.datasets.importing.web import Reply, Request, serving

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.importing.sources.feed.ROWS", 10)


def of(url: str, **given: Any) -> Any:
    return source("feed", **{"address": url, "sign_in": "none", "format": "json", "paging": "none", **given})


class Records:
    """A feed of JSON records with the usual ways to page, that asks for a key."""

    def __init__(self, count: int = 25, secret: str = "") -> None:
        self.secret, self.size = secret, 10
        self.start = datetime(2026, 1, 1, tzinfo=UTC)
        self.records = [self.make(number) for number in range(count)]

    def make(self, number: int) -> dict[str, Any]:
        return {
            "id": number, "patient": {"id": f"p{number % 7}", "sex": "f"}, "value": number / 4, "tags": [], "note": None,
            "updated": (self.start + timedelta(minutes=number // 3)).isoformat(),
        }  # fmt: skip

    def __call__(self, request: Request) -> Reply:
        if self.secret and self.secret not in (
            request.headers.get("authorization"),
            request.headers.get("x-api-key"),
        ):
            return 401, {}, b"no"
        since = request.query.get("since", "")
        found = [each for each in self.records if each["updated"] >= since]
        if request.path == "/all":
            return 200, {}, json.dumps(found).encode()
        page = int(request.query.get("page", 1)) - 1 if "page" in request.query else 0
        offset = int(request.query.get("offset", page * self.size))
        part, further = found[offset : offset + self.size], offset + self.size < len(found)
        target = f"/{request.path[1:]}?offset={offset + self.size}&since={since.replace('+', '%2B')}"
        headers = {"Link": f'</first>; rel="first", <{target}>; rel="next"'} if further else {}
        return (
            200,
            headers,
            json.dumps({"data": {"items": part}, "links": {"next": target if further else None}}).encode(),
        )


PAGED: list[dict[str, Any]] = [
    {"paging": "link"}, {"paging": "next", "paging_name": "links.next"},
    {"paging": "page", "paging_name": "page", "first_page": 1},
    {"paging": "offset", "paging_name": "offset"},
]  # fmt: skip


@pytest.mark.parametrize("paging", PAGED, ids=lambda paging: paging["paging"])
def test_pages_and_since(paging: dict[str, Any]) -> None:
    feed = Records()
    since = {"since_parameter": "since", "since_field": "updated"}
    with serving(feed) as web:
        given = {"records": "data.items", **paging, **since}
        pieces, cursor = drained(of(f"{web.url}/paged", **given))
        rows = rows_of(pieces)
        assert [len(piece.rows) for piece in pieces] == [10, 10, 5]
        assert [row["id"] for row in rows] == [str(n) for n in range(25)]
        assert rows[5] == {"id": "5", "patient.id": "p5", "patient.sex": "f", "value": "1.25", "tags": None, "note": None,
                           "updated": "2026-01-01T00:01:00+00:00"}  # fmt: skip
        assert drained(of(f"{web.url}/paged", **given), cursor)[0] == []
        feed.records += [{**feed.make(24), "id": "same moment"}, feed.make(26 * 3)]
        pieces, later = drained(of(f"{web.url}/paged", **given), cursor)
        assert [row["id"] for row in rows_of(pieces)] == ["same moment", "78"]
        assert drained(of(f"{web.url}/paged", **given), later)[0] == []


@pytest.mark.parametrize(("last", "late", "new"), [
    ("2026-01-05T10:00:00Z", "2026-01-05T09:15:00Z", "2026-01-05T11:00:00Z"), ("2026-01-05", "2026-01-04", "2026-01-06"),
    ("2026-01-05 10:00:00", "2026-01-05 09:15:00", "2026-01-05 11:00:00"), (5000, 4100, 5001),
])  # fmt: skip
def test_what_is_stored_late_comes_and_a_future_silences_nothing(last: Any, late: Any, new: Any) -> None:
    records = [{"id": "a", "t": last}]

    def answer(request: Request) -> Reply:
        since = type(last)(request.query.get("since", "0"))
        return 200, {}, json.dumps([each for each in records if each["t"] >= since]).encode()

    def ids(cursor: Any) -> tuple[list[str | None], Any]:
        pieces, moved = drained(of(web.url, since_parameter="since", since_field="t"), cursor)
        return [row["id"] for row in rows_of(pieces)], moved

    with serving(answer) as web:
        got, cursor = ids({})
        assert got == ["a"]
        records += [
            {"id": "late", "t": late},
            *([] if isinstance(last, int) else [{"id": "open", "t": "9999-12-31"}]),
        ]
        got, cursor = ids(cursor)
        assert got == [each["id"] for each in records[1:]]
        assert str(cursor["since"]) == str(last)
        assert ids(cursor)[0] == []
        records.append({"id": "new", "t": new})
        got, cursor = ids(cursor)
        assert got == ["new"]
        assert ids(cursor)[0] == []


def test_check_and_preview() -> None:
    with serving(Records()) as web:
        made = of(f"{web.url}/all?kind=labs")
        assert made.check() == f"{web.url}/all gives records with 7 fields."
        preview = made.preview(3)
        assert preview.fields == ["id", "patient.id", "patient.sex", "value", "tags", "note", "updated"]
        assert len(preview.rows) == 3
        made.close()
        with pytest.raises(SourceError) as caught:
            source("feed", Network(), address=web.url, sign_in="none", format="json", paging="none").check()
        assert caught.value.code == "address_refused"


def test_records_that_shift_while_they_are_counted_are_noticed() -> None:
    feed = Records()

    def answer(request: Request) -> Reply:
        reply = feed(request)
        if request.query.get("offset") == "9":  # by the next page one of those that have come is gone
            del feed.records[2]
        return reply

    with serving(answer) as web, pytest.raises(SourceError) as caught:
        drained(of(f"{web.url}/paged", records="data.items", paging="offset", paging_name="offset"))
    assert (caught.value.code, caught.value.passing) == ("shifted", True)
    for count in (0, 1, 2, 10, 11, 20):
        with serving(Records(count)) as web:
            pieces, _cursor = drained(
                of(f"{web.url}/paged", records="data.items", paging="offset", paging_name="offset")
            )
            assert [row["id"] for row in rows_of(pieces)] == [str(n) for n in range(count)]


def test_what_slips_to_a_page_that_was_read_is_not_lost() -> None:
    """Counted pages with a time: later runs ask only for what is newer, so it would never come."""
    feed, asked = Records(), []

    def answer(request: Request) -> Reply:
        asked.append(request.query["page"])
        if asked == ["1", "2"] and len(feed.records) == 25:  # one of the first page goes, record 10 slips to it
            del feed.records[2]
        return feed(request)

    given = {"records": "data.items", "paging": "page", "paging_name": "page", "first_page": 1}
    since = {"since_parameter": "since", "since_field": "updated"}
    with serving(answer) as web:
        pieces, cursor = drained(of(f"{web.url}/paged", **given, **since))
        assert sorted(int(str(row["id"])) for row in rows_of(pieces)) == list(range(25))
        assert asked == ["1", "2", "1", "3", "2", "4", "3"]
        assert drained(of(f"{web.url}/paged", **given, **since), cursor)[0] == []
        asked.clear()
        assert len(rows_of(drained(of(f"{web.url}/paged", **given))[0])) == 24
        assert asked == ["1", "2", "3", "4"], "without a time each run reads all of it"


def test_cut_off_it_begins_again_and_nothing_is_lost() -> None:
    with serving(Records()) as web:
        given = {
            "records": "data.items",
            "paging": "link",
            "since_parameter": "since",
            "since_field": "updated",
        }
        half = of(f"{web.url}/paged", **given)
        first = next(half.pieces({}))
        half.close()
        rest, _cursor = drained(of(f"{web.url}/paged", **given), first.cursor)
        assert {row["id"] for row in rows_of(rest)} == {str(n) for n in range(25)}


@pytest.mark.parametrize(
    ("given", "secret"),
    [
        (
            {"sign_in": "basic", "user": "Reader", "secret": "pä:ss"},
            "Basic " + base64.b64encode("Reader:pä:ss".encode()).decode(),
        ),
        ({"sign_in": "bearer", "secret": "abc.def"}, "Bearer abc.def"),
        ({"sign_in": "key", "header": "X-API-Key", "secret": "k123"}, "k123"),
    ],
)
def test_signs_in(given: dict[str, str], secret: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(Records(5, secret)) as web:
        assert len(rows_of(drained(of(f"{web.url}/all", **given))[0])) == 5
        with pytest.raises(SourceError) as caught:
            of(f"{web.url}/all", **{**given, "secret": "wrong"}).check()
        assert (caught.value.code, caught.value.passing) == ("sign_in", False)
    assert given["secret"] not in caplog.text


def test_client_credentials() -> None:
    feed = Records(5, "Bearer token-1")
    asked = {b"grant_type": [b"client_credentials"], b"scope": [b"system/*.read"]}

    def answer(request: Request) -> Reply:
        if request.path != "/token":
            return feed(request)
        right = request.headers["authorization"] == "Basic " + base64.b64encode(b"importer:s3cret").decode()
        if request.method != "POST" or parse_qs(request.body) != asked or not right:
            return 400, {}, b'{"error": "invalid_client"}'
        return 200, {}, b'{"access_token": "token-1", "token_type": "Bearer", "expires_in": 300}'

    with serving(answer) as web:
        given = {
            "sign_in": "client",
            "user": "importer",
            "token_address": f"{web.url}/token",
            "scope": "system/*.read",
        }
        assert len(rows_of(drained(of(f"{web.url}/all", secret="s3cret", **given))[0])) == 5
        with pytest.raises(SourceError) as caught:
            of(f"{web.url}/all", secret="wrong", **given).check()
        assert caught.value.code == "sign_in"


def test_a_token_that_ends_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server takes each token for two requests, says that it lasts long, and has five pages."""
    monkeypatch.setattr("datasets.importing.sources.web.time", SimpleNamespace(monotonic=lambda: 1000.0))
    feed = Records(45)
    used = {"token": 0, "requests": 0, "life": 3600, "most": 0}

    def answer(request: Request) -> Reply:
        if request.path == "/token":
            used.update(token=used["token"] + 1, requests=0)
            return (
                200,
                {},
                json.dumps({"access_token": f"token-{used['token']}", "expires_in": used["life"]}).encode(),
            )
        used["requests"] += 1
        if (
            request.headers.get("authorization") != f"Bearer token-{used['token']}"
            or used["requests"] > used["most"]
        ):
            return 401, {}, b"no"
        return feed(request)

    given = {
        "records": "data.items",
        "paging": "link",
        "sign_in": "client",
        "user": "importer",
        "secret": "s3cret",
    }
    for life, most, tokens in [(3600, 2, 3), (30, 99, 1)]:
        used.update(token=0, requests=0, life=life, most=most)
        with serving(answer) as web:
            assert (
                len(rows_of(drained(of(f"{web.url}/paged", token_address=f"{web.url}/token", **given))[0]))
                == 45
            )
        assert used["token"] == tokens
    used["most"] = 0  # never taken: it is not asked for again and again
    with serving(answer) as web, pytest.raises(SourceError) as caught:
        of(f"{web.url}/paged", token_address=f"{web.url}/token", **given).check()
    assert (caught.value.code, sum(request.path == "/token" for request in web.requests)) == ("sign_in", 1)


def test_a_token_is_replaced_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    feed, now = Records(25), [1000.0]

    def answer(request: Request) -> Reply:
        if request.path == "/token":
            return 200, {}, b'{"access_token": "token", "expires_in": 90}'
        now[0] += 45
        return feed(request)

    with serving(answer) as web:
        given = {"records": "data.items", "paging": "link", "sign_in": "client", "user": "i"}
        made = of(f"{web.url}/paged", token_address=f"{web.url}/token", **given)
        monkeypatch.setattr("datasets.importing.sources.web.time", SimpleNamespace(monotonic=lambda: now[0]))
        assert len(rows_of(drained(made)[0])) == 25
    assert [request.path for request in web.requests] == ["/token", "/paged", "/paged", "/token", "/paged"]


def test_a_key_in_a_parameter(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    feed = Records()

    def answer(request: Request) -> Reply:
        return feed(request) if request.query.get("api_key") == "k/1&2" else (401, {}, b"no")

    with serving(answer) as web:
        given = {"records": "data.items", "paging": "link", "sign_in": "parameter", "parameter": "api_key"}
        made = of(f"{web.url}/paged?kind=labs", secret="k/1&2", **given)
        assert "k/1" not in made.check()
        assert len(rows_of(drained(made)[0])) == 25
        with pytest.raises(SourceError) as caught:
            of(f"{web.url}/paged", secret="wrong", **given).check()
        assert (caught.value.code, "wrong" in str(caught.value)) == ("sign_in", False)
    assert "k/1" not in caplog.text
    assert "k%2F1" not in caplog.text


def test_a_key_in_the_address_is_refused() -> None:
    good = {"sign_in": "none", "format": "json", "paging": "none"}
    names = "api_key apikey key X-API-Key token access_token authToken sig X-Amz-Signature client_secret"
    for name in names.split():
        found = refused("feed", address=f"https://feed.example/x?kind=labs&{name}=abc123", **good)
        assert list(found) == ["address"], name
        assert "abc123" not in str(found)
    for name in ("keyword", "design", "monkey", "kind", "signed_after", "author", "tokenize"):
        source("feed", address=f"https://feed.example/x?{name}=a", **good)


def test_csv_and_what_the_server_says_of_its_state() -> None:
    state: dict[str, Any] = {
        "etag": '"1"',
        "text": "编号;name;value\n1;é;3,5\n2;;4\n3;x;1;too many\n\n".encode("gb18030"),
    }

    def answer(request: Request) -> Reply:
        if request.headers.get("if-none-match") == state["etag"]:
            return 304, {}, b""
        headers = {"Content-Type": "text/csv"} | ({"ETag": state["etag"]} if state["etag"] else {})
        return 200, headers, state["text"]

    with serving(answer) as web:
        preview = of(web.url, format="csv").preview()
        assert preview.fields == ["编号", "name", "value"]
        pieces, cursor = drained(of(web.url, format="csv"))
        assert rows_of(pieces) == [
            {"编号": "1", "name": "é", "value": "3,5"},
            {"编号": "2", "name": None, "value": "4"},
        ]
        assert [(fault.where, fault.reason) for fault in pieces[0].faulty] == [
            ("row 4", "It has 4 cells, the header 3.")
        ]
        assert drained(of(web.url, format="csv"), cursor)[0] == []
        assert web.requests[-1].headers["if-none-match"] == '"1"'
        state["etag"] = ""  # a server that says nothing: the hash tells
        pieces, cursor = drained(of(web.url, format="csv"), cursor)
        assert pieces == []
        state["text"] = b"id,name\n1,a\n"
        pieces, cursor = drained(of(web.url, format="csv"), cursor)
        assert rows_of(pieces) == [{"id": "1", "name": "a"}]
        assert drained(of(web.url, format="csv"), cursor)[0] == []


@pytest.mark.parametrize(
    ("reply", "given", "code"),
    [
        ((200, {}, b'[{"name": "Meyer"'), {}, "answer"),
        ((200, {}, b"[" * 100_000), {}, "answer"),
        ((200, {}, b'{"data": {"name": "Meyer"}}'), {"records": "data"}, "answer"),
        ((200, {}, b"<html>Meyer"), {}, "answer"),
        ((200, {"Content-Type": "text/html"}, b"<html>Meyer"), {"format": "csv"}, "answer"),
        ((200, {}, b""), {"format": "csv"}, "answer"),
        ((200, {}, b"a,a\n1,Meyer\n"), {"format": "csv"}, "answer"),
        ((200, {}, b'{"d": [{"a": 1}], "next": "http://127.0.0.1:1/"}'),
         {"records": "d", "paging": "next", "paging_name": "next"}, "answer"),
        ((200, {}, b'{"d": [{"a": 1}], "next": ""}'), {"records": "d", "paging": "page", "paging_name": "p"}, "answer"),
        ((200, {"Link": '<?p=2>; rel="next"'}, b'[{"a": 1}]'), {"paging": "link"}, "answer"),
        ((200, {}, b'[{"t": "Meyer"}]'), {"since_parameter": "s", "since_field": "t"}, "answer"),
        ((404, {}, b"Meyer"), {}, "not_found"),
        ((503, {}, b"Meyer"), {}, "busy"),
    ],
)  # fmt: skip
def test_hostile_answers(reply: Reply, given: dict[str, Any], code: str) -> None:
    with serving(lambda _request: reply) as web:
        with pytest.raises(SourceError) as caught:
            drained(of(web.url, **given))
        assert caught.value.code == code
        assert "Meyer" not in str(caught.value)


def test_records_that_are_no_records_are_told_of() -> None:
    with serving(lambda _request: (200, {}, b'[1, {"a": 1}, "Meyer", {"b": {"c": {"d": {"e": 1}}}}]')) as web:
        (piece,), _cursor = drained(of(web.url))
        assert [fault.where for fault in piece.faulty] == ["record 1", "record 3"]
        assert rows_of([piece]) == [{"a": "1"}, {"b.c.d": '{"e": 1}'}]


def test_the_form() -> None:
    good = {"address": "https://feed.example/x", "sign_in": "none", "format": "json", "paging": "none"}
    for changed, fields in [
        ({"address": "ftp://feed.example"}, ["address"]), ({"address": "https://user:pass@feed.example"}, ["address"]),
        ({"address": "https://feed.example:99999"}, ["address"]), ({"address": "https://[::"}, ["address"]),
        ({"sign_in": "basic"}, ["user"]), ({"sign_in": "key"}, ["header"]), ({"sign_in": "parameter"}, ["parameter"]),
        ({"sign_in": "client", "user": "x"}, ["token_address"]),
        ({"sign_in": "key", "header": "X: y\r\nHost"}, ["header"]), ({"sign_in": "bearer", "secret": "a\nb c"}, ["secret"]),
        ({"sign_in": "bearer", "secret": "ключ"}, ["secret"]), ({"paging": "next"}, ["paging_name"]),
        ({"since_field": "x"}, ["since_field"]), ({"format": "csv", "paging": "link"}, ["paging"]),
    ]:  # fmt: skip
        assert set(refused("feed", **{**good, **changed})) >= set(fields), changed
