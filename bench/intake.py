"""Data coming in, and how soon it is seen. `python -m bench.intake [tus series …]`: each part prints its table.

tus: MB/s of a table sent in pieces of 8 MB, against drf-tus under the same gunicorn in the same run. "Pieces" is all but the
last request; "whole" counts it too: there ours makes the preview and the Upload, drf-tus copies the file. Ours also syncs
each piece to disk, checks who asks, hashes and audits; drf-tus does none of these. One client in this process sends to both
in turn; peak memory is the largest worker's.

series: see bench.series.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import psutil

from bench import series
from bench.database import fresh
from bench.import_rows import write_rows
from bench.serve import gunicorn
from bench.table import table

HOME = Path(__file__).resolve().parent.parent
MB = 1024 * 1024
PIECE = 8 * MB


def prepare() -> None:
    """In a process of its own: tables, a person and a key, which is printed."""
    import django

    django.setup()
    from datetime import timedelta

    from django.core.management import call_command
    from django.utils import timezone

    from accounts.keys import make_key
    from accounts.models import ApiKey, Membership, Organisation, User
    from accounts.permissions import ROLES

    call_command("migrate", verbosity=0)
    organisation = Organisation.objects.create(name="Bench")
    user = User.objects.create_user("bench@example.org")
    Membership.objects.create(organisation=organisation, user=user, role="clinician")
    plain, prefix, key_hash = make_key()
    ApiKey.objects.create(
        organisation=organisation, user=user, name="bench", prefix=prefix, key_hash=key_hash,
        scopes=sorted(ROLES["clinician"].permissions), expires_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    print(json.dumps({"key": plain}))


def send(port: int, path: str, content: bytes, headers: dict[str, str]) -> tuple[float, float]:
    """Create, send all pieces on one connection; MB/s until the last but one answer, and until the last."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    shared = {**headers, "Tus-Resumable": "1.0.0"}
    name = b64encode(b"laboratory.csv").decode()
    began = time.perf_counter()
    given = {**shared, "Upload-Length": str(len(content)), "Upload-Metadata": f"filename {name}"}
    connection.request("POST", path, headers=given)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 201, (answer.status, body)
    address = answer.headers["Location"]
    view = memoryview(content)
    before = 0.0
    for start in range(0, len(content), PIECE):
        before = time.perf_counter() - began
        given = {
            **shared,
            "Upload-Offset": str(start),
            "Content-Type": "application/offset+octet-stream",
        }
        connection.request("PATCH", address, body=view[start : start + PIECE], headers=given)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 204, (answer.status, body)
    seconds = time.perf_counter() - began
    connection.close()
    return start / MB / before, len(content) / MB / seconds


def peak(port: int) -> float:
    """The peak memory in MB of the workers that listen on the port."""
    found = 0.0
    for process in psutil.Process().children(recursive=True):
        if f":{port}" in " ".join(process.cmdline()):
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    found = max(found, float(line.split()[1]) / 1024)
    return found


def tus(rounds: int, megabytes: int) -> str:
    """The table of the tus part."""
    with fresh("sqlite") as environment:
        environment |= {"PYTHONPATH": str(HOME), "PATH": os.environ["PATH"]}
        folder = Path(environment["AIMASS_DATA_DIR"])
        source = folder / "laboratory.csv"
        write_rows(source, megabytes * 16_500)
        content = source.read_bytes()
        made = subprocess.run(
            [sys.executable, "-m", "bench.intake", "--prepare"],
            cwd=HOME, env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        key = json.loads(made.stdout.strip().splitlines()[-1])["key"]
        peer_environment = {k: v for k, v in environment.items() if k != "DJANGO_SETTINGS_MODULE"}
        subprocess.run([sys.executable, "-m", "bench.drf_tus"], cwd=HOME, env=peer_environment, check=True)
        bearer = {"Authorization": f"Bearer {key}"}
        with (
            gunicorn("bench.drf_tus:application", peer_environment) as peer,
            gunicorn("aimass_site.wsgi:application", environment) as ours,
        ):
            pairs = []
            for number in range(rounds + 1):
                # Each round's content is another one: what is stored already would not be stored again.
                own = content + b"\n" * number
                pair = send(peer, "/files/", own, {}), send(ours, "/api/v1/transfers/", own, bearer)
                if number:  # the first one warms both up
                    pairs.append(pair)
            memory = peak(peer), peak(ours)
    rows: list[list[Any]] = []
    for which, name in enumerate(("pieces", "whole")):
        theirs, speed = (statistics.median(pair[side][which] for pair in pairs) for side in (0, 1))
        ratios = [pair[1][which] / pair[0][which] for pair in pairs]
        rows.append(
            [name, f"{len(content) / MB:.0f}", f"{theirs:.0f}", f"{speed:.0f}", f"{statistics.median(ratios):.0%}",
             f"{min(ratios):.0%} to {max(ratios):.0%}", f"{memory[0]:.0f}", f"{memory[1]:.0f}"]
        )  # fmt: skip
    header = [
        "what",
        "MB",
        "drf-tus MB/s",
        "AI Mass MB/s",
        "ratio",
        "of single rounds",
        "drf-tus peak MB",
        "AI Mass peak MB",
    ]
    return table("A table by tus in pieces of 8 MB, against drf-tus", header, rows)


PARTS = ("tus", "series")


def main() -> None:
    """Measure the named parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=128)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--prepare-series", type=int)
    options = parser.parse_args()
    if options.prepare:
        prepare()
        return
    if options.prepare_series:
        series.prepare(options.prepare_series)
        return
    for part in options.parts or PARTS:
        if part == "tus":
            print(tus(options.rounds, options.megabytes))
        elif part == "series":
            print(series.measured(4 * options.rounds, options.slices))


if __name__ == "__main__":
    main()
