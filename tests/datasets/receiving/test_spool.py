"""The spool: what was promised is there after any death; and taking it makes each image exactly one arrived file."""

import fcntl
import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from accounts.models import AuditEvent, Organisation
from datasets import quota
from datasets.arrivals import services
from datasets.arrivals.models import Arrival, ArrivedFile
from datasets.receiving import index, spool, taking, tasks
from datasets.receiving.directory import Directory
from datasets.receiving.models import Receiver
from datasets.receiving.segment import Closed, Segment
from datasets.receiving.web.multipart import MOST_PARTS, Parts, TooMany
from jobs.models import Job
from tests.datasets.receiving.conftest import bytes_of, image, left_in_spool

pytestmark = pytest.mark.django_db
Run = Callable[[], int]


def segment_of(organisation: Any, *contents: bytes, close: bool = True) -> Segment:
    made = Segment(spool.folder_of(organisation.pk), {"source": "dicom", "title": "AIMASS"})
    made.note({"peer": "CT1", "address": "10.0.0.5"})
    for content in contents:
        made.add([content[:100], content[100:]])
    if close:
        made.close()
    return made


def only(organisation: Any) -> Path:
    (path,) = spool.ready(spool.folder_of(organisation.pk))
    return path


def test_images_are_read_back(organisation: Any, tmp_path: Path) -> None:
    segment_of(organisation, b"a" * 5000, b"b")
    content = spool.read(only(organisation))
    assert content.about["title"] == "AIMASS" and content.notes == [{"peer": "CT1", "address": "10.0.0.5"}]
    assert [i.length for i in content.images] == [5000, 1] and content.damaged == 0
    with (tmp_path / "x").open("wb") as out:
        spool.copy(only(organisation), content.images[0], out)
    assert (tmp_path / "x").read_bytes() == b"a" * 5000


def test_open_segment_is_left_to_its_writer_and_found_when_that_is_gone(organisation: Any) -> None:
    import os

    made = segment_of(organisation, b"image", close=False)
    assert list(spool.ready(spool.folder_of(organisation.pk))) == []
    os.close(made.handle)  # as the system does for a killed process
    assert only(organisation).suffix == spool.OPEN
    assert organisation.pk in spool.organisations()


@pytest.mark.parametrize("cut", [1, 3, 10, 21, 24])
def test_tail_that_was_promised_to_nobody_is_left_out(organisation: Any, cut: int) -> None:
    segment_of(organisation, b"first", b"second")
    path = only(organisation)
    path.write_bytes(path.read_bytes()[:-cut])
    content = spool.read(path)
    assert len(content.images) == 1 and content.damaged == 1


def test_damaged_image_is_counted_and_the_others_are_read(organisation: Any) -> None:
    segment_of(organisation, b"first", b"second")
    path = only(organisation)
    path.write_bytes(path.read_bytes().replace(b"first", b"f1rst"))
    content = spool.read(path)
    assert len(content.images) == 1 and content.damaged == 1


def test_closed_segment_takes_no_more_and_an_empty_one_is_gone(organisation: Any) -> None:
    made = segment_of(organisation, b"x")
    with pytest.raises(Closed):
        made.add([b"y"])
    empty = segment_of(organisation)
    assert not empty.path.exists() and not empty.path.with_suffix(spool.READY).exists()


def test_refused_image_leaves_nothing(organisation: Any) -> None:
    made = segment_of(organisation, b"first", close=False)

    def breaking() -> Any:
        yield b"half of it"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        made.add(breaking())
    made.add([b"second"])
    made.close()
    content = spool.read(only(organisation))
    assert [i.length for i in content.images] == [5, 6] and content.damaged == 0


class Killed(BaseException):
    """As SIGKILL: nothing that runs afterwards may be relied on."""


STEPS = ["sync_folder", "read", "measured", "receive", "record", "_remove"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("time", [1, 2])
def test_taking_that_is_killed_at_any_step_goes_on(
    organisation: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch, step: str, time: int
) -> None:
    """Killed before a step, at its first or second time; then run again."""
    images = [bytes_of(image()) for _number in range(3)]
    segment_of(organisation, *images)
    segment_of(organisation, images[0])
    taking.ask_for(organisation)
    owner: Any = {
        "sync_folder": taking, "measured": taking.keeping, "receive": services, "record": taking.audit, "_remove": taking,
    }.get(step, spool)  # fmt: skip
    real, calls = getattr(owner, step), iter(range(1, 1000))

    def killed(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == time:
            raise Killed
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        context = context_of(Job.objects.get(task="datasets.receiving.tasks.take"))
        with suppress(Killed):
            tasks.take(context)
    run_jobs()
    tasks.sweep()
    run_jobs()
    assert ArrivedFile.objects.count() == 4
    assert sorted(ArrivedFile.objects.values_list("outcome", flat=True)) == ["duplicate", "imported", "imported", "imported"]
    assert left_in_spool(organisation) == []


def context_of(job: Job) -> Any:
    """The job claimed as a worker does, and put back as the reaper would."""

    class Context:
        payload: dict[str, Any] = {}

        def __init__(self) -> None:
            self.job = job

        def stop_if_asked(self) -> None:
            pass

        def fenced(self) -> Any:
            from django.db import transaction

            return transaction.atomic()

    return Context()


def test_two_do_not_take_from_one_spool(organisation: Any, run_jobs: Run) -> None:
    segment_of(organisation, bytes_of(image()))
    taking.ask_for(organisation)
    with spool.alone(spool.folder_of(organisation.pk)) as alone:
        assert alone
        run_jobs()
        assert not Arrival.objects.exists()
    assert tasks.sweep() == 1
    run_jobs()
    assert ArrivedFile.objects.count() == 1


def test_many_segments_become_few_arrivals(organisation: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "AT_ONCE", 3)
    for _number in range(4):
        segment_of(organisation, bytes_of(image()))
    assert tasks.sweep() == 1
    assert tasks.sweep() == 1 and Job.objects.filter(task="datasets.receiving.tasks.take").count() == 1
    run_jobs()
    assert sorted(a.files.count() for a in Arrival.objects.all()) == [1, 3]


def test_damage_is_written_down(organisation: Any, run_jobs: Run) -> None:
    segment_of(organisation, bytes_of(image()), b"second")
    path = only(organisation)
    path.write_bytes(path.read_bytes()[:-2])
    tasks.sweep()
    run_jobs()
    detail = AuditEvent.objects.get(action="dicom.received").detail
    assert (detail["images"], detail["damaged"], detail["from"]) == (1, 1, ["CT1 (10.0.0.5)"])
    assert "Quillfeather" not in json.dumps(detail)


def test_spool_of_an_organisation_that_is_gone_goes_too(db: None, run_jobs: Run) -> None:
    gone = Organisation.objects.create(name="Closed")
    segment_of(gone, b"image")
    folder = spool.folder_of(gone.pk)
    Organisation.objects.filter(pk=gone.pk).delete()
    assert tasks.sweep() == 0 and not folder.exists()


def test_a_segment_that_has_just_been_begun_is_not_taken_from_its_writer(
    organisation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job looks for orphans between the making of a file and its lock: the writer makes another one, nothing is lost."""
    folder, looked, lock = spool.folder_of(organisation.pk), [], fcntl.flock

    def late(handle: int, how: int) -> None:
        if not looked:
            looked.append(handle)
            spool.closed(folder)
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    made = segment_of(organisation, b"one", b"two")
    monkeypatch.undo()
    assert looked and made.path.with_suffix(spool.READY).exists()
    assert [len(spool.read(path).images) for path in spool.closed(folder) if spool.read(path).images] == [2]


def test_damage_is_told_from_what_a_killed_writer_left(organisation: Any) -> None:
    path = segment_of(organisation, b"one", b"two").path.with_suffix(spool.READY)
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * spool.HEAD.size + b"half an image")
    assert (spool.read(path).damaged, spool.read(path).torn) == (1, True)
    path.write_bytes(whole[:-2])
    assert (spool.read(path).damaged, spool.read(path).torn, len(spool.read(path).images)) == (1, True, 1)
    at = whole.index(b"two") - spool.HEAD.size
    path.write_bytes(whole[: at + 5] + b"\xff" + whole[at + 6 :])
    assert (spool.read(path).damaged, spool.read(path).torn) == (1, False)


def test_what_waits_counts_for_the_quota(organisation: Any) -> None:
    before = quota.used(organisation)
    path = segment_of(organisation, b"x" * 1000).path.with_suffix(spool.READY)
    assert quota.used(organisation) == before + path.stat().st_size


def test_values_that_a_database_does_not_take_are_left_out() -> None:
    kept = [{"vr": "DS", "Value": [1.5]}, {"vr": "CS", "Value": ["CT"]}]
    left = [{"vr": "DS", "Value": [float("nan")]}, {"vr": "CS", "Value": ["C\0T"]}, {"vr": "DS", "Value": [float("inf")]}]
    assert [index._storable(value) for value in (*kept, *left)] == [True, True, False, False, False]


def test_the_list_of_receivers_survives_any_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Directory()
    monkeypatch.setattr(Receiver.objects, "filter", lambda **_how: 1 / 0)
    found.read()
    assert found.find("AIMASS") is None


def test_parts_without_end_are_refused() -> None:
    body = io.BytesIO(b"--b" + b"\r\n\r\n\r\n--b" * (MOST_PARTS + 5))
    with pytest.raises(TooMany):
        for _headers, pieces in Parts(body.read, "b"):
            list(pieces)
