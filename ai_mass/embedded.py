"""The portal of this checkout, inside this process: the same API over WSGI, so that there is one way through.

Nothing of the portal is imported until it is needed, and then by name: this package stands alone elsewhere.
"""

import importlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from ai_mass.client import Client
from ai_mass.errors import AIMassError

ADDRESS = "http://embedded.aimass"


class OneThreadTransport(httpx.BaseTransport):
    """Calls the WSGI application in one thread of its own.

    Django refuses database work in a thread with a running event loop, which every notebook has; and SQLite
    connections belong to one thread.
    """

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self.transport = transport
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aimass-embedded")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The whole answer, read before it is handed over."""

        def call() -> httpx.Response:
            response = self.transport.handle_request(request)
            response.read()
            return response

        return self.pool.submit(call).result()

    def close(self) -> None:
        self.pool.shutdown(wait=True)


def checkout() -> Path:
    """The folder of the checkout that this package stands in. Raises AIMassError when it stands elsewhere."""
    folder = Path(os.environ.get("AIMASS_HOME") or Path(__file__).resolve().parent.parent)
    if not (folder / "manage.py").is_file() or not (folder / "aimass_site").is_dir():
        raise AIMassError(
            "Connect first: am.connect(url, key), or set AIMASS_URL and AIMASS_KEY. "
            "(The embedded portal needs a checkout of AI Mass; AIMASS_HOME may name its folder.)"
        )
    return folder


def embedded_client(*, timeout: float = 60.0) -> Client:
    """A client of the embedded portal, whose data are in AIMASS_DATA_DIR (default: `.data` in the checkout)."""
    folder = checkout()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        portal = importlib.import_module("aimass_site.embedded")
    except ImportError as error:
        raise AIMassError(
            f"The embedded portal needs the packages of {folder / 'requirements.txt'}: {error}. "
            "Run script/demo once, or use the Python of the checkout's .venv."
        ) from error
    with ThreadPoolExecutor(max_workers=1) as starter:
        application, key = starter.submit(portal.start).result()
    transport = OneThreadTransport(httpx.WSGITransport(app=application, raise_app_exceptions=False))
    return Client(ADDRESS, key, timeout=timeout, transport=transport)
