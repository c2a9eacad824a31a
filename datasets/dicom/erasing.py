"""Erasing a patient takes the key to the pseudonym with it, once no record of the organisation carries the pseudonym."""

from collections.abc import Sequence
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets.dicom.models import PatientKey
from datasets.models import Dataset, Record


class PatientKeys:
    """What `datasets.erasure` asks of whoever holds something of a patient."""

    label: str | Promise = _("keys from pseudonym to patient")

    def count(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        """1 where the erasing takes the key with it, else 0."""
        return int(self._doomed(dataset, patient_key, record_ids).count())

    def erase(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        """How many were deleted."""
        return int(self._doomed(dataset, patient_key, record_ids).delete()[0])

    def _doomed(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> Any:
        keys = PatientKey.objects.for_organisation(dataset.organisation)
        if not patient_key:
            return keys.none()
        others = Record.objects.for_organisation(dataset.organisation).filter(patient_key=patient_key)
        if others.exclude(dataset=dataset, pk__in=record_ids).exists():
            return keys.none()
        return keys.filter(pseudonym=patient_key)
