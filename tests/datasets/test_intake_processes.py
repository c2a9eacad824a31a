"""A real import, whose process is killed in the middle: it resumes, and every row is there exactly once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.models import Organisation
from datasets.models import Dataset, Record, Upload
from jobs.models import TERMINAL, Job
from tests.conftest import make_user
from tests.jobs.process_site import Site, new_site, until

pytestmark = pytest.mark.process
ROWS = 80_000
SEND = """
from accounts.actor import Actor
from accounts.models import Membership
from datasets import intake
actor = Actor.member(Membership.objects.get())
upload = intake.receive(actor=actor, file=%r, name="long.csv")
intake.confirm(actor=actor, upload=upload, new_dataset_name="Long")
"""


@pytest.fixture
def site(tmp_path: Path, django_db_blocker: Any) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    with new_site(tmp_path / "site", django_db_blocker) as made:
        yield made


def test_killed_import_resumes_with_every_row_once(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    # Every thousandth row is refused, every ten-thousandth is a copy of the row before it.
    with path.open("w", encoding="utf-8") as stream:
        stream.write("mrn,age,crp\n")
        for i in range(ROWS):
            n = i - 1 if i % 10_000 == 9_999 else i
            stream.write(f"{n},{'old' if i % 1_000 == 7 else n % 90},{n % 977}.5\n")
    make_user("dana@import.example", Organisation.objects.create(name="St Mary's"), "data_scientist")
    sent = site.manage("shell", "-c", SEND % str(path))
    assert sent.wait(90) == 0, site.log()
    job = Job.objects.get()
    site.manage("worker", "--queue", "light")
    until(lambda: Upload.objects.get().rows_added > 0, "the first rows")
    process = site.job_process(job)
    process.kill()
    half = Upload.objects.get().rows_added
    until(lambda: Job.objects.get().state in TERMINAL and Job.objects.get().settled_at, "the end", 120)
    upload, job = Upload.objects.get(), Job.objects.get()
    assert (job.state, job.attempt) == ("done", 2), site.log()[-4000:]
    refused, twice = ROWS // 1_000, ROWS // 10_000
    assert 0 < half < ROWS - refused - twice
    assert (upload.rows_read, upload.rows_refused, upload.rows_duplicate) == (ROWS, refused, twice)
    assert (
        upload.rows_added
        == Record.objects.count()
        == Dataset.objects.get().record_count
        == ROWS - refused - twice
    )
    assert upload.report["duplicates_in_file"] == twice
    assert upload.refused_file is not None
    report = (site.folder / "files" / upload.refused_file.path).read_text("utf-8-sig").splitlines()
    assert [int(line.split(",")[1]) for line in report[1:]] == [i + 2 for i in range(7, ROWS, 1_000)]
