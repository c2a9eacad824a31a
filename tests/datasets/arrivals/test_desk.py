"""A file that ends its reader, takes too long or too much memory is refused, and the next file is looked at as before."""

import os
import sys
from pathlib import Path

import pytest

from datasets.arrivals.desk import SECRETS, Desk, _environment
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


def test_the_reader_is_not_told_the_portals_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "the real one")
    assert "the real one" not in _environment().values()
    assert os.environ["SECRET_KEY"] == "the real one"


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
