"""Telling the organisation's administrators when an importer fails, works again, or brings nothing."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import User
from accounts.notifications import notify
from accounts.permissions import ROLES, Permission
from datasets.importing.models import Importer, ImporterRun

AGAIN = timedelta(days=7)  # until an alarm that still stands is told once more

# Why a run failed whose source could be read.
OWN = {
    "import_failed": gettext_lazy("What came was kept, but its import failed. Open it below and try the job again."),
    "all_faulty": gettext_lazy("Nothing of what came could be taken. The reasons are listed below."),
    "all_quarantined": gettext_lazy(
        "All that came new is in quarantine. Open the arrival below: the reason stands with each file."
    ),
}


def told(importer: Importer) -> list[User]:
    """Who can do something about it."""
    roles = [role.name for role in ROLES.values() if Permission.MANAGE_ORGANISATION in role.permissions]
    people = User.objects.filter(memberships__organisation=importer.organisation, memberships__role__in=roles, is_active=True)
    return list(people.distinct())


def _tell(importer: Importer, key: str, **texts: Any) -> None:
    url = reverse("datasets:importer", args=[importer.pk])
    notify(organisation=importer.organisation, users=told(importer), key=f"importer:{importer.pk}:{key}", url=url, **texts)


def tell_failed(run: ImporterRun) -> None:
    """Once per streak of failures. A run that was cancelled has no text of its own, but what it brought may have failed."""
    name = {"name": run.importer.name}
    _tell(
        run.importer, f"failed:{run.pk}", title=lambda: _("Importer “%(name)s” fails") % name, level="danger",
        body=lambda: str(OWN.get(run.error_code) or run.error_text or OWN["import_failed"]),
    )  # fmt: skip


def tell_works(run: ImporterRun) -> None:
    """After a streak of failures."""
    name = {"name": run.importer.name}
    _tell(
        run.importer, f"works:{run.pk}", title=lambda: _("Importer “%(name)s” works again") % name, level="success",
        body=lambda: _("Its last run succeeded, and nothing that it brought before waits to be imported."),
    )  # fmt: skip


def remind(now: datetime) -> int:
    """Tell once more, a week after the last time, of importers that fail still. How many."""
    due = Q(failing_told_at__lte=now - AGAIN) | Q(failing_told_at=None, failing_since__lte=now - AGAIN)
    count = 0
    for row in Importer.objects.filter(due, paused=False).exclude(failing_since=None).select_related("organisation"):
        with transaction.atomic():  # told and written down, or neither
            if Importer.objects.filter(due, pk=row.pk).update(failing_told_at=now):
                _tell_still(row, now)
                count += 1
    return count


def _tell_still(row: Importer, now: datetime) -> None:
    since = row.failing_since or now

    def body() -> str:
        day = date_format(timezone.localtime(since), "SHORT_DATE_FORMAT")
        return _("It has failed since %(day)s. Open it to see why, or pause it if it is not needed.") % {"day": day}

    name = {"name": row.name}
    _tell(
        row, f"still:{now:%Y%m%d%H%M%S%f}", title=lambda: _("Importer “%(name)s” still fails") % name, body=body, level="danger"
    )  # fmt: skip


def tell_quiet(now: datetime) -> int:
    """Tell of importers that have brought nothing for the time that somebody set, once a week until something comes. How many."""
    count = 0
    due = Q(quiet_told_at=None) | Q(quiet_told_at__lte=now - AGAIN)
    waiting = Importer.objects.filter(due, paused=False).exclude(quiet_days=None)
    for row in waiting.filter(came_at__lte=now - timedelta(days=1)).select_related("organisation"):
        days = row.quiet_days or 0
        if row.came_at > now - timedelta(days=days):
            continue
        with transaction.atomic():  # told and written down, or neither
            if not Importer.objects.filter(due, pk=row.pk).update(quiet_told_at=now):
                continue
            _tell_quiet(row, (now - row.came_at).days if row.quiet_told_at else days, now)
        count += 1
    return count


def _tell_quiet(row: Importer, days: int, now: datetime) -> None:
    def title() -> str:
        text = ngettext(
            "Importer “%(name)s” has brought nothing new for %(days)d day",
            "Importer “%(name)s” has brought nothing new for %(days)d days",
            days,
        )
        return text % {"name": row.name, "days": days}

    def body() -> str:
        return _("Its runs may succeed and find nothing. Look whether the source still gets new data.")

    _tell(row, f"quiet:{now:%Y%m%d%H%M%S%f}", title=title, body=body, level="warning")
