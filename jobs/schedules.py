"""What runs by the clock. Dotted names, so that this app imports none of those above it."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from django.utils import timezone
from django_q.models import Schedule

from jobs.profiles import LIGHT

NIGHT = time(2, 30)  # local time of the nightly retraining


@dataclass(frozen=True)
class Periodic:
    """One schedule: its unique name, the function, and how often."""

    name: str
    task: str
    kind: str
    minutes: int | None = None
    at: time | None = None


# All run on the light queue: on the heavy one they would wait behind a training of hours.
SCHEDULES = (
    Periodic("reap jobs", "jobs.tasks.reap", Schedule.MINUTES, minutes=1),
    Periodic("send waiting e-mails", "accounts.tasks.send_waiting_emails", Schedule.MINUTES, minutes=10),
    Periodic("forget unused files", "datasets.tasks.forget_unused_files", Schedule.HOURLY),
    Periodic("nightly retraining", "training.tasks.retrain_nightly", Schedule.DAILY, at=NIGHT),
    Periodic("forget idempotency keys", "accounts.tasks.forget_idempotency_keys", Schedule.DAILY, at=NIGHT),
    Periodic("sweep temporary files", "datasets.sweeping.sweep_temporary", Schedule.HOURLY),
    Periodic("sweep stored files", "datasets.sweeping.sweep_stored", Schedule.DAILY, at=NIGHT),
    Periodic("remove unfinished uploads", "datasets.tus.expiry.sweep", Schedule.MINUTES, minutes=15),
    Periodic("start importers that are due", "datasets.importing.schedules.dispatch", Schedule.MINUTES, minutes=1),
    Periodic("take in received DICOM", "datasets.receiving.tasks.sweep", Schedule.MINUTES, minutes=1),
    Periodic("try arrivals again", "datasets.arrivals.again.sweep", Schedule.MINUTES, minutes=5),
    Periodic("describe stored DICOM", "datasets.receiving.tasks.describe", Schedule.DAILY, at=NIGHT),
)


def next_time(at: time | None) -> datetime:
    """The next such time of day, local; now when there is none."""
    now = timezone.localtime()
    if at is None:
        return now
    today = now.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


def ensure() -> list[str]:
    """Create the schedules or correct them, keeping when they run next. Safe to repeat; returns their names."""
    for periodic in SCHEDULES:
        wanted: dict[str, Any] = {"func": periodic.task, "schedule_type": periodic.kind, "minutes": periodic.minutes}
        wanted |= {"cluster": LIGHT, "repeats": -1}
        if Schedule.objects.filter(name=periodic.name).update(**wanted) == 0:
            Schedule.objects.create(name=periodic.name, next_run=next_time(periodic.at), **wanted)
    # Two workers that started at the same moment may both have created one: keep the older.
    for periodic in SCHEDULES:
        first = Schedule.objects.filter(name=periodic.name).order_by("pk").values_list("pk", flat=True)[:1]
        Schedule.objects.filter(name=periodic.name).exclude(pk__in=list(first)).delete()
    return [periodic.name for periodic in SCHEDULES]
