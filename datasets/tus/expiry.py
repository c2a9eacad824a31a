"""The sweep: unfinished transfers that nobody goes on with are removed, and what a killed server left is put in order."""

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from accounts.actor import Actor
from datasets.tus import parts
from datasets.tus.models import Transfer
from datasets.tus.services import TransferRefused, complete, expire, expiry

logger = logging.getLogger(__name__)
LEFT_SECONDS = 3600.0  # a part without a row that is younger may belong to a request that has just begun
WAITS = timedelta(minutes=5)  # a whole transfer without its Upload: its last request may still be at it


def sweep() -> dict[str, int]:
    """Run by the schedule; safe to repeat and to run twice at once. Returns what was done."""
    now = timezone.now()
    done = {"expired": 0, "completed": 0, "left": 0}
    for row in Transfer.objects.filter(expires_at__lte=now).iterator():
        done["expired"] += _removed(row)
    for row in _whole(now).iterator():
        done["completed"] += _completed(row)
    for pk in parts.left_behind(_known, LEFT_SECONDS):
        try:
            with parts.locked(pk):
                if not _known([pk]):
                    parts.remove(pk)
                    done["left"] += 1
        except parts.Busy:
            continue
    return done


def _whole(now: Any) -> Any:
    return Transfer.objects.filter(
        state=Transfer.State.RECEIVING,
        offset=F("length"),
        expires_at__gt=now,
        expires_at__lte=now + expiry() - WAITS,
    ).select_related("organisation", "created_by")


def _known(ids: Any) -> set[UUID]:
    """Those that a part file may still be there for."""
    return set(
        Transfer.objects.filter(pk__in=ids, state=Transfer.State.RECEIVING).values_list("pk", flat=True)
    )


def _removed(row: Transfer) -> int:
    try:
        return int(expire(transfer=row))
    except parts.Busy:  # a last piece is coming: it moves the expiry on
        return 0


def _completed(row: Transfer) -> int:
    try:
        complete(actor=Actor(user=row.created_by, organisation=row.organisation), transfer=row)
    except (parts.Busy, TransferRefused):
        return 0
    except Exception:
        logger.exception("transfer %s could not be completed", row.pk)  # the others are not to wait for it
        return 0
    return 1
