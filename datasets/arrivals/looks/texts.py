"""Plain text: a table of rows and cells, the header of a WFDB record, or a note; and the other formats of tables."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from datasets.arrivals.found import Found, Refused, Shape
from datasets.arrivals.looks import documents
from datasets.readers import encodings
from datasets.readers.base import ReadError
from datasets.readers.delimited import DELIMITERS
from datasets.readers.table import open_table
from datasets.storage import limit_text

LARGEST_NOTE = 20 * 1024 * 1024  # bytes
SAMPLE = 200_000
REGULAR = 0.9  # of a table's rows have as many cells as most
PROSE = 0.8  # of commas are followed by a space, in sentences
SENTENCE = 20  # characters of an average cell from which commas are taken for those of sentences
RECORD_LINE = re.compile(r"[A-Za-z0-9_-]+\s+\d{1,3}\s+[\d./()eE+-]+(\s+\d+)?(\s+\S+){0,2}\s*")


def look(path: Path, beside: Callable[[str], Path | None] | None = None) -> Found:
    """A file whose content claims no format. Raises Refused ("unknown" for what is no text)."""
    try:
        encoding, _certain = encodings.detect(path)
    except ReadError as error:
        raise Refused("unknown") from error
    with path.open(encoding=encoding, newline="") as stream:
        sample = stream.read(SAMPLE)
    if not sample.strip():
        raise Refused("empty")
    if _strange(sample):
        raise Refused("unknown")
    if RECORD_LINE.fullmatch(_first_line(sample)):
        return _wfdb(sample, beside)
    if is_table(sample, len(sample) < SAMPLE):
        return look_table(path, "text")
    if path.stat().st_size > LARGEST_NOTE:
        raise Refused("too_large", limit=limit_text(LARGEST_NOTE))
    text = documents.text_of(path, "txt")
    return Found(Shape.TEXT, "txt", {"characters": len(text)})


def look_table(path: Path, form: str) -> Found:
    """A table in any of the formats of `datasets.readers`; its first rows are read. Raises Refused."""
    try:
        with open_table(path, {}) as table:
            first = next(iter(table.batches(0, 50)), None)
            if first is None:
                raise Refused("empty")
            numbers = _numeric([[str(c) for c in row if c is not None] for row in first.rows[1:]])
            return Found(
                Shape.TABLE,
                str(table.described["format"]),
                {"rows": table.row_estimate(), "numbers": numbers},
            )
    except ReadError as error:
        raise Refused("unreadable_table", detail=str(error), table=error.code) from error


def tabular(head: bytes) -> bool:
    """Whether the first bytes of what is packed look like the beginning of a table, or are one in another format."""
    if head[:4] == b"PAR1":
        return True
    text = (
        head.decode("utf-8", "ignore")
        if head[:2] not in (b"\xff\xfe", b"\xfe\xff")
        else head.decode("utf-16", "ignore")
    )
    return not _strange(text) and is_table(text, False)


def _strange(sample: str) -> bool:
    """Control characters that no text has, more than one in a thousand."""
    strange = (
        sum(c < " " and c not in "\t\r\n\f\x0b\x1a" for c in sample)
        + sample.count("\x7f")
        + sample.count("\ufffd")
    )
    return strange * 1000 > len(sample)


def _first_line(sample: str) -> str:
    return next(
        (line for line in sample.splitlines() if line.strip() and not line.startswith("#")), ""
    ).strip()


def is_table(sample: str, complete: bool) -> bool:
    """Rows of as many cells each, of which the commas are not those of sentences; or one column of numbers."""
    lines = [line for line in sample.splitlines() if line.strip() and not line.startswith("#")]
    if not complete:
        lines = lines[:-1]
    return any(_regular(lines, delimiter, complete) for delimiter in DELIMITERS) or _column_of_numbers(
        lines[:500]
    )


def _regular(lines: list[str], delimiter: str, complete: bool) -> bool:
    try:
        reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter)
        rows = [row for row in islice(reader, 500) if any(row)]
    except csv.Error:
        return False
    if not complete and len(rows) < 500:
        rows = rows[:-1]  # a quoted cell may have been cut off
    if len(rows) < 2:
        return False
    width, agreeing = Counter(map(len, rows)).most_common(1)[0]
    if width < 2 or agreeing < REGULAR * len(rows):
        return False
    cells = [cell for row in rows for cell in row]
    spaced = sum(cell.startswith(" ") for row in rows for cell in row[1:])
    prose = spaced > PROSE * (len(cells) - len(rows)) and sum(map(len, cells)) > SENTENCE * len(cells)
    return not prose


def _column_of_numbers(lines: list[str]) -> bool:
    body = [[line.strip().strip('"')] for line in lines[1:]]
    return len(body) >= 2 and _numeric(body)


def _numeric(rows: list[list[str]]) -> bool:
    cells = [cell for row in rows for cell in row if cell.strip()]
    return bool(cells) and sum(_is_number(cell) for cell in cells) >= 0.9 * len(cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _wfdb(sample: str, beside: Callable[[str], Path | None] | None) -> Found:
    from engine.signals.recording import SignalError
    from engine.signals.wfdb import BYTES, parse_header

    try:
        rate, length, channels = parse_header(sample)
    except (SignalError, ValueError) as error:
        raise Refused("damaged", format="WFDB") from error
    files = list(dict.fromkeys(channel.file for channel in channels))
    places = {name: beside(name) if beside is not None else None for name in files}
    missing = [name for name, place in places.items() if place is None]
    if missing:
        raise Refused("incomplete", count=len(missing))
    for name, place in places.items():
        own = [channel for channel in channels if channel.file == name]
        assert place is not None
        if any(channel.format != own[0].format for channel in own):
            raise Refused("damaged", format="WFDB")
        if length is not None:
            frame = sum(channel.per_frame for channel in own)
            needed = own[0].offset + int(-(-length * frame * BYTES[own[0].format] // 1))
            there = place.stat().st_size
            if there < needed:
                raise Refused("truncated")
            if there > needed + 8:  # some writers pad the last group
                raise Refused("wrong_size")
    seconds = round(length / rate, 3) if length and rate > 0 else 0.0
    return Found(Shape.SIGNAL, "wfdb", {"channels": len(channels), "seconds": seconds, "files": files})
