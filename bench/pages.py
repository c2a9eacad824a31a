"""The record list, the leaderboard and the home page: large against small. Target: at most twice the time.

A million records and 1,000 model versions against a thousand records and ten versions, in two organisations of the
same database, asked by the same test client in one process; medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from bench.database import fresh
from bench.table import table

HOME = Path(__file__).resolve().parent.parent
REPEATS = 15


def fill(name: str, records: int, versions: int) -> tuple[Any, dict[str, str]]:
    """An organisation with that much in it; (its user, its pages)."""
    from django.urls import reverse
    from django.utils import timezone

    from accounts.models import Membership, Organisation, User
    from datasets.models import Column, Dataset, DatasetVersion, Record
    from training.models import Model, ModelVersion, TrainingRun

    user = User.objects.create_user(f"{name}@example.org")
    organisation = Organisation.objects.create(name=name)
    Membership.objects.create(user=user, organisation=organisation, role="administrator")
    dataset = Dataset.objects.create(
        organisation=organisation,
        name="Heart",
        split_salt="salt",
        record_count=records,
        test_count=records // 5,
    )
    for i, (column, kind, role) in enumerate(
        [
            ("mrn", "category", "patient"),
            ("age", "number", "feature"),
            ("sex", "category", "feature"),
            ("outcome", "category", "target"),
        ]
    ):
        Column.objects.create(dataset=dataset, position=i, name=column, kind=kind, role=role)
    for start in range(0, records, 10_000):
        Record.objects.bulk_create(
            Record(
                dataset=dataset,
                row_number=i,
                values={
                    "mrn": f"p{i // 2}",
                    "age": i % 90,
                    "sex": "f",
                    "outcome": "ill" if i % 5 == 0 else "well",
                },
                patient_key=f"p{i // 2}",
                target="ill" if i % 5 == 0 else "well",
                row_hash=uuid.uuid4().hex,
                split="test" if i % 10 == 0 else "train",
            )
            for i in range(start, min(records, start + 10_000))
        )
    version = DatasetVersion.objects.create(
        dataset=dataset,
        number=1,
        content_hash="0" * 64,
        columns=[],
        record_count=records,
        test_count=0,
        patient_count=records,
    )
    model = Model.objects.create(
        organisation=organisation, dataset=dataset, target="outcome", task="classification", name="Outcome"
    )
    metric = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 100}
    made = None
    for number in range(1, versions + 1):
        run = TrainingRun.objects.create(
            organisation=organisation,
            dataset=dataset,
            version=version,
            number=number,
            recipe={"target": "outcome"},
        )
        made = ModelVersion.objects.create(
            model=model, number=number, run=run, candidate="linear", artefact="none", artefact_hash="0" * 64, artefact_bytes=1000,
            schema={"columns": []}, classes=["ill", "well"], report={"metrics": {"roc_auc": metric}},
            metrics={"roc_auc": metric | {"value": 0.5 + number / (2.5 * versions)}}, latency_ms=1.0, fit_seconds=1.0,
            gate_passed=True, lineage={}, created_at=timezone.now(),
        )  # fmt: skip
    model.champion = made
    model.save()
    pages = {
        "home": reverse("home"),
        "record list": reverse("datasets:records", args=[dataset.pk]),
        "record list, filtered by label": reverse("datasets:records", args=[dataset.pk]) + "?target=ill",
        "leaderboard": reverse("training:model", args=[model.pk]) + "?metric=roc_auc",
    }
    return user, pages


def seconds(client: Any, url: str) -> float:
    """The median time of a page, which must be answered 200."""
    times = []
    for i in range(REPEATS + 2):
        began = time.perf_counter()
        response = client.get(url)
        took = time.perf_counter() - began
        if response.status_code != 200:
            raise SystemExit(f"{url} answered {response.status_code}")
        if i >= 2:
            times.append(took)
    return statistics.median(times)


def measure(records: int, versions: int) -> None:
    """In this process: fill, ask, print JSON."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    call_command("migrate", verbosity=0)
    result: dict[str, dict[str, float]] = {}
    for size, (r, v) in {"small": (1_000, 10), "large": (records, versions)}.items():
        user, pages = fill(size, r, v)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        client = Client()
        client.force_login(user)
        result[size] = {name: seconds(client, url) for name, url in pages.items()}
    print(json.dumps(result))


def main() -> None:
    """Measure both databases and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--versions", type=int, default=1_000)
    parser.add_argument(
        "--engine", choices=["sqlite", "postgresql"], nargs="*", default=["sqlite", "postgresql"]
    )
    parser.add_argument("--inside", action="store_true")
    options = parser.parse_args()
    if options.inside:
        measure(options.records, options.versions)
        return
    rows = []
    sizes = [f"--records={options.records}", f"--versions={options.versions}"]
    for engine in options.engine:
        with fresh(engine) as environment:
            done = subprocess.run(
                [sys.executable, "-m", "bench.pages", "--inside", *sizes],
                cwd=HOME, env=environment | {"PATH": os.environ["PATH"]}, capture_output=True, text=True,
            )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        result = json.loads(done.stdout.strip().splitlines()[-1])
        for page, small in result["small"].items():
            large = result["large"][page]
            rows.append(
                [engine, page, f"{small * 1000:.1f}", f"{large * 1000:.1f}", f"{large / small:.2f}", "2.00"]
            )
    header = ["database", "page", "small ms", "large ms", "ratio", "at most"]
    print(
        table(
            f"Pages at {options.records:,} records and {options.versions:,} versions against 1,000 and 10",
            header,
            rows,
        )
    )


if __name__ == "__main__":
    main()
