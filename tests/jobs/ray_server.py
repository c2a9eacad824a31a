"""A small real server that speaks the Ray Jobs REST API and runs each entry point as a process of this machine."""

import json
import os
import shlex
import signal
import subprocess
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class RayServer(ThreadingHTTPServer):
    """POST /api/jobs/, GET /api/jobs/{id}, POST /api/jobs/{id}/stop, GET /api/jobs/{id}/logs."""

    daemon_threads = True

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.environment = environment
        self.folder = folder
        self.jobs: dict[str, tuple[subprocess.Popen[bytes], dict[str, Any]]] = {}
        self.stopped: set[str] = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def submit(self, body: dict[str, Any]) -> str:
        number = str(body["submission_id"])
        variables = body.get("runtime_env", {}).get("env_vars", {})
        with (self.folder / f"{number}.log").open("wb") as log:
            process = subprocess.Popen(
                shlex.split(body["entrypoint"]),
                env={**self.environment, **variables},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.jobs[number] = (process, body)
        return number

    def status(self, number: str) -> str:
        code = self.jobs[number][0].poll()
        if code is None:
            return "RUNNING"
        return "STOPPED" if number in self.stopped else "SUCCEEDED" if code == 0 else "FAILED"

    def stop(self, number: str) -> None:
        self.stopped.add(number)
        with suppress(ProcessLookupError):
            os.killpg(self.jobs[number][0].pid, signal.SIGTERM)

    def close(self) -> None:
        for process, _body in self.jobs.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: RayServer

    def answer(self, body: Any, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = self.path.strip("/").split("/")
        if parts == ["api", "jobs"]:
            number = self.server.submit(json.loads(raw))
            self.answer({"job_id": number, "submission_id": number})
        elif parts[-1] == "stop" and parts[2] in self.server.jobs:
            self.server.stop(parts[2])
            self.answer({"stopped": True})
        else:
            self.answer("not found", 404)

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if len(parts) < 3 or parts[2] not in self.server.jobs:
            self.answer("not found", 404)
        elif parts[-1] == "logs":
            self.answer({"logs": (self.server.folder / f"{parts[2]}.log").read_text()})
        else:
            self.answer({"status": self.server.status(parts[2]), "message": "", "submission_id": parts[2]})

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
