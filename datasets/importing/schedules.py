"""The clock's part: starting what is due, telling when nothing comes, forgetting what need not be kept."""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from accounts.actor import Actor
from datasets.importing import alarms, services
from datasets.importing.clock import next_time
from datasets.importing.models import Importer, ImporterRun
from jobs.traces import describe

logger = logging.getLogger(__name__)
SAMPLES_KEPT = timedelta(days=1)
NOTHING_KEPT = timedelta(days=90)  # runs that found nothing: of an importer that looks every few minutes they are many


def dispatch() -> int:
    """The schedule's, every minute: start what is due; how many. What still runs is not started again."""
    now, started = timezone.now(), 0
    due = Importer.objects.filter(paused=False, next_run_at__lte=now).order_by("next_run_at").values_list("pk", flat=True)
    for pk in list(due[:1000]):
        try:
            started += _start(pk, now)
        except Exception as error:  # one importer's trouble is not the others'
            logger.error("Importer %s could not be started:\n%s", pk, describe(error))
    alarms.tell_quiet(now)
    alarms.remind(now)
    Importer.objects.filter(looked_at__lt=now - SAMPLES_KEPT).update(look={}, looked_at=None)  # it quotes patients' values
    return started


@transaction.atomic
def _start(pk: object, now: datetime) -> bool:
    row = (
        Importer.objects.select_for_update(of=("self",)).select_related("organisation")
        .filter(pk=pk, paused=False, next_run_at__lte=now).first()
    )  # fmt: skip
    if row is None:
        return False
    row.next_run_at = next_time(row, now)
    row.save(update_fields=["next_run_at"])
    row.runs.filter(state=ImporterRun.State.NOTHING, started_at__lt=now - NOTHING_KEPT).delete()
    services.submit_run(actor=Actor(organisation=row.organisation), importer=row)
    return True
