"""The first rows of a run that the import refused: which, where and why. Their values are hidden: the file that quotes them is
downloaded, which the audit log tells of."""

import csv
import io
import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.core.files.storage import default_storage

from datasets.importing.models import ImporterRun
from datasets.models import Upload

SHOWN = 20  # rows
OPENED = 5  # files: a run may have made many uploads
# As the reasons quote a value: between these marks, which it may hold itself; or as a number or date that the reason begins with.
QUOTED = re.compile(r"“.*”", re.DOTALL)
BEGINS = re.compile(r"[-+]?\d[\d.:+eE-]*")


@dataclass(frozen=True)
class RefusedRow:
    """`column` is empty where the whole row is meant."""

    upload: Upload
    row: str
    column: str
    reason: str


def without_values(reason: str) -> str:
    """The reason, with a dot in the place of each value."""
    return BEGINS.sub("…", QUOTED.sub("“…”", reason), count=1) if BEGINS.match(reason) else QUOTED.sub("“…”", reason)


def first(run: ImporterRun) -> list[RefusedRow]:
    """At most SHOWN, in the order in which they came."""
    with_reasons = Upload.objects.filter(deliveries__run=run).exclude(refused_file=None)
    found: list[RefusedRow] = []
    for upload in with_reasons.select_related("refused_file").order_by("created_at", "pk")[:OPENED]:
        found += _of(upload, SHOWN - len(found))
        if len(found) >= SHOWN:
            break
    return found


def _of(upload: Upload, most: int) -> list[RefusedRow]:
    assert upload.refused_file is not None, "the query leaves those out"
    try:
        stream: Any = default_storage.open(upload.refused_file.path, "rb")
    except OSError:  # erased since, or on another host
        return []
    with stream, io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="") as text:
        lines = [line for line in islice(csv.reader(text), 1, most + 1) if len(line) == 4]
    return [RefusedRow(upload, row, column, without_values(reason)) for _file, row, column, reason in lines]
