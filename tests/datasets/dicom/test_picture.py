"""What hides beside the pixels is taken out, and the picture stays the same: bytes behind, bits above, comments inside."""

from pathlib import Path

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from datasets.dicom.deidentify import deidentify
from datasets.dicom.profile import Profile
from datasets.dicom.report import Action, Outcome
from tests.datasets.dicom.files import SECRET, TEST_FILES, every_file, loaded, saved, slice_of

BARE = Profile(SECRET, dates=False, patient=False, device=False, uids=False, private=False)
MARK = "ZQPLANT"


def test_what_comes_after_the_data_set_and_beside_the_pixels_is_gone(tmp_path: Path) -> None:
    data = slice_of()
    data.PixelData += MARK.encode() + b"!"
    path = saved(data, tmp_path / "in.dcm")
    report = deidentify(path, tmp_path / "out.dcm", BARE)
    assert report.outcome is Outcome.DONE
    assert MARK.encode() not in (tmp_path / "out.dcm").read_bytes()
    assert len(loaded(tmp_path / "out.dcm").PixelData) == 32 * 32 * 2
    assert report.total(Action.STRIPPED) == 1


def test_overlays_in_the_unused_bits_of_pixels_are_cleared(tmp_path: Path) -> None:
    data = slice_of()
    words = np.full((32, 32), 1000, dtype="<u2")
    words[4:8, 4:28] |= 0x8000
    data.PixelData = words.tobytes()
    data.add_new(0x60000100, "US", 16)
    data.add_new(0x60000102, "US", 15)
    report = deidentify(saved(data, tmp_path / "in.dcm"), tmp_path / "out.dcm", BARE)
    assert report.outcome is Outcome.DONE
    assert set(np.frombuffer(loaded(tmp_path / "out.dcm").PixelData, dtype="<u2")) == {1000}
    assert not any(element.tag.group == 0x6000 for element in loaded(tmp_path / "out.dcm"))


def test_comments_inside_of_compressed_frames_are_gone_and_the_picture_is_the_same(tmp_path: Path) -> None:
    import io

    from PIL import Image

    grey = np.tile(np.linspace(20, 200, 32), (32, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = MARK
    Image.fromarray(grey).save(buffer, "JPEG", quality=95, comment=MARK, exif=exif)
    data = slice_of(BitsAllocated=8, BitsStored=8, HighBit=7)
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.PixelData = encapsulate([buffer.getvalue() + MARK.encode() + b"\0"])
    data["PixelData"].is_undefined_length = True
    path = saved(data, tmp_path / "in.dcm")
    assert path.read_bytes().count(MARK.encode()) == 3
    report = deidentify(path, tmp_path / "out.dcm", BARE)
    assert report.outcome is Outcome.DONE
    assert MARK.encode() not in (tmp_path / "out.dcm").read_bytes()
    np.testing.assert_array_equal(loaded(tmp_path / "out.dcm").pixel_array, loaded(path).pixel_array)


def test_the_codestreams_of_all_compressed_files_give_the_same_pixels(tmp_path: Path) -> None:
    seen = 0
    for path in every_file():
        data = loaded(path)
        syntax = getattr(data, "file_meta", {}).get("TransferSyntaxUID")
        if syntax is None or not syntax.is_compressed or "PixelData" not in data or syntax.endswith(".1.99"):
            continue
        if deidentify(path, tmp_path / "out.dcm", BARE, pixels_checked=True).outcome is not Outcome.DONE:
            continue
        seen += 1
        try:
            before = data.pixel_array
        except Exception:  # pydicom alone does not read it; the engine does
            continue
        np.testing.assert_array_equal(loaded(tmp_path / "out.dcm").pixel_array, before, err_msg=path.name)
    assert seen >= 30


def test_comments_of_a_jpeg_2000_codestream_are_gone(tmp_path: Path) -> None:
    from pydicom.encaps import generate_frames
    from pydicom.uid import JPEG2000Lossless

    data = slice_of(PixelData=(np.arange(1024, dtype="<u2") * 3).tobytes())
    data.compress(JPEG2000Lossless, generate_instance_uid=False)
    frame = next(generate_frames(data.PixelData, number_of_frames=1))
    body = b"\0\1" + MARK.encode()
    comment = b"\xff\x64" + (len(body) + 2).to_bytes(2, "big") + body
    start = frame.index(b"\xff\x52")  # after the size comes how it is coded; a comment may stand between
    data.PixelData = encapsulate([frame[:start] + comment + frame[start:] + MARK.encode()])
    data["PixelData"].is_undefined_length = True
    path = saved(data, tmp_path / "in.dcm")
    assert path.read_bytes().count(MARK.encode()) == 2
    assert deidentify(path, tmp_path / "out.dcm", BARE).outcome is Outcome.DONE
    assert MARK.encode() not in (tmp_path / "out.dcm").read_bytes()
    np.testing.assert_array_equal(loaded(tmp_path / "out.dcm").pixel_array, loaded(path).pixel_array)


def test_frames_that_the_header_does_not_tell_of_are_gone(tmp_path: Path) -> None:
    data = loaded(TEST_FILES / "SC_rgb_rle_2frame.dcm")
    data.PatientID = "MRN-5577341"
    data.NumberOfFrames = 1
    report = deidentify(saved(data, tmp_path / "in.dcm"), tmp_path / "out.dcm", BARE, pixels_checked=True)
    assert report.outcome is Outcome.DONE
    size = len(loaded(tmp_path / "out.dcm").PixelData)
    assert size < 0.6 * len(data.PixelData)
