"""A data set names its patients in one way: by the pseudonyms of de-identified DICOM, or by whatever else its sender writes.

One who has both would be two patients, and could be dealt to both sides of the split. Nobody is looked up for this: whether a
pseudonym and a number are the same patient is not told, and could not be told for certain. See ADR 30.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

from django.db.models import Count, Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets.cells.models import RecordFile
from datasets.models import Column, Dataset, Record, Role

PSEUDONYM = "^P[A-Z2-7]{16}$"  # as datasets.dicom.profile makes them
_PSEUDONYM = re.compile(PSEUDONYM)


class Way(StrEnum):
    PSEUDONYM = "pseudonym"
    OWN = "own"


OTHERWISE: dict[Way, str | Promise] = {
    Way.PSEUDONYM: _(
        "this data set calls its patients by the pseudonyms of de-identified DICOM, and this row does not: a patient under two"
        " names could be in training and in the locked test. Let the table name the patients by their pseudonyms, or import it"
        " into a data set of its own"
    ),
    Way.OWN: _(
        "this data set calls its patients by other numbers than the pseudonyms of de-identified DICOM, and this row has a"
        " pseudonym: a patient under two names could be in training and in the locked test. Import it into a data set of its"
        " own"
    ),
}


def way_of(key: str) -> Way:
    return Way.PSEUDONYM if _PSEUDONYM.match(key) else Way.OWN


def way_in(dataset: Dataset) -> Way | None:
    """How this data set names its patients; None: no record names one. One record tells it, as all are alike."""
    named = Record.objects.filter(dataset=dataset, patient_key__gt="").order_by("patient_key")
    key = named.values_list("patient_key", flat=True).first()
    return way_of(key) if key else None


def refuse_others(dataset: Dataset, columns: Sequence[Column], records: Iterable[Record]) -> None:
    """Raises RecordRefused for the first of these new records that names its patient in the other way."""
    from datasets.records import RecordRefused  # which asks this

    named = [(index, record.patient_key) for index, record in enumerate(records) if record.patient_key]
    if not named:
        return
    way = way_in(dataset) or way_of(named[0][1])
    column = next((c.name for c in columns if c.role == Role.PATIENT), "")
    for index, key in named:
        if way_of(key) != way:
            raise RecordRefused({column: str(OTHERWISE[way])}, index)


def both_ways(dataset: Dataset) -> bool:
    """Whether some records have pseudonyms and others have not: of a data set that was filled before this was refused."""
    named = Record.objects.filter(dataset=dataset, patient_key__gt="").order_by()
    pseudonyms = Q(patient_key__startswith="P", patient_key__regex=PSEUDONYM)
    return named.filter(pseudonyms).exists() and named.exclude(pseudonyms).exists()


def on_both_sides(dataset: Dataset) -> int:
    """How many patients, by the pseudonyms of their de-identified images, have records in training and in the locked test.

    So it is where no column names the patient, or where it names one by two numbers. A single pseudonym in all records says
    nothing: of images that were made anonymous before they came.
    """
    images = RecordFile.objects.filter(record__dataset=dataset).exclude(file__cell__pseudonym="")
    sides = images.order_by().values("file__cell__pseudonym").annotate(sides=Count("record__split", distinct=True))
    found = [row["sides"] for row in sides if row["file__cell__pseudonym"]]
    return sum(count > 1 for count in found) if len(found) > 1 else 0
