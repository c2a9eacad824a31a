"""A job as a subprocess of the worker's host, in a session of its own."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress

import psutil
from django.conf import settings

from jobs.limits import Limits, tree
from jobs.models import Job
from jobs.profiles import Profile
from jobs.traces import without_values

TAIL = 8000  # bytes of the process's output that are kept when it dies
POLL_SECONDS = 0.5
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "LOKY_MAX_CPU_COUNT")


def command(job: Job, owner: str) -> list[str]:
    """The one entry point, as a command line."""
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), "run_job", str(job.pk), "--owner", owner]


def environment(job: Job, profile: Profile) -> dict[str, str]:
    """The worker's environment, with the profile's threads and only the GPUs that are reserved."""
    threads = {name: str(profile.threads) for name in THREAD_VARIABLES}
    return {
        **os.environ,
        **threads,
        "CUDA_VISIBLE_DEVICES": ",".join(str(index) for index in job.gpus),
        "AIMASS_DATA_DIR": str(settings.DATA_DIR),
        "AIMASS_DISPATCH": "queue",
        "PYTHONUNBUFFERED": "1",
    }


class LocalExecution:
    """The subprocess and its limits."""

    def __init__(self, job: Job, owner: str, profile: Profile) -> None:
        self.output = tempfile.TemporaryFile()  # noqa: SIM115  read after the process has ended
        self.process = subprocess.Popen(  # noqa: S603  our own command line
            command(job, owner),
            env=environment(job, profile),
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.limits = Limits(self.process.pid, profile)

    def alive(self) -> bool:
        try:
            self.process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            return True
        return False

    def over_limit(self) -> str | None:
        return self.limits.exceeded()

    def ask_to_stop(self) -> None:
        with suppress(ProcessLookupError):
            self.process.terminate()

    def kill(self) -> None:
        for process in tree(self.process.pid):
            with suppress(psutil.Error):
                process.kill()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def post_mortem(self) -> str:
        code = self.process.returncode
        self.output.seek(0, os.SEEK_END)
        self.output.seek(max(0, self.output.tell() - TAIL))
        tail = without_values(self.output.read().decode(errors="replace"))
        self.output.close()
        if tail and code:
            sys.stderr.write(tail + "\n")
        ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"The job's process ended: {ended}. Peak memory {self.limits.peak_mb:.0f} MB.\n{tail}"
