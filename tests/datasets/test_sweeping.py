"""What a killed process has left is swept; what somebody uses, or has just kept, never is."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.utils import timezone

from datasets import storage, sweeping, temporary
from datasets.cells import store
from datasets.models import StoredFile
from datasets.tus import parts
from jobs.schedules import SCHEDULES
from tests.conftest import actor
from tests.datasets.arrivals import samples

HOUR, DAY = 3600.0, 24 * 3600.0
HOLDS = """
import io, sys, time
import django; django.setup()
from datasets import storage, temporary
from datasets.arrivals import keeping
with (
    storage.received(io.BytesIO(b"a patient's")) as (path, _sha, _size),
    keeping.copied(io.BytesIO(b"another's"), 100) as copy,
    temporary.folder("deidentified-") as folder,
):
    (folder / "file.dcm").write_bytes(b"a third one's")
    print(path, copy.path, folder.parent, flush=True)
    time.sleep(120)
"""
KEEPS = """
import time
from pathlib import Path
from types import SimpleNamespace
import django; django.setup()
from datasets import storage
path = Path(%r)
def instead(*args, **more):
    print(storage.default_storage.path("uploads"), flush=True)
    time.sleep(120)
storage._row = instead
storage.keep(organisation=SimpleNamespace(pk=7), path=path, sha256=storage.sha256_of(path), size=path.stat().st_size)
"""


@pytest.fixture
def begun() -> Iterator[Callable[[str], tuple[subprocess.Popen[bytes], list[Path]]]]:
    """`begun(code)`: a real process of this installation that has got as far as printing some paths."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(code: str) -> tuple[subprocess.Popen[bytes], list[Path]]:
        environment = {"AIMASS_DEMO": "1", "AIMASS_DATA_DIR": str(settings.DATA_DIR), "PATH": os.environ["PATH"]}
        environment["DJANGO_SETTINGS_MODULE"] = "aimass_site.settings"
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=settings.BASE_DIR, env=environment, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        return process, [Path(word) for word in process.stdout.readline().decode().split()]

    yield begin
    for process in started:
        killed(process)


@pytest.fixture
def nothing_stored() -> None:
    """Other tests have left content whose rows were rolled back."""
    shutil.rmtree(default_storage.path(storage.ROOT), ignore_errors=True)


def killed(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def in_storage(file: StoredFile) -> Path:
    return Path(default_storage.path(file.path))


def kept(person: Any, content: bytes) -> StoredFile:
    with storage.received(io.BytesIO(content)) as (path, sha256, size):
        return storage.keep(organisation=actor(person).organisation, path=path, sha256=sha256, size=size)


class TestTemporary:
    @pytest.mark.process
    def test_what_a_killed_process_held_goes_and_nothing_before_it_is_killed(self, begun: Any) -> None:
        process, paths = begun(HOLDS)
        assert len(paths) == 3
        for path in paths:
            aged(path, 30 * DAY)  # however long a job runs
        temporary.sweep()
        assert all(path.exists() for path in paths)
        killed(process)
        assert temporary.sweep() == 3
        assert not any(path.exists() for path in paths)
        assert temporary.sweep() == 0

    def test_what_is_used_here_stays_and_is_used_on(self) -> None:
        with temporary.file("upload-") as file, temporary.folder("cells-") as folder:
            aged(Path(file.name), 30 * DAY)
            aged(folder.parent, 30 * DAY)
            assert temporary.sweep() == 0
            (folder / "more").write_bytes(b"x")
            file.write(b"y")
        assert not Path(file.name).exists() and not folder.parent.exists()

    def test_what_was_made_a_moment_ago_stays(self) -> None:
        path = Path(settings.FILE_UPLOAD_TEMP_DIR, "arrived-young")
        path.write_bytes(b"")  # made, and not locked yet
        assert temporary.sweep() == 0 and path.exists()
        aged(path, 2 * HOUR)
        assert temporary.sweep() == 1 and not path.exists()

    def test_djangos_own_copies_go_after_a_day_and_what_is_not_ours_stays(self) -> None:
        folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
        form, other, link = folder / "tmpabcd.upload.csv", folder / "notes.txt", folder / "upload-link"
        target = folder / "target"
        for path in (form, other, target):
            path.write_bytes(b"x")
            aged(path, 2 * HOUR)
        link.symlink_to(target)
        os.utime(link, (1, 1), follow_symlinks=False)
        parts.root()
        assert temporary.sweep() == 0 and form.exists()
        aged(form, 2 * DAY)
        temporary.sweep()
        assert not form.exists() and other.exists() and target.exists() and parts.root().exists()
        for path in (other, link, target):
            path.unlink()

    def test_every_temporary_file_is_made_here(self) -> None:
        """Whoever makes one elsewhere makes one that nobody sweeps."""
        aside = {"datasets/temporary.py", "datasets/tus/parts.py", "aimass_site/settings.py"}
        found = {
            str(path.relative_to(settings.BASE_DIR))
            for app in ("accounts", "jobs", "datasets", "training", "inference", "aimass_site")
            for path in Path(settings.BASE_DIR, app).rglob("*.py")
            if "FILE_UPLOAD_TEMP_DIR" in path.read_text(encoding="utf-8")
        }
        # export, receiving: an open file without a name, which ends with its process; desk: where its
        # process may write
        nameless = {"datasets/export.py", "datasets/receiving/quick.py", "datasets/receiving/web/stow.py"}
        assert found - aside == {"datasets/arrivals/desk.py"} | nameless


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("nothing_stored")
class TestStored:
    @pytest.mark.process
    def test_content_of_a_writer_killed_before_its_row(self, begun: Any, tmp_path: Path) -> None:
        (tmp_path / "content").write_bytes(b"a patient's picture")
        process, (root,) = begun(KEEPS % str(tmp_path / "content"))
        path = next(path for path in (root / "7").rglob("*") if path.is_file())
        killed(process)
        assert sweeping.sweep_stored()["content"] == 0, "a writer has a day to write its row"
        aged(path, 2 * DAY)
        assert sweeping.sweep_stored() == {"rows": 0, "content": 1}
        assert not path.exists()

    def test_content_with_a_row_and_what_points_to_it_stays(self, dana: Any) -> None:
        cell = store.take_in(actor=actor(dana), file=io.BytesIO(samples.picture("PNG")), name="a.png")
        StoredFile.objects.update(kept_at=timezone.now() - timedelta(days=90))
        aged(in_storage(cell.file), 90 * DAY)
        assert sweeping.sweep_stored() == {"rows": 0, "content": 0}
        assert in_storage(cell.file).exists()

    def test_a_row_that_nothing_points_to_goes_with_its_content_after_a_day(self, dana: Any) -> None:
        file = kept(dana, b"kept, and then the server was killed")
        assert sweeping.sweep_stored() == {"rows": 0, "content": 0}
        StoredFile.objects.update(kept_at=timezone.now() - timedelta(days=2))
        aged(in_storage(file), 2 * DAY)
        assert sweeping.sweep_stored() == {"rows": 1, "content": 0}
        assert not StoredFile.objects.exists() and not in_storage(file).exists()

    def test_half_a_copy_goes(self, dana: Any) -> None:
        part = in_storage(kept(dana, b"whole")).with_name(".part-half")
        part.write_bytes(b"ha")
        assert sweeping.sweep_stored()["content"] == 0
        aged(part, 2 * DAY)
        assert sweeping.sweep_stored()["content"] == 1 and not part.exists()

    def test_old_content_that_is_kept_again_is_never_taken_from_its_writer(
        self, dana: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The sweep comes at the worst moment: the writer has found the content there, and has no row yet."""
        path = in_storage(kept(dana, b"the same again"))
        StoredFile.objects.all().delete()
        aged(path, 30 * DAY)
        original, swept = storage._row, []

        def row(*args: Any) -> StoredFile:
            swept.append(sweeping.sweep_stored())
            return original(*args)

        monkeypatch.setattr(storage, "_row", row)
        again = kept(dana, b"the same again")
        assert swept == [{"rows": 0, "content": 0}]
        assert in_storage(again).read_bytes() == b"the same again"

    def test_an_old_row_that_is_kept_again_waits_anew_for_what_points_to_it(self, dana: Any) -> None:
        file = kept(dana, b"the same again")
        StoredFile.objects.update(kept_at=timezone.now() - timedelta(days=30))
        aged(in_storage(file), 30 * DAY)
        assert kept(dana, b"the same again").pk == file.pk
        assert sweeping.sweep_stored() == {"rows": 0, "content": 0}

    def test_content_that_came_again_while_its_row_was_deleted_stays(self, dana: Any) -> None:
        file = kept(dana, b"the same again")
        released = time.time()
        StoredFile.objects.all().delete()
        again = kept(dana, b"the same again")  # before the deleting transaction has ended
        assert not storage.discard(file.path, released)
        assert in_storage(again).read_bytes() == b"the same again"
        assert storage.discard(file.path, time.time()) and not in_storage(again).exists()


def test_both_run_by_the_clock() -> None:
    tasks = {periodic.task for periodic in SCHEDULES}
    assert {"datasets.sweeping.sweep_temporary", "datasets.sweeping.sweep_stored"} <= tasks


@pytest.mark.django_db
def test_the_schedules_are_made(db: None) -> None:
    from django_q.models import Schedule

    call_command("ensure_schedules")
    assert Schedule.objects.filter(name__startswith="sweep ").count() == 2
