"""A record with one file, as tests of the viewer want it."""

import io
from typing import Any

from datasets.cells.models import RecordFile
from datasets.cells.store import take_in
from datasets.models import Column, Dataset, Record
from tests.conftest import actor


def record_with(person: Any, content: bytes, name: str, kind: str) -> RecordFile:
    """A new data set with a column of this kind, a record in it, and the file."""
    dataset = Dataset.objects.create(organisation=person.last_organisation, name="Heads")
    Column.objects.create(dataset=dataset, name="scan", kind=kind, role="feature", position=0)
    cell = take_in(actor=actor(person), file=io.BytesIO(content), name=name)
    record = Record.objects.create(
        dataset=dataset, values={"scan": cell.file.sha256}, row_hash="0" * 32
    )
    return RecordFile.objects.create(record=record, column="scan", file=cell.file, name=name)
