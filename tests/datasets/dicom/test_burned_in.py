"""Text in pictures: what the header confesses, and what looking finds, measured on real pictures with and without text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.dicom import burned_in
from datasets.dicom.deidentify import deidentify
from datasets.dicom.profile import Profile
from datasets.dicom.report import Outcome
from tests.datasets.dicom.files import SECRET, TEST_FILES, saved, slice_of
from tests.datasets.dicom.writing import FONTS, plain_pictures, written_on

PROFILE = Profile(SECRET)
needs_fonts = pytest.mark.skipif(not all(map(Path.exists, map(Path, FONTS))), reason="the DejaVu fonts are not installed")


@pytest.mark.parametrize(
    ("header", "reasons"),
    [
        ({}, ()),
        ({"BurnedInAnnotation": "YES"}, ("burned_in_declared",)),
        ({"BurnedInAnnotation": "NO"}, ()),
        ({"Modality": "US"}, ("burned_in_likely",)),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, ()),
        ({"Modality": "US", "BurnedInAnnotation": "YES"}, ("burned_in_declared",)),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, ("burned_in_likely",)),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1"}, ("burned_in_likely",)),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, ("burned_in_likely",)),
        ({"ImageType": "DERIVED"}, ()),
        ({"ConversionType": "SD"}, ("burned_in_likely",)),
        ({"SecondaryCaptureDeviceManufacturer": "Grabber"}, ("burned_in_likely",)),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, ("document",)),
    ],
)
def test_what_the_header_says(header: dict[str, Any], reasons: tuple[str, ...]) -> None:
    assert burned_in.by_header(slice_of(**header)) == reasons


@pytest.mark.parametrize("name", ["examples_jpeg2k.dcm", "examples_palette.dcm", "examples_rgb_color.dcm", "GDCMJ2K_TextGBR.dcm"])
def test_real_text_on_real_pictures_is_seen(name: str) -> None:
    """Three ultrasound pictures with their consoles' captions, and a test picture."""
    from datasets.dicom.reading import read

    assert burned_in.by_looking(read(TEST_FILES / name)) == (("text_seen",), 1)


@pytest.mark.slow  # looks at some hundred pictures, a tenth of a second each
@needs_fonts
def test_how_often_looking_is_right() -> None:
    """The figures of the ADR, on every second picture: pydicom's and slices of MR volumes, without and with a line of text."""
    pictures = list(plain_pictures())[::2]
    assert len(pictures) > 40
    false = [name for name, picture in pictures if burned_in.text_lines(picture)]
    seen = sum(burned_in.text_lines(written_on(picture, number)) > 0 for number, (_name, picture) in enumerate(pictures))
    assert len(false) <= 1
    assert seen / len(pictures) >= 0.88


@needs_fonts
def test_a_slice_with_a_name_written_on_it_waits_for_a_person(tmp_path: Path) -> None:
    tissue = np.full((256, 256), 40, dtype=np.uint8)
    tissue[64:192, 64:192] = 120
    picture = written_on(tissue, 2)[:, :, 0]
    shape = {"Rows": picture.shape[0], "Columns": picture.shape[1]}
    for pixels, outcome in ((tissue, Outcome.DONE), (picture, Outcome.QUARANTINED)):
        data = slice_of(PixelData=(pixels.astype("<u2") * 8).tobytes(), BurnedInAnnotation="NO", **shape)
        report = deidentify(saved(data, tmp_path / "in.dcm"), tmp_path / "out.dcm", PROFILE)
        assert (report.outcome, report.looked_at) == (outcome, 1)
    assert report.reasons == ("text_seen",)
    assert deidentify(tmp_path / "in.dcm", tmp_path / "out.dcm", PROFILE, pixels_checked=True).outcome is Outcome.DONE


def test_text_in_one_of_many_frames_is_looked_for() -> None:
    frames = np.zeros((30, 64, 64), dtype="<u2")
    data = slice_of(Rows=64, Columns=64, NumberOfFrames=30, PixelData=frames.tobytes())
    assert burned_in.by_looking(data) == ((), burned_in.FRAMES)


def test_a_picture_that_cannot_be_decoded_waits_for_a_person(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGLosslessSV1

    data = slice_of()
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    data.PixelData = encapsulate([b"\xff\xd8\xff\xda\0\x02no picture\xff\xd9"])
    data["PixelData"].is_undefined_length = True
    report = deidentify(saved(data, tmp_path / "in.dcm"), tmp_path / "out.dcm", PROFILE)
    assert (report.outcome, report.reasons) == (Outcome.QUARANTINED, ("pixels_unread",))


def test_graphics_inside_of_compressed_pixels_wait_for_a_person() -> None:
    data = slice_of()
    data.add_new(0x60000102, "US", 12)
    assert burned_in.by_header(data) == ()
    data.file_meta.TransferSyntaxUID = type(data.file_meta.TransferSyntaxUID)("1.2.840.10008.1.2.4.90")
    assert burned_in.by_header(data) == ("overlay_in_pixels",)
