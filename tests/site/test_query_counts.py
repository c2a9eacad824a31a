"""The number of queries of each list is the same at 10 and at 1,000 rows, and is the checked-in one (query_counts.json).

A list that needs more or fewer queries than before: `AIMASS_UPDATE_COUNTS=1 script/test --sqlite tests/site/test_query_counts.py`
writes the new numbers; the diff shows what changed.
"""

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.site.world import World

pytestmark = pytest.mark.once  # the ORM asks every database as often
BASELINE = Path(__file__).with_name("query_counts.json")
UPDATE = bool(os.environ.get("AIMASS_UPDATE_COUNTS"))
Change = Callable[[int], dict[str, Any]]


def copies(row: Any, count: int, change: Change = lambda number: {}) -> None:
    """Store `count` copies of a row, each with a key of its own and what `change(number)` says."""
    model = type(row)
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    rows = []
    for number in range(count):
        values = {field.attname: getattr(row, field.attname) for field in fields}
        if model._meta.pk.get_internal_type() == "UUIDField":
            values["pk"] = uuid.uuid4()
        rows.append(model(**{**values, **change(number)}))
    model._default_manager.bulk_create(rows)


def people(world: World, count: int) -> None:
    from accounts.models import Membership, User

    users = User.objects.bulk_create([User(email=f"{uuid.uuid4()}@example.org", password="!") for _ in range(count)])
    Membership.objects.bulk_create([Membership(organisation=world.organisation, user=user, role="clinician") for user in users])


def name(number: int) -> str:
    return f"copy {number} {uuid.uuid4().hex}"


def datasets(world: World, count: int) -> None:
    copies(world.dataset, count, lambda number: {"name": name(number)})


def records(world: World, count: int) -> None:
    copies(world.record, count, lambda number: {"row_hash": uuid.uuid4().hex, "row_number": 1000 + number})


def pictures(world: World, count: int) -> None:
    if not world.dataset.columns.filter(kind="image").exists():
        world.dataset.columns.create(name=world.record_file.column, kind="image", role="feature", position=99)
    records(world, count)
    row = type(world.record_file)
    same = {"file": world.record_file.file, "column": world.record_file.column, "name": "a.png"}
    row.objects.bulk_create([row(record=record, **same) for record in world.dataset.records.filter(files=None)])


def uploads(world: World, count: int) -> None:
    copies(world.upload, count, lambda number: {"job_id": None})


def arrivals(world: World, count: int) -> None:
    copies(world.arrival, count, lambda number: {"job_id": None})


def arrived(world: World, count: int) -> None:
    first = world.arrival.files.order_by("-number").first().number + 1
    copies(world.arrived_file, count, lambda number: {"number": first + number})


def receivers(world: World, count: int) -> None:
    copies(world.receiver, count, lambda number: {"title": uuid.uuid4().hex[:16]})


def importers(world: World, count: int) -> None:
    copies(world.importer, count, lambda number: {"name": name(number)})


def importer_runs(world: World, count: int) -> None:
    copies(world.importer_run, count, lambda number: {"job_id": None})


def instances(world: World, count: int) -> None:
    def own(number: int) -> dict[str, Any]:
        text = uuid.uuid4().hex
        file = type(world.stored).objects.create(organisation=world.organisation, sha256=text, size=1, path=text)
        return {"file_id": file.pk, "study": f"2.25.{number}", "series": f"2.25.{number}", "instance": f"2.25.{uuid.uuid4().int}"}

    copies(world.instance, count, own)


def transfers(world: World, count: int) -> None:
    copies(world.transfer, count)


def jobs(world: World, count: int) -> None:
    copies(world.job, count, lambda number: {"key": None})


def runs(world: World, count: int) -> None:
    first = type(world.run).objects.order_by("-number").first().number + 1
    copies(world.run, count, lambda number: {"number": first + number})


def models(world: World, count: int) -> None:
    copies(world.model, count, lambda number: {"target": name(number), "name": name(number)})


def versions(world: World, count: int) -> None:
    first = type(world.model_version).objects.filter(model=world.model).order_by("-number").first().number + 1
    copies(world.model_version, count, lambda number: {"number": first + number, "candidate": uuid.uuid4().hex, "chosen": False})


def frozen(world: World, count: int) -> None:
    first = type(world.version).objects.filter(dataset=world.dataset).order_by("-number").first().number + 1
    copies(world.version, count, lambda number: {"number": first + number, "content_hash": uuid.uuid4().hex})


def diagnoses(world: World, count: int) -> None:
    copies(world.diagnosis, count)


def notifications(world: World, count: int) -> None:
    from accounts.models import Notification

    row = Notification.objects.filter(user=world.owner).first()
    copies(row, count, lambda number: {"key": uuid.uuid4().hex})


def keys(world: World, count: int) -> None:
    def unique(number: int) -> dict[str, Any]:
        return {"prefix": uuid.uuid4().hex[:12], "key_hash": uuid.uuid4().hex}

    copies(world.key, count, unique)


def events(world: World, count: int) -> None:
    from accounts.models import AuditEvent

    copies(AuditEvent.objects.filter(organisation=world.organisation).first(), count)


# List → what grows on it.
LISTS: dict[str, Callable[[World, int], None]] = {
    "home": jobs,
    "accounts:members": people,
    "accounts:notifications": notifications,
    "accounts:keys": keys,
    "accounts:audit": events,
    "jobs:list": jobs,
    "datasets:list": datasets,
    "datasets:arrivals": arrivals,
    "datasets:arrival": arrived,
    "datasets:quarantine": arrived,
    "datasets:receivers": receivers,
    "datasets:importers": importers,
    "datasets:importer": importer_runs,
    "datasets:detail": uploads,
    "datasets:upload": transfers,
    "datasets:records": records,
    "datasets:gallery": pictures,
    "datasets:versions": frozen,
    "training:models": models,
    "training:model": versions,
    "training:runs": runs,
    "training:recommendation": versions,
    "inference:start": models,
    "inference:diagnoses": diagnoses,
    "api:members": people,
    "api:notifications": notifications,
    "api:keys": keys,
    "api:audit_events": events,
    "api:jobs": jobs,
    "api:datasets": datasets,
    "api:uploads": uploads,
    "api:arrivals": arrivals,
    "api:arrived_files": arrived,
    "api:receivers": receivers,
    "api:importers": importers,
    "api:importer_runs": importer_runs,
    "api:dicom_studies": instances,
    "api:dicom_all_series": instances,
    "api:dicom_all_instances": instances,
    "api:transfers": transfers,
    "api:records": records,
    "api:dataset_versions": frozen,
    "api:training-runs": runs,
    "api:models": models,
    "api:model-versions": versions,
    "api:leaderboard": versions,
    "api:diagnoses": diagnoses,
}
QUERY = {"api:leaderboard": "?model={world.model.pk}"}


def queries(world: World, client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        response = client.get(address)
    assert response.status_code == 200, (address, response.status_code, response.content[:300])
    return len(captured)


def address_of(list_name: str, world: World) -> str:
    from tests.site.routes import all_routes, arguments_of

    route = next(route for route in all_routes() if route.name == list_name)
    return reverse(list_name, kwargs=arguments_of(route, world)) + QUERY.get(list_name, "").format(world=world)


@pytest.mark.django_db
@pytest.mark.parametrize("list_name", LISTS)
def test_list_needs_as_many_queries_at_1000_rows_as_at_10(list_name: str, world: World) -> None:
    client = Client()
    client.force_login(world.owner)
    address = address_of(list_name, world)
    LISTS[list_name](world, 10)
    client.get(address)  # what a process reads once is read now
    few = queries(world, client, address)
    LISTS[list_name](world, 990)
    many = queries(world, client, address)
    assert many == few, f"{address}: {few} queries at 10 rows, {many} at 1,000"
    baseline = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {}
    if UPDATE:
        BASELINE.write_text(json.dumps({**baseline, list_name: few}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return
    assert few == baseline.get(list_name), f"{address}: {few} queries, query_counts.json says {baseline.get(list_name)}"


def test_no_count_is_of_a_list_that_is_gone() -> None:
    assert set(json.loads(BASELINE.read_text(encoding="utf-8"))) == set(LISTS)
