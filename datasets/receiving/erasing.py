"""What erasing a patient takes of the stored DICOM instances."""

from collections.abc import Sequence
from typing import Any

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets.arrivals import keeping
from datasets.arrivals.erasing import ERASED
from datasets.arrivals.models import ArrivedFile
from datasets.models import Dataset, Record
from datasets.receiving.models import DicomInstance


class ReceivedInstances:
    """Erasing a patient takes the de-identified files that carry the pseudonym along, once no record of the organisation does."""

    label: str | Promise = _("stored DICOM instances")

    def count(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        """How many instances go with the patient."""
        return int(self._doomed(dataset, patient_key, record_ids).count())

    def erase(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        """Their arrivals keep neither content nor name; files that nothing else needs go. How many."""
        rows = list(self._doomed(dataset, patient_key, record_ids).select_related("file"))
        files = [row.file for row in rows]
        arrived = ArrivedFile.objects.for_organisation(dataset.organisation).filter(file__in=files)
        arrived.update(file=None, original=None, name=ERASED, discarded_at=timezone.now())
        DicomInstance.objects.filter(pk__in=[row.pk for row in rows]).delete()
        keeping.let_go(files)
        return len(rows)

    def _doomed(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> Any:
        rows = DicomInstance.objects.for_organisation(dataset.organisation)
        if not patient_key:
            return rows.none()
        others = Record.objects.for_organisation(dataset.organisation).filter(patient_key=patient_key)
        if others.exclude(dataset=dataset, pk__in=record_ids).exists():
            return rows.none()
        return rows.filter(patient_id=patient_key)
