"""When importers run next, and the clock's part: starting what is due, telling when nothing comes."""

import logging
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from accounts.actor import Actor
from datasets.importing import alarms, services
from datasets.importing.models import Importer, Schedule
from jobs.traces import describe

logger = logging.getLogger(__name__)
SAMPLES_KEPT = timedelta(days=1)


def next_time(importer: Importer, now: datetime) -> datetime | None:
    """The next time after `now`; None where nobody has set one. Times that were missed are made up for once, not one by one."""
    if importer.schedule == Schedule.DAILY:
        assert importer.at is not None
        local = now.astimezone(ZoneInfo(importer.zone))
        for days in range(3):  # an hour that a day doesn't have, or has twice, is a matter of the zone
            there = datetime.combine(local.date() + timedelta(days=days), importer.at, tzinfo=local.tzinfo)
            if (found := there.astimezone(ZoneInfo("UTC"))) > now:
                return found
    step = {Schedule.MINUTES: timedelta(minutes=importer.every), Schedule.HOURS: timedelta(hours=importer.every)}
    if importer.schedule not in step:
        return None
    length = step[Schedule(importer.schedule)]
    begun = importer.next_run_at
    if begun is None or begun > now:
        return now + length
    return begun + ((now - begun) // length + 1) * length


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
    services.submit_run(actor=Actor(organisation=row.organisation), importer=row)
    return True
