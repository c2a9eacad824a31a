"""The one HTTP client of all sources: every connection, also after a redirect, goes through the network's guard.

httpx, with a way to the network of our own under its transport (httpcore's network backend): the name is resolved and judged
there, the socket goes to the judged address, and TLS checks the certificate by the name. No proxy and no .netrc of the
environment is used. Answers are bounded in bytes, also once they are unpacked, and in seconds, however slowly they drip.
"""

from __future__ import annotations

import json
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore
import httpx
from httpcore._backends.sync import SyncStream

from datasets.importing import tls
from datasets.importing.errors import SourceError
from datasets.importing.network import CONNECT_SECONDS, Network
from datasets.importing.said import gettext as _

SECONDS = 60.0  # for a whole answer that is held in memory
FILE_SECONDS = 3600.0  # for a file
SILENCE = 30.0  # without a byte
LARGEST = 32 * 2**20  # bytes of an answer that is held in memory
REDIRECTS = 5
CHUNK = 65536


class Guarded(httpcore.NetworkBackend):
    """Connects by the guard; what is read and written must be done by `until`."""

    def __init__(self, network: Network) -> None:
        self.network, self.until = network, 0.0

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Any = None
    ) -> httpcore.NetworkStream:
        return Timed(SyncStream(self.network.connect(host, port, timeout or CONNECT_SECONDS)), self)

    def left(self, timeout: float | None) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the answer as a whole took too long")
        return min(left, SILENCE if timeout is None else timeout)


class Timed(httpcore.NetworkStream):
    """A connection whose waiting is bounded by the whole answer's time."""

    def __init__(self, inner: httpcore.NetworkStream, guarded: Guarded) -> None:
        self.inner, self.guarded = inner, guarded

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.inner.read(max_bytes, self.guarded.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.inner.write(buffer, self.guarded.left(timeout))

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return Timed(self.inner.start_tls(ssl_context, server_hostname, self.guarded.left(timeout)), self.guarded)

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)


class Transport(httpx.HTTPTransport):
    """httpx's own, on the guarded backend. (Its pool has no public way to be given one; tests hold that this is used.)"""

    def __init__(self, guarded: Guarded) -> None:
        super().__init__(verify=tls.context(), trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls.context(), network_backend=guarded, max_connections=4, keepalive_expiry=20, http2=False
        )


@dataclass(frozen=True)
class Answer:
    """What came, whole."""

    url: str
    status: int
    headers: httpx.Headers
    body: bytes = field(repr=False)
    named: str = ""  # as `Client.named`

    def json(self) -> Any:
        """Raises SourceError."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            where = {"url": self.named or shown(self.url)}
            raise SourceError("answer", _("%(url)s answers with something that is no JSON.") % where) from None


class Client:
    """Asks one origin with its credentials; other origins, after a redirect, without."""

    def __init__(self, network: Network, address: str, headers: Mapping[str, str] | None = None) -> None:
        self.origin, self.address = origin(address), configured(address)
        self.headers = dict(headers or {})  # go to the origin alone
        self.guarded = Guarded(network)
        self.http = httpx.Client(
            transport=Transport(self.guarded), trust_env=False, follow_redirects=False,
            timeout=httpx.Timeout(SILENCE, connect=CONNECT_SECONDS), headers={"User-Agent": "AI-Mass importer"},
        )  # fmt: skip

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        accept: Iterable[int] = (200,),
        most: int = LARGEST,
        seconds: float = SECONDS,
    ) -> Answer:
        """An answer of one of the accepted states. Raises SourceError."""
        with self.stream(url, headers=headers, accept=accept, seconds=seconds) as (response, chunks):
            body = b"".join(limited(chunks, most, url))
            return Answer(str(response.url), response.status_code, response.headers, body, self.named(url))

    def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """Send a form (for a token); a redirect is not followed."""
        sent = {**(headers or {}), "Accept": "application/json", "Accept-Encoding": "identity"}
        self.guarded.until = time.monotonic() + SECONDS
        named = self.named(url)
        with told(named), self.http.stream("POST", url, data=dict(form), headers=sent) as response:
            judge(response, (200,), named)
            body = b"".join(limited(unpacked(response, named), LARGEST, url))
            return Answer(url, response.status_code, response.headers, body, named)

    @contextmanager
    def stream(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        accept: Iterable[int] = (200,),
        seconds: float = FILE_SECONDS,
    ) -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
        """The answer's head and its bytes as they come. Raises SourceError, also while they are read."""
        self.guarded.until = time.monotonic() + seconds
        for _hop in range(REDIRECTS + 1):
            same = origin(url) == self.origin
            own = {**(headers or {}), **self.headers} if same else {"Accept": (headers or {}).get("Accept", "*/*")}
            sent = {"Accept-Encoding": "identity", **own}
            named = self.named(url)
            with told(named), self.http.stream("GET", url, headers=sent) as response:
                if response.is_redirect and "location" in response.headers:
                    url = self._next(url, response.headers["location"])
                    continue
                judge(response, accept, named)
                yield response, unpacked(response, named)
                return
        raise SourceError("answer", _("%(url)s leads from one address to another without end.") % {"url": self.named(url)})

    def named(self, url: str) -> str:
        """As errors name it: what was configured. What is added to that, or where it leads, may name a patient."""
        return self.address if origin(url) == self.origin else shown(url)

    def _next(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
        if scheme not in {"http", "https"} or (scheme == "http" and urlsplit(url).scheme == "https"):
            raise SourceError("answer", _("%(url)s leads on to an address that is not https.") % {"url": self.named(url)})
        return target

    def close(self) -> None:
        self.http.close()


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises SourceError where there is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SourceError("answer", _("An address that is neither http nor https can't be asked."))
    return parts.scheme, parts.hostname.casefold(), port


def shown(url: str) -> str:
    """An address as a person may see it: the origin alone, as path and query may name a patient or hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"[:200]


def configured(address: str) -> str:
    """The same of an address that a person has entered: with its path."""
    return (shown(address) + urlsplit(address).path)[:200]


def limited(chunks: Iterable[bytes], most: int, url: str) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            text = _("The answer of %(url)s is larger than %(most)d MB. Ask for less at once.")
            raise SourceError("too_large", text % {"url": shown(url), "most": most // 2**20})
        yield chunk


def unpacked(response: httpx.Response, named: str) -> Iterator[bytes]:
    """Its bytes, in pieces that stay small whatever a packed answer claims. We ask for unpacked ones; not all servers listen."""
    encoding = response.headers.get("content-encoding", "identity").strip().casefold()
    where = {"url": named}
    if encoding in {"", "identity"}:
        with told(named):
            yield from response.iter_raw(CHUNK)
        return
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise SourceError("answer", _("%(url)s packs its answers in a way that is not known here.") % where)
    opener = zlib.decompressobj(47)
    try:
        with told(named):
            for chunk in response.iter_raw(CHUNK):
                while chunk and not opener.eof:
                    if piece := opener.decompress(chunk, CHUNK):
                        yield piece
                    chunk = opener.unconsumed_tail
            if not opener.eof:
                raise zlib.error
    except zlib.error:
        text = _("%(url)s sends a packed answer that is broken.")
        raise SourceError("answer", text % where, passing=True) from None


def judge(response: httpx.Response, accept: Iterable[int], named: str) -> None:
    """Raises SourceError with a sentence for what the server does not give."""
    status, where = response.status_code, {"url": named, "status": response.status_code}
    if status in set(accept):
        return
    if status == 401:
        raise SourceError("sign_in", _("%(url)s refuses the sign-in (401). Enter user, password or key again.") % where)
    if status == 403:
        raise SourceError("forbidden", _("%(url)s does not let this user read that (403). Ask who administers it.") % where)
    if status in {404, 410}:
        raise SourceError("not_found", _("There is nothing at %(url)s (%(status)d). Check the address.") % where)
    if status in {408, 429, 502, 503, 504} or status >= 500:
        raise SourceError("busy", _("%(url)s can't answer now (%(status)d). It is tried again later.") % where, passing=True)
    raise SourceError("answer", _("%(url)s answers with status %(status)d, which is not what was expected.") % where)


@contextmanager
def told(named: str) -> Iterator[None]:
    """httpx's errors in sentences, without anything of the answer."""
    where = {"url": named}
    try:
        yield
    except httpx.TimeoutException:
        raise SourceError("timeout", _("%(url)s takes too long to answer.") % where, passing=True) from None
    except httpx.ConnectError as error:
        if isinstance(error.__cause__, ssl.SSLError) or "ssl" in str(error).casefold() or "certificate" in str(error).casefold():
            text = _("No safe connection to %(url)s: it speaks no TLS there, or its certificate is not trusted here.")
            raise SourceError("tls", text % where) from None
        raise SourceError("unreachable", _("The connection to %(url)s failed.") % where, passing=True) from None
    except (httpx.NetworkError, httpx.ProtocolError):
        text = _("The connection to %(url)s broke off, or what it speaks is not HTTP.")
        raise SourceError("unreachable", text % where, passing=True) from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError):
        raise SourceError("answer", _("%(url)s could not be read.") % where) from None
