"""DICOM coming in, beside Orthanc in the same run. `python -m bench.receive`: images per second, the median of the rounds.

The same CT slices (pydicom's CT_small, 39 kB, each with a UID of its own) go by DCMTK's storescu (TCP_NODELAY=1 on all sides) on
one association and on four, and one by one over HTTP (ours: STOW-RS; Orthanc's own POST /instances, as its DICOMweb plugin is a
package of its own). Both sync to disk before they answer. Ours spools, Orthanc stores and indexes; our job is not running.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from bench.database import fresh
from bench.serve import gunicorn
from bench.table import table
from demo.processes import free_port

HOME = Path(__file__).resolve().parent.parent
ALLOW = """
from accounts.models import Organisation
from datasets.receiving.models import Peer, Receiver
row = Receiver.objects.create(organisation=Organisation.objects.get(), title="AIMASS")
Peer.objects.create(receiver=row, title="STORESCU", address="127.0.0.1")
"""


def images(folder: Path, count: int) -> list[Path]:
    """So many slices in files."""
    import pydicom
    from pydicom.data import get_testdata_file
    from pydicom.uid import generate_uid

    data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    paths = []
    for number in range(count):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        paths.append(folder / f"{number:05}.dcm")
        data.save_as(paths[-1])
    return paths


def by_storescu(title: str, port: int, lots: list[list[Path]]) -> float:
    """Images per second; one association for each lot, all at once."""
    environment = {**os.environ, "TCP_NODELAY": "1"}
    began = time.perf_counter()
    started = [
        subprocess.Popen(["storescu", "-aec", title, "127.0.0.1", str(port), *map(str, lot)], env=environment) for lot in lots
    ]
    if any(process.wait() for process in started):
        raise SystemExit(f"{title} refused an image")
    return sum(map(len, lots)) / (time.perf_counter() - began)


def by_http(paths: list[Path], send: Callable[[bytes], httpx.Response]) -> float:
    """The same, one request for each image."""
    contents = [path.read_bytes() for path in paths]
    began = time.perf_counter()
    for content in contents:
        send(content).raise_for_status()
    return len(contents) / (time.perf_counter() - began)


def answers(port: int) -> None:
    """Return when somebody listens there."""
    import socket

    for _attempt in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nobody listens on port {port}")


def python(environment: dict[str, str], *arguments: str) -> str:
    """What a program of ours prints."""
    done = subprocess.run([sys.executable, *arguments], cwd=HOME, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def measure(rounds: int, count: int, processes: int) -> str:
    """The table."""
    with ExitStack() as stack:
        environment = stack.enter_context(fresh("sqlite"))
        environment |= {"PYTHONPATH": str(HOME), "TCP_NODELAY": "1"}
        folder = Path(environment["AIMASS_DATA_DIR"])
        made = python(environment, "-m", "bench.intake", "--prepare")
        key = json.loads(made.strip().splitlines()[-1])["key"]
        python(environment, "manage.py", "shell", "-c", ALLOW)
        ports = {name: free_port() for name in ("ours", "theirs", "http")}
        store = str(folder / "orthanc")
        (folder / "orthanc.json").write_text(json.dumps({
            "StorageDirectory": store, "IndexDirectory": store, "HttpPort": ports["http"], "DicomPort": ports["theirs"],
            "DicomAet": "ORTHANC", "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True,
            "Plugins": [],
        }))  # fmt: skip
        command = [sys.executable, "manage.py", "dicom_receiver", "--port", str(ports["ours"]), "--processes", str(processes)]
        for arguments in (command, ["Orthanc", str(folder / "orthanc.json")]):
            log = stack.enter_context((folder / "receivers.log").open("ab"))
            process = subprocess.Popen(arguments, cwd=HOME, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        portal = stack.enter_context(gunicorn("aimass_site.wsgi:application", environment))
        for port in ports.values():
            answers(port)
        client = stack.enter_context(httpx.Client(timeout=60))
        found = [one_round(folder, count, ports, portal, key, client) for _number in range(rounds + 1)][1:]  # the first warms up
    rows: list[list[Any]] = []
    for name in found[0]:
        theirs, ours = (statistics.median(each[name][side] for each in found) for side in (0, 1))
        ratios = [each[name][1] / each[name][0] for each in found]
        spread = f"{min(ratios):.0%} to {max(ratios):.0%}"
        rows.append([name, f"{theirs:.0f}", f"{ours:.0f}", f"{statistics.median(ratios):.0%}", spread])
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    title = f"DICOM coming in, beside Orthanc ({count} images a round, {processes} of our processes; load at the end {load})"
    return table(title, ["what", "Orthanc images/s", "AI Mass images/s", "ratio", "of single rounds"], rows)


def one_round(
    folder: Path, count: int, ports: dict[str, int], portal: int, key: str, client: httpx.Client
) -> dict[str, tuple[float, float]]:
    """{what: (Orthanc, ours)}; images of their own, as what is there already costs less."""
    place = folder / "images"
    place.mkdir()
    paths = images(place, count)
    head = b"--B\r\nContent-Type: application/dicom\r\n\r\n"
    headers = {"Authorization": f"Bearer {key}", "Content-Type": 'multipart/related; type="application/dicom"; boundary=B'}

    def stow(content: bytes) -> httpx.Response:
        body = io.BytesIO(head + content + b"\r\n--B--\r\n").getvalue()
        return client.post(f"http://127.0.0.1:{portal}/api/v1/dicomweb/studies", content=body, headers=headers)

    def post(content: bytes) -> httpx.Response:
        return client.post(f"http://127.0.0.1:{ports['http']}/instances", content=content)

    found = {}
    for name, many in (("C-STORE, one association", 1), ("C-STORE, four associations", 4)):
        lots = [paths[number::many] for number in range(many)]
        ours = by_storescu("AIMASS", ports["ours"], lots)
        found[name] = (by_storescu("ORTHANC", ports["theirs"], lots), ours)
        paths = images(place, count)
    ours = by_http(paths, stow)
    found["HTTP, an image a request"] = (by_http(paths, post), ours)
    shutil.rmtree(place)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    for program in ("storescu", "Orthanc"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed: apt-get install dcmtk orthanc")
    print(measure(options.rounds, options.images, options.processes))


if __name__ == "__main__":
    main()
