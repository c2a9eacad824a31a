"""What the pictures of importers, arrivals and the viewer show: made on a fresh portal over REST, without a training."""

import csv
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ai_mass as am
from demo import data
from demo.processes import until
from demo.story import EXAMPLES, ensure_dataset

LABORATORY, WARD, BRANCH = "Laboratory, nightly", "Ultrasound of the ward", "Laboratory of the branch"
COLUMNS = [{"name": "patient", "role": "patient", "kind": "category"}, {"name": "diagnosis", "role": "target"}]


def put(path: Path, write: Callable[[Path], Any]) -> None:
    """As it lies there when nobody works on it any more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    os.utime(path, (time.time() - 3600,) * 2)


def table(path: Path, first: int, count: int, wrong: int = 0) -> None:
    """Made-up laboratory values; the first `wrong` have a word where a number should be."""
    chance = random.Random(first)
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["patient", "taken", "age", "crp", "leucocytes", "diagnosis"])
        for number in range(first, first + count):
            ill = chance.random() < 0.4
            crp = "haemolytic" if number < first + wrong else f"{chance.gauss(80 if ill else 8, 6):.1f}"
            day = f"2026-10-{1 + number % 28:02d}"
            blood = f"{chance.gauss(9, 2):.1f}"
            rows.writerow([f"P{number:05d}", day, 20 + number % 70, crp, blood, "sepsis" if ill else "no sepsis"])


# Made-up people; their notes name them in the ways that records do.
NOTES = [
    ("Z0012345", "王小明", "1980-05-03", "pneumonia",
     "患者王小明，男，住院号 Z-001-2345，1980年5月3日出生，手机 13800138000。咳嗽三天，发热。"),
    ("Z0012346", "Peter Jones", "1946-06-07", "pneumonia",
     "Mr Jones (Z0012346), born 7 June 1946: cough for three days, fever, crackles."),
    ("Z0012347", "Anna White", "1990-07-08", "healthy",
     "White blood cells rose. Anna White denies pain; call 010-65881234 for results."),
    ("Z0012348", "欧阳娜", "1985-09-10", "healthy",
     "姓名：欧阳娜 身份证号：11010519491231002X 家庭住址：北京市朝阳区建国路88号；体检无异常，无不适主诉。"),
]  # fmt: skip


def notes(client: am.Client, folder: Path, name: str) -> dict[str, Any]:
    """A table of notes, uploaded and not yet imported."""
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["patient_id", "name", "date_of_birth", "diagnosis", "note"])
        rows.writerows(NOTES)
    return dict(client.post("uploads/", files={"file": (name, path.read_bytes())}))


def importer(client: am.Client, name: str, settings: dict[str, Any], **more: Any) -> str:
    """Added and tested; its address."""
    made = client.post("importers/", {"name": name, "settings": settings, **more})
    address = f"importers/{made['id']}/"
    until(lambda: client.get(f"{address}preview/")["state"] in {"found", "failed"}, f"the test of {name}")
    return address


def ran(client: am.Client, address: str) -> None:
    """Run now, to its end."""
    before = len(client.get(f"{address}runs/")["results"])
    client.post(f"{address}run/", {})

    def ended() -> bool:
        runs = client.get(f"{address}runs/")["results"]
        return len(runs) > before and runs[0]["state"] != "running"

    until(ended, f"the run of {address}")


def make(client: am.Client, folder: Path) -> dict[str, str]:
    """All of it, from files below `folder`; the paths of the pages by their pictures' names."""
    laboratory, ward = folder / "laboratory", folder / "ward"
    put(laboratory / "monday.csv", lambda path: table(path, 0, 240))
    of_folder = {"pattern": "*.csv", "subfolders": False}
    nightly = importer(client, LABORATORY, {"folder": str(laboratory), **of_folder}, kind="folder", treatment="tables")
    client.post(f"{nightly}mapping/", {"columns": COLUMNS, "new_dataset_name": "Laboratory"})
    client.post(f"{nightly}schedule/", {"schedule": "daily", "at": "02:30", "zone": "Europe/Berlin", "quiet_days": 3})
    ran(client, nightly)
    ran(client, nightly)
    put(laboratory / "tuesday.csv", lambda path: table(path, 240, 60, wrong=4))
    ran(client, nightly)
    scans = Path(data.package_file("pydicom", "examples_rgb_color.dcm"))
    put(ward / "sonography.dcm", lambda path: shutil.copyfile(scans, path))
    held = importer(client, WARD, {"folder": str(ward), "pattern": "", "subfolders": True}, kind="folder", treatment="arrival")
    ran(client, held)
    open_ = importer(client, BRANCH, {"folder": str(laboratory), **of_folder}, kind="folder", treatment="tables")
    dataset = ensure_dataset(client, EXAMPLES, folder)["id"]
    record = next(row for row in client.pages(f"datasets/{dataset}/records/") if row["values"].get("scan"))["id"]
    kept = notes(client, folder, "clinic.csv")
    client.post(f"uploads/{kept['id']}/confirm/", {"new_dataset_name": "Notes of the clinic"})
    until(lambda: client.get(f"uploads/{kept['id']}/")["state"] == "imported", "the notes")
    clinic = client.get(f"uploads/{kept['id']}/")["dataset"]
    note = next(iter(client.pages(f"datasets/{clinic}/records/")))["id"]
    shown = notes(client, folder, "ward.csv")["id"]
    run = client.get(f"{nightly}runs/")["results"][0]["id"]
    arrival = until(lambda: client.get("arrivals/")["results"], "the arrival")[0]["id"]
    file = until(lambda: client.get(f"arrivals/{arrival}/files/")["results"], "the file")[0]["id"]
    pages = {
        "importers": "importers/",
        "importer": nightly,
        "importer-run": f"{nightly}runs/{run}/",
        "importer-mapping": f"{open_}look/",
        "upload-masking": f"uploads/{shown}/",
        "upload-masked": f"uploads/{kept['id']}/report/",
        "record-masked": f"{clinic}/records/{note}/",
        "viewer-planes": f"{dataset}/records/{record}/",
        "quarantine-look": f"arrivals/files/{file}/",
    }
    return {name: f"/datasets/{path}" for name, path in pages.items()}
