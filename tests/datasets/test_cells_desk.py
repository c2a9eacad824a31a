"""Strangers' files are decoded by a desk: one that ends its reader, bombs or hangs harms neither the web process nor the next."""

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from datasets.arrivals import desks
from datasets.arrivals.desk import Desk
from datasets.arrivals.found import Refused
from datasets.cells import kinds, pictures, store
from datasets.cells.models import CellFile
from datasets.models import StoredFile
from tests.conftest import actor
from tests.datasets.arrivals import samples
from tests.datasets.test_cells_dicom import NAME, slice_of_ct

ABORTS = "import os, sys; print('ready', flush=True); sys.stdin.readline(); os.abort()"


@pytest.fixture
def aborting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The shared desk's process does with every file what GDCM does with some; the list grows with each start."""
    starts: list[int] = []

    def command(self: Desk) -> list[str]:
        starts.append(1)
        return [sys.executable, "-c", ABORTS]

    desks._shared.desk.end()
    monkeypatch.setattr(Desk, "command", command)
    yield starts
    desks._shared.desk.end()


@pytest.fixture
def nothing_is_decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **more: Any) -> None:
        raise AssertionError("decoded in the web process")

    monkeypatch.setattr("PIL.Image.open", refuse)
    monkeypatch.setattr("datasets.dicom.burned_in.by_looking", refuse)
    monkeypatch.setattr("engine.pictures.show_picture", refuse)
    monkeypatch.setattr("engine.pictures.frame_values", refuse)
    monkeypatch.setattr("engine.volumes.read_volume", refuse)


def picture(person: Any, content: bytes = b"", name: str = "a.png") -> CellFile:
    return store.take_in(actor=actor(person), file=io.BytesIO(content or samples.picture("PNG")), name=name)


@pytest.fixture
def cell(dana: Any) -> CellFile:
    """Kept before `aborting` begins."""
    return picture(dana)


@pytest.mark.django_db
def test_a_decoder_that_aborts_is_answered_and_nothing_is_kept(bob: Any, api_of: Any, aborting: list[int]) -> None:
    sent = SimpleUploadedFile("film.png", samples.picture("PNG"))
    answer = api_of(bob).post("/api/v1/files/", {"file": sent}, format="multipart")
    assert (answer.status_code, answer.json()["type"].rsplit(":", 1)[-1]) == (422, "file-reader-ended")
    assert "made the reader fail" in answer.json()["detail"]
    assert len(aborting) == 2 and not StoredFile.objects.exists()


@pytest.mark.django_db
def test_files_are_looked_at_deidentified_and_drawn_by_the_desk_alone(dana: Any, nothing_is_decoded_here: None) -> None:
    own = picture(dana)
    ct = picture(dana, slice_of_ct(), "ct.dcm")
    with pictures.local(ct.file) as path:
        assert NAME not in path.read_bytes()
    for cell, kind in ((own, "image"), (ct, "image"), (ct, "volume")):
        assert pictures.drawn(cell, kind, "thumb").startswith(b"\x89PNG")
    region = {"regions": [{"ranges": [[0.0, 0.5], [0.0, 0.5]], "contribution": 1.0}]}
    assert pictures.by_desk(own, lambda desk, path: desk.heat(path, "image", region, 1.0)).startswith(b"\x89PNG")


@pytest.mark.django_db
def test_a_picture_that_ends_its_reader_is_tried_once_a_day(
    cell: CellFile, aborting: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _look in range(3):
        with pytest.raises(pictures.NotDrawn, match="reader_ended"):
            pictures.drawn(cell, "image", "thumb")
    assert len(aborting) == 2  # twice for the first look, not again for the others
    monkeypatch.setattr(pictures, "AGAIN", 0.0)
    with pytest.raises(pictures.NotDrawn):
        pictures.drawn(cell, "image", "thumb")
    assert len(aborting) == 4


def test_frames_times_pixels_are_bounded_before_anything_is_decoded(tmp_path: Path) -> None:
    many = tmp_path / "many.tiff"
    page = Image.new("1", (8000, 8000))  # 64 million pixels, 9 kB packed
    page.save(many, "TIFF", compression="group4", save_all=True, append_images=[page] * 9)
    with pytest.raises(kinds.NotACell) as refused:
        kinds.examine(many)
    assert refused.value.code == "too_many_pixels"
    few = tmp_path / "few.tiff"
    page.save(few, "TIFF", compression="group4", save_all=True, append_images=[page])
    assert kinds.examine(few).kind == "image"


def test_one_desk_is_kept_and_ends_when_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(samples.picture("PNG"))
    kinds.examine(path)
    first = desks._shared.desk.process
    kinds.examine(path)
    assert first is not None and desks._shared.desk.process is first and first.poll() is None
    assert not desks._shared.end(unless_used_for=60) and first.poll() is None
    assert desks._shared.end(unless_used_for=0.0) and first.poll() is not None
    kinds.examine(path)
    assert desks._shared.desk.process not in (None, first)


@pytest.mark.django_db
def test_whoever_waits_too_long_for_the_desk_is_told_to_come_again(
    bob: Any, api_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "WAIT", 0.1)
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with desks.shared():
            taken.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert taken.wait(10)
        sent = SimpleUploadedFile("film.png", samples.picture("PNG"))
        answer = api_of(bob).post("/api/v1/files/", {"file": sent}, format="multipart")
        assert (answer.status_code, answer.json()["type"].rsplit(":", 1)[-1]) == (503, "busy")
        assert "in a minute" in answer.json()["detail"]
    finally:
        done.set()
        holder.join()


def test_a_desk_that_answers_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.arrivals.desk.LONGEST", 1_000_000)
    endless = "import sys; print('ready', flush=True); sys.stdin.readline()\nwhile True: sys.stdout.write('x' * 65536)"
    drips = "import sys, time; print('ready', flush=True); sys.stdin.readline()\n"
    drips += "while True: sys.stdout.write('x'); sys.stdout.flush(); time.sleep(0.05)"
    for code, outcome in ((endless, "reader_ended"), (drips, "took_too_long")):
        with Desk(seconds=1.0) as desk, monkeypatch.context() as patch:
            patch.setattr(Desk, "command", lambda self, code=code: [sys.executable, "-c", code])
            with pytest.raises(Refused) as refused:
                desk.look(tmp_path / "any")
            assert refused.value.code == outcome


@pytest.mark.slow  # starts a fresh Python, as the point is what a new process loads
def test_the_web_process_loads_no_decoder_and_starts_no_desk() -> None:
    code = (
        "import django, sys; django.setup()\n"
        "from django.urls import get_resolver; get_resolver().url_patterns\n"
        "import aimass_site.wsgi\n"
        "from datasets.arrivals import desks\n"
        "decoders = [name for name in ('pydicom', 'gdcm', 'av', 'nibabel', 'torch') if name in sys.modules]\n"
        "print(decoders, desks._shared.desk.process); sys.exit(bool(decoders or desks._shared.desk.process))"
    )
    environment = {"AIMASS_DEMO": "1", "AIMASS_DATA_DIR": str(settings.DATA_DIR)}
    environment["DJANGO_SETTINGS_MODULE"] = "aimass_site.settings"
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
