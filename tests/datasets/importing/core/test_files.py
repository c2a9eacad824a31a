"""An importer of a real folder: what is sorted out, tables by a mapping, pictures by their folders."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.arrivals.models import Arrival, ArrivedFile
from datasets.importing.models import Importer
from datasets.models import Upload
from tests.conftest import actor
from tests.datasets.importing.conftest import held
from tests.datasets.importing.core.conftest import HEADER, Drop, Run, mapped, ran, records

pytestmark = pytest.mark.django_db
Make = Callable[..., Importer]
TABLE = {"mrn": {"role": "patient", "kind": "category"}, "age": {"kind": "number", "role": "feature"},
         "diagnosis": {"kind": "category", "role": "target"}}  # fmt: skip


def table(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


MANY = table(*(f"p{n:03d},{30 + n},{'ill' if n % 3 else 'well'}" for n in range(12)))


def picture(seed: int) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, "PNG")
    return out.getvalue()


def test_files_are_sorted_out_once(of_folder: Make, drop: Drop, alice: Any, run_jobs: Run) -> None:
    drop.put("a/one.png", picture(1))
    drop.put("note.txt", "A short note.\nNothing else.\n")
    row, who = of_folder(), actor(alice)
    assert row.ready
    run = ran(row, who, run_jobs)
    assert (run.state, run.files) == ("done", 2)
    arrival = Arrival.objects.get()
    assert run.deliveries.get().arrival == arrival
    assert sorted(arrival.files.values_list("name", flat=True)) == ["a/one.png", "note.txt"]
    run = ran(row, who, run_jobs)
    assert (run.state, run.files, Arrival.objects.count()) == ("nothing", 0, 1)
    drop.put("two.png", picture(2))
    run = ran(row, who, run_jobs)
    assert (run.files, ArrivedFile.objects.count()) == (1, 3)


def test_a_file_that_could_not_be_read_comes_with_the_next_run(
    of_folder: Make, drop: Drop, alice: Any, run_jobs: Run
) -> None:
    drop.put("one.png", picture(1))
    late = drop.put("two.png", picture(2))
    row, who = of_folder(), actor(alice)
    with held(late):
        run = ran(row, who, run_jobs)
        assert (run.state, run.files, run.faulty_count) == ("done", 1, 1)
        assert run.faulty[0]["where"] == "two.png"
    run = ran(row, who, run_jobs)
    assert (run.files, run.faulty_count) == (1, 0)
    assert sorted(ArrivedFile.objects.values_list("name", flat=True)) == ["one.png", "two.png"]


def test_each_new_table_is_read_by_the_mapping(
    of_folder: Make, drop: Drop, alice: Any, run_jobs: Run
) -> None:
    drop.put("monday.csv", MANY)
    row, who = of_folder("tables"), actor(alice)
    mapped(who, row, run_jobs, TABLE)
    run = ran(row, who, run_jobs)
    assert (run.state, run.files, run.rows_read, run.rows_added) == ("done", 1, 12, 12)
    drop.put("tuesday.csv", "diagnosis;age;mrn\nill;44;p900\nwell;45;p901\n")  # other order, other delimiter
    drop.put("broken.csv", "mrn,diagnosis\np1,ill\np2,well\n")
    drop.put("empty.csv", "")
    run = ran(row, who, run_jobs)
    assert (run.state, run.rows_added, run.faulty_count) == ("done", 2, 2)
    reasons = {one["where"]: one["reason"] for one in run.faulty}
    assert "“age”" in reasons["broken.csv"] and reasons["empty.csv"]
    assert ("p900", 44, "ill") in records(row) and len(records(row)) == 14
    uploads = Upload.objects.count()
    assert ran(row, who, run_jobs).state == "nothing" and Upload.objects.count() == uploads


def test_only_faulty_files_fail_the_run(of_folder: Make, drop: Drop, alice: Any, run_jobs: Run) -> None:
    drop.put("monday.csv", MANY)
    row, who = of_folder("tables"), actor(alice)
    mapped(who, row, run_jobs, TABLE)
    ran(row, who, run_jobs)
    drop.put("broken.csv", "mrn,diagnosis\np1,ill\n")
    run = ran(row, who, run_jobs)
    assert (run.state, run.error_code, run.faulty_count) == ("failed", "all_faulty", 1)
    assert ran(row, who, run_jobs).state == "nothing"  # which mends nothing of what could not be taken
    row.refresh_from_db()
    assert row.failing_since is not None
    drop.put("wednesday.csv", table("p800,40,ill"))
    assert ran(row, who, run_jobs).state == "done"
    row.refresh_from_db()
    assert row.failing_since is None


def test_what_is_sorted_out_decides_how_the_run_ended(
    of_folder: Make, drop: Drop, alice: Any, run_jobs: Run
) -> None:
    drop.put("one.png", picture(1))
    row, who = of_folder(), actor(alice)
    assert ran(row, who, run_jobs).state == "done"
    drop.put("same.png", picture(1))
    run = ran(row, who, run_jobs)
    assert (run.state, run.files) == ("nothing", 1)  # a duplicate is nothing new
    drop.put("what.bin", bytes(range(256)) * 9)
    run = ran(row, who, run_jobs)
    assert (run.state, run.error_code) == ("failed", "all_quarantined")
    row.refresh_from_db()
    assert row.failing_since is not None


def test_erased_patient_does_not_come_back_in_a_table(
    of_folder: Make, drop: Drop, alice: Any, run_jobs: Run, settings: Any
) -> None:
    from datasets.erasure import erase_patient

    drop.put("monday.csv", MANY)
    row, who = of_folder("tables"), actor(alice)
    mapped(who, row, run_jobs, TABLE)
    ran(row, who, run_jobs)
    row.refresh_from_db()
    done = erase_patient(actor=who, dataset=row.dataset, patient_key="p001", reason="asked for it")
    assert 1 in [count for _label, count in done.others]
    settings.SECRET_KEY = "another key of the server, which forgets nobody"
    drop.put("tuesday.csv", table("p001,31,ill", "p950,51,well", "p001,77,well"))
    run = ran(row, who, run_jobs)
    assert (run.state, run.rows_added, run.rows_erased, run.rows_refused) == ("done", 1, 2, 0)
    assert {mrn for mrn, _age, _diagnosis in records(row)} & {"p001", "p950"} == {"p950"}


def test_pictures_become_records_by_their_folders(
    of_folder: Make, drop: Drop, alice: Any, run_jobs: Run
) -> None:
    for number in range(4):
        drop.put(f"{'ill' if number % 2 else 'well'}/patient{number}.png", picture(number))
    row, who = of_folder("cells"), actor(alice)
    target, patient = {"kind": "category", "role": "target"}, {"kind": "category", "role": "patient"}
    columns = {"file": {"kind": "image"}, "label": target, "patient": patient}
    mapped(who, row, run_jobs, columns)
    run = ran(row, who, run_jobs)
    assert (run.state, run.files, run.rows_added) == ("done", 4, 4), (run.error_text, run.faulty)
    row.refresh_from_db()
    assert row.dataset is not None
    labels = row.dataset.records.values_list("target", "patient_key")
    assert sorted(labels) == [
        ("ill", "patient1"),
        ("ill", "patient3"),
        ("well", "patient0"),
        ("well", "patient2"),
    ]
    drop.put("ill/patient9.png", picture(9))  # of one class alone
    run = ran(row, who, run_jobs)
    assert (run.rows_added, row.dataset.records.get(patient_key="patient9").target) == (1, "ill")
    assert row.dataset.records.get(patient_key="patient9").files.count() == 1
    assert ran(row, who, run_jobs).state == "nothing"


def test_missing_folder_is_told(of_folder: Make, drop: Drop, alice: Any, run_jobs: Run) -> None:
    from jobs.models import Job

    row = of_folder()
    run_jobs()
    drop.folder.rmdir()
    from datasets.importing import services

    job = services.run_now(actor=actor(alice), importer=row)
    for _attempt in range(3):  # it may come back: tried again by itself
        run_jobs()
        Job.objects.filter(pk=job.pk, state="queued").update(not_before=None)
    run = row.runs.get()
    assert (run.state, run.error_code) == ("failed", "not_found") and str(drop.folder) in run.error_text
