"""Importers set up as people do: settings, a look, a mapping; from a real database and a real folder."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from datasets.importing import services
from datasets.importing.models import Importer, ImporterRun, Treatment
from datasets.models import Dataset
from tests.conftest import actor
from tests.datasets.importing.databases import PASSWORD, Database

Run = Callable[[], int]
QUERY = "SELECT id, mrn, age, diagnosis FROM visits"
HEADER = "mrn,age,diagnosis"


class Visits:
    """A table of the hospital's database, and what an importer of it is given."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.number = 0
        database.run("DROP TABLE IF EXISTS visits")
        database.run("CREATE TABLE visits (id integer PRIMARY KEY, mrn text, age text, diagnosis text)")
        database.run("GRANT SELECT ON visits TO reader")

    def add(self, *rows: tuple[str, object, str]) -> None:
        for mrn, age, diagnosis in rows:
            self.number += 1
            self.database.run(f"INSERT INTO visits VALUES ({self.number}, '{mrn}', '{age}', '{diagnosis}')")

    def add_many(self, count: int, first: int = 0) -> None:
        self.add(
            *((f"p{n:03d}", 30 + n % 50, "ill" if n % 3 else "well") for n in range(first, first + count))
        )

    def importer(self, who: Any, **other: Any) -> Importer:
        """Added, with its first look waiting."""
        given = {"name": "V", "kind": "sql", "treatment": "rows", "dataset": None, "zone": "UTC"}
        return services.add_importer(actor=actor(who), settings=self.settings(**other), **given)

    def settings(self, **other: Any) -> dict[str, Any]:
        given = {
            "address": self.database.address,
            "password": PASSWORD,
            "tls": "off",
            "query": QUERY,
            "cursor_column": "id",
        }
        return {**given, **other}


@pytest.fixture
def reachable(settings: Any) -> None:
    """What the administrator of the installation lists."""
    settings.IMPORT_NETWORKS = ["*=127.0.0.0/8"]


@pytest.fixture
def visits(database: Database, reachable: None) -> Visits:
    made = Visits(database)
    made.add_many(12)
    return made


ROLES = {"id": {"include": False}, "mrn": {"role": "patient", "kind": "category"}, "age": {"kind": "number", "role": "feature"},
         "diagnosis": {"kind": "category", "role": "target"}}  # fmt: skip


def mapped(
    who: Any, row: Importer, run_jobs: Run, columns: dict[str, dict[str, Any]] = ROLES, **more: Any
) -> Importer:
    """Looked at and mapped."""
    run_jobs()
    row.refresh_from_db()
    assert row.look["state"] == "found", row.look
    known = {c["name"] for c in row.look["preview"]["columns"]}
    choices = [{"name": name, **change} for name, change in columns.items() if name in known]
    return services.confirm_mapping(actor=who, importer=row, columns=choices, **more)


@pytest.fixture
def nightly(visits: Visits, alice: Any, run_jobs: Run) -> Importer:
    """An importer of the visits, which fills “Visits”."""
    row = services.add_importer(
        actor=actor(alice),
        name="Visits",
        kind="sql",
        settings=visits.settings(),
        treatment="rows",
        dataset=None,
        zone="UTC",
    )
    return mapped(actor(alice), row, run_jobs)


def ran(row: Importer, who: Any, run_jobs: Run) -> ImporterRun:
    """Run now, to the end of all that follows."""
    row.refresh_from_db()
    services.run_now(actor=who, importer=row)
    run_jobs()
    found = row.runs.first()
    assert found is not None
    return found


def records(row: Importer) -> list[tuple[Any, ...]]:
    row.refresh_from_db()
    assert row.dataset is not None
    values = row.dataset.records.order_by("pk").values_list("values", flat=True)
    return sorted((v.get("mrn"), v.get("age"), v.get("diagnosis")) for v in values)


class Drop:
    """A folder that other programs put files into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        old = (
            time.time() - 3600 + len(list(self.folder.rglob("*")))
        )  # a file that has just changed may still be growing
        os.utime(path, (old, old))
        return path

    def settings(self, **other: Any) -> dict[str, Any]:
        return {"folder": str(self.folder), "pattern": "", "subfolders": True, **other}


@pytest.fixture
def drop(tmp_path: Path, settings: Any) -> Drop:
    folder = tmp_path / "drop"
    folder.mkdir()
    settings.IMPORT_FOLDERS = [f"*={tmp_path}"]
    return Drop(folder)


@pytest.fixture
def of_folder(drop: Drop, alice: Any) -> Callable[..., Importer]:
    def make(
        treatment: str = Treatment.ARRIVAL, dataset: Dataset | None = None, name: str = "Drop"
    ) -> Importer:
        return services.add_importer(
            actor=actor(alice), name=name, kind="folder", settings=drop.settings(), treatment=treatment, dataset=dataset,
            zone="UTC",
        )  # fmt: skip

    return make


def on_sqlite() -> bool:
    return connection.vendor == "sqlite"
