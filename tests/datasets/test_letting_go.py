"""Between keeping content and pointing to it, somebody else may let the same content go: nothing is lost by that."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from datasets import intake, storage
from datasets.arrivals import keeping, services
from datasets.arrivals.models import ArrivedFile
from datasets.cells import store
from datasets.models import StoredFile
from tests.conftest import actor
from tests.datasets.arrivals import samples

pytestmark = pytest.mark.django_db(transaction=True)
TABLE = b"age,sex\n61,male\n48,female\n"


@pytest.fixture
def snatched(monkeypatch: pytest.MonkeyPatch) -> list[StoredFile]:
    """Each of the first contents that are kept is let go at once, as by somebody who discards the same."""
    kept, real = [], storage.keep

    def keep(**what: Any) -> StoredFile:
        row = real(**what)
        if len(kept) < 2:
            kept.append(row)
            from django.db import transaction

            with transaction.atomic():
                keeping.let_go([StoredFile.objects.get(pk=row.pk)])
            assert not default_storage.exists(row.path)
        return row

    monkeypatch.setattr(storage, "keep", keep)
    return kept


def test_an_upload_is_kept_again(dana: Any, snatched: list[StoredFile]) -> None:
    upload = intake.receive(actor=actor(dana), file=io.BytesIO(TABLE), name="a.csv")
    assert len(snatched) == 2 and upload.file.pk not in {row.pk for row in snatched}
    with default_storage.open(upload.file.path) as stream:
        assert stream.read() == TABLE


def test_a_cell_is_kept_again(dana: Any, snatched: list[StoredFile], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(samples.picture("PNG"))
    cell = store.keep(actor=actor(dana), path=path, sha256=storage.sha256_of(path), size=path.stat().st_size, name="a.png")
    assert len(snatched) == 2 and default_storage.exists(cell.file.path)


def test_what_was_sent_is_not_called_kept(dana: Any, snatched: list[StoredFile]) -> None:
    """The sender's stream is read by then, so it can't be kept again: the file says so, and the next one is there."""
    files = [(f"{n}.png", io.BytesIO(samples.picture("PNG", n))) for n in range(3)]
    sent = services.receive(actor=actor(dana), files=files)
    rows = list(sent.files.order_by("number"))
    assert [(row.code, row.original is None) for row in rows] == [("storage", True), ("storage", True), ("", False)]


def test_an_arrival_whose_content_goes_while_it_is_sorted_is_sorted_again(
    dana: Any, run_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = services.receive(actor=actor(dana), files=[("a.png", io.BytesIO(samples.picture("PNG")))])
    real, seen = storage.hold, []

    def hold(files: Any) -> None:
        seen.append(files)
        if len(seen) == 1:
            raise storage.LetGo("as if somebody had discarded it")
        real(files)

    monkeypatch.setattr(storage, "hold", hold)
    run_jobs()
    row = ArrivedFile.objects.get(arrival=sent)
    assert len(seen) >= 2 and row.outcome == "imported" and row.file is not None and default_storage.exists(row.file.path)
