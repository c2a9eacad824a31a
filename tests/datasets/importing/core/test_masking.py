"""What says who the patient is, is read by an importer to mask the texts, and not kept."""

from typing import Any

import pytest

from datasets.importing.models import Importer
from datasets.models import Dataset
from tests.conftest import actor
from tests.datasets.importing.core.conftest import Visits, mapped, ran
from tests.datasets.importing.databases import Database

pytestmark = pytest.mark.django_db


def test_an_importer_reads_who_it_is_and_does_not_keep_it(
    database: Database, reachable: None, alice: Any, run_jobs: Any
) -> None:
    visits = Visits(database)
    database.run("ALTER TABLE visits ADD COLUMN name text, ADD COLUMN note text")
    for number, name in enumerate(["王小明", "Peter Jones"]):
        row = f"{number}, 'p{number}', '5{number}', 'ill', '{name}', '{name} coughs and has a fever'"
        database.run(f"INSERT INTO visits VALUES ({row})")
    who = actor(alice)
    query = "SELECT id, mrn, age, diagnosis, name, note FROM visits"
    row = visits.importer(alice, query=query)
    row = mapped(who, row, run_jobs, {
        "id": {"include": False}, "mrn": {"role": "patient", "kind": "category"}, "note": {"kind": "text"},
        "diagnosis": {"kind": "category", "role": "target"},
    }, new_dataset_name="Visits")  # fmt: skip
    assert [given["source_name"] for given in row.options["telling"]] == ["name"]
    run = ran(row, who, run_jobs)
    assert (run.state, run.rows_added) == ("done", 2)
    dataset = Dataset.objects.get(pk=row.dataset_id)
    notes = sorted(record.values["note"] for record in dataset.records.all())
    assert notes == ["[NAME] coughs and has a fever", "[NAME] coughs and has a fever"]
    assert not dataset.columns.filter(name="name").exists()
    database.run("ALTER TABLE visits RENAME COLUMN name TO called")
    Importer.objects.filter(pk=row.pk).update(settings={**row.settings, "query": query.replace("name", "called")})
    run = ran(row, who, run_jobs)
    assert (run.state, run.error_code) == ("failed", "field_lost")  # rather nothing than texts with names
