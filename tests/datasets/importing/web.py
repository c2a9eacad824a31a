"""A real HTTP server on 127.0.0.1 whose answers the test writes."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

# What a test's function gives for a request: status, headers, body (bytes, or an iterator of them that may never end).
Reply = tuple[int, dict[str, str], Any]


class Request:
    """What was asked."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.method, self.target, self.path = handler.command, handler.path, parts.path
        self.query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.all = parse_qs(parts.query)
        self.headers = {name.casefold(): value for name, value in handler.headers.items()}
        self.body = handler.rfile.read(int(handler.headers.get("content-length") or 0))


class Web:
    """The server: `url`, and the `requests` that it has got."""

    def __init__(
        self, answer: Callable[[Request], Reply], certificate: tuple[Path, Path] | None = None
    ) -> None:
        self.requests: list[Request] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                request = Request(self)
                web.requests.append(request)
                status, headers, body = answer(request)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    if isinstance(body, bytes):
                        self.send_header("Content-Length", str(len(body)))
                        self.end_headers()
                        self.wfile.write(body)
                        return
                    self.send_header("Connection", "close")
                    self.end_headers()
                    self.close_connection = True
                    for part in body:
                        self.wfile.write(part)
                except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                    self.close_connection = True

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that leaves is what these tests are about."""

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.scheme = "https"
        self.port = self.server.server_address[1]
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"


@contextmanager
def serving(
    answer: Callable[[Request], Reply], certificate: tuple[Path, Path] | None = None
) -> Iterator[Web]:
    """The server while the block lasts."""
    web = Web(answer, certificate)
    thread = threading.Thread(target=web.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.server.shutdown()
        thread.join(10)
        web.server.server_close()
