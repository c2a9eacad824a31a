"""Erasing a patient takes the arrived instances that became the patient's cells, whatever the table calls the patient.

A table that names series may call its patients by the hospital's numbers: their pseudonym stands on the cells alone.
"""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets.cells.models import CellFile
from datasets.models import Dataset, Record
from datasets.receiving.erasing import ReceivedInstances
from datasets.receiving.models import DicomInstance


class JoinedInstances(ReceivedInstances):
    """Those that do not carry the patient's key itself, which datasets.receiving takes."""

    label: str | Promise = _("stored DICOM instances of the patient's cells")

    def _doomed(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> Any:
        """Of the pseudonyms that no other record of the organisation has, by its patient or by one of its cells."""
        own = Record.objects.filter(pk__in=record_ids)
        named = CellFile.objects.filter(file__record_files__record__in=own).exclude(pseudonym__in=("", patient_key))
        pseudonyms = set(named.values_list("pseudonym", flat=True))
        others = Record.objects.for_organisation(dataset.organisation).exclude(pk__in=record_ids)
        theirs = Q(patient_key__in=pseudonyms) | Q(files__file__cell__pseudonym__in=pseudonyms)
        for key, named_ in others.filter(theirs).values_list("patient_key", "files__file__cell__pseudonym"):
            pseudonyms -= {key, named_}
        return DicomInstance.objects.for_organisation(dataset.organisation).filter(patient_id__in=pseudonyms)
