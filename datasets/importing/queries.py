"""What the importers' pages and resources read."""

from datetime import timedelta
from typing import Any

from django.db.models import Count, OuterRef, Subquery, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from datasets.importing import opening
from datasets.importing.base import SourceError
from datasets.importing.models import Importer, ImporterRun
from jobs.models import Job
from jobs.services import LIVE

LATELY = timedelta(days=30)


def with_last_run(importers: Any) -> Any:
    """Each with `.last_state`, `.last_started_at` and `.last_added`: three look-ups by an index, in the one query."""
    newest = ImporterRun.objects.filter(importer=OuterRef("pk")).order_by("-pk")
    return importers.defer("look", "cursor", "secret").annotate(
        last_state=Subquery(newest.values("state")[:1]),
        last_started_at=Subquery(newest.values("started_at")[:1]),
        last_added=Subquery(newest.values("rows_added")[:1]),
        last_files=Subquery(newest.values("files")[:1]),
    )


def standing(importer: Importer, last_state: str | None) -> dict[str, str]:
    """How it is, in two words, with the level of its badge."""
    if not importer.ready:
        return {"level": "warning", "text": _("not finished")}
    if importer.paused:
        return {"level": "secondary", "text": _("paused")}
    if importer.failing_since is not None:
        return {"level": "danger", "text": _("fails")}
    if last_state == ImporterRun.State.RUNNING:
        return {"level": "info", "text": _("running")}
    if importer.quiet_told_at is not None:
        return {"level": "warning", "text": _("nothing comes")}
    return {"level": "success", "text": _("in order")} if last_state else {"level": "secondary", "text": _("has not run yet")}


def came_lately(importer: Importer) -> dict[str, int]:
    """The sums of the last thirty days."""
    runs = importer.runs.filter(started_at__gte=timezone.now() - LATELY)
    found = runs.aggregate(
        runs=Count("pk"), added=Sum("rows_added"), duplicate=Sum("rows_duplicate"), refused=Sum("rows_refused"),
        files=Sum("files"), faulty=Sum("faulty_count"),
    )  # fmt: skip
    return {name: value or 0 for name, value in found.items()}


def live_job(importer: Importer) -> Job | None:
    """Its run that waits or works now."""
    return Job.objects.for_organisation(importer.organisation).filter(key=f"importer:{importer.pk}", state__in=LIVE).first()


def shown_settings(importer: Importer) -> list[dict[str, Any]]:
    """Label and value of what its source was given; of secrets only whether they are set."""
    try:
        source = opening.kind_of(importer.kind)
    except SourceError:
        return []
    kept = importer.secrets
    shown = []
    for name, field in source.Form().fields.items():
        if name in source.secrets:
            shown.append({"label": field.label or name, "secret": True, "value": name in kept})
        elif (value := importer.settings.get(name)) not in (None, "", [], False):
            choices = {True: _("yes"), **dict(getattr(field, "choices", ()))}
            shown.append({"label": field.label or name, "secret": False, "value": choices.get(value, value)})
    return shown
