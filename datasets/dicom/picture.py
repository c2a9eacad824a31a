"""What hides beside the pixels: bytes after them, overlays in their unused bits, comments inside of compressed frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.dicom.codes import Unreadable
from datasets.dicom.pixels import OVERLAY_GROUPS, native_length
from datasets.dicom.report import Action, Report

PIXEL_DATA = 0x7FE00010
TABLES = (0x7FE00001, 0x7FE00002)  # extended offsets, made anew as the basic table
# Comments and application segments of JPEG and JPEG-LS; JFIF (E0) and Adobe (EE) tell the decoder about colour and stay,
# cut to what they say there.
_COMMENT, _JFIF, _ADOBE, _SCAN, _END = 0xFE, 0xE0, 0xEE, 0xDA, 0xD9
_J2K_COMMENT, _J2K_TILE = 0x64, 0x90
JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")  # fmt: skip
J2K = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 92, 93, 201, 202, 203))
RLE = "1.2.840.10008.1.2.5"


def strip(data: Any, report: Report, *, trusted: bool = False) -> None:
    """Take out of the pixels what is no pixel. Raises Unreadable where the frames can't be told apart.

    `trusted`: a person has looked; then a coding that is not understood here (video) is left as it is.
    """
    if "PixelData" not in data:
        return
    element = data["PixelData"]
    if data.file_meta.TransferSyntaxUID.is_compressed:
        _compressed(data, element, report, trusted)
    else:
        _native(data, element, report)


def _native(data: Any, element: Any, report: Report) -> None:
    length = native_length(data, 1) or 0
    value = bytes(element.value)
    if len(value) < length:
        raise Unreadable("truncated")
    tail, value = value[length:], value[:length]
    if tail.strip(b"\0"):
        report.add((PIXEL_DATA,), Action.STRIPPED)
    if any(bit_overlays(data)):
        value = _without_high_bits(data, value)
        report.add((PIXEL_DATA,), Action.STRIPPED)
    element.value = value + b"\0" * (len(value) % 2)


def bit_overlays(data: Any) -> list[int]:
    """The groups of overlays that lie in bits of the pixels beside the stored ones (retired, but found in archives)."""
    return [group for group in OVERLAY_GROUPS if (group, 0x0102) in data and int(data[group, 0x0102].value or 0) > 0
            and (group, 0x3000) not in data]  # fmt: skip


def _without_high_bits(data: Any, value: bytes) -> bytes:
    """Only the stored bits; a sign is carried on into the bits above them, as decoders expect."""
    allocated, stored = int(data.BitsAllocated), int(data.BitsStored)
    if allocated not in (8, 16, 32) or stored >= allocated:
        return value
    low = int(data.HighBit) + 1 - stored
    order = "<" if data.file_meta.TransferSyntaxUID.is_little_endian else ">"
    words = np.frombuffer(
        value[: len(value) // (allocated // 8) * (allocated // 8)], dtype=f"{order}u{allocated // 8}"
    )
    mask = ((1 << stored) - 1) << low
    kept = words & np.array(mask, dtype=words.dtype)
    if int(data.PixelRepresentation) and low == 0:
        sign = (kept >> (stored - 1)) & 1
        kept = kept | (sign * np.array(((1 << allocated) - 1) ^ mask, dtype=words.dtype)).astype(words.dtype)
    return bytes(kept.astype(words.dtype).tobytes()) + value[words.nbytes :]


def _compressed(data: Any, element: Any, report: Report, trusted: bool) -> None:
    from pydicom.encaps import encapsulate, generate_frames

    syntax = str(data.file_meta.TransferSyntaxUID)
    if syntax not in JPEG and syntax not in J2K and syntax != RLE:
        if trusted:
            return
        raise Unreadable("syntax_unsupported")
    count = max(1, int(data.get("NumberOfFrames", 1) or 1))
    offsets = None
    if all(tag in data for tag in TABLES):
        offsets = (data[TABLES[0]].value, data[TABLES[1]].value)
    frames = []
    for index, frame in enumerate(
        generate_frames(element.value, number_of_frames=count, extended_offsets=offsets)
    ):
        if index >= count:  # more than the header tells of: nobody looked at them
            report.add((PIXEL_DATA,), Action.STRIPPED)
            break
        clean = without_comments(frame, syntax)
        if len(clean.rstrip(b"\0")) < len(frame.rstrip(b"\0")):
            report.add((PIXEL_DATA,), Action.STRIPPED)
        frames.append(clean)
    for tag in TABLES:
        if tag in data:
            del data[tag]
    size = sum(len(frame) + 8 for frame in frames)
    element.value = encapsulate(frames, has_bot=size < 2**32)
    element.is_undefined_length = True


def without_comments(frame: bytes, syntax: str) -> bytes:
    """A frame without comments, application data and bytes behind its end. Raises Unreadable where it isn't what it claims."""
    if syntax in JPEG:
        return _jpeg(frame)
    return _j2k(frame) if syntax in J2K else frame


def _jpeg(frame: bytes) -> bytes:
    start = frame.find(b"\xff\xd8")
    if start < 0 or start > 1:
        raise Unreadable("pixels_unreadable", "no JPEG")
    out, at = bytearray(b"\xff\xd8"), start + 2
    while at + 4 <= len(frame):
        if frame[at] != 0xFF:
            raise Unreadable("pixels_unreadable", "no marker")
        marker = frame[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker == _SCAN:
            return bytes(out) + _scans(frame[at:])
        length = 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        segment = frame[at : at + length]
        if marker == _JFIF and segment[4:9] == b"JFIF\0":
            out += _segment(_JFIF, segment[4:16] + b"\0\0")  # without its thumbnail
        elif marker == _ADOBE and segment[4:9] == b"Adobe":
            out += _segment(_ADOBE, segment[4:16])  # some writers leave its last bytes out
        elif (marker != _COMMENT and not 0xE0 <= marker <= 0xEF) or _jls_colour(segment, marker):
            out += segment
        at += length
    raise Unreadable("pixels_unreadable", "no scan")


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def _jls_colour(segment: bytes, marker: int) -> bool:
    """HP's colour transform of JPEG-LS ("mrfx", APP8): without it the colours are wrong."""
    return marker == 0xE8 and segment[4:8] == b"mrfx" and len(segment) <= 9


def _scans(rest: bytes) -> bytes:
    """From the first scan up to the end of the image; comments between scans go, what comes behind the end goes too."""
    out, at, size = bytearray(), 0, len(rest)
    while at < size:
        nxt = rest.find(b"\xff", at)
        if nxt < 0 or nxt + 1 >= size:
            return bytes(out + rest[at:])  # no end marker: decoders cope
        marker = rest[nxt + 1]
        if marker == _END:
            return bytes(out + rest[at : nxt + 2])
        if marker == _COMMENT or (0xE0 <= marker <= 0xEF):
            out += rest[at:nxt]
            at = nxt + 2 + int.from_bytes(rest[nxt + 2 : nxt + 4], "big")
        else:
            out += rest[at : nxt + 2]
            at = nxt + 2
    return bytes(out)


def _j2k(frame: bytes) -> bytes:
    """The codestream of JPEG 2000 without the comments of its main header (PS3.5 forbids boxes around it; they go)."""
    start = frame.find(b"\xff\x4f\xff\x51")
    if start < 0:
        raise Unreadable("pixels_unreadable", "no JPEG 2000")
    out, at = bytearray(b"\xff\x4f"), start + 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == _J2K_TILE:
            end = frame.rfind(b"\xff\xd9")
            return bytes(out) + (frame[at : end + 2] if end > at else frame[at:])
        length = 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker != _J2K_COMMENT:
            out += frame[at : at + length]
        at += length
    raise Unreadable("pixels_unreadable", "no tile")
