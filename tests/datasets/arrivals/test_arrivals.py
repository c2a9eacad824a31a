"""Every file that arrives ends in exactly one of imported, duplicate, quarantined; a killed job loses and repeats nothing."""

import errno
import io
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from accounts.models import AuditEvent
from datasets import storage
from datasets.arrivals import preparing, services, sorting
from datasets.arrivals.models import Arrival, ArrivedFile
from datasets.models import StoredFile, Upload
from jobs.models import Job
from tests.conftest import actor
from tests.datasets.arrivals import samples

pytestmark = pytest.mark.django_db
Run = Callable[[], int]


def send(who: Any, files: dict[str, bytes], **given: Any) -> Arrival:
    return services.receive(actor=actor(who), files=[(name, io.BytesIO(c)) for name, c in files.items()], **given)


def outcomes(arrival: Arrival) -> dict[str, str]:
    """name → outcome, or the reason's code."""
    return {row.name: row.code or row.outcome for row in arrival.files.order_by("pk")}


def content(row: ArrivedFile) -> bytes:
    assert row.file is not None
    with default_storage.open(row.file.path) as stream:
        return bytes(stream.read())


def test_each_file_has_one_outcome(dana: Any, run_jobs: Run) -> None:
    png = samples.picture("PNG")
    arrival = send(dana, {"a.txt": png, "same.png": png, "broken.png": png[:-20], "what": b"\x00\x01" * 50, "none": b""})
    assert services.counts(arrival)["waiting"] == 5
    run_jobs()
    assert outcomes(arrival) == {
        "a.txt": "imported", "same.png": "duplicate", "broken.png": "truncated", "what": "unknown", "none": "empty",
    }  # fmt: skip
    counts = services.counts(arrival)
    assert counts == {"files": 5, "waiting": 0, "imported": 1, "duplicate": 1, "quarantined": 3, "discarded": 0}
    first, second = arrival.files.order_by("pk")[:2]
    assert content(first) == png and second.file == first.file
    arrival.refresh_from_db()
    assert arrival.finished_at is not None and arrival.job.state == "done"


def test_archive_gives_its_members_one_by_one(dana: Any, run_jobs: Run) -> None:
    inner = samples.packed({"deep/ct": samples.picture("BMP", 3)})
    archive = samples.packed(
        {
            "x/photo.dat": samples.picture("JPEG"), "x/volume": samples.nifti(), "../../etc/passwd": b"root", "bad": b"MZ" * 9,
            "inner.zip": inner, "notes.txt": samples.NOTE.encode(), "book": samples.workbook(),
        }
    )  # fmt: skip
    arrival = send(dana, {"all.zip": archive})
    run_jobs()
    assert outcomes(arrival) == {
        "all.zip": "imported", "x/photo.dat": "imported", "x/volume": "imported", "../../etc/passwd": "unsafe_name",
        "bad": "program", "inner.zip/deep/ct": "imported", "notes.txt": "imported", "book": "imported",
    }  # fmt: skip
    assert services.counts(arrival)["files"] == 7  # the archive itself is not one of them
    top = arrival.files.get(name="all.zip")
    assert top.original is None and top.file is None, "the archive's own content is let go"
    assert not StoredFile.objects.filter(sha256=top.sha256).exists()


def test_tables_go_on_through_the_present_intake(dana: Any, run_jobs: Run) -> None:
    arrival = send(dana, {"t.bin": samples.TABLE.encode(), "again.csv": samples.TABLE.encode()})
    run_jobs()
    first, second = arrival.files.order_by("pk")
    assert first.upload is not None and first.upload.state == Upload.State.PREVIEW
    assert [c["name"] for c in first.upload.preview["columns"]] == ["mrn", "age", "diagnosis"]
    assert (second.outcome, second.upload) == ("duplicate", first.upload)
    assert Upload.objects.count() == 1


def test_what_was_sent_before_is_a_duplicate_until_it_is_gone(dana: Any, charlie: Any, run_jobs: Run) -> None:
    png = samples.picture("PNG")
    send(dana, {"a": png})
    run_jobs()
    again, elsewhere = send(dana, {"b": png}), send(charlie, {"c": png})
    run_jobs()
    assert outcomes(again) == {"b": "duplicate"}
    assert outcomes(elsewhere) == {"c": "imported"}, "another hospital's files say nothing"


@pytest.mark.django_db(transaction=True)
def test_texts_are_masked_before_they_are_stored(dana: Any, run_jobs: Run) -> None:
    note = "患者姓名：王小明，住院号：ZY0012345。\n王小明自述头痛三天。\n"
    pdf = samples.pdf("Patient: John Smith has chest pain. MRN: 4711001")
    arrival = send(dana, {"note": note.encode(), "letter": pdf}, known=["王小明", "John Smith"])
    assert "王小明" not in arrival.secret and arrival.known == ["王小明", "John Smith"]
    run_jobs()
    rows = list(arrival.files.order_by("pk"))
    assert content(rows[0]).decode() == "患者姓名：[姓名]，住院号：[证件号]。\n[姓名]自述头痛三天。\n"
    assert content(rows[1]).decode() == "Patient: [NAME] has chest pain. MRN: [NUMBER]"
    assert rows[0].masked == {"name": 2, "number": 1}
    arrival.refresh_from_db()
    assert arrival.secret == "", "what was given to be masked is forgotten"
    stored = b"".join(p.read_bytes() for p in Path(default_storage.path("uploads")).rglob("*") if p.is_file())
    assert note.encode() not in stored and pdf not in stored  # other tests leave texts of their own here


def test_held_text_waits_until_it_is_confirmed(dana: Any, run_jobs: Run) -> None:
    arrival = send(dana, {"note": b"Seen by Peter Jones today.\nHe was well.\n"}, hold_texts=True)
    run_jobs()
    row = arrival.files.get()
    assert (row.code, row.file) == ("to_confirm", None)
    services.try_again(actor=actor(dana), file=row, known=["Peter Jones"], confirmed=True)
    run_jobs()
    row.refresh_from_db()
    assert row.outcome == "imported" and b"Peter" not in content(row)
    arrival.refresh_from_db()
    assert arrival.secret == "" and row.original is None


def test_dicom_without_anybody_to_deidentify_it_fails_closed(dana: Any, run_jobs: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr(preparing, "_NAMES", {})
    arrival = send(dana, {"ct": samples.dicom("CT_small.dcm")})
    run_jobs()
    row = arrival.files.get()
    assert (row.code, row.kind, row.file) == ("not_deidentified", "slice", None)


def blank_patient(who: Any, path: Path, out: Path, looked: bool) -> dict[str, int]:
    """A preparer for the test below, as datasets.dicom gives one: it writes the file without the patient's name."""
    import pydicom

    data = pydicom.dcmread(path)
    data.PatientName = ""
    data.save_as(out)
    return {"name": 1}


def test_dicom_goes_through_what_is_registered(dana: Any, run_jobs: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr(preparing, "_NAMES", {})
    preparing.register("dicom", f"{__name__}.blank_patient")
    arrival = send(dana, {"ct": samples.dicom("CT_small.dcm")})
    run_jobs()
    row = arrival.files.get()
    assert row.outcome == "imported" and row.masked == {"name": 1}
    assert b"CompressedSamples^CT1" in samples.dicom("CT_small.dcm") and b"CompressedSamples^CT1" not in content(row)


def test_every_registered_preparer_exists() -> None:
    from django.utils.module_loading import import_string

    assert all(callable(import_string(name)) for name in preparing.names().values())


def test_recording_is_joined_with_its_samples(dana: Any, run_jobs: Run) -> None:
    header, data = samples.wfdb()
    arrival = send(dana, {"r.zip": samples.packed({"a/r1.hea": header, "a/r1.dat": data, "b/r1.hea": header})})
    run_jobs()
    assert outcomes(arrival) == {"r.zip": "imported", "a/r1.hea": "imported", "a/r1.dat": "imported", "b/r1.hea": "incomplete"}
    samples_row = arrival.files.get(name="a/r1.dat")
    assert (samples_row.kind, samples_row.part_of.name) == ("part", "a/r1.hea")
    assert content(samples_row) == data


def test_dicomdir_says_what_did_not_come(dana: Any, run_jobs: Run) -> None:
    names = {"CD/DICOMDIR": "DICOMDIR", "CD/77654033/CR1/6154": "77654033/CR1/6154"}
    files = {name: samples.dicom(f"dicomdirtests/{file}") for name, file in names.items()}
    arrival = send(dana, {"cd.zip": samples.packed(files)})
    run_jobs()
    arrival.refresh_from_db()
    assert arrival.notes["missing"] == 30 and "cd/77654033/cr2/6247" in arrival.notes["missing_names"]
    index = arrival.files.get(kind="index")
    assert (index.outcome, index.file, index.original) == ("imported", None, None), "it names patients, so it is not kept"


@pytest.mark.parametrize("at", [1, 3, 5, 8])
def test_killed_job_loses_nothing_and_repeats_nothing(dana: Any, monkeypatch: Any, at: int, run_jobs: Run) -> None:
    """Killed after so many looks, the next attempt goes on; every file is looked at at most once more."""
    monkeypatch.setattr(sorting, "BATCH", 2)
    files = {f"p{n}.png": samples.picture("PNG", n) for n in range(5)}
    archive = samples.packed({**files, "t.csv": samples.TABLE.encode(), "no": b"\x00" * 99})
    arrival = send(dana, {"a.zip": archive, "b.png": samples.picture("PNG", 99)})
    looks: Counter[str] = Counter()
    original = sorting.Desk.look

    class Killed(BaseException):
        pass

    def look(self: Any, path: Path, beside: Any = None) -> Any:
        looks[storage.hashlib.sha256(path.read_bytes()).hexdigest()] += 1
        if sum(looks.values()) == at:
            raise Killed
        return original(self, path, beside)

    monkeypatch.setattr(sorting.Desk, "look", look)
    from jobs.runner import run_job

    with pytest.raises(Killed):
        run_job(arrival.job_id, owner="first")
    Job.objects.filter(pk=arrival.job_id).update(lease_until=None, state="queued", owner="")
    run_jobs()
    names = list(arrival.files.values_list("name", flat=True))
    assert len(names) == len(set(names)) == 9
    assert not arrival.files.filter(outcome="").exists()
    assert Upload.objects.count() == 1
    assert max(looks.values()) <= 2
    assert {row.code or row.outcome for row in arrival.files.all()} == {"imported", "unknown"}


def test_cancelled_job_leaves_no_file_without_an_outcome(dana: Any, run_jobs: Run) -> None:
    from jobs.services import cancel

    arrival = send(dana, {"a": samples.picture("PNG"), "b": samples.picture("BMP")})
    cancel(actor=actor(dana), job=arrival.job)
    run_jobs()
    assert outcomes(arrival) == {"a": "interrupted", "b": "interrupted"}
    services.try_again(actor=actor(dana), file=arrival.files.first())
    run_jobs()
    assert outcomes(arrival) == {"a": "imported", "b": "interrupted"}


def test_full_disk_is_said_of_the_file_and_the_rest_goes_on(dana: Any, run_jobs: Run, monkeypatch: Any) -> None:
    real = storage.keep

    def keep(**given: Any) -> Any:
        if given["size"] > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(**given)

    small, large = samples.picture("PNG", size=(8, 8)), samples.picture("BMP", size=(200, 200))
    arrival = send(dana, {"z.zip": samples.packed({"large": large, "small": small})})
    monkeypatch.setattr(storage, "keep", keep)
    run_jobs()
    assert outcomes(arrival) == {"z.zip": "imported", "large": "disk_full", "small": "imported"}
    monkeypatch.setattr(storage, "keep", real)
    row = arrival.files.get(name="large")
    assert services.can_retry(row), "the archive is kept as long as it is the only one that has the content"
    services.try_again(actor=actor(dana), file=row)
    run_jobs()
    assert outcomes(arrival) == {"z.zip": "imported", "large": "imported", "small": "imported"}
    assert arrival.files.get(name="z.zip").original is None


def test_full_disk_while_sending(dana: Any, run_jobs: Run, monkeypatch: Any) -> None:
    def keep(**given: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "keep", keep)
    arrival = send(dana, {"a": b"a note\n"})
    run_jobs()
    assert outcomes(arrival) == {"a": "disk_full"} and not services.can_retry(arrival.files.get())


def test_discarding_deletes_the_content_and_keeps_the_reason(dana: Any, run_jobs: Run) -> None:
    broken = samples.picture("PNG")[:-20]
    arrival = send(dana, {"a": broken})
    other = send(dana, {"b": broken})
    run_jobs()
    first, second = arrival.files.get(), other.files.get()
    path = first.original.path
    assert services.discard(actor=actor(dana), files=[first]) == 1
    assert services.discard(actor=actor(dana), files=[first]) == 0
    assert default_storage.exists(path), "the other arrival still has it"
    services.discard_all(actor=actor(dana), arrival=other)
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.discarded_at is not None and first.code == "truncated" and second.original is None
    with pytest.raises(services.ArrivalRefused):
        services.try_again(actor=actor(dana), file=first)


@pytest.mark.django_db(transaction=True)
def test_discarded_content_is_gone_from_the_disk(dana: Any, run_jobs: Run) -> None:
    arrival = send(dana, {"a": samples.picture("PNG")[:-20]})
    run_jobs()
    row = arrival.files.get()
    path = row.original.path
    services.discard(actor=actor(dana), files=[row])
    assert not default_storage.exists(path)


def test_no_patient_data_in_the_audit_log(dana: Any, run_jobs: Run) -> None:
    files = {"Wang Xiaoming.txt": b"Wang Xiaoming was here.\nHe is well.\n", "Wang Xiaoming.png": b"x"}
    arrival = send(dana, files, known=["Wang Xiaoming"])
    run_jobs()
    services.discard_all(actor=actor(dana), arrival=arrival)
    events = list(AuditEvent.objects.all())
    assert {e.action for e in events} >= {"arrival.received", "arrival.sorted_out"}
    said = " ".join(f"{e.object_label} {e.detail} {e.action}" for e in events) + " ".join(
        f"{job.title} {job.result}" for job in Job.objects.all()
    )
    assert "Wang" not in said and "Xiaoming" not in said


def test_encrypted_zip_and_one_that_is_cut_off(dana: Any, run_jobs: Run) -> None:
    archive = samples.packed({"a.txt": b"a note\n", "b.txt": b"another\n"})
    locked = bytearray(archive)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.find(mark) + place] |= 1
    arrival = send(dana, {"locked.zip": bytes(locked), "cut.zip": archive[:-30]})
    run_jobs()
    assert outcomes(arrival) == {"locked.zip": "imported", "cut.zip": "truncated", "a.txt": "encrypted", "b.txt": "imported"}


def test_gzip_is_unpacked(dana: Any, run_jobs: Run) -> None:
    import gzip

    png = samples.picture("PNG")
    inner = samples.packed({"q.gz": gzip.compress(samples.picture("BMP"))})
    arrival = send(dana, {"p.png.gz": gzip.compress(png), "z.zip": inner})
    run_jobs()
    assert outcomes(arrival) == {"p.png.gz": "imported", "p.png": "imported", "z.zip": "imported", "q.gz": "imported"}
    assert content(arrival.files.get(name="p.png")) == png


def test_archive_with_names_of_chinese_windows(dana: Any, run_jobs: Run) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("XXXXXXXX.png", samples.picture("PNG"))
    raw = out.getvalue().replace(b"XXXXXXXX", "胸部影像".encode("gb18030"))
    arrival = send(dana, {"z.zip": raw})
    run_jobs()
    assert "胸部影像.png" in outcomes(arrival)
