"""Erasing a patient takes what an arrival keeps of the same content with it."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets.arrivals.models import ArrivedFile
from datasets.models import Dataset, Record, StoredFile

ERASED = "[erased]"


class Arrived:
    """What `datasets.erasure` asks of whoever holds something of a patient."""

    label: str | Promise = _("arrived files")

    def count(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        """How many arrived files hold the content of the patient's files."""
        return int(self._rows(dataset, record_ids).count())

    def erase(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        """They keep neither content nor name; the content goes with the records. How many."""
        return int(
            self._rows(dataset, record_ids).update(
                file=None, original=None, name=ERASED, discarded_at=timezone.now()
            )
        )

    def _rows(self, dataset: Dataset, record_ids: Sequence[int]) -> Any:
        """Files that only these records use: another patient's record may show the same picture."""
        others = Record.objects.for_organisation(dataset.organisation).exclude(pk__in=record_ids)
        files = StoredFile.objects.filter(record_files__record__in=record_ids).exclude(record_files__record__in=others)
        rows = ArrivedFile.objects.for_organisation(dataset.organisation)
        return rows.filter(Q(file__in=files) | Q(original__in=files))
