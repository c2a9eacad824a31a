"""What became of each file, as CSV: streamed, safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterator

from django.utils.translation import gettext as _

from datasets.arrivals.models import Arrival, ArrivedFile
from datasets.readers.formulas import safe_cell

CHUNK = 2_000


def rows_of(arrival: Arrival) -> Iterator[ArrivedFile]:
    """All files, those of an archive after it, without keeping them in memory."""
    yield from arrival.files.order_by("pk").iterator(chunk_size=CHUNK)


def csv_of(arrival: Arrival) -> Iterator[bytes]:
    """The report's bytes, piece by piece: file, size, SHA-256, what it is, outcome, reason code, reason."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    buffer.write("\ufeff")  # Excel reads UTF-8 only when it is told so
    names = (_("File"), _("Bytes"), "SHA-256", _("Kind"), _("Format"), _("Outcome"), _("Code"), _("Reason"))
    writer.writerow([safe_cell(str(name)) for name in names])
    for number, row in enumerate(rows_of(arrival), 1):
        outcome = row.get_outcome_display() if row.outcome else _("waiting")
        cells = (
            row.name,
            row.size,
            row.sha256,
            row.get_kind_display(),
            row.format,
            outcome,
            row.code,
            row.reason,
        )
        writer.writerow([safe_cell(str(cell)) if cell is not None else "" for cell in cells])
        if number % CHUNK == 0:
            yield _drain(buffer)
    yield _drain(buffer)


def _drain(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()
