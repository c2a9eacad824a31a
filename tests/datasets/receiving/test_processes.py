"""The real receiver, killed while peers send, and the real worker, killed while it takes: nothing promised is lost or doubled."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE
from pynetdicom.transport import AssociationSocket

from accounts.models import Organisation
from datasets.arrivals.models import ArrivedFile
from datasets.dicom.reading import read
from datasets.receiving.models import Peer, Receiver
from demo.processes import free_port
from jobs.models import Job
from tests.datasets.dicom.files import slice_of
from tests.jobs.process_site import Site, new_site, until

pytestmark = pytest.mark.process
IMAGES = 48


@pytest.fixture(autouse=True)
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The peers' side of a line that breaks is closed here: pynetdicom leaves it to the garbage collector."""
    made: list[socket.socket] = []
    create = AssociationSocket._create_socket

    def remembered(self: AssociationSocket, address: Any) -> socket.socket:
        made.append(create(self, address))
        return made[-1]

    monkeypatch.setattr(AssociationSocket, "_create_socket", remembered)
    yield
    for one in made:
        one.close()


@pytest.fixture
def site(tmp_path: Path, django_db_blocker: Any) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    with new_site(tmp_path / "site", django_db_blocker) as made:
        yield made


class Sender(threading.Thread):
    """Sends slices one after the other, calling again whenever the line breaks; remembers which were answered with success."""

    def __init__(self, port: int, first: int, count: int) -> None:
        super().__init__(daemon=True)
        self.port, self.numbers, self.stored = port, list(range(first, first + count)), set[str]()

    def run(self) -> None:
        ae = AE(ae_title="CT1")
        ae.add_requested_context(CTImageStorage)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        while self.numbers:
            association = ae.associate("127.0.0.1", self.port, ae_title="AIMASS")
            while association.is_established and self.numbers:
                data = slice_of(self.numbers[0])
                try:
                    answer = association.send_c_store(data)
                except (RuntimeError, ValueError):  # the line broke
                    break
                if answer and answer.Status == 0x0000:
                    self.stored.add(str(data.SOPInstanceUID))
                    self.numbers.pop(0)
            if association.is_established:
                association.release()


def start(site: Site, port: int, processes: int) -> psutil.Popen:
    started = site.manage("dicom_receiver", "--port", str(port), "--processes", str(processes))
    until(lambda: f":{port}, {processes} processes" in site.log() and started.children(), "the receiver")
    return started


def test_killed_receiver_and_killed_worker_lose_nothing(site: Site, tmp_path: Path) -> None:
    organisation = Organisation.objects.create(name="St Mary's")
    receiver = Receiver.objects.create(organisation=organisation, title="AIMASS")
    Peer.objects.create(receiver=receiver, title="CT1", address="127.0.0.1")
    port = free_port()
    parent = start(site, port, 2)
    senders = [Sender(port, 1000 * number, IMAGES // 2) for number in range(2)]
    for sender in senders:
        sender.start()
    until(lambda: sum(len(s.stored) for s in senders) > 8, "the first images")
    for child in parent.children():  # one by one; the parent begins others
        child.kill()
    until(lambda: sum(len(s.stored) for s in senders) > 20, "images after the first death")
    for process in [parent, *parent.children(recursive=True)]:  # as when the power fails
        process.kill()
    start(site, port, 2)
    for sender in senders:
        sender.join(120)
        assert not sender.numbers, site.log()[-3000:]
    site.manage("worker", "--queue", "light")
    taking = until(lambda: Job.objects.filter(task="datasets.receiving.tasks.take", state="running").first(), "the job", 120)
    site.job_process(taking).kill()
    promised = set().union(*(sender.stored for sender in senders))
    assert len(promised) == IMAGES

    def came() -> set[str]:
        rows = list(ArrivedFile.objects.values_list("sha256", "outcome"))  # one look, or new ones could come in between
        return set() if any(not outcome for _sha256, outcome in rows) else {sha256 for sha256, _outcome in rows}

    until(lambda: len(came()) >= IMAGES, f"all images; {site.log()[-3000:]}", 240)
    outcomes = list(ArrivedFile.objects.exclude(outcome="duplicate").values_list("outcome", flat=True))
    assert outcomes == ["imported"] * IMAGES, "each promised image once; one that was sent twice is a duplicate"
    spool = site.folder / "spool" / "dicom" / str(organisation.pk)
    until(lambda: not [p for p in spool.rglob("*") if p.is_file() and p.name != "lock"], "an empty spool", 120)
    some = ArrivedFile.objects.filter(outcome="imported").select_related("file")[0]
    assert some.file is not None
    assert str(read(site.folder / "files" / some.file.path).PatientID).startswith("P")
