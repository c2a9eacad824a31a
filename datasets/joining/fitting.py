"""Rows of a table that would put one patient, or one series, into a data set twice; their import refuses them. See ADR 30.

One patient: under a pseudonym and under another number. One series: as a record that an importer of received DICOM has made, and
as one of a table that names it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets import patient_names
from datasets.cells.models import RecordFile
from datasets.importers.convert import Converted, Refusal
from datasets.importers.rows import Rows
from datasets.models import Column, Dataset, Role, Upload
from datasets.patient_names import Way
from datasets.records import FILE_KINDS

LOOK_UP = 400
RECEIVED = "received"  # in the options of an upload: made by an importer of received DICOM, which may be removed since
ONE_RECORD: dict[bool, str | Promise] = {
    True: _(
        "this data set already has a record of this series, from a table that names it: an importer of received DICOM would make"
        " a second one without its label. Where a table names the series, this data set needs no such importer"
    ),
    False: _(
        "an importer of received DICOM has made a record of this series in this data set: this row would make a second one."
        " Import the table into a data set of its own, or correct the label of the record that is there"
    ),
}


class Fitting:
    """Of one import. Asked in the order of the rows, between transactions."""

    def __init__(self, upload: Upload) -> None:
        assert upload.dataset is not None
        self.upload, self.dataset = upload, upload.dataset
        columns: list[Column] = list(self.dataset.columns.all())
        given = {c["name"] for c in upload.options["columns"]}
        self.patient = next((c.name for c in columns if c.role == Role.PATIENT and c.name in given), "")
        self.files = [c.name for c in columns if c.kind in FILE_KINDS and c.name in given]
        self.received = upload.options.get("source") == RECEIVED
        self.way: Way | None = None

    def of(self, done: Converted) -> Converted:
        """Without the rows that may not come in."""
        rows = done.rows
        assert isinstance(rows, Rows)
        wrong = dict(self._beside(rows)) | dict(self._otherwise_named(rows))
        if not wrong:
            return done
        refusals = [Refusal(int(rows.numbers[place]), column, reason) for place, (column, reason) in sorted(wrong.items())]
        left = rows.without(sorted(wrong))
        return replace(done, rows=left, refusals=[*done.refusals, *refusals], refused=done.refused + len(wrong))

    def _otherwise_named(self, rows: Rows) -> Iterator[tuple[int, tuple[str, str]]]:
        if not self.patient or not len(rows):
            return
        pseudonyms = pc.match_substring_regex(rows.keys, patient_names.PSEUDONYM).to_numpy(False)
        named = pc.not_equal(rows.keys, "").to_numpy(False)
        self.way = self.way or patient_names.way_in(self.dataset)
        if self.way is None and named.any():
            self.way = Way.PSEUDONYM if pseudonyms[named.argmax()] else Way.OWN
        for place in np.flatnonzero(named & (pseudonyms != (self.way == Way.PSEUDONYM))):
            assert self.way is not None
            yield int(place), (self.patient, str(patient_names.OTHERWISE[self.way]))

    def _beside(self, rows: Rows) -> Iterator[tuple[int, tuple[str, str]]]:
        if not self.files or not len(rows) or not (self.received or has_received(self.dataset)):
            return
        values = [json.loads(text) for text in rows.values.to_pylist()]
        for column in self.files:
            there = self._there(column, {sha for value in values if (sha := value.get(column))})
            for place, value in enumerate(values):
                if value.get(column) in there:
                    yield place, (column, str(ONE_RECORD[self.received]))

    def _there(self, column: str, hashes: Collection[str]) -> set[str]:
        """Those that records of the other way point to."""
        known = of_others(self.dataset) if self.received else of_received(self.dataset)
        known, wanted = known.filter(column=column), sorted(hashes)
        found: set[str] = set()
        for start in range(0, len(wanted), LOOK_UP):
            some = known.filter(file__sha256__in=wanted[start : start + LOOK_UP])
            found.update(some.values_list("file__sha256", flat=True))
        return found


def has_received(dataset: Dataset) -> bool:
    """Whether an importer of received DICOM has brought something into this data set."""
    return bool(_uploads(dataset).exists())


def of_received(dataset: Dataset) -> Any:
    """The cells of records that importers of received DICOM have made."""
    return RecordFile.objects.filter(record__dataset=dataset, record__upload__in=_uploads(dataset))


def of_others(dataset: Dataset) -> Any:
    """The cells of all other records: of tables, of REST, of reviews."""
    return RecordFile.objects.filter(record__dataset=dataset).exclude(record__upload__in=_uploads(dataset))


def has_of_others(dataset: Dataset) -> bool:
    """Whether such a record has a cell of de-identified DICOM."""
    return bool(of_others(dataset).filter(file__cell__pseudonym__gt="").exists())


def _uploads(dataset: Dataset) -> Any:
    return Upload.objects.filter(dataset=dataset, options__source=RECEIVED)
