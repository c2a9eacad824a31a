"""Looking at files from a process of its own, so that a file made to do harm ends that process and nothing else.

The process (`python -m datasets.arrivals.desk`) reads one JSON question a line and answers each with one line. It may use so
much memory and so long a time; when it dies on a file twice, that file is refused and the next one gets a new process.
"""

import base64
import contextlib
import json
import os
import resource
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from secrets import token_urlsafe
from time import monotonic
from types import TracebackType
from typing import Any

from django.conf import settings

from datasets.arrivals.found import Found, Refused

SECONDS = 300  # for one file
MEMORY = 900 * 2**20  # bytes of private memory, the interpreter included
STARTS = 120  # seconds within which the process must be ready
READY = b"ready\n"
UNREACHABLE = "storage"
# What the process inherits; all else could be a secret, of the portal or of whoever started it.
INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
LONGEST = 64 * 2**20  # bytes of an answer: a process that was taken over could go on for ever
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
RENEWED = 2_000  # files after which a new process is begun, so that what readers leak stays small


class Desk:
    """A context manager; its questions may be asked as often as wanted, one at a time. See `datasets.arrivals.desks`."""

    readable: tuple[Path, ...] = ()  # where files lie beside the storage and the temporary folder: tests have some

    def __init__(self, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds, self.memory, self.asked = seconds, memory, 0
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Desk":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def command(self) -> list[str]:
        """What is started."""
        places = [str(place) for place in self.readable]
        return [sys.executable, "-P", "-m", "datasets.arrivals.desk", str(self.memory), *places]

    def look(self, path: Path, beside: dict[str, Path] | None = None) -> Found:
        """What the file is (see sniff.identify). Raises Refused, also when the reader died or took too long."""
        names = {name: str(place) for name, place in (beside or {}).items()}
        answer = self._ask({"do": "look", "path": str(path), "beside": names})
        return Found(answer["kind"], answer["format"], answer["facts"])

    def text(self, path: Path, form: str, out: Path, known: list[str]) -> dict[str, int]:
        """Write the document's text to `out` with the patient's identifiers masked; how many of each kind. Raises Refused."""
        question = {"do": "text", "path": str(path), "format": form, "out": str(out), "known": known}
        return dict(self._ask(question)["masked"])

    def preview(
        self, path: Path, form: str, known: list[str], most: int
    ) -> tuple[list[tuple[str, str]], bool]:
        """The first `most` characters of a document in pieces (text, what would be masked or ""), and whether there is more."""
        answer = self._ask({"do": "preview", "path": str(path), "format": form, "known": known, "most": most})
        return [(piece, what) for piece, what in answer["pieces"]], bool(answer["more"])

    def clean(self, path: Path, form: str, out: Path) -> int:
        """Write the picture without its metadata to `out` (see cleaning.clean); 0 when it has none. Raises Refused."""
        return int(self._ask({"do": "clean", "path": str(path), "format": form, "out": str(out)})["count"])

    def draw(self, path: Path, kind: str, size: str) -> bytes:
        """The file as a PNG (see datasets.cells.pictures). Raises Refused."""
        return self._picture({"do": "draw", "path": str(path), "kind": kind, "size": size})

    def heat(self, path: Path, kind: str, regions: Mapping[str, Any], millimetres: float) -> bytes:
        """The same with parts of it in warm and cold colours (see datasets.cells.heat). Raises Refused."""
        question = {"do": "heat", "path": str(path), "kind": kind, "regions": regions, "millimetres": millimetres}
        return self._picture(question)

    def about(self, path: Path, kind: str, whole: bool) -> dict[str, Any]:
        """What there is to look at (see datasets.viewer.looking), as the process says it. Raises Refused."""
        found = self._ask({"do": "about", "path": str(path), "kind": kind, "whole": whole})["about"]
        if not isinstance(found, dict):
            raise Refused("not_drawn")
        return found

    def frame(self, path: Path, kind: str, plane: str, index: int) -> bytes:
        """One frame of it. Raises Refused."""
        question = {"do": "frame", "path": str(path), "kind": kind, "plane": plane, "index": index}
        return base64.b64decode(self._ask(question)["frame"])

    def burned_in(self, path: Path) -> tuple[tuple[str, ...], int]:
        """What datasets.dicom.burned_in.by_looking says of a DICOM file. Raises Refused."""
        answer = self._ask({"do": "burned_in", "path": str(path)})
        return tuple(str(reason) for reason in answer["reasons"]), int(answer["seen"])

    def dicom_frame(self, path: Path, index: int) -> bytes:
        """A frame of a DICOM file, decoded; b"" where there is no such frame. Raises Refused."""
        return self._frame({"do": "dicom_frame", "path": str(path), "index": index})

    def dicom_shown(self, path: Path, index: int, **how: Any) -> bytes:
        """The same as PNG or JPEG (see questions.dicom_shown). Raises Refused."""
        content = self._frame({"do": "dicom_shown", "path": str(path), "index": index, **how})
        if content and not content.startswith((PNG, JPEG)):
            raise Refused("not_drawn")
        return content

    def _frame(self, question: dict[str, Any]) -> bytes:
        return base64.b64decode(self._ask(question)["bytes"])

    def _picture(self, question: dict[str, Any]) -> bytes:
        content = base64.b64decode(self._ask(question)["png"])
        if not content.startswith(PNG):  # nothing else goes on to a browser as a picture
            raise Refused("not_drawn")
        return content

    def leave(self) -> None:
        """In a forked child: the process is the parent's; its pipes are closed here, or it would outlive the parent."""
        process, self.process = self.process, None
        if process is None:
            return
        process.returncode = 0  # not ours to wait for
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def end(self) -> None:
        """End the process; the next question begins another one."""
        self._end()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        line = json.dumps(question).encode() + b"\n"
        for attempt in range(2):
            raw = self._exchange(line)
            if raw:
                answer: dict[str, Any] = json.loads(raw)
                if answer.get("code") == UNREACHABLE and not attempt:
                    self._end()  # a folder was put in another's place (a backup): a new process has a right to it
                elif "code" in answer:
                    raise Refused(answer["code"], **answer["facts"])
                else:
                    return answer
        raise Refused("reader_ended")

    def _exchange(self, line: bytes) -> bytes:
        """The answer; b"" when the process died on it."""
        if self.process is None or self.process.poll() is not None or self.asked >= RENEWED:
            self._begin()
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        self.asked += 1
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except BrokenPipeError:
            self._end()
            return b""
        answer = bytearray()
        last = monotonic() + self.seconds
        while not answer.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0.0, last - monotonic()))[0]:
                self._end()
                raise Refused("took_too_long", seconds=round(self.seconds))
            piece = os.read(self.process.stdout.fileno(), 65536)
            answer += piece
            if not piece or len(answer) > LONGEST:
                self._end()
                return b""
        return bytes(answer)

    def _begin(self) -> None:
        self._end()
        self.asked = 0
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            self.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # readers write there what may quote a file
            cwd="/",  # nothing is read or written by a relative name
            env=_environment(),
        )
        assert self.process.stdout is not None
        ready = select.select([self.process.stdout], [], [], STARTS)[0] and self.process.stdout.readline()
        if ready != READY:  # not the file's fault: the job fails and is tried again
            self._end()
            raise ConnectionError("the process that looks at files did not start")

    def _end(self) -> None:
        if self.process is None:
            return
        process, self.process = self.process, None
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _environment() -> dict[str, str]:
    """The portal's own without what it must keep to itself: a reader that is taken over finds no key and no database."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    checkout = str(Path(__file__).resolve().parents[2])
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, (checkout, kept.get("PYTHONPATH")))),
        "AIMASS_ENV_FILE": os.devnull,  # the settings would read .env, and the keys with it
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_MAX_THREADS"), "1"),
        "SECRET_KEY": token_urlsafe(50),
        "AIMASS_DATA_DIR": str(settings.DATA_DIR),
        "AIMASS_MAX_UPLOAD_BYTES": str(settings.MAX_UPLOAD_BYTES),
        "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", "aimass_site.settings"),
    }


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """One question, answered in this process. A refusal is an answer too."""
    from datasets.arrivals import questions

    if question["do"] not in ("about", "frame"):
        questions.close()
    try:
        # What cannot be opened at all is no damaged file. (O_NONBLOCK: nor does a pipe keep us waiting.)
        os.close(os.open(question["path"], os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        return questions.ASKED[question["do"]](question)
    except Refused as error:
        return {"code": error.code, "facts": error.facts}
    except MemoryError:
        return {"code": "took_too_much", "facts": {}}
    except OSError:
        return {"code": UNREACHABLE, "facts": {}}


def _places() -> list[Path]:
    """Where stored files lie; made now, as what is not there when the process gives up its rights is not among them."""
    from datasets import storage

    place = storage.place_of(storage.ROOT)
    if place is None:
        return []
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return [place]


def main() -> None:
    """Answer until the other side goes away."""
    import logging

    from datasets.arrivals import confinement

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    import django

    django.setup()
    logging.disable(logging.CRITICAL)
    confinement.confine(
        readable=[*_places(), *map(Path, sys.argv[2:])],
        writable=[Path(settings.FILE_UPLOAD_TEMP_DIR)],
        hidden=settings.DATA_DIR,
    )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
    out.write(READY)
    out.flush()
    for line in sys.stdin.buffer:
        out.write(json.dumps(answer(json.loads(line))).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
