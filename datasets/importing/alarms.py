"""Telling the organisation's administrators when an importer fails, works again, or brings nothing."""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User
from accounts.notifications import notify
from accounts.permissions import ROLES, Permission
from datasets.importing.models import Importer, ImporterRun


def told(importer: Importer) -> list[User]:
    """Who can do something about it."""
    roles = [role.name for role in ROLES.values() if Permission.MANAGE_ORGANISATION in role.permissions]
    people = User.objects.filter(memberships__organisation=importer.organisation, memberships__role__in=roles, is_active=True)
    return list(people.distinct())


def _tell(importer: Importer, key: str, **texts: Any) -> None:
    url = reverse("datasets:importer", args=[importer.pk])
    notify(organisation=importer.organisation, users=told(importer), key=f"importer:{importer.pk}:{key}", url=url, **texts)


def tell_failed(run: ImporterRun) -> None:
    """Once per streak of failures."""
    name = {"name": run.importer.name}
    _tell(
        run.importer, f"failed:{run.pk}", title=lambda: _("Importer “%(name)s” fails") % name, body=run.error_text, level="danger"
    )


def tell_works(run: ImporterRun) -> None:
    """After a streak of failures."""
    name = {"name": run.importer.name}
    body = _("Nothing was lost: it went on where it had stopped.")
    _tell(
        run.importer, f"works:{run.pk}", title=lambda: _("Importer “%(name)s” works again") % name, body=body, level="success"
    )


def tell_quiet(now: datetime) -> int:
    """Tell of importers that have brought nothing for the time that somebody set; each once, until something comes. How many."""
    count = 0
    waiting = Importer.objects.filter(paused=False, quiet_told_at=None).exclude(quiet_days=None)
    for row in waiting.filter(came_at__lte=now - timedelta(days=1)).select_related("organisation"):
        days = row.quiet_days or 0
        if row.came_at > now - timedelta(days=days):
            continue
        if not Importer.objects.filter(Q(quiet_told_at=None), pk=row.pk).update(quiet_told_at=now):
            continue
        count += 1
        _tell_quiet(row, days)
    return count


def _tell_quiet(row: Importer, days: int) -> None:
    def title() -> str:
        text = ngettext(
            "Importer “%(name)s” has brought nothing new for %(days)d day",
            "Importer “%(name)s” has brought nothing new for %(days)d days",
            days,
        )
        return text % {"name": row.name, "days": days}

    def body() -> str:
        return _("Its runs may succeed and find nothing. Look whether the source still gets new data.")

    _tell(row, f"quiet:{row.came_at:%Y%m%d%H%M%S}", title=title, body=body, level="warning")
