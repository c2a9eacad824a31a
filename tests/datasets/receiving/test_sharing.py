"""The segments that requests share: one flush for those that wait, nothing answered before it, senders written down."""

import errno
import io
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from accounts.actor import Actor
from accounts.models import AuditEvent
from datasets.arrivals.models import Arrival
from datasets.dicom.reading import coded
from datasets.receiving import part10, sharing, spool, writing
from datasets.receiving.directory import Room
from datasets.receiving.web import stow
from datasets.receiving.web.multipart import Parts
from jobs.models import Job
from tests.datasets.dicom.files import every_file
from tests.datasets.receiving.conftest import bytes_of, image, left_in_spool, related, store

pytestmark = pytest.mark.django_db
Run = Callable[[], int]
TAKE = "datasets.receiving.tasks.take"


@pytest.fixture
def sender(dana: Any, organisation: Any) -> Actor:
    return Actor(user=dana, organisation=organisation, role="data_scientist", ip="10.0.0.7")


def at_once(monkeypatch: pytest.MonkeyPatch, sender: Actor, requests: list[list[bytes]], room: Room) -> list[int]:
    """The reasons of all instances, of requests that come at the same time."""
    monkeypatch.setattr(stow, "room_now", lambda _organisation: room)
    reasons: list[int] = []

    def one(contents: list[bytes]) -> None:
        reasons.extend(found.reason for found in stow.store(sender, Parts(io.BytesIO(related(*contents)).read, "XYZ")))

    threads = [threading.Thread(target=one, args=(contents,)) for contents in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return reasons


def in_spool(organisation: Any) -> int:
    sharing.shared.tidy(all_of_them=True)
    return sum(len(spool.read(path).images) for path in spool.ready(spool.folder_of(organisation.pk)))


def test_requests_at_once_share_a_flush_and_none_is_answered_before_it(
    sender: Actor, organisation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, flushed = threading.Event(), threading.Event()
    flushes: list[int] = []
    real = os.fdatasync

    def slow(handle: int) -> None:
        flushes.append(handle)
        began.set()
        assert flushed.wait(30)
        real(handle)

    monkeypatch.setattr(spool.os, "fdatasync", slow)
    answered: list[int] = []
    requests = [[bytes_of(image()) for _number in range(3)] for _request in range(8)]
    all_of_them = threading.Thread(target=lambda: answered.extend(at_once(monkeypatch, sender, requests, Room())))
    all_of_them.start()
    assert began.wait(30)
    time.sleep(0.3)  # the others append while the first one's flush is under way
    assert answered == [] and len(flushes) == 1
    flushed.set()
    all_of_them.join(60)
    assert answered == [0] * 24
    assert len(flushes) == 2, "one for the first, one for all the others"
    assert in_spool(organisation) == 24
    assert Job.objects.filter(task=TAKE).count() == 1


def test_room_is_for_so_many_however_many_ask_at_once(
    sender: Actor, organisation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [bytes_of(image()) for _number in range(24)]
    room = Room(sum(map(len, contents[:10])) + 100)
    reasons = at_once(monkeypatch, sender, [contents[at : at + 2] for at in range(0, 24, 2)], room)
    assert sorted(reasons) == [0] * 10 + [0xA700] * 14
    assert in_spool(organisation) == 10


def test_disk_that_fails_is_no_success_and_the_next_one_goes_elsewhere(
    sender: Actor, organisation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(handle: int) -> None:
        raise OSError(errno.EIO, "broken")

    one = bytes_of(image())
    with monkeypatch.context() as patch:
        patch.setattr(spool.os, "fdatasync", broken)
        assert at_once(monkeypatch, sender, [[one]], Room()) == [0x0110]
    assert at_once(monkeypatch, sender, [[one]], Room()) == [0]
    sharing.shared.tidy(all_of_them=True)
    assert len(list(spool.ready(spool.folder_of(organisation.pk)))) == 2


def test_large_segment_is_closed_in_the_middle_of_a_request(
    sender: Actor, organisation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.receiving.segment.MOST_IMAGES", 2)
    assert at_once(monkeypatch, sender, [[bytes_of(image()) for _number in range(5)]], Room()) == [0] * 5
    assert len(list(spool.ready(spool.folder_of(organisation.pk)))) == 2
    sharing.shared.tidy()
    assert Job.objects.filter(task=TAKE, state="queued").count() == 1, "what is closed is rung for while another one is open"
    assert in_spool(organisation) == 5


def test_idle_and_old_segments_are_closed_others_are_not(
    sender: Actor, organisation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch, sender, [[bytes_of(image())]], Room())
    sharing.shared.tidy()
    assert not Job.objects.exists() and not sharing.shared.writer.idle
    monkeypatch.setattr(writing, "OLD", 0.0)
    sharing.shared.tidy()
    assert Job.objects.filter(task=TAKE).exists() and sharing.shared.writer.idle


def test_who_stored_is_written_down_once_for_each_sender(
    dana_api: Any, dana: Any, api_of: Any, organisation: Any, run_jobs: Run
) -> None:
    for _number in range(2):
        assert store(dana_api, bytes_of(image()), REMOTE_ADDR="10.0.0.7", HTTP_USER_AGENT="gateway/1").status_code == 200
    assert store(api_of(dana), bytes_of(image()), bytes_of(image()), REMOTE_ADDR="10.0.0.8").status_code == 200
    assert not AuditEvent.objects.filter(action__startswith="dicom.").exists(), "it is with the images, and as durable"
    run_jobs()
    arrival = Arrival.objects.get()
    assert arrival.notes["received"]["from"] == ["STOW-RS (10.0.0.7)", "STOW-RS (10.0.0.8)"]
    first, second = AuditEvent.objects.filter(action="dicom.stored").order_by("ip")
    assert (first.ip, first.user_agent, first.detail["instances"]) == ("10.0.0.7", "gateway/1", 2)
    assert (second.ip, second.detail["instances"]) == ("10.0.0.8", 2)
    for event in (first, second):
        assert event.actor_user == dana and event.object_id == str(arrival.pk) and event.outcome == "ok"
        assert event.detail["since"] <= event.at.isoformat()
    assert {first.actor_label, second.actor_label} == {f"{dana.email} (key {key.prefix})" for key in dana.api_keys.all()}


def test_segments_of_a_parent_are_free_when_it_dies_though_its_child_lives(sender: Actor, organisation: Any) -> None:
    segment, number = sharing.shared.append(sender, lambda: [b"image"])
    segment.durable(number)
    (reading, saying), (hearing, telling) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(saying)
        os.write(telling, b"x")
        os.read(reading, 1)  # until the parent closes its end
        os._exit(0)
    try:
        assert os.read(hearing, 1) == b"x"
        assert list(spool.ready(spool.folder_of(organisation.pk))) == []
        os.close(segment.handle)  # as the system does for a killed process
        (left,) = spool.ready(spool.folder_of(organisation.pk))
        assert len(spool.read(left).images) == 1
    finally:
        for handle in (saying, reading, hearing, telling):
            os.close(handle)
        os.waitpid(child, 0)
    sharing.shared.writer = writing.Writer()  # its handle is closed already


def test_header_is_read_as_pydicom_reads_it() -> None:
    from pydicom.filereader import _read_file_meta_info, read_preamble

    known = 0
    for path in every_file():
        with path.open("rb") as stream:
            found = part10.meta_of(stream.read(part10.STARTS))
            if found is None:
                continue
            stream.seek(0)
            with coded("not_dicom"):
                read_preamble(stream, False)
                meta = _read_file_meta_info(stream)
        theirs = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
        assert (found.sop_class, found.sop_instance, found.transfer_syntax) == theirs, path.name
        known += 1
    assert known > 50, "the usual ones take the quick way"


@pytest.mark.parametrize("end", [0, 131, 140, 143, 200, 300])
def test_header_that_is_cut_off_is_left_to_pydicom(end: int) -> None:
    whole = bytes_of(image())
    assert part10.meta_of(whole[: part10.STARTS]) is not None
    assert part10.meta_of(whole[:end]) is None


def test_each_becomes_one_file_and_nothing_is_left(
    sender: Actor, organisation: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch, sender, [[bytes_of(image())] for _number in range(4)], Room())
    sharing.shared.tidy(all_of_them=True)
    run_jobs()
    assert Arrival.objects.get().files.filter(outcome="imported").count() == 4
    assert left_in_spool(organisation) == []
