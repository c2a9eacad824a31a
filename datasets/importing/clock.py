"""When an importer runs next."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from datasets.importing.models import Importer, Schedule


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
