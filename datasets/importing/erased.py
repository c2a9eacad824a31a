"""A patient who was erased is not brought back by an importer: the source still has them, and nobody looks at each run."""

import hmac
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets.importing.models import ErasedPatient, Importer, ImporterRun
from datasets.models import Dataset


def hash_of(secret: str, dataset: Dataset, patient_key: str) -> str:
    key = f"{secret}:{dataset.split_salt}:importers".encode()
    return hmac.new(key, patient_key.encode("utf-8", "surrogatepass"), sha256).hexdigest()[:32]


class Erased:
    """The erased patients of a data set; `key in erased`. Older keys of the server count, while they are kept."""

    def __init__(self, dataset: Dataset | None) -> None:
        self.dataset = dataset
        rows = ErasedPatient.objects.filter(dataset=dataset).values_list("key_hash", flat=True) if dataset else []
        self.hashes = frozenset(rows)
        self._known = lru_cache(maxsize=10_000)(self._look)

    def __contains__(self, patient_key: str) -> bool:
        return bool(self.hashes) and self._known(patient_key)

    def _look(self, patient_key: str) -> bool:
        assert self.dataset is not None
        secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        return any(hash_of(secret, self.dataset, patient_key) in self.hashes for secret in secrets)


class FromImporters:
    """What erasing a patient does to importers: none brings them back; previews and histories forget what could name them."""

    label: str | Promise = _("importers that will leave this patient out")

    def count(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        return self._of(dataset).count() if patient_key else 0

    def erase(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        if patient_key:
            hashed = hash_of(settings.SECRET_KEY, dataset, patient_key)
            ErasedPatient.objects.get_or_create(dataset=dataset, key_hash=hashed)
        own = self._of(dataset)
        own.update(look={}, looked_at=None)
        ImporterRun.objects.filter(importer__in=own).exclude(faulty=[]).update(faulty=[])
        return int(own.count()) if patient_key else 0

    def _of(self, dataset: Dataset) -> Any:
        return Importer.objects.for_organisation(dataset.organisation).filter(dataset=dataset)
