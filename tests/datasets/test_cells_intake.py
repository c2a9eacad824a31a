"""Zips of files on their way into records: a table beside the files, one folder a class, and what goes wrong."""

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test import TestCase
from django.utils import timezone

from datasets import intake
from datasets.cells import store
from datasets.cells.models import CellFile, RecordFile
from datasets.models import Dataset, Record, StoredFile, Upload
from tests.conftest import actor

CLASSES = ("platelets", "rbc", "wbc")


def cells_of(folder: Path, each: int, start: int = 0) -> list[tuple[str, str, bytes]]:
    """(class, name, content) of real blood cells, `each` of every class."""
    found = []
    for name in CLASSES:
        paths = sorted((folder / "bccd_blood_cells" / "images" / name).glob("*.png"))
        paths = paths[start :: len(paths) // (each + 1)][:each]  # from all over: neighbours are cut from one picture
        found += [(name, p.name, p.read_bytes()) for p in paths]
    return found


def zipped(parts: dict[str, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # without the time: the same files make the same zip
    stream.seek(0)
    return stream


def of_classes(cells: list[tuple[str, str, bytes]], root: str = "cells/") -> io.BytesIO:
    return zipped({f"{root}{label}/{name}": content for label, name, content in cells} | {f"{root}README.txt": b"read me"})


def with_table(cells: list[tuple[str, str, bytes]], more: dict[str, bytes] | None = None, extra: str = "") -> io.BytesIO:
    """A table with fields beside pictures."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["patient", "age", "note", "film", "label"])
    for number, (label, name, _content) in enumerate(cells):
        rows.writerow([name.rsplit("_", 1)[0], 30 + number % 40, f"smear {number} seen", f"films/{name}", label])
    text.write(extra)
    return zipped({"table.csv": text.getvalue().encode()} | {f"films/{n}": c for _l, n, c in cells} | (more or {}))


def received(person: Any, stream: io.BytesIO, dataset: Any = None, name: str = "cells.zip") -> Upload:
    return intake.receive(actor=actor(person), file=stream, name=name, dataset=dataset)


def imported(person: Any, run_jobs: Any, stream: io.BytesIO, dataset: Any = None, **more: Any) -> Upload:
    upload = received(person, stream, dataset)
    if dataset is None:
        more.setdefault("new_dataset_name", "Blood cells")
    intake.confirm(actor=actor(person), upload=upload, **more)
    run_jobs()
    upload.refresh_from_db()
    assert upload.job is not None
    assert upload.job.is_terminal, upload.job.error_engineer
    return upload


def test_folders_are_classes(dana: Any, run_jobs: Any, shared_data: Path) -> None:
    cells = cells_of(shared_data, 12)
    upload = received(dana, of_classes(cells))
    columns = {c["name"]: (c["kind"], c["role"]) for c in upload.preview["columns"]}
    assert columns == {"image": ("image", "feature"), "label": ("category", "target"), "patient": ("category", "patient")}
    codes = {w["code"] for w in upload.preview["warnings"]}
    assert {"folders_are_classes", "patients_of_files"} <= codes
    assert upload.preview["files"]["named"] == 36
    assert upload.preview["files"]["missing"] == upload.preview["files"]["unused"] == upload.preview["files"]["refused"] == 0
    intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="Blood cells")
    run_jobs()
    upload.refresh_from_db()
    assert (upload.state, upload.rows_added, upload.rows_refused) == ("imported", 36, 0)
    assert Counter(Record.objects.values_list("target", flat=True)) == dict.fromkeys(CLASSES, 12)
    contents = {hashlib.sha256(content).hexdigest(): (label, name) for label, name, content in cells}
    for record in Record.objects.prefetch_related("files__file"):
        label, name = contents[record.values["image"]]
        pointer = record.files.get()
        assert (record.target, pointer.name, pointer.column) == (label, name, "image")
        assert record.patient_key == name.rsplit("_", 1)[0]  # the picture that the crop was cut from
        with default_storage.open(pointer.file.path, "rb") as stream:
            assert hashlib.sha256(stream.read()).hexdigest() == record.values["image"]


def test_same_zip_again_changes_nothing(dana: Any, run_jobs: Any, shared_data: Path) -> None:
    cells = cells_of(shared_data, 5)
    first = imported(dana, run_jobs, of_classes(cells))
    kept = StoredFile.objects.exclude(path="")  # an archive's own row stays, without content
    before = (Record.objects.count(), RecordFile.objects.count(), CellFile.objects.count(), kept.count())
    assert kept.count() == 15
    again = imported(dana, run_jobs, of_classes(cells), dataset=first.dataset)
    assert (again.rows_added, again.rows_duplicate) == (0, 15)
    assert before == (Record.objects.count(), RecordFile.objects.count(), CellFile.objects.count(), kept.count())


def test_table_beside_files_says_what_is_missing_unused_and_refused(dana: Any, run_jobs: Any, shared_data: Path) -> None:
    cells = cells_of(shared_data, 4)
    half = cells[0][2][: len(cells[0][2]) // 2]
    more = {"films/nobody.png": cells[0][2], "films/broken.png": half, "films/notes.exe": b"MZ" + bytes(500)}
    extra = "P1,50,lost,films/lost.png,rbc\nP2,51,cut,films/broken.png,rbc\nP3,52,strange,films/notes.exe,wbc\n"
    upload = received(dana, with_table(cells, more, extra))
    film = next(c for c in upload.preview["columns"] if c["name"] == "film")
    assert (film["kind"], film["role"]) == ("image", "feature")
    files = upload.preview["files"]
    assert (files["missing"], files["missing_examples"]) == (1, ["films/lost.png"])
    assert (files["unused"], files["unused_examples"]) == (1, ["films/nobody.png"])
    assert [r["name"] for r in files["refused_examples"]] == ["films/notes.exe"]
    assert StoredFile.objects.count() == 1  # the zip alone: nothing is taken in before the confirmation
    intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="Mixed")
    run_jobs()
    upload.refresh_from_db()
    assert (upload.state, upload.rows_added, upload.rows_refused) == ("imported", 12, 3)
    assert upload.report["files"]["taken"] == 12
    assert {r["name"] for r in upload.report["files"]["refused_examples"]} == {"films/broken.png", "films/notes.exe"}
    assert upload.report["files"]["unused_examples"] == ["films/nobody.png"]
    with default_storage.open(upload.refused_file.path, "rb") as stream:  # type: ignore[union-attr]
        reasons = [row for row in csv.DictReader(io.TextIOWrapper(stream, "utf-8-sig"))]
    assert [(r["row"], r["column"]) for r in reasons] == [("14", "film"), ("15", "film"), ("16", "film")]
    assert "lost.png" in reasons[0]["reason"] and "cut off" in reasons[1]["reason"]
    assert CellFile.objects.count() == 12


def test_nothing_is_imported_when_all_or_nothing_was_asked_for(dana: Any, run_jobs: Any, shared_data: Path) -> None:
    stream = with_table(cells_of(shared_data, 2), None, "P1,50,lost,films/lost.png,rbc\n")
    upload = imported(dana, run_jobs, stream, keep_good_rows=False)
    assert (upload.state, upload.rows_refused) == ("failed", 1)
    assert Record.objects.count() == RecordFile.objects.count() == 0
    assert store.forget_unused() == 0  # another upload could just be taking them
    paths = list(CellFile.objects.values_list("file__path", flat=True))
    CellFile.objects.update(created_at=timezone.now() - 2 * store.KEPT_UNUSED)
    with TestCase.captureOnCommitCallbacks(execute=True):
        assert store.forget_unused() == 6  # what was taken in for nothing goes
    assert len(paths) == 6
    assert not any(default_storage.exists(path) for path in paths)


def test_files_are_found_by_path_by_name_and_without_their_ending(dana: Any, run_jobs: Any, shared_data: Path) -> None:
    (_l, first, a), (_m, second, b), (_n, third, c) = cells_of(shared_data, 1)
    table = f"film,label\n.\\deep\\{first},x\n{second.upper()},y\n{third.removesuffix('.png')},x\n"
    parts = {"data/table.csv": table.encode(), f"data/deep/{first}": a, f"data/{second}": b, f"other/{third}": c}
    upload = imported(dana, run_jobs, zipped(parts))
    assert (upload.rows_added, upload.rows_refused) == (3, 0)


def test_a_name_that_is_not_unique_or_leaves_the_zip_is_refused(dana: Any, run_jobs: Any, shared_data: Path) -> None:
    (_l, name, a), (_m, _s, b), *_ = cells_of(shared_data, 1)
    good = "".join(f"b/{name},x{n}\n" for n in range(6))
    table = f"film,label\n{name},x\na/{name},y\n/etc/passwd,x\n../../manage.py,x\n{good}"
    upload = imported(dana, run_jobs, zipped({"t.csv": table.encode(), f"a/{name}": a, f"b/{name}": b}))
    assert (upload.rows_added, upload.rows_refused) == (7, 3)
    assert Record.objects.get(target="y").values["film"] == hashlib.sha256(a).hexdigest()


def test_each_file_its_own_patient_when_names_do_not_tell(dana: Any, shared_data: Path) -> None:
    cells = [(label, f"cell{n}.png", c) for n, (label, _name, c) in enumerate(cells_of(shared_data, 4))]
    upload = received(dana, of_classes(cells, root=""))
    assert [c["name"] for c in upload.preview["columns"]] == ["image", "label"]
    told = next(w for w in upload.preview["warnings"] if w["code"] == "patients_of_files")
    assert "patient of its own" in told["message"]


@pytest.mark.parametrize(
    ("path", "patient"),
    [("{label}/pat{n}/a{i}.png", "pat{n}"), ("x/{label}/patient-0{n}_view{i}.png", "patient0{n}")],
)
def test_names_tell_patients(dana: Any, run_jobs: Any, shared_data: Path, path: str, patient: str) -> None:
    cells = cells_of(shared_data, 4)
    parts = {path.format(label=label, n=i // 2, i=i): c for i, (label, _name, c) in enumerate(cells)}
    upload = imported(dana, run_jobs, zipped(parts))
    keys = set(Record.objects.filter(upload=upload).values_list("patient_key", flat=True))
    assert keys == {patient.format(n=i // 2) for i in range(len(cells))}


def test_folders_called_train_and_test_are_no_classes(dana: Any, shared_data: Path) -> None:
    cells = cells_of(shared_data, 4)
    parts = {f"{'train' if i % 2 else 'test'}/{label}/c{i}.png": c for i, (label, _n, c) in enumerate(cells)}
    upload = received(dana, zipped(parts))
    assert {row[1] for row in upload.preview["rows"]} == set(CLASSES)
    assert "senders_split" in {w["code"] for w in upload.preview["warnings"]}


def test_erasing_a_patient_deletes_files_that_no_other_record_needs(
    dana: Any, alice: Any, run_jobs: Any, shared_data: Path
) -> None:
    from datasets.erasure import erase_patient, preview_erasure

    (_l, _n, own), (_m, _o, shared), *_ = cells_of(shared_data, 1)
    table = b"patient,film,other,label\nA,own.png,shared.png,x\nB,third.png,shared.png,y\n"
    third = cells_of(shared_data, 1, start=3)[0][2]
    parts = {"t.csv": table, "own.png": own, "shared.png": shared, "third.png": third}
    upload = imported(dana, run_jobs, zipped(parts))
    assert upload.rows_added == 2
    dataset = Dataset.objects.get()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items() if name != "t.csv"}
    paths = {name: StoredFile.objects.get(sha256=sha256).path for name, sha256 in hashes.items()}
    assert preview_erasure(dataset=dataset, patient_key="A").files == 2
    with TestCase.captureOnCommitCallbacks(execute=True):
        erase_patient(actor=actor(alice), dataset=dataset, patient_key="A", reason="asked for")
    assert not default_storage.exists(paths["own.png"])
    assert default_storage.exists(paths["shared.png"])
    assert default_storage.exists(paths["third.png"])
    assert not CellFile.objects.filter(name="own.png").exists()
    assert not StoredFile.objects.filter(sha256=hashlib.sha256(own).hexdigest()).exists()
    upload.refresh_from_db()  # its zip is gone whole, and with it what its row told of names
    assert "png" not in json.dumps([upload.preview, upload.report, upload.options, upload.original_name])


def test_record_over_the_service_points_to_a_file_of_its_own_organisation(dana: Any, charlie: Any, shared_data: Path) -> None:
    from datasets.records import RecordRefused, add_record
    from datasets.services import create_dataset

    (_l, name, content), *_ = cells_of(shared_data, 1)
    cell = store.take_in(actor=actor(dana), file=io.BytesIO(content), name=f"../../{name}")
    assert cell.name == name
    columns = [{"name": "film", "kind": "image"}, {"name": "label", "kind": "category", "role": "target"}]
    for person, works in ((dana, True), (charlie, False)):
        dataset = create_dataset(actor=actor(person), name="Films", columns=columns)
        values = {"film": cell.file.sha256, "label": "x"}
        if works:
            record, created = add_record(actor=actor(person), dataset=dataset, values=values, source="api")
            assert created
            assert record.files.get().file == cell.file
        else:
            with pytest.raises(RecordRefused) as refused:
                add_record(actor=actor(person), dataset=dataset, values=values, source="api")
            assert list(refused.value.errors) == ["film"]
    video = create_dataset(actor=actor(dana), name="Clips", columns=[{"name": "clip", "kind": "video"}])
    with pytest.raises(RecordRefused, match="image"):
        add_record(actor=actor(dana), dataset=video, values={"clip": cell.file.sha256}, source="api")


def test_export_names_files_and_its_zip_is_the_same_records(dana: Any, run_jobs: Any, shared_data: Path) -> None:
    from datasets.export import export

    cells = cells_of(shared_data, 3)
    dataset = imported(dana, run_jobs, with_table(cells)).dataset
    assert dataset is not None
    hashes = [f"{hashlib.sha256(content).hexdigest()}.png" for _label, _name, content in cells]
    text = b"".join(export(actor=actor(dana), dataset=dataset, form="csv")).decode("utf-8-sig")
    assert [row["film"] for row in csv.DictReader(io.StringIO(text))] == hashes
    packed = io.BytesIO(b"".join(export(actor=actor(dana), dataset=dataset, form="zip")))
    assert sorted(zipfile.ZipFile(packed).namelist()) == sorted(["table.csv", *(f"files/{name}" for name in hashes)])
    packed.seek(0)
    again = imported(dana, run_jobs, packed, dataset=dataset)
    assert (again.rows_added, again.rows_duplicate, again.rows_refused) == (0, 9, 0)


def test_a_killed_attempt_goes_on_with_the_files_that_are_left(
    dana: Any, run_jobs: Any, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.cells import arriving
    from datasets.readers.table import open_table
    from datasets.storage import local
    from jobs import lease
    from jobs.context import JobContext

    upload = received(dana, of_classes(cells_of(shared_data, 4)))
    job = intake.confirm(actor=actor(dana), upload=upload, new_dataset_name="Blood cells")
    upload.refresh_from_db()
    assert upload.dataset is not None
    assert lease.claim(job.pk, "tests")
    job.refresh_from_db()
    kept: list[str] = []
    real = store.keep

    def keep(**given: Any) -> Any:
        if len(kept) == 5:
            raise KeyboardInterrupt  # as abrupt as a kill
        kept.append(given["name"])
        return real(**given)

    def take() -> Any:
        files = arriving.Arriving(JobContext(job, owner="tests"), upload)
        with local(upload.file) as path, open_table(path, upload.options) as table:
            files.take_in(path, table, {0: upload.dataset.columns.get(name="image")})  # type: ignore[union-attr]
        return files

    monkeypatch.setattr(store, "keep", keep)
    with pytest.raises(KeyboardInterrupt):
        take()
    notes = JobContext(job, owner="tests").folder / "files.jsonl"
    with notes.open("a", encoding="utf-8") as stream:
        stream.write('{"name": "cut')  # the line that the kill has cut
    first, kept[:] = list(kept), []
    monkeypatch.setattr(store, "keep", lambda **given: kept.append(given["name"]) or real(**given))
    done = take()
    assert (len(first), len(kept)) == (5, 7)
    assert not set(first) & set(kept)
    assert (done.report["taken"], CellFile.objects.count()) == (12, 12)
