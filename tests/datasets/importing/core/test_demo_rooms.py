"""The portal that pictures are taken of: what `demo.rooms` makes over REST is what its pictures are to show."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

import ai_mass as am
from datasets.arrivals import looking
from datasets.arrivals.models import ArrivedFile
from datasets.importing.models import Importer
from datasets.models import Record
from datasets.records import add_records
from datasets.services import create_dataset
from demo import rooms
from demo.story import EXAMPLES
from tests.conftest import actor
from tests.datasets.importing.core.conftest import Run

pytestmark = pytest.mark.django_db


class Portal:
    """The SDK's client as far as rooms uses it, on the REST API in this process; what it asks for is done at once."""

    def __init__(self, api: Any, run_jobs: Run) -> None:
        self.api, self.run_jobs = api, run_jobs

    def get(self, path: str, **params: Any) -> Any:
        answer = self.api.get(f"/api/v1/{path}", params)
        assert answer.status_code == 200, (path, answer.content)
        return answer.json()

    def post(self, path: str, body: Any = None, files: dict[str, tuple[str, bytes]] | None = None) -> Any:
        sent = {name: SimpleUploadedFile(*given) for name, given in (files or {}).items()}
        answer = self.api.post(f"/api/v1/{path}", sent or body, format="multipart" if sent else "json")
        assert answer.status_code < 300, (path, answer.content)
        self.run_jobs()
        return answer.json()

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        yield from self.get(path)["results"]


def test_rooms_hold_what_their_pictures_show(
    alice: Any, api_of: Any, client_of: Any, run_jobs: Run, tmp_path: Path, settings: Any
) -> None:
    settings.IMPORT_FOLDERS = [f"*={tmp_path}"]
    scan = {"name": "scan", "kind": "text", "role": "feature"}
    examples = create_dataset(actor=actor(alice), name=EXAMPLES, columns=[scan])
    add_records(actor=actor(alice), dataset=examples, rows=[{"scan": "seen"}], source=Record.Source.API)
    pages = rooms.make(cast(am.Client, Portal(api_of(alice), run_jobs)), tmp_path)
    shown = {}
    for name, path in pages.items():
        answer = client_of(alice).get(path)
        assert answer.status_code == 200, path
        shown[name] = answer.content.decode()
    runs = Importer.objects.get(name=rooms.LABORATORY).runs.order_by("pk")
    told = [(run.state, run.rows_added, run.rows_refused) for run in runs]
    assert told == [("done", 240, 0), ("nothing", 0, 0), ("done", 56, 4)]
    assert "crp" in shown["importer-run"]
    assert not any(name in shown["record-masked"] for _number, name, *_more in rooms.NOTES), "its picture is of a masked text"
    assert not Importer.objects.get(name=rooms.BRANCH).ready, "its picture is that of the mapping"
    held = ArrivedFile.objects.get()
    assert held.outcome == "quarantined" and held.code in looking.CODES
