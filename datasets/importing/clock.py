"""When an importer runs next."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from datasets.importing.models import Importer, Schedule

# After a refused password, the second in a row, and so on: many servers lock an account after a few, and with it other programs.
WAITS = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6), timedelta(days=1))


def after_refusal(importer: Importer, now: datetime) -> datetime | None:
    """When it runs next though its sign-in was refused. None where nobody has set a time."""
    wait = WAITS[min(importer.sign_ins_refused, len(WAITS)) - 1]
    return max(importer.next_run_at, now + wait) if importer.next_run_at is not None else None


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
