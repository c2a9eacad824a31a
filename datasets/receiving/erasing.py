"""What erasing a patient takes of the stored DICOM instances; and erasing a patient of whom only those came, and no record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.actor import Actor
from accounts.models import Organisation
from datasets.arrivals import keeping
from datasets.arrivals.erasing import ERASED
from datasets.arrivals.models import ArrivedFile
from datasets.dicom.models import PatientKey
from datasets.erasure import ErasureRefused
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
        return _let_go(dataset.organisation, self._doomed(dataset, patient_key, record_ids))

    def _doomed(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> Any:
        rows = DicomInstance.objects.for_organisation(dataset.organisation)
        if not patient_key:
            return rows.none()
        others = Record.objects.for_organisation(dataset.organisation).filter(patient_key=patient_key)
        if others.exclude(dataset=dataset, pk__in=record_ids).exists():
            return rows.none()
        return rows.filter(patient_id=patient_key)


def _let_go(organisation: Organisation, doomed: Any) -> int:
    rows = list(doomed.select_related("file"))
    files = [row.file for row in rows]
    arrived = ArrivedFile.objects.for_organisation(organisation).filter(file__in=files)
    arrived.update(file=None, original=None, name=ERASED, discarded_at=timezone.now())
    DicomInstance.objects.filter(pk__in=[row.pk for row in rows]).delete()
    keeping.let_go(files)
    return len(rows)


@dataclass(frozen=True)
class Received:
    """What an organisation has of a pseudonym: stored DICOM instances, the key, and the data sets with records of it."""

    pseudonym: str
    instances: int
    key: bool
    datasets: tuple[Dataset, ...]


def received_of(organisation: Organisation | None, pseudonym: str) -> Received:
    """Reads only."""
    wanted = pseudonym.strip().upper()
    rows = Record.objects.for_organisation(organisation).filter(Q(patient_key=wanted) | Q(files__file__cell__pseudonym=wanted))
    sets = Dataset.objects.for_organisation(organisation).filter(pk__in=rows.values("dataset")).order_by("name")
    return Received(
        wanted,
        DicomInstance.objects.for_organisation(organisation).filter(patient_id=wanted).count() if wanted else 0,
        PatientKey.objects.for_organisation(organisation).filter(pseudonym=wanted).exists(),
        tuple(sets),
    )


@transaction.atomic
def erase_received(*, actor: Actor, pseudonym: str, reason: str) -> int:
    """Erase the instances and the key of a patient of whom there is no record; how many instances.

    Raises ErasureRefused: no reason, nothing of this pseudonym, or records, with which all of it is erased from their data set.
    """
    assert actor.organisation is not None
    if not reason.strip():
        raise ErasureRefused(gettext("Say why the patient is erased, for the audit log (without patient data)."))
    found = received_of(actor.organisation, pseudonym)
    if found.datasets:
        names = ", ".join(dataset.name for dataset in found.datasets)
        text = gettext("There are records of this patient in %(names)s: erase the patient there, and the images go too.")
        raise ErasureRefused(text % {"names": names})
    if not found.instances and not found.key:
        raise ErasureRefused(gettext("Nothing of this pseudonym is stored."))
    key = PatientKey.objects.for_organisation(actor.organisation).filter(pseudonym=found.pseudonym)
    label = key.select_for_update().first()
    count = _let_go(
        actor.organisation, DicomInstance.objects.for_organisation(actor.organisation).filter(patient_id=found.pseudonym)
    )
    audit.record(actor, "patient.erased", label, instances=count, key=label is not None, reason_given=True)
    if label is not None:
        label.delete()
    return count
