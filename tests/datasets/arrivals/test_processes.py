"""A real job, killed in the middle by the system: the next attempt goes on, each file is there exactly once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from accounts.models import Organisation
from datasets.arrivals.models import Arrival, ArrivedFile
from jobs.models import TERMINAL, Job
from tests.conftest import make_user
from tests.datasets.arrivals import samples
from tests.jobs.process_site import Site, new_site, until

pytestmark = pytest.mark.process
FILES = 500
SEND = """
from accounts.actor import Actor
from accounts.models import Membership
from datasets.arrivals import services
actor = Actor.member(Membership.objects.get())
services.receive(actor=actor, files=[("z.zip", open(%r, "rb"))])
"""


@pytest.fixture
def site(tmp_path: Path, django_db_blocker: Any) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    with new_site(tmp_path / "site", django_db_blocker) as made:
        yield made


def test_killed_job_goes_on_with_every_file_once(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    path.write_bytes(samples.packed({f"f/{n}.txt": f"note {n}: well\nand more\n".encode() for n in range(FILES)}))
    make_user("dana@arrivals.example", Organisation.objects.create(name="St Mary's"), "data_scientist")
    sent = site.manage("shell", "-c", SEND % str(path))
    assert sent.wait(90) == 0, site.log()
    job = Job.objects.get()
    site.manage("worker", "--queue", "light")
    until(lambda: ArrivedFile.objects.filter(outcome="imported").count() > 1, "the first files", 120)
    process = site.job_process(job)
    desks = [child for child in psutil.Process(process.pid).children(recursive=True) if "desk" in " ".join(child.cmdline())]
    process.kill()
    half = ArrivedFile.objects.filter(outcome="imported").count()
    until(lambda: Job.objects.get().state in TERMINAL and Job.objects.get().settled_at, "the end", 180)
    job = Job.objects.get()
    assert (job.state, job.attempt) == ("done", 2), site.log()[-4000:]
    assert 0 < half < FILES
    names = list(Arrival.objects.get().files.filter(parent__isnull=False).values_list("name", flat=True))
    assert len(names) == len(set(names)) == FILES
    assert not ArrivedFile.objects.exclude(outcome="imported").exists()
    assert desks and not any(desk.is_running() and desk.status() != psutil.STATUS_ZOMBIE for desk in desks)
