"""How far back a source is read again, and how far its cursor may go: the same for SQL, feeds and FHIR.

What is committed late has a smaller value than what has been read: a long transaction, a server that takes its number before it
stores. So each run reads from a little before the cursor on; what it knows of that is left out. And a value in the future (9999
means "open" in many tables) never moves the cursor: else all that comes later would be older than it, and the importer silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy

MINUTES, NUMBERS = 60, 1000  # read again where nobody says otherwise
AHEAD = timedelta(days=1)  # that a cursor may be later than now: clocks and time zones differ


class OverlapForm(forms.Form):
    """How far back a person wants it read again. Left empty, it is the default, also where the form did not ask yet."""

    overlap_minutes = forms.IntegerField(
        label=gettext_lazy("Overlap in minutes"),
        required=False,
        initial=MINUTES,
        min_value=0,
        max_value=60 * 24 * 31,
        help_text=gettext_lazy(
            "Each run reads again what is at most so much older than the last time that it has seen, as data may be stored late. "
            "What is known already is left out. Of dates without a time, whole days."
        ),
    )


class NumbersForm(OverlapForm):
    """For sources whose values may be numbers."""

    overlap_numbers = forms.IntegerField(
        label=gettext_lazy("Overlap of numbers"),
        required=False,
        initial=NUMBERS,
        min_value=0,
        max_value=1_000_000_000,
        help_text=gettext_lazy("The same where the values are numbers: read again from the last number less this one on."),
    )


def minutes(settings: Mapping[str, Any]) -> timedelta:
    """Of times."""
    given = settings.get("overlap_minutes")
    return timedelta(minutes=MINUTES if given is None else int(given))


def numbers(settings: Mapping[str, Any]) -> int:
    """Of numbers."""
    given = settings.get("overlap_numbers")
    return NUMBERS if given is None else int(given)


def limit() -> datetime:
    """The latest time that a cursor may have."""
    return timezone.now().astimezone(UTC) + AHEAD


def back(value: Any, settings: Mapping[str, Any]) -> Any:
    """Where to read from on, for a cursor at this value: of the value's own kind."""
    if isinstance(value, datetime):
        try:
            return value - minutes(settings)
        except OverflowError:
            return value
    if isinstance(value, date):
        days = -(-minutes(settings) // timedelta(days=1))
        return date.fromordinal(max(1, value.toordinal() - days))
    step = numbers(settings)
    if isinstance(value, int):
        return max(-(2**63), value - step)  # what a database takes
    return value - (Decimal(step) if isinstance(value, Decimal) else step)


def latest(value: Any) -> Any:
    """The greatest value of this kind that may become the cursor; None for numbers, of which nothing says what is too large."""
    if isinstance(value, datetime):
        return limit() if value.tzinfo is not None else limit().replace(tzinfo=None)
    return limit().date() if isinstance(value, date) else None
