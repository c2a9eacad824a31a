"""Pictures: each format and DICOM as shown, features against their definitions, every odd file a picture or an issue."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from engine.errors import FileRefused
from engine.pictures import MOST_PIXELS, dicom_picture, read_dicom, read_picture, resize, to_unit
from engine.schema import ColumnSpec, Kind
from engine.transformers.image import PATTERN, ImageTransformer, _brightness, _colour, _gradients, _texture

TEST_FILES = Path(pydicom.__file__).parent / "data"


def dicom(name: str) -> Path:
    return next(TEST_FILES.rglob(name))  # pydicom's own look-up would try to download what is not there


@pytest.fixture
def ramp() -> np.ndarray:
    """(40, 60) from dark to bright."""
    return np.tile(np.linspace(0, 255, 60), (40, 1)).round().astype(np.uint8)


@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "webp", "jpg"])
def test_each_format_shows_the_same_picture(ramp: np.ndarray, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"stored_without_ending_{ending}"
    Image.fromarray(ramp).save(path, format={"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending.upper()))
    pixels = read_picture(path)
    assert pixels.shape == (40, 60, 3)
    np.testing.assert_allclose(pixels[:, :, 0], ramp / 255.0, atol=0.03 if ending in ("jpg", "webp") else 1e-6)


def test_sixteen_bits_and_twelve_in_sixteen_are_not_black(tmp_path: Path) -> None:
    wide = np.tile(np.linspace(0, 65535, 64), (8, 1)).astype(np.uint16)
    for top, name in ((65535, "a.png"), (4095, "b.tif")):
        Image.fromarray((wide.astype(float) * top / 65535).round().astype(np.uint16)).save(tmp_path / name)
        np.testing.assert_allclose(read_picture(tmp_path / name)[:, :, 1], wide / 65535.0, atol=1e-3)


def test_colour_is_kept_and_transparency_and_palettes_are_read(tmp_path: Path) -> None:
    red = Image.new("RGB", (10, 10), (200, 20, 40))
    red.save(tmp_path / "a.png")
    red.convert("RGBA").save(tmp_path / "b.png")
    red.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "c.png")
    red.convert("CMYK").save(tmp_path / "d.tif")
    for name in ["a.png", "b.png", "c.png", "d.tif"]:
        np.testing.assert_allclose(read_picture(tmp_path / name)[5, 5] * 255, (200, 20, 40), atol=2)


def test_a_photograph_is_turned_as_its_exif_says(ramp: np.ndarray, tmp_path: Path) -> None:
    image = Image.fromarray(ramp)
    exif = image.getexif()
    exif[274] = 6  # the camera was turned: rotate by 90 degrees clockwise
    image.save(tmp_path / "a.png", exif=exif)
    pixels = read_picture(tmp_path / "a.png")
    assert pixels.shape == (60, 40, 3)
    assert pixels[0].mean() < 0.05 and pixels[-1].mean() > 0.95


def test_arrays_are_pictures_too() -> None:
    assert read_picture(np.zeros((5, 6, 1), dtype=np.uint8)).shape == (5, 6, 3)
    np.testing.assert_allclose(read_picture(np.full((4, 4, 3), 0.25))[0, 0], 0.25)
    np.testing.assert_array_equal(to_unit(np.array([[True, False]])), [[1.0, 0.0]])
    for shape in ((3,), (2, 3, 5), (0, 4)):
        with pytest.raises(FileRefused):
            read_picture(np.zeros(shape, dtype=np.uint8))


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    side = int(MOST_PIXELS**0.5) + 100
    row = zlib.compress(b"\0" * (side + 1) * 100)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", row) + chunk(b"IEND", b""))
    with pytest.raises(FileRefused):
        read_picture(tmp_path / "bomb.png")


def test_a_deflated_dicom_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dicom("image_dfl.dcm")
    assert read_dicom(path).Rows == 512
    monkeypatch.setattr("engine.pictures.MOST_INFLATED", 100_000)
    with pytest.raises(FileRefused):
        read_dicom(path)


# DICOM ------------------------------------------------------------------------------------------------------------


def test_computed_tomography_is_shown_through_its_window() -> None:
    """Against pydicom's own functions; a window is a clipped straight line in Hounsfield units (PS3.3 C.11.2.1.2)."""
    data = read_dicom(dicom("CT_small.dcm"))
    data.WindowCenter, data.WindowWidth = 40, 400
    hounsfield = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
    expected = np.clip((hounsfield - (40 - 0.5)) / (400 - 1) + 0.5, 0, 1)
    assert 0 < expected.mean() < 1
    np.testing.assert_allclose(dicom_picture(data, 0)[:, :, 0], expected, atol=0.005)


def test_monochrome1_is_turned_round() -> None:
    data = read_dicom(dicom("CT_small.dcm"))
    upright = dicom_picture(data, 0)
    data.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_allclose(dicom_picture(data, 0), 1.0 - upright, atol=1e-6)


def test_a_window_that_shows_nothing_is_not_used() -> None:
    data = read_dicom(dicom("CT_small.dcm"))
    data.WindowCenter, data.WindowWidth = 1_000_000, 1
    assert np.ptp(dicom_picture(data, 0)) > 0.9


def test_colour_dicom_is_the_same_in_every_encoding() -> None:
    """One test card as plain, run-length, JPEG, JPEG-LS, as RGB and YBR, in 8, 16 and 32 bits."""
    card = read_picture(dicom("SC_rgb_rle.dcm"))
    np.testing.assert_allclose(card[5, 50], (1, 0, 0), atol=0.01)
    for name in ("SC_rgb_jpeg_gdcm", "SC_rgb_jpeg_dcmtk", "SC_rgb_dcmtk_+eb+cy+s2", "SC_rgb_rle_16bit", "SC_rgb_rle_32bit",
                 "SC_ybr_full_422_uncompressed", "SC_rgb_jls_lossy_line"):  # fmt: skip
        difference = np.abs(read_picture(dicom(f"{name}.dcm")) - card)
        assert float(np.median(difference)) < 0.02, name  # lossy ones differ at the edges


@pytest.mark.parametrize(
    ("packed", "plain"),
    [("MR_small_RLE.dcm", "MR_small.dcm"), ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
     ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"), ("MR_small_bigendian.dcm", "MR_small.dcm")],
)  # fmt: skip
def test_lossless_encodings_lose_nothing(packed: str, plain: str) -> None:
    np.testing.assert_allclose(read_picture(dicom(packed)), read_picture(dicom(plain)), atol=1e-6)


def test_every_file_of_pydicoms_tests_is_a_picture_or_an_issue() -> None:
    """Text, plans, directories, truncated and damaged files, wrong endings: none of them raises."""
    paths = sorted(p for p in TEST_FILES.rglob("*") if p.is_file() and p.suffix in (".dcm", "", ".zip", ".jpg"))
    assert len(paths) > 150
    transformer = ImageTransformer([ColumnSpec("scan", Kind.IMAGE)])
    block, issues = transformer.encode([paths])
    assert block.present.sum() + len(issues) == len(paths)
    assert block.present.sum() >= 90
    assert {issue.code for issue in issues} == {"file_unreadable"}
    assert np.isfinite(block.features[block.present[:, 0]]).all()


def test_no_damage_raises() -> None:
    """Every 40th byte changed, and every length: a picture or an issue."""
    rng = np.random.default_rng(0)
    source = dicom("MR_small.dcm").read_bytes()
    transformer = ImageTransformer([ColumnSpec("scan", Kind.IMAGE)])
    folder = Path(__import__("tempfile").mkdtemp())
    paths = []
    for k in range(40):
        damaged = bytearray(source[: rng.integers(1, len(source))] if k % 2 else source)
        for place in rng.integers(0, min(len(damaged), 2000), 25):
            damaged[place] = rng.integers(0, 256)
        paths.append(folder / str(k))
        paths[-1].write_bytes(damaged)
    block, issues = transformer.encode([paths])
    assert block.present.sum() + len(issues) == len(paths)


# Features ---------------------------------------------------------------------------------------------------------


def test_brightness_is_what_scipy_computes() -> None:
    from scipy import stats

    grey = np.random.default_rng(0).random((30, 50)).astype(np.float32) ** 2
    found = _brightness(grey)
    assert found[0] == pytest.approx(grey.mean(), rel=1e-5)
    np.testing.assert_allclose(found[2:9], np.quantile(grey, (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)), rtol=1e-5)
    assert found[9] == pytest.approx(stats.skew(grey, axis=None), rel=1e-3)
    assert found[10] == pytest.approx(stats.kurtosis(grey, axis=None, fisher=False), rel=1e-3)
    shares = np.histogram(grey, 64, (0, 1))[0] / grey.size
    assert found[11] == pytest.approx(stats.entropy(shares, base=2), rel=1e-4)


def test_patterns_are_the_ten_rotation_invariant_uniform_ones() -> None:
    """58 of the 256 codes are uniform: 1, 8 x 7, 1 (Ojala et al. 2002)."""
    counts = np.bincount(PATTERN, minlength=10).tolist()
    assert counts == [1, 8, 8, 8, 8, 8, 8, 8, 1, 198]
    grey = np.random.default_rng(0).random((40, 40))
    np.testing.assert_allclose(_texture(grey)[:10], _texture(np.rot90(grey))[:10], atol=1e-12)
    flat = _texture(np.zeros((20, 20)))
    assert flat[0] == 1.0 and flat[10] == 0.0


def test_gradients_point_where_the_edge_does() -> None:
    across = np.tile(np.linspace(0, 1, 64), (64, 1))
    found = (_gradients(across) ** 2).reshape(16, 8)
    np.testing.assert_allclose(found[:, 0].sum(), 1.0, atol=1e-6)
    np.testing.assert_allclose((_gradients(across.T) ** 2).reshape(16, 8)[:, 4].sum(), 1.0, atol=1e-6)


def test_hue_is_that_of_the_colour() -> None:
    green = np.zeros((8, 8, 3), dtype=np.float32)
    green[:, :, 1] = 0.8
    found = _colour(green)
    assert found[6] == pytest.approx(1.0) and found[8 + 2] == pytest.approx(0.8)  # 120 degrees of 360 is the third eighth


def test_shrinking_is_the_mean_of_what_falls_into_a_pixel() -> None:
    pixels = np.random.default_rng(0).random((64, 96, 3)).astype(np.float32)
    expected = pixels.reshape(8, 8, 8, 12, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(pixels, 8, 8), expected, atol=1e-5)
