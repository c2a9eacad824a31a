"""An importer of received DICOM and a table in one data set: what is refused, and what pages say before anything comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from datasets.importing.models import Importer
from datasets.joining.fitting import RECEIVED, has_of_others, has_received
from datasets.models import Dataset, Role
from datasets.patient_names import Way, way_in


def refused(kind: str, dataset: Dataset, columns: Sequence[Mapping[str, Any]]) -> str:
    """Why an importer of this kind can't fill this data set with this mapping; "" where it can."""
    if kind != RECEIVED or not any(column["role"] == Role.PATIENT for column in columns):
        return ""
    if way_in(dataset) != Way.OWN:
        return ""
    text = _(
        "“%(name)s” calls its patients by other numbers than the pseudonyms that received DICOM has: a patient under two names"
        " could be in training and in the locked test. Choose another data set, or none, so that one is made."
    )
    return text % {"name": dataset.name}


def notes(importer: Importer) -> list[str]:
    """What a person should know of an importer and the data set that it fills, as of now, in sentences."""
    dataset = importer.dataset
    if dataset is None or not importer.needs_dataset:
        return []
    if importer.kind == RECEIVED:
        told = [refused(RECEIVED, dataset, importer.options.get("columns") or [{"role": Role.PATIENT}])]
        return [text for text in [*told, _second_by_this() if has_of_others(dataset) else ""] if text]
    return [_second_by_rows()] if has_received(dataset) else []


def _second_by_this() -> str:
    return _(
        "A table has named images of this data set's records. Of series that they have no second record is made: such a row is"
        " refused. Where a table names the series and brings their labels, no importer of received DICOM is needed beside it."
    )


def _second_by_rows() -> str:
    return _(
        "An importer of received DICOM has made records of this data set. A row that names one of their series is refused, as"
        " it would make a second record of it. Where labels come by a table, let the table make the records, in a data set of"
        " its own."
    )
