"""The Part 10 header: written for what came by C-STORE, read of what came by STOW-RS. pydicom takes longer than the disk."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

IMPLEMENTATION = "2.25.288338113286034263094207127190312894325"  # as in datasets.dicom.deidentify
VERSION = "AIMASS"
_LONG = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"SQ", b"UC", b"UN", b"UR", b"UT"})  # VRs with a length of four bytes
_UID = re.compile(rb"([0-9.]{1,64})[\0 ]?")
FIRST, STARTS = 144, 4096  # where what follows the group's length begins; enough for a usual header


def header(*, sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble, prefix and file meta, to be followed by the data set as it was sent."""
    meta = b"".join(
        (
            _element(0x0001, b"OB", b"\0\1"),
            _element(0x0002, b"UI", sop_class.encode()),
            _element(0x0003, b"UI", sop_instance.encode()),
            _element(0x0010, b"UI", transfer_syntax.encode()),
            _element(0x0012, b"UI", IMPLEMENTATION.encode()),
            _element(0x0013, b"SH", VERSION.encode()),
        )
    )
    return b"\0" * 128 + b"DICM" + _element(0x0000, b"UL", struct.pack("<L", len(meta))) + meta


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b" " if vr == b"SH" else b"\0"
    if vr in _LONG:
        return struct.pack("<HH2s2xL", 0x0002, number, vr, len(value)) + value
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


@dataclass(frozen=True)
class Meta:
    """What a header says of its object."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str


def meta_of(start: bytes) -> Meta | None:
    """What a file that begins so says it is. None where that is unusual: pydicom may still make sense of it."""
    if start[128:140] != b"DICM\x02\0\0\0UL\x04\0" or len(start) < FIRST:
        return None
    at, end = FIRST, FIRST + int(struct.unpack_from("<L", start, FIRST - 4)[0])
    if end > len(start) or start[end : end + 2] == b"\x02\0":
        return None
    found: dict[int, bytes] = {}
    last = 0
    while at + 12 <= end:
        group, number, vr, length = struct.unpack_from("<HH2sH", start, at)
        at += 8
        if vr in _LONG:
            (length,) = struct.unpack_from("<L", start, at)
            at += 4
        if group != 2 or number <= last:
            return None
        found[number] = start[at : at + length]
        last, at = number, at + length
    uids = [_UID.fullmatch(found.get(number, b"")) for number in (0x0002, 0x0003, 0x0010)]
    if at != end or not all(uids):
        return None
    return Meta(*(uid[1].decode() for uid in uids if uid))
