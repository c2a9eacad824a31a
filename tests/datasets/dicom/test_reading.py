"""Reading and grouping: every file is read or has a code, every transfer syntax, windows and overlays, series to volumes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import UID

from datasets.dicom.codes import TEXTS, UNREADABLE
from datasets.dicom.grouping import group, volume
from datasets.dicom.pixels import frame_count, overlay_planes, shown
from datasets.dicom.reading import Unreadable, describe, read, syntax_readable
from tests.datasets.dicom.files import TEST_FILES, every_file, loaded, saved, series, slice_of

# What pydicom 3 with pylibjpeg's three decoders reads, video left aside.
SYNTAXES = [
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)), "1.2.840.10008.1.2.5",
]  # fmt: skip
CODES = {
    "MR_truncated.dcm": "truncated", "rtplan_truncated.dcm": "truncated", "README.txt": "not_dicom", "zipMR.gz": "not_dicom",
    "DICOMDIR": "dicomdir", "DICOMDIR-bigEnd": "dicomdir", "badVR.dcm": "header_unreadable", "no_meta.dcm": "not_dicom",
    "rtstruct.dcm": "no_pixels", "waveform_ecg.dcm": "no_pixels", "reportsi.dcm": "no_pixels",
    "JPEG2000-embedded-sequence-delimiter.dcm": "pixels_unreadable",
}  # fmt: skip


def test_every_file_of_pydicoms_tests_is_a_picture_or_has_a_code() -> None:
    codes: dict[str, str] = {}
    pictures = 0
    for path in every_file():
        try:
            data = read(path)
            picture = shown(data, frame_count(data) - 1)
            assert picture.shape == (data.Rows, data.Columns, 3) and picture.dtype == np.uint8
            pictures += 1
        except Unreadable as error:
            assert str(error.text) and error.code in UNREADABLE
            codes[path.name] = error.code
    assert pictures >= 87
    assert {name: codes.get(name) for name in CODES} == CODES
    assert len(TEXTS) > 15


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax_has_a_decoder(syntax: str) -> None:
    assert syntax_readable(syntax)


def test_others_are_told_from_damage(tmp_path: Path) -> None:
    for syntax in ("1.2.840.10008.1.2.4.100", "1.2.3.4.5", ""):
        assert not syntax_readable(syntax)
    data = read(TEST_FILES / "MR_small_RLE.dcm")
    data.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    with pytest.raises(Unreadable, match="syntax_unsupported"):
        shown(data)


def test_high_throughput_jpeg_2000_and_rle_lose_nothing(tmp_path: Path) -> None:
    data = slice_of()
    ramp = (np.arange(1024, dtype="<u2") * 3).reshape(32, 32)
    data.PixelData = ramp.tobytes()
    plain = shown(data)
    for syntax in ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"):
        packed = slice_of(PixelData=ramp.tobytes())
        packed.compress(UID(syntax), generate_instance_uid=False)
        np.testing.assert_array_equal(shown(read(saved(packed, tmp_path / "a.dcm"))), plain)


def test_twelve_bit_jpeg_without_pylibjpeg_libjpeg() -> None:
    """1 grey level of 264 away from what pylibjpeg-libjpeg 2.5 decodes: mean 14.383 against ours of 14.370."""
    from engine.pictures import frame_values

    values = frame_values(read(TEST_FILES / "JPGExtended.dcm"), 0)
    assert values.shape == (1024, 256) and (values.min(), values.max()) == (0, 264)
    assert values.mean() == pytest.approx(14.383, abs=0.05)


@pytest.mark.parametrize("name", ["ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm"])
def test_a_data_set_without_its_part_10_header_is_read(name: str) -> None:
    assert describe(TEST_FILES / name).uid


def test_a_window_is_the_one_asked_for() -> None:
    data = slice_of(PixelData=(np.arange(1024, dtype="<u2") * 4).reshape(32, 32).tobytes())
    hounsfield = np.arange(1024) * 4 - 1024.0
    picture = shown(data, window=(40.0, 400.0)).reshape(-1, 3)[:, 0]
    expected = np.clip((hounsfield - 39.5) / 399 + 0.5, 0, 1) * 255
    np.testing.assert_allclose(picture, expected, atol=1)
    data.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_allclose(shown(data, window=(40.0, 400.0)).reshape(-1, 3)[:, 0], 255 - expected, atol=1)


def test_overlays_lie_on_top() -> None:
    data = read(TEST_FILES / "examples_overlay.dcm")
    plane = overlay_planes(data)[0]
    with_it, without = shown(data), shown(data, overlays=False)
    assert plane.any() and (with_it[: plane.shape[0], : plane.shape[1]][plane] == 255).all()
    changed = (with_it != without).any(axis=2)
    wide = [(0, a - b) for a, b in zip(changed.shape, plane.shape, strict=True)]
    assert changed.any() and not changed[~np.pad(plane, wide)].any()


@pytest.mark.parametrize("frame", [-1, 30])
def test_a_frame_that_is_not_there(frame: int) -> None:
    data = read(TEST_FILES / "examples_ybr_color.dcm")
    assert frame_count(data) == 30 and shown(data, 29).shape == (240, 320, 3)
    with pytest.raises(Unreadable):
        shown(data, frame)


def test_a_series_is_put_in_order_and_becomes_a_volume(tmp_path: Path) -> None:
    paths = list(series(tmp_path, 6))
    shutil.copy(paths[2], tmp_path / "again.dcm")
    localizer = slice_of(40, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=[0, 0, 0])
    saved(localizer, tmp_path / "localizer.dcm")
    other = slice_of(50, SeriesInstanceUID="1.2.3.9", SeriesNumber=7)
    saved(other, tmp_path / "other.dcm")
    found = [describe(path) for path in sorted(tmp_path.iterdir(), key=lambda p: p.name[::-1])]
    studies, duplicates = group(found)
    assert [one.uid for one in duplicates] == [slice_of(2).SOPInstanceUID]
    assert [[len(stack.instances) for stack in one.stacks] for one in studies[0].series] == [[6, 1], [1]]
    stack = studies[0].series[0].stacks[0]
    assert [one.number for one in stack.instances] == [1, 2, 3, 4, 5, 6]
    assert (stack.spacing, stack.gaps, stack.repeated) == (2.5, 0, 0)
    made = volume(stack)
    assert made.values.shape == (32, 32, 6) and made.spacing == (0.5, 0.5, 2.5)
    np.testing.assert_allclose(made.values[0, 0], np.arange(6) - 24)  # head up, Hounsfield units


def test_missing_and_repeated_slices_are_counted(tmp_path: Path) -> None:
    paths = list(series(tmp_path, 8))
    paths[3].unlink()
    paths[4].unlink()
    saved(slice_of(20, ImagePositionPatient=[0, 0, 2.5]), tmp_path / "phase.dcm")
    stack = group(describe(path) for path in tmp_path.iterdir())[0][0].series[0].stacks[0]
    assert (stack.spacing, stack.gaps, stack.repeated, len(stack.instances)) == (2.5, 2, 1, 7)


def test_grouping_does_not_depend_on_the_order_of_the_files(tmp_path: Path) -> None:
    found = []
    for path in every_file():
        try:
            found.append(describe(path))
        except Unreadable:
            continue
    found = list({one.uid: one for one in found}.values())
    dice = np.random.default_rng(5)
    once = group(found)[0]
    mixed = [found[k] for k in dice.permutation(len(found))]

    def shape(studies: Any) -> Any:
        return [[(s.uid, [[i.uid for i in stack.instances] for stack in s.stacks]) for s in one.series] for one in studies]

    assert shape(group(mixed)[0]) == shape(once) and len(once) == 31


def test_a_dose_grid_lies_where_its_offsets_say(tmp_path: Path) -> None:
    from engine.volumes import read_volume

    data = loaded(TEST_FILES / "rtdose.dcm")
    made = read_volume(TEST_FILES / "rtdose.dcm")
    gap = float(data.GridFrameOffsetVector[1]) - float(data.GridFrameOffsetVector[0])
    assert made.values.shape == (10, 10, 15) and made.spacing[2] == pytest.approx(abs(gap))


def test_a_deep_data_set_is_refused_not_a_crash(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    inner = Dataset()
    for _ in range(90):
        outer = Dataset()
        outer.add_new(0x52009229, "SQ", Sequence([inner]))
        inner = outer
    data = slice_of(SharedFunctionalGroupsSequence=Sequence([inner]))
    with pytest.raises(Unreadable, match="header_unreadable"):
        read(saved(data, tmp_path / "deep.dcm"))
