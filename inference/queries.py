"""Reading diagnoses: filters that use an index each, and pages by cursor that stay quick at a million."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.models import Organisation
from inference.identifiers import first_at
from inference.models import Diagnosis
from training.models import Model

PAGE_SIZE = 50


def usable_models(organisation: Organisation) -> QuerySet[Model]:
    """The models a person can ask: with a champion that serves, own first, then those published to all."""
    visible = Q(organisation=organisation) | Q(published_at__isnull=False)
    return (
        Model.objects.filter(visible, champion__isnull=False, champion__gate_passed=True, champion__retired_at=None)
        .select_related("champion", "organisation", "dataset")
        .order_by("name", "pk")
    )


def day_start(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


def diagnoses(organisation: Organisation | None, **filters: Any) -> QuerySet[Diagnosis]:
    """The organisation's diagnoses, newest first. Filters: model, version, verdict ("unreviewed" too), value, patient,
    batch, since and until (dates or moments; `until` includes its whole day). Empty ones do not count."""
    rows: QuerySet[Diagnosis] = Diagnosis.objects.for_organisation(organisation)
    plain = {"model": "model_id", "version": "model_version_id", "value": "value", "batch": "batch_id"}
    for name, column in plain.items():
        if filters.get(name):
            rows = rows.filter(**{column: filters[name]})
    if filters.get("patient"):
        rows = rows.filter(~Q(patient_key=""), patient_key=filters["patient"])  # the first names the partial index
    if verdict := filters.get("verdict"):
        rows = rows.filter(verdict="" if verdict == "unreviewed" else verdict)
    if since := filters.get("since"):
        rows = rows.filter(pk__gte=first_at(since if isinstance(since, datetime) else day_start(since)))
    if until := filters.get("until"):
        last = until if isinstance(until, datetime) else day_start(until + timedelta(days=1))
        rows = rows.filter(pk__lt=first_at(last))
    return rows.order_by("-pk")


@dataclass(frozen=True)
class Page:
    """Rows of one page, newest first, and the cursors of the pages beside it."""

    rows: list[Diagnosis]
    older: str
    newer: str


def page(rows: QuerySet[Diagnosis], *, before: str = "", after: str = "", size: int = PAGE_SIZE) -> Page:
    """The page before or after an identifier (the newest when neither is given or it is not one)."""
    low, high = _identifier(after), _identifier(before)
    if low is not None:
        found = list(rows.filter(pk__gt=low).order_by("pk")[: size + 1])
        more, found = len(found) > size, found[:size][::-1]
        return Page(found, older=str(found[-1].pk) if found else "", newer=str(found[0].pk) if more else "")
    if high is not None:
        rows = rows.filter(pk__lt=high)
    found = list(rows[: size + 1])
    more, found = len(found) > size, found[:size]
    return Page(
        found, older=str(found[-1].pk) if more else "", newer=str(found[0].pk) if high is not None and found else ""
    )


def _identifier(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
