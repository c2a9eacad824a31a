"""How soon the first frame of a thousand-slice series is there: the viewer's two requests under gunicorn, beside pydicom that
reads and windows one slice and does nothing else, and beside reading all slices, as a viewer without random access has to.

"cold" is the first look after the server's start: the process that decodes is started for it. "warm" looks at other slices, none
of which was drawn before. Bytes are what went to the browser for the first frame.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.database import fresh
from bench.serve import gunicorn
from bench.table import table

HOME = Path(__file__).resolve().parent.parent
SIZE = 512  # pixels of a slice's side


def slices(folder: Path, count: int) -> list[Path]:
    """pydicom's CT_small, four by four beside itself, a slice every millimetre."""
    import numpy as np
    import pydicom
    from pydicom.data import get_testdata_file
    from pydicom.uid import generate_uid

    data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    picture = np.tile(data.pixel_array, (SIZE // data.Rows, SIZE // data.Columns))
    data.Rows = data.Columns = SIZE
    paths = []
    for number in range(count):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.InstanceNumber, data.ImagePositionPatient = number + 1, [0, 0, number]
        data.PixelData = np.roll(picture, number, axis=0).tobytes()
        paths.append(folder / f"{number:05}.dcm")
        data.save_as(paths[-1])
    return paths


def prepare(count: int) -> None:
    """In a process of its own: a record with such a series, and a person who may look at it. Prints where it is."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.test import Client
    from django.urls import reverse

    from accounts.actor import Actor
    from accounts.models import Membership, Organisation, User
    from datasets import storage
    from datasets.cells.models import CellFile, RecordFile
    from datasets.records import add_records
    from datasets.services import create_dataset
    from engine import packs

    call_command("migrate", verbosity=0)
    organisation = Organisation.objects.create(name="Bench")
    user = User.objects.create_user("bench@example.org")
    Membership.objects.create(organisation=organisation, user=user, role="clinician")
    user.last_organisation = organisation
    user.save()
    folder = Path(os.environ["AIMASS_DATA_DIR"]) / "series"
    folder.mkdir()
    packs.write(folder / "pack", packs.SERIES, packs.slices(slices(folder, count)))
    sha256, size = storage.sha256_of(folder / "pack"), (folder / "pack").stat().st_size
    stored = storage.keep(organisation=organisation, path=folder / "pack", sha256=sha256, size=size)
    CellFile.objects.create(file=stored, name="series", kind="volume", form=packs.SERIES)
    actor = Actor(user=user, organisation=organisation)
    columns = [{"name": "scan", "kind": "volume"}, {"name": "age", "kind": "number"}]
    dataset = create_dataset(actor=actor, name="Series", columns=columns)
    add_records(actor=actor, dataset=dataset, rows=[{"scan": sha256, "age": 61}], source="api")
    row = RecordFile.objects.get()
    client = Client()
    client.force_login(user)
    given: dict[str, Any] = {"pk": dataset.pk, "record": row.record_id, "file": row.pk}
    frame = reverse("datasets:record_frame", kwargs={**given, "plane": "frames", "index": 0})
    print(json.dumps({
        "session": client.cookies["sessionid"].value, "look": reverse("datasets:record_look", kwargs=given),
        "frame": frame.rpartition("0")[0], "folder": str(folder), "megabytes": size / 2**20,
    }))  # fmt: skip


def bare(paths: list[Path]) -> list[float]:
    """Milliseconds of each: read, decoded, windowed."""
    import pydicom
    from pydicom.pixels import apply_rescale, apply_windowing

    found = []
    for path in paths:
        began = time.perf_counter()
        data = pydicom.dcmread(path)
        apply_windowing(apply_rescale(data.pixel_array, data), data)
        found.append(1000 * (time.perf_counter() - began))
    return found


def peak() -> float:
    """The peak memory in MB of the largest process below this one, the decoding one included."""
    found = 0.0
    for process in psutil.Process().children(recursive=True):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                found = max(found, float(line.split()[1]) / 1024)
    return found


def measured(rounds: int, count: int) -> str:
    """The table."""
    with fresh("sqlite") as environment:
        environment |= {"PYTHONPATH": str(HOME), "PATH": os.environ["PATH"]}
        made = subprocess.run(
            [sys.executable, "-m", "bench.intake", "--prepare-series", str(count)],
            cwd=HOME, env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        facts = json.loads(made.stdout.strip().splitlines()[-1])
        paths = sorted(Path(facts["folder"]).glob("*.dcm"))
        with (
            gunicorn("aimass_site.wsgi:application", environment) as port,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", cookies={"sessionid": facts["session"]}, timeout=120) as client,
        ):
            cold, sent = _first(client, facts, count // 2)
            warm = [_first(client, facts, (7 * (n + 1)) % count)[0] for n in range(rounds)]
            memory = peak()
        alone = bare(paths[: rounds + 1])[1:]
        began = time.perf_counter()
        bare(paths)
        whole = 1000 * (time.perf_counter() - began)
    one = statistics.median(alone)
    middle = statistics.median(warm)
    kilobytes = f"{sent / 1024:.0f}"
    rows: list[list[Any]] = [
        ["first look after the start", f"{cold:.0f}", f"{cold / one:.1f}", f"{cold / whole:.1%}", kilobytes, ""],
        ["first frame of a look", f"{middle:.0f}", f"{middle / one:.1f}", f"{middle / whole:.1%}", kilobytes, f"{memory:.0f}"],
        ["pydicom, one slice", f"{one:.1f}", "1", "", "", ""],
        [f"pydicom, all {count}", f"{whole:.0f}", f"{whole / one:.0f}", "100%", "", ""],
    ]
    title = f"The first frame of a series of {count} slices of {SIZE} × {SIZE} ({facts['megabytes']:.0f} MB)"
    return table(title, ["what", "ms", "of one slice", "of all slices", "kB sent", "peak MB"], rows)


def _first(client: httpx.Client, facts: dict[str, Any], index: int) -> tuple[float, int]:
    """(milliseconds until the frame is there, bytes that were sent for it): what there is to look at, then the frame."""
    began = time.perf_counter()
    size = 0
    for address in (facts["look"], f"{facts['frame']}{index}/"):
        with client.stream("GET", address) as answer:
            size += sum(len(piece) for piece in answer.iter_raw())
            assert answer.status_code == 200, answer.status_code
    return 1000 * (time.perf_counter() - began), size
