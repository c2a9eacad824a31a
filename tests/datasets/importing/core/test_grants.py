"""What the installation's administrator grants to one organisation is out of reach for all others."""

from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from datasets.importing import grants, services
from datasets.importing.models import Importer
from datasets.importing.network import Network
from jobs.models import Job
from tests.conftest import actor
from tests.datasets.importing.core.conftest import Drop, Run, Visits, ran

OURS = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
FORM = {"importer-name": "Drop", "importer-treatment": "arrival", "subfolders": "on"}


@pytest.fixture
def ours(settings: Any, alice: Any, drop: Drop) -> Any:
    """Folder and network are alice's organisation's alone."""
    organisation = actor(alice).organisation
    settings.IMPORT_FOLDERS = [f"{organisation.pk}={drop.folder}"]
    settings.IMPORT_NETWORKS = [f"{organisation.pk}=127.0.0.0/8"]
    return organisation


@pytest.mark.parametrize(
    "entry", ["10.1.0.0/16", "=10.1.0.0/16", f"{OURS}=", "hospital=10.1.0.0/16", f"{OURS}=10.1.0.1/16", "*=x"]
)
def test_an_entry_without_an_owner_or_a_network_is_refused(entry: str) -> None:
    from ipaddress import ip_network

    with pytest.raises(ValueError):
        grants.check([entry], ip_network)


def test_grants_are_by_id_or_for_all() -> None:
    entries = [
        f"{OURS.upper()}=10.1.0.0/16",
        " * = 10.2.0.0/16",
        "11111111-1111-4111-8111-111111111111=10.3.0.0/16",
    ]
    assert grants.granted(entries, OURS) == ("10.1.0.0/16", "10.2.0.0/16")
    assert grants.granted(entries, "22222222-2222-4222-8222-222222222222") == ("10.2.0.0/16",)
    with pytest.raises(ValueError):
        grants.check(["*=relative/folder"], grants.absolute)


@pytest.mark.django_db
def test_a_folder_is_read_by_whom_it_is_granted_to(
    ours: Any, drop: Drop, alice: Any, charlie: Any, client_of: Any, api_of: Any, run_jobs: Run
) -> None:
    drop.put("one.txt", "A note.")
    form = {**FORM, "folder": str(drop.folder)}
    add = reverse("datasets:importer_add", args=["folder"])
    said = client_of(charlie).post(add, form)
    stranger = str(actor(charlie).organisation.pk)
    assert (
        said.status_code == 422
        and stranger in said.content.decode()
        and str(ours.pk) not in said.content.decode()
    )
    body = {"name": "Drop", "kind": "folder", "settings": {"folder": str(drop.folder)}}
    said = api_of(charlie).post("/api/v1/importers/", body, format="json")
    assert said.status_code == 400 and "AIMASS_IMPORT_FOLDERS" in said.content.decode()
    assert client_of(alice).post(add, form).status_code == 302
    assert ran(Importer.objects.get(), actor(alice), run_jobs).files == 1
    # Also one that has got into the database is held to it when it runs.
    row = services.add_importer(
        actor=actor(charlie), name="Theirs", kind="folder", settings=drop.settings(), treatment="arrival", dataset=None,
        zone="UTC",
    )  # fmt: skip
    run = ran(row, actor(charlie), run_jobs)
    assert (run.state, run.error_code, run.files) == ("failed", "forbidden", 0)


@pytest.mark.django_db
def test_a_private_network_is_reached_by_whom_it_is_granted_to(
    visits: Visits, ours: Any, alice: Any, charlie: Any, run_jobs: Run
) -> None:
    found = {}
    for person in (alice, charlie):
        row = visits.importer(person)
        run_jobs()
        row.refresh_from_db()
        found[person] = row
    assert found[alice].look["state"] == "found"
    look = found[charlie].look
    assert (look["state"], look["code"]) == ("failed", "address_refused") and str(
        found[charlie].organisation_id
    ) in look["text"]
    assert Job.objects.filter(state="done").count() == 2


@pytest.mark.django_db
def test_nothing_is_granted_at_first(alice: Any, tmp_path: Path, settings: Any) -> None:
    settings.IMPORT_NETWORKS, settings.IMPORT_FOLDERS = [], []
    network = Network.of(actor(alice).organisation)
    assert (network.private, network.folders) == ((), ())
    assert network.permits("8.8.8.8") and not network.permits("10.1.2.3")
