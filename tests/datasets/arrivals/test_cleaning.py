"""Pictures lose names, places and devices, and not one pixel; what has none stays byte for byte as it is."""

import hashlib
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import default_storage
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin

from datasets.arrivals import cleaning, cleaning_tiff
from datasets.arrivals.found import Refused
from datasets.cells import store
from datasets.cells.models import CellFile
from datasets.models import StoredFile
from tests.conftest import actor
from tests.datasets.arrivals import samples
from tests.datasets.arrivals.test_arrivals import outcomes, send
from tests.datasets.test_cells_intake import imported, with_table

WHO = b"Wang Xiaoming 4711"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:creator>' + WHO + b"</dc:creator></x:xmpmeta>"
IPTC = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00" + struct.pack(">I", len(WHO)) + WHO
ICC = b"a profile, as far as anybody here can tell"


def exif(turned: int = 1) -> Image.Exif:
    block = Image.Exif()
    block[0x013B] = block[0x010E] = WHO.decode()  # Artist, ImageDescription
    if turned > 1:
        block[0x0112] = turned
    block.get_ifd(0x8825)[1] = "N"  # GPS
    block.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    block.get_ifd(0x8769)[0x9286] = WHO  # UserComment
    return block


def pixels(seed: int = 1, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def saved(image: Image.Image, form: str, **more: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **more)
    return out.getvalue()


def jpeg(turned: int = 1, **more: Any) -> bytes:
    """As a camera writes it: EXIF, XMP, IPTC, a comment, a preview behind the picture."""
    content = saved(pixels(), "JPEG", exif=exif(turned), comment=WHO, icc_profile=ICC, xmp=XMP, quality=90, **more)
    iptc = b"\xff\xed" + struct.pack(">H", len(IPTC) + 2) + IPTC
    return content[:2] + iptc + content[2:] + saved(pixels(2, (16, 16)), "JPEG", exif=exif())


def png(turned: int = 1) -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", WHO.decode())
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    texts.add_text("Comment", WHO.decode(), zip=True)
    return saved(pixels(), "PNG", pnginfo=texts, exif=exif(turned), icc_profile=ICC)


def tiff(turned: int = 1, **more: Any) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = tags[315] = tags[305] = WHO.decode()
    tags[700], tags[33723], tags[50839] = XMP, WHO, WHO
    tags.tagtype[33723] = tags.tagtype[50839] = 7
    if turned > 1:
        tags[274] = turned
    pages = [pixels(n) for n in (2, 3)]
    return saved(
        pixels(), "TIFF", tiffinfo=tags, exif=exif(turned), icc_profile=ICC, save_all=True, append_images=pages, **more
    )


def webp(turned: int = 1) -> bytes:
    return saved(pixels(), "WEBP", lossless=True, exif=exif(turned), xmp=XMP, icc_profile=ICC)


def gif() -> bytes:
    frames = [pixels(n).convert("P") for n in range(3)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=WHO, loop=0, duration=40)


WRITTEN: dict[str, tuple[str, bytes]] = {
    "png": ("png", png()), "jpeg": ("jpeg", jpeg()), "progressive": ("jpeg", jpeg(progressive=True)),
    "tiff": ("tiff", tiff()), "lzw": ("tiff", tiff(compression="tiff_lzw")), "big": ("tiff", tiff(big_tiff=True)),
    "deflate": ("tiff", tiff(compression="tiff_adobe_deflate")), "webp": ("webp", webp()), "gif": ("gif", gif()),
}  # fmt: skip


def cleaned(content: bytes, form: str, folder: Path) -> tuple[bytes, int]:
    path, out = folder / "in", folder / "out"
    path.write_bytes(content)
    out.unlink(missing_ok=True)
    count = cleaning.clean(path, form, out)
    return (out.read_bytes() if count else content), count


def seen(content: bytes) -> list[bytes]:
    """Every frame as it is shown: its pixels, turned as the file says."""
    found = []
    with Image.open(io.BytesIO(content)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            found.append(ImageOps.exif_transpose(image.copy()).convert("RGB").tobytes())
    return found


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_written_beside_the_pixels_is_left_and_every_pixel_is(name: str, tmp_path: Path) -> None:
    form, content = WRITTEN[name]
    assert WHO in content
    out, count = cleaned(content, form, tmp_path)
    assert count > 0 and len(out) <= len(content)
    for secret in (WHO, b"xmpmeta", b"8BIM", b"Wang"):
        assert secret not in out
    assert seen(out) == seen(content)
    with Image.open(io.BytesIO(out)) as image:
        assert not image.getexif() or set(image.getexif()) <= cleaning_tiff.KEPT | {0x0112}
        assert form == "gif" or image.info["icc_profile"] == ICC
        assert form != "gif" or (image.info["loop"], image.info["duration"]) == (0, 40)
    assert cleaned(out, form, tmp_path) == (out, 0), "clean is clean"


@pytest.mark.parametrize(("form", "make"), [("jpeg", jpeg), ("png", png), ("tiff", tiff), ("webp", webp)])
def test_how_a_picture_is_turned_stays(form: str, make: Any, tmp_path: Path) -> None:
    content = make(6)
    out, _count = cleaned(content, form, tmp_path)
    assert WHO not in out and seen(out) == seen(content)
    with Image.open(io.BytesIO(out)) as image:
        assert image.getexif().get(0x0112) == 6 and not image.getexif().get_ifd(0x8825)
    assert cleaned(out, form, tmp_path) == (out, 0)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "GIF"])
def test_what_has_nothing_beside_its_pixels_stays_as_it_is(form: str, tmp_path: Path) -> None:
    content = saved(pixels(), form)
    assert cleaned(content, form.lower(), tmp_path) == (content, 0)


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    old = bytearray(saved(pixels(), "TIFF"))
    (place,) = struct.unpack_from("<I", old, 4)
    for number in range(struct.unpack_from("<H", old, place)[0]):
        at = place + 2 + 12 * number
        if struct.unpack_from("<H", old, at)[0] == 259:
            struct.pack_into("<H", old, at + 8, 6)
    for form, content in (("tiff", bytes(old)), ("tiff", tiff()[:200]), ("jpeg", b"\xff\xd8 no marker"), ("gif", gif()[:50])):
        with pytest.raises(Refused) as refused:
            cleaned(content, form, tmp_path)
        assert refused.value.code == "metadata"


def test_bytes_that_no_tag_uses_become_zero(tmp_path: Path) -> None:
    content = saved(pixels(), "TIFF") + b"hidden: " + WHO
    out, count = cleaned(content, "tiff", tmp_path)
    assert count == 1 and len(out) == len(content) and WHO not in out and seen(out) == seen(content)


@pytest.mark.parametrize("name", WRITTEN)
def test_damage_ends_in_a_reason_and_never_in_a_name(name: str, tmp_path: Path) -> None:
    """Whatever a changed file is taken for: it is refused, or the name is gone from it."""
    form, content = WRITTEN[name]
    dice = np.random.default_rng(5)
    for _try in range(60):
        changed = bytearray(content)
        for place in dice.integers(8, len(changed), 3):
            changed[place] = int(dice.integers(0, 256))
        try:
            out, count = cleaned(bytes(changed), form, tmp_path)
        except Refused as refused:
            assert refused.code == "metadata"
        else:
            assert isinstance(out, bytes) and count >= 0


@pytest.mark.django_db
def test_a_cell_keeps_a_picture_without_its_metadata_and_knows_it_again(dana: Any) -> None:
    content = jpeg(6)
    cell = store.take_in(actor=actor(dana), file=io.BytesIO(content), name="a.jpg")
    with default_storage.open(cell.file.path) as stream:
        kept = stream.read()
    assert WHO not in kept and seen(kept) == seen(content)
    assert cell.file.sha256 == hashlib.sha256(kept).hexdigest() and cell.file.size == len(kept)
    for again in (content, kept):
        assert store.take_in(actor=actor(dana), file=io.BytesIO(again), name="a.jpg").pk == cell.pk
    assert StoredFile.objects.count() == 1
    own = Path(default_storage.path(f"uploads/{actor(dana).organisation.pk}"))
    assert not [path for path in own.rglob("*") if path.is_file() and WHO in path.read_bytes()]


@pytest.mark.django_db(transaction=True)
def test_an_arrival_keeps_it_without_and_knows_the_same_upload_again(dana: Any, run_jobs: Any) -> None:
    arrival = send(dana, {"a.jpg": jpeg(), "plain.png": samples.picture("PNG")})
    run_jobs()
    first, plain = arrival.files.order_by("pk")
    assert first.masked["metadata"] > 0 and plain.masked == {}
    with default_storage.open(first.file.path) as stream:
        assert WHO not in stream.read()
    again = send(dana, {"b.jpg": jpeg()})
    run_jobs()
    assert outcomes(again) == {"b.jpg": "duplicate"} and again.files.get().file == first.file
    own = Path(default_storage.path(f"uploads/{actor(dana).organisation.pk}"))
    assert not [path for path in own.rglob("*") if path.is_file() and WHO in path.read_bytes()]


@pytest.mark.django_db
def test_cells_of_a_zip_are_kept_without(dana: Any, run_jobs: Any) -> None:
    cells = [("ill" if n % 2 else "well", f"p{n}_1.png", png_of(n)) for n in range(4)]
    upload = imported(dana, run_jobs, with_table(cells))
    assert upload.rows_added == 4 and CellFile.objects.count() == 4
    for cell in CellFile.objects.all():
        with default_storage.open(cell.file.path) as stream:
            assert WHO not in stream.read()


def png_of(seed: int) -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Patient", WHO.decode())
    return saved(pixels(seed), "PNG", pnginfo=texts)
