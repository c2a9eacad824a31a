"""What erasing a patient does to models: versions that learned from the patient, or were tested on them, are flagged.

A flagged version that does not serve is retired. A flagged champion keeps serving, as patients depend on it, and those
who may train are told to retrain. The patient's rows are taken out of the stored test predictions.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.notifications import notify
from accounts.permissions import Permission
from datasets.models import Dataset, Record
from training import artefacts
from training.comparisons import cut
from training.models import ModelVersion

LOOK_UP = 500
LEFTOVER_DAYS = 7


class VersionsTouch:
    """Registered with `datasets.erasure`."""

    label: str | Promise = gettext_lazy("Model versions that used the patient's records")

    def _versions(self, dataset: Dataset, record_ids: Sequence[int]) -> QuerySet[ModelVersion]:
        """Versions whose frozen data can hold the records: those frozen after the first of them arrived."""
        first = (
            Record.objects.filter(pk__in=list(record_ids))
            .order_by("created_at")
            .values_list("created_at", flat=True)
            .first()
        )
        if first is None:
            return ModelVersion.objects.none()
        return ModelVersion.objects.filter(model__dataset=dataset, run__version__created_at__gte=first)

    def count(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int]) -> int:
        """How many versions will be flagged."""
        return self._versions(dataset, record_ids).count()

    def erase(self, dataset: Dataset, patient_key: str, record_ids: Sequence[int], **_extra: Any) -> int:
        """Flag and retire; called inside the erasure's transaction. Files change once it has committed."""
        found = list(
            self._versions(dataset, record_ids)
            .select_related("model")
            .only("id", "artefact", "model", "number")
        )
        now, ids = timezone.now(), [v.pk for v in found]
        ModelVersion.objects.filter(pk__in=ids).update(erased_at=now)
        champions = [v for v in found if v.model.champion_id == v.pk]
        serving = [v.pk for v in champions]
        ModelVersion.objects.filter(Q(pk__in=ids) & ~Q(pk__in=serving), retired_at=None).update(
            retired_at=now
        )
        for version in champions:
            tell(dataset, version)
        gone = set(record_ids)
        transaction.on_commit(lambda: forget_all(found, gone), robust=True)
        return len(ids)


def forget_all(versions: list[ModelVersion], record_ids: set[int]) -> None:
    """Take the records out of every version's stored predictions."""
    for version in versions:
        forget(version, record_ids)


def forget(version: ModelVersion, record_ids: set[int]) -> None:
    """Take the records out of the version's stored predictions."""
    stored = artefacts.predictions(version)
    if not stored:
        return
    keep = [i for i, record in enumerate(stored["records"]) if record not in record_ids]
    if len(keep) < len(stored["records"]):
        records = [stored["records"][i] for i in keep]
        artefacts.write_predictions(version, {"records": records, "report": cut(stored["report"], keep)})


def forget_gone(version: ModelVersion) -> None:
    """Take out what no record is left of: for a version that arrived, or a process that died, around an erasure."""
    stored = artefacts.predictions(version)
    ids: list[int] = stored["records"] if stored else []
    there: set[int] = set()
    for start in range(0, len(ids), LOOK_UP):
        some = ids[start : start + LOOK_UP]
        there.update(Record.objects.filter(pk__in=some).values_list("pk", flat=True))
    if gone := set(ids) - there:
        forget(version, gone)


def forget_leftovers() -> None:
    """Every night: what a process that died just after an erasure has left in stored predictions."""
    since = timezone.now() - timedelta(days=LEFTOVER_DAYS)
    for version in ModelVersion.objects.filter(erased_at__gte=since).only("id", "artefact"):
        forget_gone(version)


def tell(dataset: Dataset, champion: ModelVersion) -> None:
    """Those who train learn that the champion has seen an erased patient."""
    from training.settling import holders

    notify(
        organisation=dataset.organisation,
        users=holders(dataset.organisation, Permission.TRAIN),
        key=f"erased:{champion.pk}",
        title=lambda: _("%(model)s should be retrained") % {"model": champion.model.name},
        body=lambda: _(
            "Its champion learned from, or was tested on, the records of a patient who has been erased since."
        ),
        url=reverse("training:model", args=[champion.model_id]),
        level="warning",
    )
