"""A real portal under gunicorn on a database of its own, with a person's key; killed and started again by the tests."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from django.conf import settings
from django.utils import timezone

from demo.processes import free_port
from tests.conftest import make_user
from tests.jobs.process_site import Site, new_site, until


class Server:
    """The portal's address, a key of Dana's, and its processes."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.endpoint = f"{self.url}/api/v1/transfers/"
        self.headers = {"Authorization": f"Bearer {self._key()}"}

    def _key(self) -> str:
        from accounts.keys import make_key
        from accounts.models import ApiKey, Organisation
        from accounts.permissions import ROLES

        organisation = Organisation.objects.create(name="St Mary's")
        self.dana = make_user("dana@server.example", organisation, "data_scientist")
        plain, prefix, key_hash = make_key()
        ApiKey.objects.create(
            organisation=organisation, user=self.dana, name="test", prefix=prefix, key_hash=key_hash,
            scopes=sorted(ROLES["data_scientist"].permissions), expires_at=timezone.now() + timedelta(days=1),
        )  # fmt: skip
        return plain

    def start(self, workers: int = 2, **environment: str) -> None:
        """gunicorn with the portal's own settings; returns when it answers."""
        command = [sys.executable, "-m", "gunicorn", "aimass_site.wsgi", "--bind", f"127.0.0.1:{self.port}",
                   "--workers", str(workers)]  # fmt: skip
        with (self.site.folder / "processes.log").open("ab") as log:
            self.process = psutil.Popen(
                command, env={**self.site.environment, **environment}, cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.site.started.append(self.process)
        until(self.answers, f"the portal; {self.site.log()[-2000:]}")

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/", timeout=2).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """As when the power fails."""
        self.site.kill_all()

    def workers(self) -> list[psutil.Process]:
        found: list[psutil.Process] = self.process.children()
        return found


@contextmanager
def new_server(folder: Path, blocker: Any) -> Iterator[Server]:
    """Migrated, not yet started; at the end nothing of it is left running."""
    folder.mkdir()
    with new_site(folder, blocker) as site:
        yield Server(site)
