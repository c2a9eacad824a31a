"""Reading the audit log: filters shared by the page, the export and the REST resource, and the spreadsheet."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from django.utils import timezone

from accounts.models import AuditEvent, Organisation

COLUMNS = ["at", "person", "action", "object_type", "object_id", "object", "outcome", "ip", "user_agent", "detail"]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def midnight(day: date) -> datetime:
    """The day's first moment in the portal's time zone; days that no log can hold are moved to those it could."""
    day = min(max(day, date(1900, 1, 1)), date(9000, 1, 1))
    return timezone.make_aware(datetime.combine(day, time.min))


def filtered(
    organisation: Organisation | None,
    *,
    person: str = "",
    action: str = "",
    object_type: str = "",
    object_id: str = "",
    outcome: str = "",
    since: date | None = None,
    until: date | None = None,
) -> Any:
    """The organisation's events; `action` and `person` match beginnings, days are whole, `until` is included."""
    events = AuditEvent.objects.for_organisation(organisation)
    if person:
        events = events.filter(actor_label__istartswith=person.strip())
    if action:
        events = events.filter(action__startswith=action.strip())
    exact = {"object_type": object_type.strip(), "object_id": object_id.strip(), "outcome": outcome}
    events = events.filter(**{name: value for name, value in exact.items() if value})
    if since:
        events = events.filter(at__gte=midnight(since))
    if until:
        events = events.filter(at__lt=midnight(min(until, date(9000, 1, 1)) + timedelta(days=1)))
    return events


def safe_cell(value: Any) -> str:
    """A text that no spreadsheet takes for a formula (OWASP: CSV injection)."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


class Echo:
    """A file that hands back what is written, so that the csv module can stream."""

    def write(self, value: str) -> str:
        return value


def rows(events: Iterable[AuditEvent]) -> Iterator[list[str]]:
    """The header, then one row for each event."""
    yield COLUMNS
    for event in events:
        detail = json.dumps(event.detail, ensure_ascii=False, sort_keys=True, default=str) if event.detail else ""
        values = [
            event.at.isoformat(), event.actor_label, event.action, event.object_type, event.object_id,
            event.object_label, event.outcome, event.ip, event.user_agent, detail,
        ]  # fmt: skip
        yield [safe_cell(value) for value in values]


def csv_lines(events: Any) -> Iterator[str]:
    """The export line by line in bounded memory; the byte order mark makes spreadsheets read UTF-8."""
    writer = csv.writer(Echo())
    yield "\ufeff"
    for row in rows(events.iterator(chunk_size=2000)):
        yield writer.writerow(row)
