"""The real portal, its workers killed while senders store: nothing that was answered is lost or doubled."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.models import AuditEvent
from datasets.arrivals.models import ArrivedFile
from jobs.models import Job
from tests.datasets.dicom.files import slice_of
from tests.datasets.receiving.conftest import RELATED, WEB, bytes_of, related
from tests.datasets.tus_server import Server, new_server
from tests.jobs.process_site import until

pytestmark = pytest.mark.process
IMAGES = 24
TAKE = "datasets.receiving.tasks.take"


@pytest.fixture
def server(tmp_path: Path, django_db_blocker: Any) -> Iterator[Server]:
    with new_server(tmp_path / "site", django_db_blocker) as made:
        made.start(workers=2)
        yield made


class Sender(threading.Thread):
    """Stores slices, some in a request, again whenever the line breaks; remembers which were answered with success."""

    def __init__(self, server: Server, first: int, count: int, each: int) -> None:
        super().__init__(daemon=True)
        self.server, self.each = server, each
        self.numbers, self.stored = list(range(first, first + count)), set[str]()

    def run(self) -> None:
        while self.numbers:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
            try:
                while self.numbers:
                    self.send(connection)
            except (OSError, http.client.HTTPException):  # the line broke
                continue
            finally:
                connection.close()

    def send(self, connection: http.client.HTTPConnection) -> None:
        slices = [slice_of(number) for number in self.numbers[: self.each]]
        body = related(*(bytes_of(data) for data in slices))
        headers = {**self.server.headers, "Content-Type": RELATED}
        connection.request("POST", f"{WEB}/studies", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (answer.status, content)
        self.stored |= {item["00081155"]["Value"][0] for item in json.loads(content)["00081199"]["Value"]}
        del self.numbers[: self.each]


def test_killed_workers_lose_nothing_that_was_answered(server: Server) -> None:
    senders = [Sender(server, 1000 * number, IMAGES // 3, each) for number, each in enumerate((1, 1, 3))]
    for sender in senders:
        sender.start()

    def stored() -> int:
        return sum(len(sender.stored) for sender in senders)

    until(lambda: stored() > 3, f"the first images; {server.site.log()[-2000:]}")
    for worker in server.workers():  # gunicorn begins others
        worker.kill()
    until(lambda: stored() > 10, "images after the first death")
    server.kill()
    server.start(workers=2)
    for sender in senders:
        sender.join(120)
        assert not sender.numbers, server.site.log()[-3000:]
    assert len(set().union(*(sender.stored for sender in senders))) == IMAGES
    # Without a worker or a schedule: the portal itself closes what is idle and asks for the job.
    until(lambda: Job.objects.filter(task=TAKE).exists(), f"the job; {server.site.log()[-2000:]}", 15)
    server.site.manage("worker", "--queue", "light")

    def came() -> list[str]:
        rows = list(ArrivedFile.objects.values_list("sha256", "outcome"))
        done = all(outcome for _sha256, outcome in rows) and len({sha256 for sha256, _outcome in rows}) >= IMAGES
        return [outcome for _sha256, outcome in rows] if done else []

    outcomes = until(came, f"all images; {server.site.log()[-3000:]}", 240)
    assert [outcome for outcome in outcomes if outcome != "duplicate"] == ["imported"] * IMAGES
    written = sum(event.detail["instances"] for event in AuditEvent.objects.filter(action="dicom.stored"))
    assert written == len(outcomes), "who stored each is in the log, also of those whose portal was killed"
    spool = server.site.folder / "spool" / "dicom"
    until(lambda: not [p for p in spool.rglob("*") if p.is_file() and p.name != "lock"], "an empty spool", 120)
