"""A patient who was erased is not brought back by an importer: the source still has them, and nobody looks at each run.

Known by a keyed hash. The key is the data set's own random one, kept with it: a change of the server's key forgets nobody.
"""

import hmac
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

from django.db.models import F, Q
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from datasets.importing.models import ErasedPatient, Importer, ImporterRun, Treatment
from datasets.models import Dataset, Role
from jobs.models import TERMINAL, Job


def hash_of(dataset: Dataset, patient_key: str) -> str:
    key = f"{dataset.split_salt}:importers".encode()
    return hmac.new(key, patient_key.encode("utf-8", "surrogatepass"), sha256).hexdigest()[:32]


class Erased:
    """The erased patients of a data set; `key in erased`."""

    def __init__(self, dataset: Dataset | None) -> None:
        self.dataset = dataset
        rows = ErasedPatient.objects.filter(dataset=dataset).values_list("key_hash", flat=True) if dataset else []
        self.hashes = frozenset(rows)
        self._known = lru_cache(maxsize=10_000)(self._look)

    def __contains__(self, patient_key: str) -> bool:
        return bool(self.hashes) and self._known(patient_key)

    def _look(self, patient_key: str) -> bool:
        assert self.dataset is not None
        return hash_of(self.dataset, patient_key) in self.hashes


class FromImporters:
    """What erasing a patient does to importers: none brings them back; previews and histories forget what could name them."""

    label: str | Promise = gettext_lazy("importers that will leave this patient out")

    def count(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        """Those that can tell whose a row is; files that are sorted out join a data set by a person's hand."""
        options = Importer.objects.for_organisation(dataset.organisation).filter(dataset=dataset).exclude(
            treatment=Treatment.ARRIVAL
        ).values_list("options", flat=True)  # fmt: skip
        return sum(_tells_patients(given) for given in options) if patient_key else 0

    def erase(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        if patient_key:
            ErasedPatient.objects.get_or_create(dataset=dataset, key_hash=hash_of(dataset, patient_key))
        for importer in self._of(dataset):
            _forget(importer)
        return self.count(dataset, patient_key, record_ids)

    def _of(self, dataset: Dataset) -> list[Importer]:
        """All that may hold something of the patient: names of files stand in the histories of those without a data set too."""
        own = Q(dataset=dataset) | Q(treatment=Treatment.ARRIVAL) | Q(runs__deliveries__upload__dataset=dataset)
        found = Importer.objects.for_organisation(dataset.organisation).filter(own).values_list("pk", flat=True).distinct()
        return list(Importer.objects.select_for_update().filter(pk__in=list(found)).order_by("pk").defer("cursor", "look"))


def _tells_patients(options: dict[str, Any]) -> bool:
    return any(column["role"] == Role.PATIENT for column in options.get("columns", []))


def _forget(importer: Importer) -> None:
    from datasets.importing import late, pending  # they need the intake, which this app's start does not

    # Their files go now (erasure._forget), and with them the rows that wait for their images.
    if pending.broken(pending.of(importer)).exclude(upload=None).exists() or late.waiting(importer).exists():
        pending.read_again(importer)
    # The revision begins a run that reads now anew, with this patient among the erased ones.
    Importer.objects.filter(pk=importer.pk).update(look={}, looked_at=None, revision=F("revision") + 1)
    runs = ImporterRun.objects.filter(importer=importer)
    forgotten = _("This text was forgotten, as a patient was erased.")
    Job.objects.filter(pk__in=runs.exclude(job=None).values("job"), state__in=TERMINAL).exclude(error_person="").update(
        error_person=forgotten
    )
    runs.exclude(error_text="").update(error_text=forgotten)
    runs.update(faulty=[], notes=[])
