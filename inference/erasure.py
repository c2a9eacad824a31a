"""What erasing a patient does to diagnoses: what went in and what came out is blanked, that it was asked stays."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import IdempotencyKey
from datasets.cells.store import let_go
from datasets.models import Dataset, StoredFile
from inference.files import DiagnosisFile
from inference.models import Diagnosis, Review
from inference.reasons import cache_name

ERASED = "[erased]"
LONGEST_REQUEST = timedelta(hours=1)  # a remembered answer's time is when its request began, before the diagnosis


class DiagnosesTouch:
    """Registered with `datasets.erasure`: the organisation's diagnoses of the patient by models of that data set."""

    label: str | Promise = _("Diagnoses")

    def _rows(self, dataset: Dataset, patient_key: str, record_ids: Iterable[int]) -> QuerySet[Diagnosis]:
        own: QuerySet[Diagnosis] = Diagnosis.objects.for_organisation(dataset.organisation)
        return own.filter(self._theirs(dataset, patient_key, record_ids), erased_at=None)

    def _theirs(self, dataset: Dataset, patient_key: str, record_ids: Iterable[int]) -> Q:
        reviewed = Q(pk__in=Review.objects.filter(record__in=list(record_ids)).values("diagnosis"))
        return (reviewed | _of_patient(patient_key)) & Q(model__dataset=dataset)

    def count(self, dataset: Dataset, patient_key: str, record_ids: Iterable[int]) -> int:
        """How many diagnoses will be blanked."""
        return self._rows(dataset, patient_key, record_ids).count()

    def erase(self, dataset: Dataset, patient_key: str, record_ids: Iterable[int], **_extra: Any) -> int:
        """Blank them and their reviews' free texts; called inside the erasure's transaction."""
        made = dict(self._rows(dataset, patient_key, record_ids).values_list("pk", "created_at"))
        if not made:
            return 0
        Review.objects.filter(diagnosis__in=made).exclude(reason="").update(reason=ERASED)
        Review.objects.filter(diagnosis__in=made).exclude(corrected_value="").update(corrected_value=ERASED)
        Diagnosis.objects.filter(pk__in=made).update(
            inputs={}, output={}, value="", probability=None, patient_key="", erased_at=timezone.now()
        )
        own = DiagnosisFile.objects.filter(diagnosis__in=made)
        files = list(StoredFile.objects.filter(pk__in=own.values("file")))
        own.delete()
        let_go(files)  # those that records point to stay until these are erased
        _forget_answers(dataset, min(made.values()))
        cache.delete_many([cache_name(pk) for pk in made])
        return len(made)


class OtherDiagnosesTouch(DiagnosesTouch):
    """The organisation's diagnoses of the same patient key by models of other data sets, published ones among them."""

    label: str | Promise = _("Diagnoses by models of other data sets")

    def _theirs(self, dataset: Dataset, patient_key: str, record_ids: Iterable[int]) -> Q:
        return _of_patient(patient_key) & ~Q(model__dataset=dataset)


def _of_patient(patient_key: str) -> Q:
    if not patient_key:
        return Q(pk__in=[])
    return ~Q(patient_key="") & Q(patient_key=patient_key)  # the first names the partial index


def _forget_answers(dataset: Dataset, since: datetime) -> None:
    """Delete the answers kept for repeated requests since the patient's first diagnosis: one may hold it, or a review.

    Which ones cannot be told without reading them all; a repeat of the others is taken for a new request.
    Answers still being made have no body yet, those to a form hold an identifier only: both stay.
    """
    own = IdempotencyKey.objects.for_organisation(dataset.organisation)
    answers = own.filter(created_at__gte=since - LONGEST_REQUEST)
    answers.exclude(status=None).exclude(key__startswith="form:").delete()
