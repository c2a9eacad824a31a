"""The Part 10 header of a data set that came over the network; written here, as pydicom takes longer for it than for an image."""

from __future__ import annotations

import struct

IMPLEMENTATION = "2.25.288338113286034263094207127190312894325"  # as in datasets.dicom.deidentify
VERSION = "AIMASS"
_LONG = frozenset({b"OB"})


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
