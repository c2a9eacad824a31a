"""What erasing a patient does to diagnoses: what went in and what came out is blanked, that it was asked stays."""

from collections.abc import Iterable
from typing import Any

from django.core.cache import cache
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets.models import Dataset
from inference.models import Diagnosis, Review
from inference.reasons import cache_name

ERASED = "[erased]"


class DiagnosesTouch:
    """Registered with `datasets.erasure`: the organisation's diagnoses of the patient by models of that data set."""

    label: str | Promise = _("Diagnoses")

    def _rows(self, dataset: Dataset, patient_key: str, record_ids: Iterable[int]) -> QuerySet[Diagnosis]:
        theirs = Q(pk__in=Review.objects.filter(record__in=list(record_ids)).values("diagnosis"))
        if patient_key:
            theirs |= Q(~Q(patient_key=""), patient_key=patient_key)  # the first names the partial index
        own: QuerySet[Diagnosis] = Diagnosis.objects.for_organisation(dataset.organisation)
        return own.filter(theirs, model__dataset=dataset, erased_at=None)

    def count(self, dataset: Dataset, patient_key: str, record_ids: Iterable[int]) -> int:
        """How many diagnoses will be blanked."""
        return self._rows(dataset, patient_key, record_ids).count()

    def erase(self, dataset: Dataset, patient_key: str, record_ids: Iterable[int], **_extra: Any) -> int:
        """Blank them and their reviews' free texts; called inside the erasure's transaction."""
        ids = list(self._rows(dataset, patient_key, record_ids).values_list("pk", flat=True))
        Review.objects.filter(diagnosis__in=ids).exclude(reason="").update(reason=ERASED)
        Review.objects.filter(diagnosis__in=ids).exclude(corrected_value="").update(corrected_value=ERASED)
        Diagnosis.objects.filter(pk__in=ids).update(
            inputs={}, output={}, value="", probability=None, patient_key="", erased_at=timezone.now()
        )
        cache.delete_many([cache_name(pk) for pk in ids])
        return len(ids)
