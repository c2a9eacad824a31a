"""Parts of the arrivals, each asked by itself: keeping content, dates and labels to mask, documents, ZIP files."""

import errno
import io
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from datasets.arrivals import (
    documents_out,
    keeping,
    recordings,
    services,
    sorting,
)
from datasets.arrivals.found import Refused
from datasets.arrivals.looks import zips
from datasets.masking import dates, labels
from datasets.models import StoredFile
from tests.conftest import actor
from tests.datasets.arrivals import samples
from tests.datasets.arrivals.test_arrivals import send


def test_a_stream_over_its_limit_leaves_nothing(settings: Any, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    with pytest.raises(Refused) as refused, keeping.copied(io.BytesIO(bytes(2000)), 1000):
        raise AssertionError("too large is refused before the block")
    assert refused.value.code == "too_large" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EIO, "storage")])
def test_what_the_system_says_of_its_disk_is_a_reason(number: int, code: str) -> None:
    with pytest.raises(Refused) as refused, keeping.room():
        raise OSError(number, "said by the system")
    assert refused.value.code == code


@pytest.mark.django_db
def test_content_goes_only_when_no_row_points_to_it(dana: Any, run_jobs: Any, django_capture_on_commit_callbacks: Any) -> None:
    arrival = send(dana, {"a.png": samples.picture("PNG")})
    run_jobs()
    row = arrival.files.get()
    path = row.file.path
    with django_capture_on_commit_callbacks(execute=True):
        keeping.let_go([row.file])
    assert default_storage.exists(path)
    file, row.file = row.file, None
    row.save(update_fields=["file"])
    with django_capture_on_commit_callbacks(execute=True):
        keeping.let_go([file])
    assert not default_storage.exists(path) and StoredFile.objects.get(pk=file.pk).path == ""


@pytest.mark.parametrize(
    "written", ["1980-05-03", "1980/5/3", "3.5.1980", "19800503", "1980年5月3日", "3 may 1980", "may 3, 1980"]
)
def test_a_date_is_read_however_it_is_written_and_matches_every_other_way(written: str) -> None:
    import re

    day = dates.read(written)
    assert day == date(1980, 5, 3)
    assert re.fullmatch(dates.pattern(day), written)


@pytest.mark.parametrize("written", ["", "1980-13-40", "31 february 1980", "12345", "5 of 8"])
def test_what_is_no_date_is_none(written: str) -> None:
    assert dates.read(written) is None


@pytest.mark.parametrize(
    ("text", "what", "value"),
    [
        ("姓名：王小明 性别：男", "name", "王小明"),
        ("住院号: 00123456", "number", "00123456"),
        ("mrn 4711-22", "number", "4711-22"),
        ("联系电话：13812345678", "phone", "13812345678"),
        ("date of birth: 3 may 1980", "date", "3 may 1980"),
    ],
)
def test_what_stands_behind_a_label_is_found(text: str, what: str, value: str) -> None:
    found = [(name, m["value"]) for name, pattern, _needs in labels.LABELLED for m in pattern.finditer(text)]
    assert (what, value) in [(name, each.strip()) for name, each in found]


def test_a_document_is_written_as_text_without_its_patient(tmp_path: Path) -> None:
    source, out = tmp_path / "letter.docx", tmp_path / "letter.txt"
    source.write_bytes(samples.docx("Peter Jones has chest pain.", "Seen by Dr Smith."))
    counts = documents_out.write(source, "docx", out, ["Peter Jones"])
    text = out.read_text(encoding="utf-8")
    assert sum(counts.values()) >= 1 and "chest pain" in text and "Peter" not in text and "Jones" not in text


@pytest.mark.parametrize(
    ("content", "kind", "form"),
    [
        (samples.workbook(), "table", "xlsx"),
        (samples.docx("Chest pain since two days"), "text", "docx"),
        (samples.packed({"a/b.txt": b"x", "c.txt": b"y"}), "archive", "zip"),
    ],
    ids=["workbook", "document", "archive"],
)
def test_a_zip_is_told_by_the_names_in_it(content: bytes, kind: str, form: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    found = zips.look(file, "zip")
    assert (found.kind, found.format) == (kind, form)


def test_a_zip_without_members_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(samples.packed({}))
    with pytest.raises(Refused) as refused:
        zips.look(file, "zip")
    assert refused.value.code == "empty"


@pytest.mark.django_db
def test_nothing_is_said_to_be_missing_where_no_index_came(dana: Any, run_jobs: Any) -> None:
    arrival = send(dana, {"a.png": samples.picture("PNG")})
    run_jobs()
    assert recordings.missing(arrival) == {}


@pytest.mark.django_db
def test_names_given_while_the_job_runs_are_masked_too(dana: Any, run_jobs: Any, monkeypatch: Any) -> None:
    """A person confirms one text with more names while the others are still being sorted: the job has begun before."""
    arrival = send(dana, {"a.txt": b"Peter Jones has chest pain and fever."}, hold_texts=True)
    run_jobs()
    row = arrival.files.get()
    assert row.code == "to_confirm"
    services.try_again(actor=actor(dana), file=row, confirmed=True)
    waiting = sorting.Sorting._waiting

    def named_meanwhile(self: Any) -> Any:
        own = sorting.Arrival.objects.get(pk=self.arrival.pk)
        own.known = ["Peter Jones"]
        own.save(update_fields=["secret"])
        return waiting(self)

    monkeypatch.setattr(sorting.Sorting, "_waiting", named_meanwhile)
    run_jobs()
    row.refresh_from_db()
    assert row.outcome == "imported"
    with default_storage.open(row.file.path) as stream:
        text = stream.read()
    assert b"chest pain" in text and b"Peter" not in text and b"Jones" not in text


@pytest.mark.django_db
def test_what_is_to_be_masked_stays_while_a_file_may_come_again_and_goes_with_the_last(dana: Any, run_jobs: Any) -> None:
    arrival = send(dana, {"a.txt": b"Peter Jones has chest pain."}, hold_texts=True, known=["Peter Jones"])
    run_jobs()
    row = arrival.files.get()
    row.code = "took_too_long"
    row.save(update_fields=["code"])
    from datasets.arrivals import tasks

    arrival.refresh_from_db()
    type(arrival).objects.filter(pk=arrival.pk).update(finished_at=None)
    tasks.settle(arrival.job)
    arrival.refresh_from_db()
    assert arrival.known == ["Peter Jones"]
    services.discard(actor=actor(dana), files=[row])
    arrival.refresh_from_db()
    assert arrival.secret == ""
