"""Importing a million rows, against pandas' read_csv and to_sql into the same database and, on PostgreSQL, against a bare COPY of
the file into a plain table without an index; rows per second and peak memory.

`python -m bench.import_rows [--rows N] [--engine sqlite|postgresql]`; the parts run in processes of their own so that
each one's peak memory is its own.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.database import fresh
from bench.table import table

HOME = Path(__file__).resolve().parent.parent


def write_rows(path: Path, rows: int) -> None:
    """A laboratory export: 12 columns, numbers, categories, dates, 5% missing. The seed makes it the same each time."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    for start in range(0, rows, 100_000):
        n = min(100_000, rows - start)
        frame = pd.DataFrame(
            {
                "mrn": rng.integers(0, rows // 3 + 1, n) + 1_000_000,
                "age": rng.integers(18, 95, n),
                "sex": rng.choice(["female", "male"], n),
                "site": rng.choice(["Cleveland", "Hungary", "Zurich", "Long Beach"], n),
                "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2000, n), unit="D"),
                "chol": rng.normal(230, 40, n).round(1),
                "crp": rng.lognormal(1, 1, n).round(2),
                "sodium": rng.normal(140, 3, n).round(1),
                "potassium": rng.normal(4.2, 0.4, n).round(2),
                "creatinine": rng.lognormal(0, 0.3, n).round(2),
                "smoker": rng.choice(["yes", "no", "former"], n),
                "outcome": rng.choice(["healthy", "ill"], n, p=[0.8, 0.2]),
            }
        )
        frame.loc[rng.random(n) < 0.05, "crp"] = None
        frame.to_csv(path, mode="a", header=start == 0, index=False)


def peak_mb() -> float:
    """The largest resident size of this process in MB. Not ru_maxrss, which a parent hands down through fork and exec."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def by_pandas(path: Path) -> None:
    """The baseline, in this process: read_csv, then to_sql into the database that the portal uses."""
    import os
    import sqlite3

    import pandas as pd

    address = os.environ.get("DATABASE_URL")
    began = time.perf_counter()
    frame = pd.read_csv(path)
    if address:
        from sqlalchemy import create_engine

        people, _at, where = address.removeprefix("postgres://").partition("@/")
        socket, _slash, name = where.rpartition("/")
        url = f"postgresql+psycopg2://{people}@/{name}?host={socket}"
        with create_engine(url).begin() as connection:
            frame.to_sql("plain_rows", connection, index=False, chunksize=10_000)
    else:
        with sqlite3.connect(Path(os.environ["AIMASS_DATA_DIR"]) / "plain.sqlite3") as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            frame.to_sql("plain_rows", connection, index=False, chunksize=10_000)
    print(json.dumps({"seconds": time.perf_counter() - began, "mb": peak_mb(), "rows": len(frame)}))


def by_copy(path: Path) -> None:
    """The least that PostgreSQL does with such a file: COPY … FROM STDIN into a table of twelve typed columns."""
    import os

    import psycopg2

    kinds = "mrn int, age int, sex text, site text, seen date, chol float8, crp float8, sodium float8, potassium float8, "
    kinds += "creatinine float8, smoker text, outcome text"
    people, _at, where = os.environ["DATABASE_URL"].removeprefix("postgres://").partition("@/")
    socket, _slash, name = where.rpartition("/")
    began = time.perf_counter()
    connection = psycopg2.connect(host=socket, dbname=name, user=people.partition(":")[0])
    with connection, connection.cursor() as cursor, path.open("rb") as stream:
        cursor.execute(f"CREATE TABLE bare_rows ({kinds})")
        cursor.copy_expert("COPY bare_rows FROM STDIN WITH (FORMAT csv, HEADER)", stream)
        copied = cursor.rowcount
    connection.close()
    print(json.dumps({"seconds": time.perf_counter() - began, "mb": peak_mb(), "rows": copied}))


def by_portal(path: Path) -> None:
    """The portal's import, in this process: receive, preview, confirm, and the job itself."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from accounts.actor import Actor
    from accounts.models import Membership, Organisation, User
    from datasets import intake
    from jobs.runner import run_job

    user = User.objects.create_user("bench@example.org")
    organisation = Organisation.objects.create(name="Bench")
    actor = Actor.member(
        Membership.objects.create(user=user, organisation=organisation, role="administrator")
    )
    began = time.perf_counter()
    upload = intake.receive(actor=actor, file=path, name=path.name)
    received = time.perf_counter() - began
    columns = [{k: c[k] for k in ("name", "kind", "role")} for c in upload.preview["columns"]]
    for column in columns:
        column["role"] = {"mrn": "patient", "outcome": "target"}.get(column["name"], "feature")
    job = intake.confirm(actor=actor, upload=upload, new_dataset_name="Bench", columns=columns)
    run_job(job.pk, owner="bench")
    seconds = time.perf_counter() - began
    upload.refresh_from_db()
    job.refresh_from_db()
    if job.state != "done":
        raise SystemExit(f"the import {job.state}: {job.error_person} {job.error_engineer}")
    rows = upload.rows_added + upload.rows_duplicate
    print(json.dumps({"seconds": seconds, "received": received, "mb": peak_mb(), "rows": rows}))


def measured(part: str, path: Path, environment: dict[str, str]) -> dict[str, float]:
    """Run one part in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.import_rows", "--part", part, "--file", str(path)],
        cwd=HOME, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _beside(speed: float, bare: dict[str, float] | None) -> list[str]:
    """The rate of the bare COPY, and the import's as a share of it; SQLite has none."""
    if bare is None:
        return ["–", "–"]
    rate = bare["rows"] / bare["seconds"]
    return [f"{rate:,.0f}", f"{speed / rate:.0%}"]


PARTS = {"pandas": by_pandas, "copy": by_copy, "portal": by_portal}


def main() -> None:
    """Measure and print the table, or run one part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--engine", choices=["sqlite", "postgresql"], nargs="*", default=["sqlite", "postgresql"]
    )
    parser.add_argument("--part", choices=list(PARTS))
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.part:
        PARTS[options.part](options.file)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "laboratory.csv"
        write_rows(path, options.rows)
        for engine in options.engine:
            with fresh(engine) as environment:
                baseline = measured("pandas", path, environment)
                bare = measured("copy", path, environment) if engine == "postgresql" else None
                ours = measured("portal", path, environment)
            speed, base = ours["rows"] / ours["seconds"], baseline["rows"] / baseline["seconds"]
            rows.append(
                [engine, f"{options.rows:,}", f"{base:,.0f}", f"{speed:,.0f}", f"{speed / base:.0%}", "50%",
                 *_beside(speed, bare),
                 f"{baseline['mb']:.0f}", f"{ours['mb']:.0f}", "500"]
            )  # fmt: skip
    header = [
        "database",
        "rows",
        "pandas rows/s",
        "import rows/s",
        "ratio",
        "target",
        "COPY rows/s",
        "ratio",
        "pandas MB",
        "import MB",
        "limit MB",
    ]
    print(table("Importing a CSV file, against pandas read_csv + to_sql and a bare COPY", header, rows))


if __name__ == "__main__":
    main()
