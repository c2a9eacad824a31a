"""Which encoding a text file has: found out over the whole file, not its first bytes alone."""

import codecs
import re
from pathlib import Path

from django.utils.translation import gettext as _

from datasets.readers.base import ReadError

PIECE = 1024 * 1024
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030", "cp1252", "latin-1")
HIGH_RUN = re.compile(rb"[\x80-\xff]+")
# The two-byte characters of GB 2312, which is nearly all Chinese text in GB18030.
GB_PAIR = re.compile(rb"[\xa1-\xf7][\xa1-\xfe]")

# Letters of Europe, Chinese characters, and the punctuation of both.
READABLE = re.compile(r"[\t\r\n -~\xa0-\u052f\u2010-\u2027\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]")


def detect(path: Path) -> tuple[str, bool]:
    """(encoding, certain). Certain is False for GB18030 and Latin-1, which are told from what their text looks like.

    Raises ReadError when the file is not text.
    """
    with path.open("rb") as stream:
        head = stream.read(64 * 1024)
    for bom, name in BOMS:
        if head.startswith(bom):
            if not decodes(path, name):
                raise _not_text()
            return name, True
    failed = first_failure(path, "utf-8")
    if b"\x00" in head and (failed is not None or not few_zeros(head)):
        return _wide(path, head), True
    if failed is None:
        return "utf-8", True
    with path.open("rb") as stream:
        stream.seek(max(0, failed - PIECE // 4))
        sample = head + stream.read(PIECE)
    if looks_chinese(sample) and decodes(path, "gb18030"):
        return "gb18030", False
    return ("cp1252" if decodes(path, "cp1252") else "latin-1"), False


def few_zeros(content: bytes | str) -> bool:
    """Whether zeros are stray ones in a text, whose rows are refused one by one, and no sign of something else."""
    if isinstance(content, bytes):
        return content.count(b"\x00") <= content.count(b"\n")
    return content.count("\x00") <= content.count("\n")


def _wide(path: Path, head: bytes) -> str:
    """UTF-16 without a mark: read in the wrong order of bytes, or when it is no text, most characters are strange."""
    shares = {name: _readable(head.decode(name, "ignore")) for name in ("utf-16-le", "utf-16-be")}
    name = max(shares, key=lambda n: shares[n])
    if shares[name] < 0.9 or not decodes(path, name):
        raise _not_text()
    return name


def _readable(text: str) -> float:
    return len(READABLE.findall(text)) / max(1, len(text))


def _not_text() -> ReadError:
    return ReadError(
        "not_a_table",
        _("This is not a table that can be read. Upload CSV, TSV, XLSX or Parquet, or gzip or zip of these."),
    )


def looks_chinese(sample: bytes) -> bool:
    """High bytes come in pairs of GB 2312 in Chinese text, and mostly alone in Western European text."""
    total = sum(len(run) for run in HIGH_RUN.findall(sample))
    # Counted from the start of each run: a character begins there.
    paired = sum(2 * len(GB_PAIR.findall(run)) for run in HIGH_RUN.findall(sample) if len(run) >= 2)
    return total > 0 and paired >= 0.8 * total


def first_failure(path: Path, encoding: str) -> int | None:
    """Where in the file decoding fails, roughly; None when all of it is valid."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    place = 0
    with path.open("rb") as stream:
        while True:
            piece = stream.read(PIECE)
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                return place + error.start
            except UnicodeError:  # UTF-16 that a person chose, and no mark at the beginning tells which
                return place
            if not piece:
                return None
            place += len(piece)


def decodes(path: Path, encoding: str) -> bool:
    return first_failure(path, encoding) is None
