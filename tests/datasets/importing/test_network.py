"""The guard: which addresses are judged how, and that nothing is reached by another way than through it."""

import gzip
import itertools
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from datasets.importing import http
from datasets.importing.errors import SourceError
from datasets.importing.http import Client
from datasets.importing.network import Network
from tests.datasets.importing import certificates
from tests.datasets.importing.conftest import HERE
from tests.datasets.importing.web import Reply, Request, serving

pytestmark = pytest.mark.once
REFUSED = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.0.1",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2002:a9fe:a9fe::",
    "2001:0:7f00:1::",
    "fc00::1",
    "fd12:3456::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2001:db8::1",
    "100::1",
    "nonsense",
    "1.2.3",
    "168.63.129.16",
    "::ffff:168.63.129.16",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "193.0.6.139",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize("address", REFUSED)
def test_refused_unless_listed(address: str) -> None:
    assert not Network().permits(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert Network().permits(address)


def test_what_the_administrator_lists_is_reached_and_nothing_beside_it() -> None:
    network = Network(("10.1.0.0/16", "fd12::/16"))
    assert [network.permits(text) for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "8.8.8.8")] == [
        True
    ] * 4
    assert [network.permits(text) for text in ("10.2.0.1", "::ffff:10.2.0.1", "fd13::1", "127.0.0.1")] == [
        False
    ] * 4
    everything = Network(("0.0.0.0/0", "::/0"))
    never = [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "224.0.0.1",
        "fe80::1",
        "0.0.0.0",
        "::",
        "fd00:ec2::254",
        "168.63.129.16",
    ]
    assert not any(
        everything.permits(text) for text in never
    )  # a cloud's credentials, whatever the list says


@pytest.mark.parametrize(
    "host", ["localhost", "127.1", "2130706433", "0x7f000001", "017700000001", "127.0.0.1", "::1"]
)
def test_every_way_to_write_this_host(host: str) -> None:
    with pytest.raises(SourceError) as caught:
        Network().addresses(host, 80)
    assert caught.value.code == "address_refused"
    assert "AIMASS_IMPORT_NETWORKS" in str(caught.value)


def test_a_name_whose_address_changes_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolved once; the connection goes to what was judged. (No public address can be called from here: it is one we allow.)"""
    with serving(lambda _request: (200, {}, b"here")) as allowed:
        answers = itertools.chain(["127.0.0.1"], itertools.repeat("127.0.0.2"))
        asked = []
        resolve = socket.getaddrinfo

        def rebinding(host: Any, *rest: Any, **more: Any) -> Any:
            asked.append(host)
            return resolve(next(answers) if host == "rebinding.test" else host, *rest, **more)

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        network = Network(("127.0.0.1/32",))
        client = Client(network, f"http://rebinding.test:{allowed.port}")
        assert client.get(f"http://rebinding.test:{allowed.port}/").body == b"here"
        assert asked.count("rebinding.test") == 1
        assert allowed.requests[0].headers["host"] == f"rebinding.test:{allowed.port}"
        client.close()
        with pytest.raises(SourceError) as caught:  # the second time the name says something else
            Client(network, f"http://rebinding.test:{allowed.port}").get(
                f"http://rebinding.test:{allowed.port}/"
            )
        assert caught.value.code == "address_refused"


def test_of_a_name_with_several_addresses_only_the_judged_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))
        for address in ("10.0.0.1", "8.8.8.8", "169.254.169.254")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: both)
    assert Network().addresses("mixed.test", 80) == ["8.8.8.8"]


def test_redirects_are_judged_hop_by_hop_and_carry_no_credentials_elsewhere() -> None:
    def answer(request: Request) -> Reply:
        return (
            (302, {"Location": targets[request.path]}, b"")
            if request.path in targets
            else (200, {}, b"arrived")
        )

    targets: dict[str, str] = {}
    with serving(answer) as other, serving(answer) as first:
        targets.update({
            "/same": "/here", "/other": f"{other.url}/there", "/inside": "http://10.0.0.1/secret", "/loop": "/loop",
            "/metadata": "http://169.254.169.254/latest/meta-data/", "/file": "file:///etc/passwd", "/ftp": "ftp://127.0.0.1/x",
        })  # fmt: skip
        client = Client(HERE, first.url, {"Authorization": "Bearer secret"})
        for path in ("/same", "/other"):
            assert client.get(first.url + path).body == b"arrived"
        assert [request.headers.get("authorization") for request in first.requests] == ["Bearer secret"] * 3
        assert [request.headers.get("authorization") for request in other.requests] == [None]
        for path, code in {"/inside": "address_refused", "/metadata": "address_refused", "/file": "answer", "/ftp": "answer",
                           "/loop": "answer"}.items():  # fmt: skip
            with pytest.raises(SourceError) as caught:
                client.get(first.url + path)
            assert caught.value.code == code
        client.close()


def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        serving(lambda _request: (200, {}, b"direct")) as web,
        serving(lambda _request: (200, {}, b"by the proxy")) as proxy,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        client = Client(HERE, web.url)
        assert client.get(web.url).body == b"direct"
        assert proxy.requests == []
        client.close()


def test_the_certificate_is_checked_by_the_name(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, certificate, key = certificates.make(tmp_path, "fhir.hospital.test")
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *a, **k: resolve("127.0.0.1" if "test" in str(host) else host, *a, **k),
    )
    with serving(lambda _request: (200, {}, b"safe"), (certificate, key)) as web:
        right, wrong = f"https://fhir.hospital.test:{web.port}/", f"https://other.hospital.test:{web.port}/"

        def ask(url: str) -> bytes:
            client = Client(HERE, url)
            try:
                return client.get(url).body
            finally:
                client.close()

        for url in (right, wrong, f"https://127.0.0.1:{web.port}/"):
            with pytest.raises(SourceError) as caught:
                ask(url)
            assert caught.value.code == "tls", url
        settings.IMPORT_CA_FILE = str(authority)
        assert ask(right) == b"safe"
        with pytest.raises(SourceError) as caught:
            ask(wrong)
        assert caught.value.code == "tls"
    with serving(lambda _request: (200, {}, b"plain")) as web, pytest.raises(SourceError) as caught:
        ask(web.url.replace("http:", "https:"))
    assert caught.value.code == "tls"


def drip() -> Any:
    while True:
        yield b"x"
        time.sleep(0.05)


def endless() -> Any:
    while True:
        yield b"x" * 65536


HOSTILE: dict[str, tuple[Reply, str, bool]] = {
    "401": ((401, {}, b""), "sign_in", False),
    "403": ((403, {}, b""), "forbidden", False),
    "404": ((404, {}, b""), "not_found", False),
    "429": ((429, {}, b""), "busy", True),
    "500": ((500, {}, b"Meyer"), "busy", True),
    "503": ((503, {}, b""), "busy", True),
    "teapot": ((418, {}, b""), "answer", False),
    "claims a terabyte": ((200, {"Content-Length": str(2**40)}, iter([b"x"])), "unreachable", True),
    "never ends": ((200, {}, endless()), "too_large", False),
    "drips": ((200, {}, drip()), "timeout", True),
    "gzip bomb": ((200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(80 * 2**20))), "too_large", False),
    "broken gzip": ((200, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 9999)[:-20]), "answer", True),
    "no gzip": ((200, {"Content-Encoding": "gzip"}, b"plain"), "answer", True),
    "unknown packing": ((200, {"Content-Encoding": "zstd"}, b"xx"), "answer", False),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SILENCE", 2.0)
    reply, code, passing = HOSTILE[name]
    with serving(lambda _request: reply) as web:
        client = Client(HERE, web.url)
        began = time.monotonic()
        with pytest.raises(SourceError) as caught:
            client.get(f"{web.url}/Patient/Meyer-17?name=Meyer", seconds=2, most=8 * 2**20)
        assert (caught.value.code, caught.value.passing) == (code, passing)
        assert "Meyer" not in str(caught.value)
        assert time.monotonic() - began < 8
        client.close()


def test_what_is_no_http_server_and_what_is_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        client = Client(HERE, f"http://127.0.0.1:{port}")
        with pytest.raises(SourceError) as caught:
            client.get(f"http://127.0.0.1:{port}/", seconds=0.5)
        assert (caught.value.code, caught.value.passing) == ("timeout", True)
    with pytest.raises(SourceError) as caught:
        client.get(f"http://127.0.0.1:{port}/")
    assert (caught.value.code, caught.value.passing) == ("unreachable", True)
    for bad in ("gopher://127.0.0.1/", "http://", "http://[::", "http://127.0.0.1:99999/"):
        with pytest.raises(SourceError):
            client.get(bad)
    client.close()


def test_errors_name_what_was_configured_alone() -> None:
    """Neither what a source adds to the address nor where a server leads, as both may name a patient."""

    def answer(request: Request) -> Reply:
        if request.path == "/base/lead":
            return 302, {"Location": f"http://localhost:{web.port}/Meyer/1.2.840.17"}, b""
        return (200, {}, b"no JSON") if request.path == "/base/Meyer.json" else (404, {}, b"")

    with serving(answer) as web:
        client = Client(HERE, f"{web.url}/base?key=secret")
        for path, named in {
            "Meyer?name=Meyer": f"{web.url}/base",
            "lead": f"http://localhost:{web.port}",
        }.items():
            with pytest.raises(SourceError) as caught:
                client.get(f"{web.url}/base/{path}")
            assert str(caught.value) == f"There is nothing at {named} (404). Check the address."
        with pytest.raises(SourceError) as caught:
            client.get(f"{web.url}/base/Meyer.json").json()
        assert str(caught.value) == f"{web.url}/base answers with something that is no JSON."
        client.close()
