"""The demo's processes: the portal, the workers; started together, ended together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

HOME = Path(__file__).resolve().parent.parent


def until(look: Callable[[], Any], what: str, seconds: float = 300.0) -> Any:
    """Look again and again until it gives something true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nothing listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Portal:
    """A portal and its workers on one data folder. A context manager: leaving it ends every process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.accounts = self.password = self.key = ""  # of the demo hospital, known once it has started
        self.environment = {
            **os.environ,
            "AIMASS_DEMO": "1",
            "AIMASS_DATA_DIR": str(folder),
            "AIMASS_PORTAL_URL": self.url,
            "DJANGO_SETTINGS_MODULE": "aimass_site.settings",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def manage(self, *arguments: str) -> str:
        """Run a management command to its end; its output. Raises CalledProcessError, with the output shown."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=HOME,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
            done.check_returncode()
        return done.stdout

    def start(self, name: str, *command: str) -> None:
        """Start a process in a session of its own, with its output in logs/<name>.log."""
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command,
                cwd=HOME,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def __enter__(self) -> "Portal":
        self.accounts, self.password, self.key = self.manage("demo_people").splitlines()[-3:]
        self.start(
            "portal", sys.executable, "-m", "gunicorn", "aimass_site.wsgi", "--bind", f"127.0.0.1:{self.port}",
            "--workers", "2", "--timeout", "120", "--graceful-timeout", "5",
        )  # fmt: skip
        self.start("worker", sys.executable, "manage.py", "worker", "--all")
        try:
            self.wait_until_up()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: Any) -> None:
        self.stop()

    def wait_until_up(self, seconds: float = 60.0) -> None:
        """Until the portal answers. Raises RuntimeError with the end of the log when it does not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                if httpx.get(f"{self.url}/health/", timeout=2).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise RuntimeError(f"The portal did not start in {seconds:.0f} s.\n{self.tail('portal')}")

    def check_alive(self) -> None:
        """Raises RuntimeError with the end of its log when a process has ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise RuntimeError(f"The {name} ended with code {process.returncode}.\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 20) -> str:
        """The last lines of a process's log."""
        path = self.logs / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def stop(self, patience: float = 15.0) -> None:
        """End every process that this object started, and what those started; gently, then for good."""
        for process in self.running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        for process in self.running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.running.clear()
