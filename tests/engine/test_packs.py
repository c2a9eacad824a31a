"""Packs: several files as one cell, read as the files themselves are, one at a time, and nothing that nobody here has written."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine import packs
from engine.errors import FileRefused
from engine.signals.readers import read_signal
from engine.signals.recording import SignalError
from engine.signals.wfdb import header_text, parse_header
from engine.volumes import read_volume
from tests.datasets.dicom.files import saved, slice_of
from tests.datasets.given_series import phantom, put, series_of, wfdb


def folder_of(tmp_path: Path, files: list[bytes]) -> list[Path]:
    folder = put(tmp_path / "slices", {f"{k:03d}.dcm": file for k, file in enumerate(files)})
    return sorted(folder.iterdir())


def packed(tmp_path: Path, files: list[bytes]) -> Path:
    out = tmp_path / "pack"
    packs.write(out, packs.SERIES, packs.slices(folder_of(tmp_path, files)))
    return out


def test_a_series_in_a_pack_is_the_volume_that_its_folder_is(tmp_path: Path) -> None:
    files = series_of(6)
    pack = packed(tmp_path, files)
    first, second = read_volume(pack), read_volume(tmp_path / "slices")
    assert np.array_equal(first.values, second.values) and first.known
    assert first.spacing == second.spacing == (0.5, 0.5, 2.5)
    place = np.unravel_index(first.values.argmax(), first.values.shape)
    assert place[0] > 16 and place[1] > 16 and place[2] >= 3  # the rod: at the right, in front, towards the head
    assert packs.opened(pack).members[4].read() == files[4]
    again = tmp_path / "again"
    packs.write(again, packs.SERIES, packs.slices(sorted((tmp_path / "slices").iterdir())))
    assert again.read_bytes() == pack.read_bytes()


@pytest.mark.parametrize(("tilt", "feet_first"), [(20.0, True), (-20.0, True), (20.0, False)])
def test_a_tilted_gantry_is_put_upright(tmp_path: Path, tilt: float, feet_first: bool) -> None:
    """A rod along the bed, in the middle of every picture, leans in the right-angled volume by the tilt of the gantry."""
    lean = np.deg2rad(tilt)
    down = [0.0, float(np.cos(lean)), float(np.sin(lean))]
    values = np.full((32, 32), 100, dtype="<u2")
    values[14:18, 8:12] = 3000
    folder = tmp_path / "tilted"
    folder.mkdir()
    for number in range(12):
        place = {"ImageOrientationPatient": [1, 0, 0, *down], "ImagePositionPatient": [0, 0, number if feet_first else -number]}
        saved(slice_of(number, **place, PixelData=values.tobytes()), folder / f"{number}.dcm")
    volume = read_volume(folder)
    bright = np.argwhere(volume.values > 1500)
    drift = np.polyfit(bright[:, 2], bright[:, 1], 1)[0] * volume.spacing[1] / volume.spacing[2]
    assert np.rad2deg(np.arctan(drift)) == pytest.approx(-tilt, abs=1.5)  # to the front where the slices lean back
    assert volume.known and volume.values.shape[1] > 32
    assert bright[:, 0].min() == 20 and bright[:, 0].max() == 23  # columns 8 to 12 of 32, from the right


def test_slices_beside_one_another_are_no_volume(tmp_path: Path) -> None:
    files = [slice_of(k, ImagePositionPatient=[100.0 * k, 0, 2.5 * k]) for k in range(4)]
    for number, data in enumerate(files):
        saved(data, tmp_path / f"{number}.dcm")
    with pytest.raises(FileRefused, match="behind one another"):
        read_volume(tmp_path)


def test_a_recording_in_a_pack_is_the_recording_and_keeps_nothing_else_of_its_header(tmp_path: Path) -> None:
    own = put(tmp_path, wfdb())
    header, out = own / "p17.hea", tmp_path / "pack"
    text = header_text(parse_header(header.read_text()), {"p17.dat": "0.dat"})
    assert "Quill" not in text and "2026" not in text and "p17" not in text
    packs.write(out, packs.WFDB, [("record.hea", text.encode()), ("0.dat", own / "p17.dat")])
    first, second = read_signal(out), read_signal(header)
    assert np.array_equal(first.values, second.values)
    assert (first.rate, first.names) == (second.rate, second.names) == (250.0, ("ii", "v5"))


def test_what_nobody_here_has_written_is_refused(tmp_path: Path) -> None:
    pack = packed(tmp_path, series_of(2))
    cut = tmp_path / "cut"
    cut.write_bytes(pack.read_bytes()[:-30])
    with pytest.raises(FileRefused):
        packs.opened(cut)
    for number, (name, method) in enumerate([("../1.dcm", zipfile.ZIP_STORED), ("00001.dcm", zipfile.ZIP_DEFLATED)]):
        strange = tmp_path / f"strange{number}"
        with zipfile.ZipFile(strange, "w") as archive:
            archive.writestr(packs.MARK, '{"form": "dicom-series"}')
            archive.writestr(name, phantom(0, 2).tobytes(), compress_type=method)
        assert packs.is_pack(strange)
        with pytest.raises(FileRefused):
            packs.opened(strange)
    with pytest.raises(SignalError):
        read_signal(pack)
