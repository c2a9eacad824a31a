"""A receiver in this process, and clients that send to it over a real socket."""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, Association
from pynetdicom.presentation import build_context

from datasets.receiving import server, sharing, spool
from datasets.receiving.models import Peer, Receiver
from datasets.receiving.processes import listening
from datasets.receiving.server import VERIFICATION
from tests.datasets.dicom.files import slice_of

TITLE, MODALITY = "AIMASS", "CT1"
WEB = "/api/v1/dicomweb"
RELATED = 'multipart/related; type="application/dicom"; boundary=XYZ'


class Lines:
    """The receiver and the port that it listens on."""

    def __init__(self) -> None:
        sock = listening("127.0.0.1", 0)
        self.port = int(sock.getsockname()[1])
        self.receiver = server.DicomReceiver(sock)

    def call(self, calling: str = MODALITY, called: str = TITLE, contexts: Any = None) -> Association:
        """An association, or what became of it."""
        ae = AE(ae_title=calling)
        ae.requested_contexts = contexts or [build_context(VERIFICATION), build_context(CTImageStorage)]
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
        return ae.associate("127.0.0.1", self.port, ae_title=called)

    def send(self, *images: Dataset, calling: str = MODALITY, called: str = TITLE) -> list[int]:
        """The status of each."""
        association = self.call(calling, called)
        assert association.is_established
        try:
            return [int(association.send_c_store(image).Status) for image in images]
        finally:
            association.release()

    def hang_up(self) -> None:
        """As SIGTERM: what is open is closed, the job asked for."""
        self.receiver.stop()


@pytest.fixture
def allowed(organisation: Any) -> Receiver:
    """St Mary's listens as AIMASS to CT1 of this host."""
    row: Receiver = Receiver.objects.create(organisation=organisation, title=TITLE)
    Peer.objects.create(receiver=row, title=MODALITY, address="127.0.0.1")
    return row


@pytest.fixture
def lines(allowed: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    # The housekeeping has a thread, and so a database connection, of its own, which sees nothing of a test's transaction.
    monkeypatch.setattr(server, "LOOK", 3600.0)
    made = Lines()
    made.receiver.start()
    yield made
    if not made.receiver.stopping.is_set():
        made.receiver.stop(1.0)


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[sharing.Shared]:
    """What this process's requests share, without the thread that keeps house, for the same reason: tests call `tidy`."""
    made = sharing.Shared()
    monkeypatch.setattr(sharing, "shared", made)
    monkeypatch.setattr(made, "_watch", lambda: None)
    yield made
    made.writer.close(all_of_them=True)


numbers = itertools.count(1000)


def image(**more: Any) -> Dataset:
    """Another slice each time."""
    return slice_of(next(numbers), **more)


def left_in_spool(organisation: Any) -> list[Path]:
    """Files that anything of a patient could lie in."""
    return [p for p in spool.folder_of(organisation.pk).rglob("*") if p.is_file() and p.name != "lock"]


def bytes_of(data: Dataset) -> bytes:
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def related(*contents: bytes) -> bytes:
    parts = [b"--XYZ\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n" for content in contents]
    return b"".join(parts) + b"--XYZ--\r\n"


def store(client: Any, *contents: bytes, **headers: str) -> Any:
    """The answer; then a moment passes without a request."""
    answer = client.generic("POST", f"{WEB}/studies", related(*contents), content_type=RELATED, **headers)
    sharing.shared.tidy(all_of_them=True)
    return answer


@pytest.fixture
def dana_api(dana: Any, api_of: Any) -> Any:
    return api_of(dana)
