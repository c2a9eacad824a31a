"""Pictures without what was written beside their pixels: names, places and devices in EXIF, XMP, IPTC, comments and text chunks.

Lossless: pieces of the file are left out, no pixel is touched. What a decoder needs stays (by lists of what is known, so that
what nobody knows goes), and so do the colour profile and how the picture is turned.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from datasets.arrivals import cleaning_headers, cleaning_tiff, cleaning_video
from datasets.arrivals.found import Refused

PICTURES = ("png", "jpeg", "tiff", "webp", "gif")  # BMP has no place for texts
FORMATS = (*PICTURES, *cleaning_headers.FORMATS, *cleaning_video.FORMATS)
TURNED = 0x0112  # EXIF's Orientation
PNG_KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs acTL fcTL fdAT".split()
)
WEBP_KEPT = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
GIF_KEPT = (b"NETSCAPE2.0", b"ANIMEXTS1.0")  # how often a clip is repeated


def clean(path: Path, form: str, out: Path) -> int:
    """Write the file without its metadata to `out`; how many pieces went. With 0 nothing is written: it is clean already.

    Raises Refused ("metadata" and such) where that cannot be done without touching what is meant to be seen.
    """
    if form in cleaning_headers.FORMATS:
        return cleaning_headers.clean(path, form, out)
    if form in cleaning_video.FORMATS:
        return cleaning_video.clean(path, form, out)
    data = path.read_bytes()
    try:
        cleaned, count = _HOW[form](data)
    except (struct.error, IndexError, ValueError) as error:
        raise Refused("metadata") from error
    if count:
        out.write_bytes(cleaned)
    return count


def orientation(exif: bytes) -> int:
    """How the picture is turned, by an EXIF block (a TIFF file of its own); 1, upright, where it does not say."""
    try:
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (place,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, place)
        for number in range(entries):
            tag, kind, _many, value = struct.unpack_from(order + "HHIH", exif, place + 2 + 12 * number)
            if tag == TURNED and kind == 3 and 1 <= value <= 8:
                return int(value)
    except (KeyError, struct.error):
        pass
    return 1


def only_turned(value: int) -> bytes:
    """An EXIF block that says how the picture is turned, and nothing else."""
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, TURNED, 3, 1, value, 0, 0)


def _png(data: bytes) -> tuple[bytes, int]:
    out, count, place = bytearray(data[:8]), 0, 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, end = data[place + 4 : place + 8], place + 12 + length
        if kind in PNG_KEPT:
            out += data[place:end]
        elif kind == b"eXIf" and (turned := orientation(data[place + 8 : end - 4])) > 1:
            small = only_turned(turned)
            chunk = struct.pack(">I", len(small)) + _checked(b"eXIf" + small)
            out += chunk
            count += chunk != data[place:end]
        else:
            count += 1
        place = end
        if kind == b"IEND":
            break
    return bytes(out), count + (place < len(data))


def _checked(chunk: bytes) -> bytes:
    from zlib import crc32

    return chunk + struct.pack(">I", crc32(chunk))


def _jpeg(data: bytes) -> tuple[bytes, int]:
    out, count = bytearray(b"\xff\xd8"), 0
    end = len(data)
    for marker, start, end in _segments(data):
        segment = data[start:end]
        kept = _jpeg_kept(marker, segment)
        out += kept
        count += kept != segment
    return bytes(out), count + (end < len(data))  # cameras put previews, with EXIF of their own, behind the picture


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of what follows each other up to the end marker; coded data belongs to the marker before it."""
    place = 2
    while place + 1 < len(data):
        if data[place] != 0xFF:
            raise ValueError("no marker")
        start, marker = place, data[place + 1]
        if marker == 0xFF:  # a filling byte
            place += 1
            continue
        if marker == 0xD9:
            yield marker, start, start + 2
            return
        place += 2
        if marker != 0x01 and not 0xD0 <= marker <= 0xD8:
            place += max(2, int.from_bytes(data[place : place + 2], "big"))
        if marker == 0xDA or 0xD0 <= marker <= 0xD7:
            place = _coded_end(data, place)
        yield marker, start, min(place, len(data))


def _coded_end(data: bytes, place: int) -> int:
    while True:
        place = data.find(b"\xff", place)
        if place < 0 or place + 1 >= len(data):
            return len(data)
        if data[place + 1] != 0 and not 0xD0 <= data[place + 1] <= 0xD7:
            return place
        place += 2


def _jpeg_kept(marker: int, segment: bytes) -> bytes:
    """What stays of a segment: all of what decodes, the colour profile, Adobe's colour transform, how the picture is turned."""
    body = segment[4:]
    if marker == 0xE0 and body.startswith(b"JFIF\0"):
        return _segment(marker, body[:12] + b"\0\0")  # without its preview
    if marker == 0xE1 and body.startswith(b"Exif\0\0"):
        turned = orientation(body[6:])
        return _segment(marker, b"Exif\0\0" + only_turned(turned)) if turned > 1 else b""
    if marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
        return segment
    if marker == 0xEE and body.startswith(b"Adobe"):
        return _segment(marker, body[:12])
    return b"" if marker == 0xFE or 0xE0 <= marker <= 0xEF else segment


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def _webp(data: bytes) -> tuple[bytes, int]:
    (size,) = struct.unpack_from("<I", data, 4)
    parts, count, place, turned = [], 0, 12, 1
    end = min(len(data), 8 + size)
    while place + 8 <= end:
        kind, (length,) = data[place : place + 4], struct.unpack_from("<I", data, place + 4)
        after = place + 8 + length + length % 2
        if kind in WEBP_KEPT or kind == b"VP8X":
            parts.append(data[place:after])
        elif kind == b"EXIF":
            block = data[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0")
            turned = orientation(block)
            count += turned == 1 or block != only_turned(turned)
        else:
            count += 1
        place = after
    if turned > 1:
        small = only_turned(turned)
        parts.append(b"EXIF" + struct.pack("<I", len(small)) + small)
    if parts and parts[0][:4] == b"VP8X":
        flags = parts[0][8] & ~0x0C | (0x08 if turned > 1 else 0)  # EXIF and XMP
        parts[0] = parts[0][:8] + bytes((flags,)) + parts[0][9:]
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body, count + (end < len(data))


def _gif(data: bytes) -> tuple[bytes, int]:
    place = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    out, count = bytearray(data[:place]), 0
    while data[place] != 0x3B:
        start = place
        if data[place] == 0x2C:  # a picture
            packed = data[place + 9]
            place += 10 + (3 << (packed & 7) + 1 if packed & 0x80 else 0) + 1
            kept = True
        elif data[place] == 0x21:
            kind, name = data[place + 1], data[place + 3 : place + 14]
            kept = kind == 0xF9 or (kind == 0xFF and name in GIF_KEPT)
            place += 2
        else:
            raise ValueError("no block")
        while data[place]:
            place += 1 + data[place]
        place += 1
        if kept:
            out += data[start:place]
        count += not kept
    return bytes(out) + b";", count + (place + 1 < len(data))


_HOW: dict[str, Callable[[bytes], tuple[bytes, int]]] = {
    "png": _png, "jpeg": _jpeg, "tiff": cleaning_tiff.clean, "webp": _webp, "gif": _gif,
}  # fmt: skip
