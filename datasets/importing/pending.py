"""What runs have delivered and nothing has taken in yet: tried again by the next run; until then the importer is not in order.

The cursor stands behind it, so that the source does not give it again: what fails must not be forgotten.
"""

from typing import Any

from django.db.models import Q

from accounts.actor import Actor
from datasets import intake
from datasets.importing.models import Delivery, Importer
from datasets.models import Upload
from jobs.models import Job
from jobs.models import State as JobState
from jobs.services import LIVE

TRIES = 5  # of one upload, a person's among them; then a person must look
FAILED = (Upload.State.FAILED, Upload.State.CANCELLED)
INTERRUPTED = Q(arrival__files__code="interrupted", arrival__files__discarded_at=None)
STOPPED = Q(arrival__job__state__in=(JobState.FAILED, JobState.CANCELLED))


def broken(deliveries: Any) -> Any:
    """Those whose import, or whose sorting out, failed or was cancelled."""
    return deliveries.filter(Q(upload__state__in=FAILED) | (STOPPED & INTERRUPTED), superseded=False).distinct()


def waiting(deliveries: Any) -> Any:
    """Those that are being imported or sorted out."""
    return deliveries.filter(Q(upload__state=Upload.State.IMPORTING) | Q(arrival__job__state__in=LIVE))


def of(importer: Importer) -> Any:
    return Delivery.objects.filter(run__importer=importer)


def try_again(actor: Actor, importer: Importer) -> bool:
    """Queue failed imports again. True: content is gone, so that the source must be read from its beginning."""
    gone = False
    for delivery in broken(of(importer)).exclude(upload=None).select_related("upload__file"):
        upload = delivery.upload
        if not upload.file.path:
            gone = True
        elif upload.dataset_id is not None and _tries(upload) < TRIES:
            intake.begin_import(actor=actor, upload=upload)
    if gone:
        read_again(importer)
    return gone


def _tries(upload: Upload) -> int:
    return Job.objects.for_organisation(upload.organisation).filter(key=f"import:{upload.pk}").count()


def read_again(importer: Importer) -> None:
    """Set the cursor back to the beginning: what is known goes by its hash, and what failed comes again."""
    supersede(importer)
    Importer.objects.filter(pk=importer.pk).update(cursor={})


def supersede(importer: Importer) -> None:
    """What failed will come again from the source, and is waited for no more."""
    ids = list(broken(of(importer)).exclude(upload=None).values_list("pk", flat=True))
    Delivery.objects.filter(pk__in=ids).update(superseded=True)
