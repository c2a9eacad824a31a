"""A file that ends its reader, takes too long or too much memory is refused, and the next file is looked at as before."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from datasets.arrivals import confinement
from datasets.arrivals.desk import INHERITED, Desk, _environment
from datasets.arrivals.found import Refused
from datasets.arrivals.reasons import REASONS
from datasets.dicom.codes import TEXTS as OF_DICOM
from tests.datasets.arrivals import samples

DIES = "import os, sys; print('ready', flush=True); line = sys.stdin.readline(); "
DIES += "os._exit(139) if 'harm' in line else print({answer!r})"
HANGS = "import sys, time; print('ready', flush=True); sys.stdin.readline(); time.sleep(60)"
ANSWER = '{"kind": "image", "format": "png", "facts": {}}'


class Played(Desk):
    """The real desk with another process behind it, one that does what a broken reader does."""

    code = ""

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code]


def code_of(desk: Desk, path: Path) -> str:
    with pytest.raises(Refused) as refused:
        desk.look(path)
    return refused.value.code


def test_a_file_that_ends_its_reader_twice_is_refused_and_the_next_is_looked_at(tmp_path: Path) -> None:
    with Played() as desk:
        desk.code = DIES.format(answer=ANSWER)
        assert code_of(desk, tmp_path / "harm") == "reader_ended"
        assert desk.look(tmp_path / "fine").format == "png"


def test_a_file_that_takes_too_long(tmp_path: Path) -> None:
    with Played(seconds=0.2) as desk:
        desk.code = HANGS
        assert code_of(desk, tmp_path / "slow") == "took_too_long"


def test_a_process_that_does_not_start_is_not_the_files_fault(tmp_path: Path) -> None:
    with Played() as desk:
        desk.code = "raise SystemExit(1)"
        with pytest.raises(ConnectionError):
            desk.look(tmp_path / "any")


def test_a_picture_that_needs_more_memory_than_is_allowed(tmp_path: Path) -> None:
    from PIL import Image

    large, small = tmp_path / "large", tmp_path / "small"
    Image.new("RGB", (8900, 8900)).save(large, "PNG")  # 79 million pixels: 240 MB once decoded
    small.write_bytes(samples.picture("PNG"))
    with Desk(memory=220 * 2**20) as desk:
        assert desk.look(small).kind == "image"
        assert code_of(desk, large) in ("took_too_much", "damaged", "reader_ended")
        assert desk.look(small).kind == "image"
    with Desk() as desk:
        assert desk.look(large).facts["width"] == 8900


SECRETS = ("SECRET_KEY", "DATABASE_URL", "EMAIL_URL", "AIMASS_PATIENT_KEYS", "AIMASS_RAY_TOKEN", "AWS_SECRET_KEY", "ANY_OTHER")


def test_the_reader_is_not_told_the_portals_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "the real one")
    assert "the real one" not in _environment().values()
    path = tmp_path / "a.png"
    path.write_bytes(samples.picture("PNG"))
    with Desk() as desk:
        assert desk.look(path).kind == "image"
        assert desk.process is not None
        process = psutil.Process(desk.process.pid)
        assert process.cwd() == "/"
        assert "the real one" not in process.environ().values()
        assert set(process.environ()) <= {*INHERITED, *_environment()}
    assert os.environ["SECRET_KEY"] == "the real one"


@pytest.mark.slow  # starts a fresh Python
def test_the_readers_settings_do_not_read_the_file_of_secrets(tmp_path: Path) -> None:
    secrets = tmp_path / ".env"
    secrets.write_text("AIMASS_PATIENT_KEYS=\nEMAIL_URL=smtp://nurse:the-real-one@host\n")
    code = "import os, django; django.setup(); from django.conf import settings\n"
    code += "print(settings.ENV_FILE, os.environ.get('EMAIL_URL'))"
    told = []
    for more in ({}, {"AIMASS_ENV_FILE": str(secrets)}):
        environment = {**_environment(), "DJANGO_SETTINGS_MODULE": "aimass_site.settings", **more}
        command = [sys.executable, "-P", "-c", code]
        told.append(subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=True).stdout.split())
    assert told == [["/dev/null", "None"], [str(secrets), "smtp://nurse:the-real-one@host"]]


REACHES = """
import json, os, socket, subprocess, sys
from pathlib import Path
from datasets.arrivals import confinement
folder = Path(sys.argv[1])
confined = confinement.confine(readable=[folder / "files"], writable=[folder / "incoming"], hidden=folder)
def tried(what):
    try:
        what()
    except PermissionError:
        return "no"
    except Exception as error:
        return type(error).__name__
    return "yes"
def imported():
    import PIL.Image, pydicom, nibabel
print(json.dumps({
    "confined": confined,
    ".env": tried(lambda: (folder / ".env").read_text()), "database": tried(lambda: (folder / "aimass.sqlite3").read_bytes()),
    "file": tried(lambda: (folder / "files" / "a").read_bytes()),
    "write": tried(lambda: (folder / "incoming" / "b").write_text("x")),
    "write a stored file": tried(lambda: (folder / "files" / "a").write_text("x")),
    "delete a stored file": tried(lambda: (folder / "files" / "a").unlink()),
    "parent": tried(lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes()),
    "program": tried(lambda: subprocess.run(["/bin/true"])), "import": tried(imported),
    "tcp": tried(lambda: socket.create_connection(("127.0.0.1", 9), timeout=1)), "kill": tried(lambda: os.kill(os.getppid(), 0)),
}))
"""


@pytest.mark.slow  # starts a fresh Python
def test_the_reader_reaches_no_secret_and_no_other_process(tmp_path: Path) -> None:
    for name in ("files", "incoming"):
        (tmp_path / name).mkdir()
    for name in (".env", "aimass.sqlite3", "files/a"):
        (tmp_path / name).write_text("x")
    command = [sys.executable, "-P", "-c", REACHES, str(tmp_path)]
    done = subprocess.run(command, cwd="/", env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    if not told.pop("confined"):
        pytest.skip("this kernel has no Landlock")
    assert {what for what, answer in told.items() if answer == "yes"} == {"file", "write", "import"}
    assert {answer for what, answer in told.items() if what not in ("tcp", "kill")} == {"yes", "no"}


def test_a_file_beside_the_stored_ones_is_out_of_the_desks_reach(tmp_path: Path) -> None:
    beside, arriving = Path(settings.DATA_DIR, "note.txt"), Path(settings.FILE_UPLOAD_TEMP_DIR, "note.txt")
    for path in (beside, arriving):
        path.write_text(samples.NOTE)
    try:
        with Desk() as desk:
            assert desk.look(arriving).kind == "text"
            if _landlock():
                assert code_of(desk, beside) == "storage"
    finally:
        beside.unlink()
        arriving.unlink()


def _landlock() -> bool:
    import ctypes

    version = ctypes.CDLL(None).syscall(confinement.CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(confinement.VERSION))
    return bool(version > 0)


def test_every_code_that_is_raised_has_its_sentence_and_every_sentence_its_code() -> None:
    import re

    folder = Path(__file__).resolve().parents[3] / "datasets" / "arrivals"
    source = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py") if path.name != "reasons.py")
    raised = set(re.findall(r'\bRefused\(\s*"([a-z_]+)"', source))
    quoted = set(re.findall(r'"([a-z_]+)"', source))
    assert raised <= set(REASONS), raised - set(REASONS)
    own = set(REASONS) - set(OF_DICOM)  # those are raised with the codes of a report: see datasets.dicom.services.prepare
    assert own <= quoted, own - quoted
    assert set(OF_DICOM) <= set(REASONS)


def test_a_folder_that_was_put_in_anothers_place_is_reached_again(tmp_path: Path) -> None:
    """A right is to the folder itself and not to its name: a backup that is moved there is another one."""
    place = tmp_path / "stored"
    place.mkdir()
    (place / "a.png").write_bytes(samples.picture("PNG", 1))

    class Here(Desk):
        readable = (place,)

    with Here() as desk:
        assert desk.look(place / "a.png").format == "png"
        place.rename(tmp_path / "before")
        place.mkdir()
        (place / "a.png").write_bytes(samples.picture("PNG", 2))
        assert desk.look(place / "a.png").format == "png"
        assert code_of(desk, place / "gone.png") == "storage"
