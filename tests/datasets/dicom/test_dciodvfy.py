"""David Clunie's dciodvfy finds nothing wrong with a de-identified file that it did not find before."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from datasets.dicom.deidentify import deidentify
from datasets.dicom.profile import Profile
from datasets.dicom.report import Outcome
from tests.datasets.dicom.files import SECRET, every_file

pytestmark = [
    pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="Debian's dicom3tools is not installed"),
    pytest.mark.slow,  # two runs of it on each of 145 files
]


def errors(path: Path) -> Counter[str]:
    """Its errors without the values that they quote."""
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    lines = (said.stderr + said.stdout).splitlines()
    return Counter(re.sub(r"<[\d.]+>", "<uid>", line) for line in lines if line.startswith("Error"))


@pytest.mark.parametrize("options", [(True, True, False, False, True), (False, False, False, False, False), (True,) * 5])
def test_no_new_errors(tmp_path: Path, options: tuple[bool, ...]) -> None:
    seen, new = 0, {}
    for path in every_file():
        out = tmp_path / "out.dcm"
        if deidentify(path, out, Profile(SECRET, *options), pixels_checked=True).outcome is not Outcome.DONE:
            continue
        seen += 1
        if more := errors(out) - errors(path):
            new[path.name] = list(more)
    assert seen >= 130
    assert new == {}
