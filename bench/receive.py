"""DICOM coming in, beside Orthanc in the same run. `python -m bench.receive`: images per second, the median of the rounds.

The same CT slices (pydicom's CT_small, 39 kB, each with a UID of its own) go by DCMTK's storescu (TCP_NODELAY=1 on all sides) on
one association and on four, and over HTTP on one connection that is kept (keep-alive, on both sides): by STOW-RS, Orthanc's being
its DICOMweb plugin's, an image a request and 50, one client and four; and, as a further row, beside Orthanc's own
POST /instances. Both sync to disk before they answer. Ours spools, Orthanc stores and indexes; our job is not running.
"""

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.database import fresh
from bench.memory import peak_megabytes
from bench.serve import gunicorn
from bench.table import table
from demo.processes import free_port

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
BATCH = 50
PEAKS = {"Orthanc": "Orthanc", "dicom_receiver": "our receiver", "gunicorn": "the portal"}  # in a command → as it is called
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


@dataclass
class Site:
    """Where images are sent by HTTP, and how."""

    port: int
    path: str
    headers: dict[str, str]
    related: bool = True

    def body(self, contents: list[bytes]) -> bytes:
        if not self.related:
            (only,) = contents
            return only
        parts = [b"\r\n--B\r\nContent-Type: application/dicom\r\n\r\n" + content for content in contents]
        return b"".join(parts) + b"\r\n--B--\r\n"


def by_http(site: Site, paths: list[Path], each: int = 1, clients: int = 1) -> float:
    """Images per second, `each` in a request, on as many connections as there are clients."""
    contents = [path.read_bytes() for path in paths]
    bodies = [site.body(contents[at : at + each]) for at in range(0, len(contents), each)]
    wrong: list[Any] = []

    def client(own: list[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        for body in own:
            connection.request("POST", site.path, body, site.headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                wrong.append((answer.status, said[:300]))
                break
        connection.close()

    began = time.perf_counter()
    threads = [threading.Thread(target=client, args=(bodies[number::clients],)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if wrong:
        raise SystemExit(f"{site.path} refused an image: {wrong[0]}")
    return len(paths) / seconds


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


def measure(rounds: int, count: int, processes: int, only_http: bool = False) -> str:
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
            "KeepAlive": True, "TcpNoDelay": True, "SyncStorageArea": True,
            "Plugins": [PLUGIN], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
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
        related = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=B'}
        sites = {
            "ours": Site(portal, "/api/v1/dicomweb/studies", {**related, "Authorization": f"Bearer {key}"}),
            "theirs": Site(ports["http"], "/dicom-web/studies", {**related, "Accept": "application/dicom+json"}),
            "plain": Site(ports["http"], "/instances", {"Content-Type": "application/dicom"}, related=False),
        }
        # The first round warms up.
        found = [one_round(folder, count, ports, sites, only_http) for _number in range(rounds + 1)][1:]
        peaks = {name: peak_mb(name) for name in PEAKS}
    rows: list[list[Any]] = []
    for name in found[0]:
        theirs, ours = (statistics.median(each[name][side] for each in found) for side in (0, 1))
        ratios = [each[name][1] / each[name][0] for each in found]
        spread = f"{min(ratios):.0%} to {max(ratios):.0%}"
        rows.append([name, f"{theirs:.0f}", f"{ours:.0f}", f"{statistics.median(ratios):.0%}", spread])
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    title = f"DICOM coming in, beside Orthanc ({count} images a round, {processes} of our processes; load at the end {load})"
    told = table(title, ["what", "Orthanc images/s", "AI Mass images/s", "ratio", "of single rounds"], rows)
    sums = ", ".join(f"{called} {peaks[name]:.0f} MB" for name, called in PEAKS.items())
    return f"{told}\nPeak memory, each the sum over its processes: {sums}.\n"


def peak_mb(name: str) -> float:
    """The largest resident sizes of this process's children called so, summed."""
    pids = [child.pid for child in psutil.Process().children(recursive=True) if name in " ".join(child.cmdline())]
    return sum(peak_megabytes(pid) for pid in pids)


def one_round(
    folder: Path, count: int, ports: dict[str, int], sites: dict[str, Site], only_http: bool
) -> dict[str, tuple[float, float]]:
    """{what: (Orthanc, ours)}; images of their own for each row, as what is there already costs less."""
    found = {}
    place = folder / "images"
    place.mkdir()
    for name, many in () if only_http else (("C-STORE, one association", 1), ("C-STORE, four associations", 4)):
        paths = images(place, count)
        lots = [paths[number::many] for number in range(many)]
        ours = by_storescu("AIMASS", ports["ours"], lots)
        found[name] = (by_storescu("ORTHANC", ports["theirs"], lots), ours)
    for name, theirs, each, clients in (
        ("STOW-RS, an image a request", "theirs", 1, 1),
        (f"STOW-RS, {BATCH} images a request", "theirs", BATCH, 1),
        ("STOW-RS, an image a request, four clients", "theirs", 1, 4),
        ("STOW-RS beside POST /instances, an image a request", "plain", 1, 1),
    ):
        paths = images(place, count)
        rate = by_http(sites["ours"], paths, each, clients)
        found[name] = (by_http(sites[theirs], paths, each, clients), rate)
    shutil.rmtree(place)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--http", action="store_true", help="leave C-STORE out")
    options = parser.parse_args()
    for program in ("storescu", "Orthanc"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed: apt-get install dcmtk orthanc orthanc-dicomweb")
    print(measure(options.rounds, options.images, options.processes, options.http))


if __name__ == "__main__":
    main()
