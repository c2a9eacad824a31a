"""Whatever is damaged: one outcome, no exception, nothing half-written, and the patient's name in no file that is written."""

from pathlib import Path

import numpy as np
import pytest

from datasets.dicom.deidentify import deidentify
from datasets.dicom.profile import Profile
from datasets.dicom.report import Outcome
from tests.datasets.dicom.files import SECRET, saved, slice_of

WORDS = (b"Quillfeather", b"Zebedee", b"MRN-5577341", b"19670423")


@pytest.mark.parametrize("options", [(True, True, True, False, True), (False,) * 5])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_changed_bytes_leak_nothing(tmp_path: Path, syntax: str, options: tuple[bool, ...]) -> None:
    data = slice_of(ReferringPhysicianName="Quillfeather^Zebedee", PatientComments="Zebedee Quillfeather, MRN-5577341")
    data.file_meta.TransferSyntaxUID = type(data.file_meta.TransferSyntaxUID)(syntax)
    if syntax.endswith(".2.2"):
        data.PixelData = np.full((32, 32), 1000, dtype=">u2").tobytes()
    whole = saved(data, tmp_path / "in.dcm").read_bytes()
    header = whole.index(b"\xe0\x7f\x10\0" if not syntax.endswith(".2.2") else b"\x7f\xe0\0\x10")
    dice, out, outcomes = np.random.default_rng(3), tmp_path / "out.dcm", []
    for number in range(60):
        damaged = bytearray(whole[: dice.integers(132, len(whole))] if number % 6 == 5 else whole)
        for place in dice.integers(132, min(header, len(damaged)), dice.integers(1, 4)):
            damaged[place] = dice.integers(0, 256)
        (tmp_path / "bad.dcm").write_bytes(damaged)
        out.unlink(missing_ok=True)
        report = deidentify(tmp_path / "bad.dcm", out, Profile(SECRET, *options), pixels_checked=number % 2 == 0)
        outcomes.append(report.outcome)
        assert out.exists() == (report.outcome is Outcome.DONE)
        if out.exists():
            left = out.read_bytes()
            assert not [word for word in WORDS if word in left], (number, report.as_dict())
    assert outcomes.count(Outcome.DONE) > 10 and outcomes.count(Outcome.REFUSED) > 5
    assert not list(tmp_path.glob(".part-*"))
