"""A cell made of many files: DICOM series in any folders, WFDB records; what a person is told of them, and what is refused."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase
from django.urls import reverse

from accounts.models import AuditEvent
from datasets import intake
from datasets.cells import notes, store
from datasets.cells.models import CellFile, RecordFile
from datasets.dicom.models import PatientKey
from datasets.models import Record, StoredFile
from engine import packs
from engine.signals.readers import read_signal
from engine.volumes import read_volume
from tests.conftest import actor
from tests.datasets.dicom.files import TEST_FILES
from tests.datasets.given_series import NAMES, changed, series_of, wfdb
from tests.datasets.test_cells_intake import imported, received, zipped

pytestmark = pytest.mark.django_db


def kept(cell: CellFile) -> Path:
    return Path(default_storage.path(cell.file.path))


def taken(person: Any, parts: dict[str, bytes]) -> CellFile:
    return store.take_in(actor=actor(person), file=zipped(parts), name="study.zip")


def refused(person: Any, parts: dict[str, bytes]) -> store.NotACell:
    with pytest.raises(store.NotACell) as error:
        taken(person, parts)
    assert not StoredFile.objects.exists()
    return error.value


def named(files: Sequence[bytes], folder: str = "a/b") -> dict[str, bytes]:
    return {f"{folder}/IM{k:04d}": file for k, file in enumerate(files)}


def test_a_zip_of_a_series_is_one_volume_without_its_patient(dana: Any) -> None:
    files = series_of(6)
    directory = (TEST_FILES / "dicomdirtests" / "DICOMDIR").read_bytes()
    disc = {"DICOMDIR": directory, "README.txt": b"a viewer", "AUTORUN.INF": b"[x]"}
    cell = taken(dana, {**disc, **named(files)})
    assert (cell.kind, cell.form) == ("volume", packs.SERIES)
    content = kept(cell).read_bytes()
    assert not any(name in content for name in NAMES)
    key = PatientKey.objects.get()
    assert cell.pseudonym == key.pseudonym and cell.name == f"{key.pseudonym}.zip"
    volume = read_volume(kept(cell))
    assert volume.known and volume.spacing == (0.5, 0.5, 2.5)
    place = np.unravel_index(volume.values.argmax(), volume.values.shape)
    assert place[0] > 16 and place[1] > 16 and place[2] >= 3  # the patient's right, the front, the head
    # The same slices in another order, in other folders and under other names are the same cell.
    again = taken(dana, {f"x/{k % 2}/{9 - k}.dcm": file for k, file in enumerate(reversed(files))})
    assert again.pk == cell.pk and StoredFile.objects.count() == 1
    assert notes.texts(cell.notes) == ["Files that are no slices of a series and were left out: 2."]


def test_a_disc_of_pydicom_gives_its_series_beside_its_localizers(dana: Any) -> None:
    folder = TEST_FILES / "dicomdirtests" / "98892001"
    cell = taken(dana, {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert len(packs.opened(kept(cell)).members) == 5
    assert notes.texts(cell.notes) == ["Other series of fewer than 4 slices (localizers) that were left out: 1."]


def test_what_is_made_of_odd_series_is_said(dana: Any) -> None:
    files = series_of(9)
    odd = [*files[:4], *files[6:], files[0]]  # two are missing, one came twice
    other = changed(files[1], SOPInstanceUID="1.2.3.4", ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    phase = changed(files[2], SOPInstanceUID="1.2.3.5", InstanceNumber=99)
    cell = taken(dana, named([*odd, other, phase]))
    assert {note["code"]: note["count"] for note in cell.notes} == {"copies": 1, "other_stacks": 1, "repeated": 1, "gaps": 2}
    assert "Slices that seem to be missing: 2." in " ".join(notes.texts(cell.notes))
    assert read_volume(kept(cell)).values.shape[2] == 9


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: series_of(4) + series_of(5), "several_series"),
        (lambda: [changed(f, ImagePositionPatient=[0, 0, 0]) for f in series_of(5)], "one_place"),
        (lambda: [series_of(1)[0], changed(series_of(1)[0], ImagePositionPatient=[0, 0, 9])], "several_series"),
        (lambda: [file[:-600] if not k else file for k, file in enumerate(series_of(4))], "wrong_size"),
        (lambda: [p.read_bytes() for p in (TEST_FILES / "dicomdirtests" / "77654033" / "CT2").iterdir()], "slices_missing"),
    ],
)
def test_what_cannot_be_one_volume_is_refused_with_a_sentence(dana: Any, make: Any, code: str) -> None:
    error = refused(dana, named(make()))
    assert str(error).endswith(".") and "Quillfeather" not in str(error)
    assert error.code == code


def test_slices_of_two_patients_are_refused(dana: Any) -> None:
    own = series_of(6, uid="1.2.826.0.1.3680043.8.498.1")
    mixed = [*own[:3], *(changed(f, PatientID="MRN-2", PatientName="Other^One") for f in own[3:])]
    assert refused(dana, named(mixed)).code == "several_patients"


def test_a_slice_that_may_show_text_refuses_the_series(dana: Any) -> None:
    own = series_of(4)
    error = refused(dana, named([*own[:3], changed(own[3], BurnedInAnnotation="YES")]))
    assert str(error).startswith("Slice 4 of 4: ")


def test_a_wfdb_record_is_a_signal_without_what_its_header_tells_of_the_patient(dana: Any) -> None:
    cell = taken(dana, {f"rec/{name}": content for name, content in wfdb().items()})
    assert (cell.kind, cell.form, cell.name) == ("signal", packs.WFDB, "p17.hea")
    recording = read_signal(kept(cell))
    assert recording.names == ("ii", "v5") and recording.values.shape == (2, 1000)
    assert not any(name in kept(cell).read_bytes() for name in (*NAMES, b"p17", b"2026"))


def of_classes() -> dict[str, bytes]:
    """Two series of two patients in one class, two of one patient in the other."""
    parts = named(series_of(4, patient="A"), "healthy/anna/s1") | named(series_of(5, patient="B"), "healthy/ben/s1")
    parts |= named(series_of(4, patient="C", bright=4000), "ill/carl/s1")
    return parts | named(series_of(4, patient="C", bright=4000), "ill/carl/s2")


def test_folders_of_classes_hold_one_record_a_series(dana: Any, run_jobs: Any, client_of: Any) -> None:
    upload = received(dana, zipped(of_classes()))
    assert [c["kind"] for c in upload.preview["columns"]] == ["volume", "category", "category"]
    assert upload.preview["rows"][0][0] == "healthy/anna/s1" and upload.preview["files"]["unused"] == 0
    assert any("4 DICOM series" in str(w) for w in upload.preview["warnings"])
    upload = imported(dana, run_jobs, zipped(of_classes()))
    assert (upload.rows_added, upload.rows_refused) == (4, 0), upload.report
    assert [r.patient_key for r in Record.objects.order_by("pk")] == ["anna", "ben", "carl", "carl"]
    assert RecordFile.objects.count() == 4
    for row in RecordFile.objects.select_related("record", "file__cell"):
        assert row.record.values["volume"] == row.file.sha256 and row.file.cell.kind == "volume"
    page = client_of(dana).get(reverse("datasets:record", args=[upload.dataset_id, Record.objects.first().pk])).content
    assert b"data-viewer" in page


def test_patients_that_names_do_not_tell_are_told_by_headers(dana: Any) -> None:
    parts = named(series_of(4, patient="A"), "healthy")
    parts |= {f"ill/x{name[8:]}": f for name, f in named(series_of(4, patient="A"), "healthy").items()}
    parts |= {f"ill/y{name[8:]}": f for name, f in named(series_of(4, patient="B"), "healthy").items()}
    rows = received(dana, zipped(parts)).preview["rows"]
    names = [row[2] for row in rows]
    assert names[0] == names[1] != names[2] and all(name.startswith("patient-") for name in names)


def table(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def test_a_table_names_a_series_by_folder_file_or_uid_and_a_recording_by_its_record(dana: Any, run_jobs: Any) -> None:
    uid = "1.2.826.0.1.3680043.8.498.42"
    parts = named(series_of(4, patient="A"), "scans/a") | named(series_of(4, patient="B"), "scans/b")
    parts |= {f"ecg/{n}": c for n, c in (wfdb(name="e1") | wfdb(beat=0.5, name="e2") | wfdb(beat=0.7, name="e3")).items()}
    parts |= named(series_of(4, patient="C", uid=uid), "scans/c")
    rows = [["scan", "ecg", "label"], ["scans/a", "e1", "x"], ["scans/b/IM0002", "ecg/e2.hea", "y"], [uid, "e3.dat", "x"],
            ["scans", "e1", "y"], ["scans/z", "e1", "y"]]  # fmt: skip
    upload = received(dana, zipped({"table.csv": table(rows), **parts}))
    assert [c["kind"] for c in upload.preview["columns"]] == ["volume", "signal", "category"]
    assert upload.preview["files"]["missing_examples"] == ["scans/z"]
    upload = imported(dana, run_jobs, zipped({"table.csv": table(rows), **parts}))
    assert (upload.rows_added, upload.rows_refused) == (3, 2), upload.report
    kinds = {(row.column, row.file.cell.form) for row in RecordFile.objects.select_related("file__cell")}
    assert kinds == {("scan", packs.SERIES), ("ecg", packs.WFDB)}
    with default_storage.open(upload.refused_file.path) as stream:
        report = stream.read().decode()
    assert "These files hold 3 series (with 4, 4, 4 slices)" in report and "holds no file “scans/z”" in report


def test_a_table_of_the_slices_of_a_series_means_pictures(dana: Any) -> None:
    rows = [["picture", "label"], *([f"s/IM{k:04d}", "ab"[k % 2]] for k in range(4))]
    upload = received(dana, zipped({"table.csv": table(rows), **named(series_of(4), "s")}))
    assert [c["kind"] for c in upload.preview["columns"]] == ["image", "category"]


def test_over_rest_a_series_comes_as_several_parts_or_a_zip(dana: Any, api_of: Any, settings: Any) -> None:
    files = series_of(4)
    sent = [SimpleUploadedFile(f"{k}.dcm", file) for k, file in enumerate(files)]
    answer = api_of(dana).post("/api/v1/files/", {"file": sent}, format="multipart")
    assert answer.status_code == 201, answer.content
    assert (answer.json()["kind"], answer.json()["format"], answer.json()["notes"]) == ("volume", packs.SERIES, [])
    packed = SimpleUploadedFile("s.zip", zipped(named(files)).getvalue())
    again = api_of(dana).post("/api/v1/files/", {"file": packed}, format="multipart")
    assert again.json()["id"] == answer.json()["id"]
    pair = [SimpleUploadedFile(name, content) for name, content in wfdb().items()]
    assert api_of(dana).post("/api/v1/files/", {"file": pair}, format="multipart").json()["format"] == packs.WFDB
    strange = [SimpleUploadedFile("a.png", b"\x89PNG\r\n\x1a\n"), SimpleUploadedFile("b.csv", b"1,2\n3,4\n")]
    answer = api_of(dana).post("/api/v1/files/", {"file": strange}, format="multipart")
    assert answer.status_code == 422 and "are no one cell" in answer.json()["detail"]


def test_erasing_takes_the_series_and_the_patients_key(dana: Any, run_jobs: Any) -> None:
    from datasets.erasure import erase_patient

    upload = imported(dana, run_jobs, zipped(of_classes()))
    record = Record.objects.get(patient_key="anna")
    pointer = record.files.get()
    path, before = kept(pointer.file.cell), PatientKey.objects.count()
    with TestCase.captureOnCommitCallbacks(execute=True):
        erase_patient(actor=actor(dana), dataset=upload.dataset, patient_key="anna", reason="asked for")
    assert not path.exists() and PatientKey.objects.count() == before - 1


def test_the_viewer_opens_a_series_by_reading_one_slice(dana: Any, client_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.viewer.series import Slices

    cell = taken(dana, named(series_of(6)))
    read: list[str] = []
    own = packs.Member.read
    monkeypatch.setattr(packs.Member, "read", lambda self, most=None: read.append(self.name) or own(self, most))
    look = Slices(kept(cell))
    found = look.about()
    look.frame("frames", 5)
    assert read == ["00004.dcm", "00006.dcm"]
    plane = found.planes[0]
    assert (plane.count, plane.start, plane.spacing, plane.marks) == (6, 3, (0.5, 0.5), ("R", "L", "A", "P"))
    assert found.more and found.hounsfield
    planes = {p.name: p for p in look.about(True).planes}
    assert planes["coronal"].spacing == (0.5, 2.5) and planes["coronal"].marks == ("R", "L", "S", "I")


def test_a_series_that_may_show_a_name_comes_in_once_a_person_has_looked(dana: Any, run_jobs: Any, client_of: Any) -> None:
    """One slice in which text was seen refuses the series, until whoever confirms the upload says that they have looked."""
    parts = named(series_of(5, BurnedInAnnotation="YES"), "scans/p1")
    archive = {"table.csv": table([["scan", "age"], ["scans/p1", "61"]]), **parts}
    upload = imported(dana, run_jobs, zipped(archive))
    assert (upload.rows_added, upload.rows_refused) == (0, 1) and not CellFile.objects.exists()
    again = received(dana, zipped(archive))
    address = reverse("datasets:preview", args=[again.pk])
    page = client_of(dana).get(address).content.decode()
    assert "I have looked at the DICOM pictures" in page and 'name="looked" checked' not in page
    intake.confirm(actor=actor(dana), upload=again, new_dataset_name="Scans", looked=True)
    run_jobs()
    again.refresh_from_db()
    assert (again.rows_added, again.rows_refused) == (1, 0), again.report
    assert CellFile.objects.get().form == packs.SERIES
    assert AuditEvent.objects.filter(action="dicom.pixels_checked", actor_user=dana).count() == 1, "one decision, five slices"
    assert AuditEvent.objects.filter(action="upload.confirmed", actor_user=dana).latest("pk").detail["looked"] is True
