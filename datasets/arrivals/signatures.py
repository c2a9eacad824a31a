"""What the first bytes of a file claim: every claim, not the first one, for a file that makes two is a polyglot.

puremagic, filetype and python-magic were compared (ADR 23): none knows all of ours, each names one claim only.
"""

import struct

HEAD = 4096
TAIL = 65_557  # a zip's end record with the longest comment

PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"\x1aE\xdf\xa3", "mkv"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpeg"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"PAR1", "parquet"),
    (b"%PDF-", "pdf"),
    (b"0       ", "edf"),
    (b"\xffBIOSEMI", "bdf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
)
# What is told from "unknown" only to say it plainly.
REFUSED: tuple[tuple[bytes, str, str], ...] = (
    (b"MZ", "program", "EXE"),
    (b"\x7fELF", "program", "ELF"),
    (b"\xcf\xfa\xed\xfe", "program", "Mach-O"),
    (b"\xca\xfe\xba\xbe", "program", "Java"),
    (b"#!", "program", "script"),
    (b"7z\xbc\xaf\x27\x1c", "archive_format", "7z"),
    (b"Rar!\x1a\x07", "archive_format", "RAR"),
    (b"BZh", "archive_format", "bzip2"),
    (b"\xfd7zXZ\x00", "archive_format", "xz"),
    (b"\x28\xb5\x2f\xfd", "archive_format", "zstd"),
    (b"{\\rtf", "markup", "RTF"),
    (b"<!DOCTYPE", "markup", "HTML"),
    (b"<html", "markup", "HTML"),
    (b"<?xml", "markup", "XML"),
    (b"<svg", "markup", "SVG"),
    (b"<?php", "program", "script"),
)
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
MOVIE_BOXES = (b"moov", b"mdat", b"wide", b"pnot")
NIFTI_ONE = (b"n+1\x00", b"ni1\x00")
NIFTI_TWO = (b"n+2\x00\r\n\x1a\n", b"ni2\x00\r\n\x1a\n")


def claims(head: bytes) -> list[str]:
    """The formats that the head claims, in a fixed order. DICOM without its preamble claims nothing."""
    found = list(dict.fromkeys(name for prefix, name in PREFIXES if head.startswith(prefix)))
    if head[:4] == b"RIFF":
        found += {b"WEBP": ["webp"], b"AVI ": ["avi"]}.get(head[8:12], [])
    if head[:2] == b"BM" and len(head) >= 26 and struct.unpack_from("<I", head, 14)[0] in BMP_HEADERS:
        found.append("bmp")
    if head[4:8] == b"ftyp":
        found.append("mov" if head[8:12] == b"qt  " else "mp4")
    elif head[4:8] in MOVIE_BOXES:
        found.append("mov")
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        found.append("mpeg")
    if head[128:132] == b"DICM":
        found.append("dicom")
    if _nifti(head):
        found.append("nifti")
    if head[257:262] == b"ustar":
        found.append("tar")
    return found


def _nifti(head: bytes) -> bool:
    sizes = (head[:4], head[:4][::-1])
    one = head[344:348] in NIFTI_ONE and struct.pack("<i", 348) in sizes
    two = head[4:12] in NIFTI_TWO and struct.pack("<i", 540) in sizes
    return one or two


def plainly_refused(head: bytes) -> tuple[str, str] | None:
    """(code, name) of what is known and never taken."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:16]
    for prefix, code, name in REFUSED:
        if start.startswith(prefix) or (prefix[:1] == b"<" and start.lower().startswith(prefix.lower())):
            return code, name
    return None


def zip_at_end(tail: bytes) -> bool:
    """Whether an archive's end record lies in the tail and reaches to its end, as tools that unpack look for it."""
    place = tail.rfind(b"PK\x05\x06")
    while place >= 0:
        if len(tail) >= place + 22:
            comment = struct.unpack_from("<H", tail, place + 20)[0]
            entries, size = (
                struct.unpack_from("<H", tail, place + 10)[0],
                struct.unpack_from("<I", tail, place + 12)[0],
            )
            if place + 22 + comment <= len(tail) and entries * 46 <= max(size, 46) and (entries or size == 0):
                return True
        place = tail.rfind(b"PK\x05\x06", 0, place)
    return False
