"""C-ECHO and C-STORE: who may call, what is answered, and that "success" means that the image comes through exactly once."""

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from pydicom.data import get_testdata_file
from pydicom.uid import CTImageStorage
from pynetdicom.presentation import build_context

from accounts.models import AuditEvent
from datasets.arrivals.models import Arrival, ArrivedFile
from datasets.models import StoredFile
from datasets.receiving import body, quick, server, spool, writing
from datasets.receiving.models import DicomInstance, Peer, Receiver
from tests.datasets.dicom.files import every_file, loaded
from tests.datasets.receiving.conftest import MODALITY, TITLE, Lines, bytes_of, image, left_in_spool

pytestmark = pytest.mark.django_db
Run = Callable[[], int]
needs_dcmtk = pytest.mark.skipif(not shutil.which("storescu"), reason="DCMTK is not installed (apt-get install dcmtk)")


def refused_because(association: Any) -> tuple[int, int]:
    answer = association.acceptor.primitive
    assert association.is_rejected
    return answer.result_source, answer.diagnostic


def test_peer_on_the_list_is_heard(lines: Lines) -> None:
    association = lines.call()
    assert association.is_established and association.send_c_echo().Status == 0x0000
    association.release()
    assert association.is_released


def test_unknown_titles_are_refused_before_anything_is_sent(lines: Lines, allowed: Receiver, organisation: Any) -> None:
    assert refused_because(lines.call(called="NOBODY")) == (1, 7)
    assert refused_because(lines.call(calling="STRANGER")) == (1, 3)
    lines.receiver.ring()
    event = AuditEvent.objects.get(action="dicom.refused")
    assert (event.organisation, event.outcome, event.detail["calling"]) == (organisation, "denied", "STRANGER")


def test_address_is_looked_at_too(lines: Lines, allowed: Receiver) -> None:
    Peer.objects.update(address="10.1.0.0/16")
    lines.receiver.directory.read()
    assert refused_because(lines.call()) == (1, 3)
    Peer.objects.update(address="127.0.0.0/8")
    lines.receiver.directory.read()
    assert lines.call().is_established


def test_peers_of_one_receiver_are_none_of_another(lines: Lines, allowed: Receiver, other_organisation: Any) -> None:
    other = Receiver.objects.create(organisation=other_organisation, title="ELSEWHERE")
    Peer.objects.create(receiver=other, title="MR9", address="127.0.0.1")
    lines.receiver.directory.read()
    assert refused_because(lines.call(calling="MR9")) == (1, 3)
    assert lines.call(calling="MR9", called="ELSEWHERE").is_established


def test_who_cannot_be_judged_is_refused(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(title: str) -> None:
        raise RuntimeError("no list")

    monkeypatch.setattr(lines.receiver.directory, "find", broken)
    assert refused_because(lines.call()) == (1, 7)


def test_images_come_through_deidentified_once(lines: Lines, organisation: Any, run_jobs: Run) -> None:
    sent = [image() for _number in range(5)]
    assert lines.send(*sent, sent[0]) == [0x0000] * 6
    held = left_in_spool(organisation)
    assert len(held) == 1 and bytes_of(sent[0])[-500:] in held[0].read_bytes()
    lines.hang_up()
    run_jobs()
    arrival = Arrival.objects.get()
    assert arrival.organisation == organisation and arrival.created_by is None
    assert arrival.notes["received"] == {"by": TITLE, "from": [f"{MODALITY} (127.0.0.1)"]}
    assert sorted(arrival.files.values_list("outcome", flat=True)) == ["duplicate"] + ["imported"] * 5
    assert left_in_spool(organisation) == []
    assert not arrival.files.exclude(original=None).exists(), "nothing that names the patient is kept"
    for row in ArrivedFile.objects.filter(outcome="imported"):
        assert row.file is not None
        with default_storage.open(row.file.path) as stream:
            assert b"Quillfeather" not in stream.read()
    assert DicomInstance.objects.for_organisation(organisation).count() == 5
    assert AuditEvent.objects.get(action="dicom.received").detail["images"] == 6


def test_what_is_stored_is_byte_by_byte_what_was_sent(lines: Lines, organisation: Any, tmp_path: Path) -> None:
    sent = image()
    lines.send(sent)
    lines.hang_up()
    (segment,) = spool.ready(spool.folder_of(organisation.pk))
    content = spool.read(segment)
    with (tmp_path / "out.dcm").open("wb") as out:
        spool.copy(segment, content.images[0], out)
    came = loaded(tmp_path / "out.dcm")
    assert came == sent
    assert came.file_meta.TransferSyntaxUID and came.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID


def test_full_disk_quota_and_size_are_out_of_resources(
    lines: Lines, organisation: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    assert lines.send(image()) == [0x0000]
    real = os.write

    def full(handle: int, data: Any) -> int:
        if len(data) > 2000:
            raise OSError(errno.ENOSPC, "no room")
        return real(handle, data)

    with monkeypatch.context() as patch:
        patch.setattr(spool.os, "write", full)
        assert lines.send(image()) == [0xA700]
    with monkeypatch.context() as patch:
        patch.setattr(writing, "RESERVE", 2**60)
        lines.receiver.writer.close(all_of_them=True)
        assert lines.send(image()) == [0xA700]
    settings.MAX_UPLOAD_BYTES = 100
    assert lines.send(image()) == [0xA700]
    settings.MAX_UPLOAD_BYTES = 2**30
    settings.UPLOAD_QUOTA_BYTES = 1
    lines.receiver.directory.read()
    assert lines.send(image()) == [0xA700]
    settings.UPLOAD_QUOTA_BYTES = 0
    lines.receiver.directory.read()
    assert lines.send(image()) == [0x0000], "and it goes on when there is room"
    lines.hang_up()
    run_jobs()
    assert ArrivedFile.objects.filter(outcome="imported").count() == ArrivedFile.objects.count() == 2


def test_peer_taken_off_the_list_stores_nothing_more(lines: Lines, allowed: Receiver) -> None:
    association = lines.call()
    assert association.send_c_store(image()).Status == 0x0000
    allowed.active = False
    allowed.save()
    lines.receiver.directory.read()
    assert association.send_c_store(image()).Status == 0x0124
    association.release()
    assert refused_because(lines.call()) == (1, 7)


def test_disk_error_is_no_success(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(spool.os, "fdatasync", broken)
    assert lines.send(image()) == [0x0110]
    monkeypatch.undo()
    assert lines.send(image()) == [0x0000], "in another segment"


def test_large_objects_do_not_stay_in_memory(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, organisation: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(body, "IN_MEMORY", 1000)
    sent = image()
    assert lines.send(sent) == [0x0000]
    lines.hang_up()
    (segment,) = spool.ready(spool.folder_of(organisation.pk))
    with (tmp_path / "out.dcm").open("wb") as out:
        spool.copy(segment, spool.read(segment).images[0], out)
    assert loaded(tmp_path / "out.dcm") == sent


def test_peer_that_claims_gigabytes_is_hung_up_on(lines: Lines) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", lines.port)) as sock:
        sock.sendall(b"\x01\x00\xff\xff\xff\xf0" + b"x" * 100)
        sock.settimeout(10)
        assert sock.recv(100)[:1] in (b"", b"\x07")
    assert lines.call().is_established


def test_command_without_an_end_is_hung_up_on(lines: Lines) -> None:
    association = lines.call()
    association.network_timeout = 60  # it is not the caller who gives up
    socket_ = association.dul.socket
    assert socket_ is not None and socket_.socket is not None
    piece = b"\x01\x01" + b"\0" * 4094  # of context 1: a command's piece that is not its last
    value = len(piece).to_bytes(4, "big") + piece
    for _piece in range(8):
        with suppress(OSError):  # it may hang up in between
            socket_.socket.sendall(b"\x04\x00" + len(value).to_bytes(4, "big") + value)
    until_none(lines)
    assert association.is_aborted or not association.is_established
    assert lines.call().is_established


def test_half_an_image_is_nobodys(lines: Lines, organisation: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    association = lines.call()
    assert association.send_c_store(image()).Status == 0x0000
    socket_ = association.dul.socket
    assert socket_ is not None and socket_.socket is not None
    socket_.socket.sendall(b"\x04\x00\x00\x01\x00\x00" + b"\x00" * 500)
    socket_.socket.close()
    until_none(lines)
    lines.hang_up()
    run_jobs()
    assert ArrivedFile.objects.count() == 1


def until_none(lines: Lines) -> None:
    end = time.monotonic() + 20
    while lines.receiver.server.active_associations:
        assert time.monotonic() < end, "associations that do not end"
        time.sleep(0.05)


def test_many_at_once_share_their_flushes(
    lines: Lines, organisation: Any, run_jobs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes: list[int] = []
    real = os.fdatasync

    def slow(handle: int) -> None:
        flushes.append(handle)
        time.sleep(0.05)
        real(handle)

    monkeypatch.setattr(spool.os, "fdatasync", slow)
    answers: list[list[int]] = []
    batches = [[image() for _number in range(8)] for _peer in range(6)]
    threads = [threading.Thread(target=lambda b=b: answers.append(lines.send(*b))) for b in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [status for batch in answers for status in batch] == [0x0000] * 48
    assert len(flushes) < 40, "a flush makes durable what several peers have sent"
    monkeypatch.undo()
    lines.hang_up()
    run_jobs()
    assert ArrivedFile.objects.filter(outcome="imported").count() == 48


def test_readable_encoding_is_chosen_where_the_peer_offers_several(lines: Lines) -> None:
    mpeg, plain = "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.1"
    association = lines.call(contexts=[build_context(CTImageStorage, [mpeg, plain]), build_context("1.2.3.4.5", [mpeg])])
    accepted = {str(c.abstract_syntax): str(c.transfer_syntax[0]) for c in association.accepted_contexts}
    assert accepted == {str(CTImageStorage): plain, "1.2.3.4.5": mpeg}
    association.release()


def test_answer_is_the_one_that_pynetdicom_would_give() -> None:
    from pynetdicom.dimse_messages import C_STORE_RSP
    from pynetdicom.dimse_primitives import C_STORE

    answer = C_STORE()
    answer.MessageID = answer.MessageIDBeingRespondedTo = 4711
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID, answer.Status = CTImageStorage, "1.2.3.45.6", 0xA700
    message = C_STORE_RSP()
    message.primitive_to_message(answer)
    (theirs,) = [data for pdata in message.encode_msg(1, 16382) for _context, data in pdata.presentation_data_value_list]
    assert b"\x03" + quick.stored_answer(answer) == theirs


def test_releases_are_quick_and_leave_no_thread(lines: Lines) -> None:
    began = time.monotonic()
    for _number in range(20):
        lines.call().release()
    assert time.monotonic() - began < 15
    until_none(lines)
    assert not [t for t in threading.enumerate() if isinstance(t, quick.QuickDul)]


@needs_dcmtk
def test_dcmtk_is_served(lines: Lines, organisation: Any, run_jobs: Run, tmp_path: Path) -> None:
    where = ["-aet", MODALITY, "-aec", TITLE, "127.0.0.1", str(lines.port)]
    assert subprocess.run(["echoscu", *where], timeout=30, check=False).returncode == 0
    wrong = ["-aet", "OTHER", *where[2:]]
    assert subprocess.run(["echoscu", *wrong], timeout=30, check=False, capture_output=True).returncode != 0
    sent = [get_testdata_file("CT_small.dcm"), get_testdata_file("MR_small.dcm")]
    assert subprocess.run(["storescu", *where, *map(str, sent)], timeout=60, check=False).returncode == 0
    lines.hang_up()
    run_jobs()
    assert sorted(ArrivedFile.objects.values_list("outcome", flat=True)) == ["imported", "imported"]


@pytest.mark.once  # the files differ, the rows do not
@pytest.mark.slow  # every file of pydicom's is de-identified
def test_every_file_of_pydicom_has_one_outcome(lines: Lines, organisation: Any, run_jobs: Run) -> None:
    """Sent as raw data sets in their own encodings, the damaged ones too: what was answered with success has one outcome."""
    stored = 0
    for path in every_file():
        data = loaded(path)
        meta = getattr(data, "file_meta", None)
        uids = [data.get("SOPClassUID"), data.get("SOPInstanceUID"), meta and meta.get("TransferSyntaxUID")]
        if not all(uids) or path.stat().st_size > 4_000_000:
            continue
        association = lines.call(contexts=[build_context(str(uids[0]), [str(uids[2])])])
        try:
            if association.is_established:
                stored += association.send_c_store(data).Status == 0x0000
        except Exception:  # what pydicom can't encode anew was not sent
            continue
        finally:
            association.release()
    lines.hang_up()
    run_jobs()
    assert stored > 60
    assert ArrivedFile.objects.count() == stored
    assert not ArrivedFile.objects.filter(outcome="").exists()
    assert ArrivedFile.objects.filter(outcome="imported").count() > 20
    assert left_in_spool(organisation) == []
    assert StoredFile.objects.for_organisation(organisation).exists()


def test_log_holds_nothing_of_an_image(lines: Lines, capfd: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "part10", None)  # an error in the middle of it
    sent = image()
    assert lines.send(sent) == [0x0110]
    said = caplog.text + "".join(capfd.readouterr())
    assert "could not be kept" in said
    for secret in ("Quillfeather", "MRN-5577341", str(sent.SOPInstanceUID), str(sent.StudyInstanceUID)):
        assert secret not in said
