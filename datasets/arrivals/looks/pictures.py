"""PNG, JPEG, TIFF, BMP and WebP: decoded by Pillow within limits, and what lies behind the end of the picture."""

import mmap
import re
import struct
import warnings
from pathlib import Path

from PIL import Image

from datasets.arrivals import signatures
from datasets.arrivals.found import Found, Refused, Shape

MOST_PIXELS = 80_000_000  # as engine.pictures: of one picture
MOST_FRAMES = 2_000
MOST_IN_ALL = 500_000_000  # pixels of all frames: 2,000 of 500 × 500
PADDING = 64  # bytes behind the end that no one needs to explain
FORMATS = {"png": "PNG", "jpeg": "JPEG", "tiff": "TIFF", "bmp": "BMP", "webp": "WEBP"}


def look(path: Path, form: str) -> Found:
    """Every picture of the file is decoded once. Raises Refused, or what Pillow raises for a damaged file."""
    _check_end(path, form)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=[FORMATS[form]]) as image:
                check_pixels(image.width, image.height)
                width, height, frames = image.width, image.height, int(getattr(image, "n_frames", 1))
                if frames > MOST_FRAMES or frames * width * height > MOST_IN_ALL:
                    raise Refused("too_many_pixels", pixels=f"{frames} × {width} × {height}", limit=MOST_IN_ALL)
                total = 0
                for number in range(frames):
                    image.seek(number)
                    check_pixels(image.width, image.height)
                    total += image.width * image.height  # pages of a TIFF differ in size
                    if total > MOST_IN_ALL:
                        raise Refused("too_many_pixels", pixels=total, limit=MOST_IN_ALL)
                    if form == "jpeg" and image.mode in ("L", "RGB"):
                        image.draft(image.mode, (512, 512))  # all of the data is read, a fraction is computed
                    image.load()
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            claimed = re.search(r"\d+", str(error))
            raise Refused(
                "too_many_pixels", pixels=claimed[0] if claimed else "?", limit=MOST_PIXELS
            ) from error
        except OSError as error:
            if "truncated" in str(error) or isinstance(error, EOFError):
                raise Refused("truncated") from error
            raise
    return Found(Shape.IMAGE, form, {"width": width, "height": height, "frames": frames})


def check_pixels(width: int, height: int) -> None:
    """Raises Refused before anything of that size is decoded."""
    if width * height > MOST_PIXELS or min(width, height) < 1:
        raise Refused("too_many_pixels", pixels=f"{width} × {height}", limit=MOST_PIXELS)


def _check_end(path: Path, form: str) -> None:
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = {"png": _png_end, "jpeg": _jpeg_end, "webp": _riff_end, "bmp": _bmp_end}.get(form, len)(data)
        if end > len(data):
            raise Refused("truncated")
        rest = len(data) - end
        begin = data[end : end + signatures.HEAD]
        if rest <= 0 or (rest <= 4 * PADDING and not begin.strip(b"\x00\r\n\xff")):
            return
        others = [claim for claim in signatures.claims(begin.lstrip(b"\x00")) if claim != form]
        refused = signatures.plainly_refused(begin)
        if others or refused:
            second = others[0].upper() if others else refused[1] if refused else "?"
            raise Refused("polyglot", first=form.upper(), second=second)
        if form == "jpeg":  # cameras and phones put previews and notes of their own behind the picture
            return
        if rest > PADDING and _says_something(data, end):
            raise Refused("trailing_data", format=form.upper())


def _says_something(data: mmap.mmap, start: int) -> bool:
    return any(data[k : k + 65536].strip(b"\x00") for k in range(start, len(data), 65536))


def _png_end(data: mmap.mmap) -> int:
    place = 8
    while place + 12 <= len(data):
        length, kind = int(struct.unpack_from(">I", data, place)[0]), data[place + 4 : place + 8]
        place += 12 + length
        if kind == b"IEND":
            return place
    return max(place, len(data) + 1)


def _jpeg_end(data: mmap.mmap) -> int:
    """After the end marker; segments are stepped over, as they may hold a preview with an end of its own."""
    place = 2
    while True:
        place = data.find(b"\xff", place)
        if place < 0 or place + 1 >= len(data):
            return len(data) + 1
        marker = data[place + 1]
        if marker == 0xD9:
            return place + 2
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        if place + 4 > len(data):
            return len(data) + 1
        place += 2 + max(2, int(struct.unpack_from(">H", data, place + 2)[0]))


def _riff_end(data: mmap.mmap) -> int:
    end = 8 + int(struct.unpack_from("<I", data, 4)[0])
    return end + end % 2 if end != len(data) else end


def _bmp_end(data: mmap.mmap) -> int:
    size = int(struct.unpack_from("<I", data, 2)[0])
    return size if size > 54 else len(data)  # many programs leave it 0
