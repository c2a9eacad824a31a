"""The forms of the importers' pages. What a source asks for is its own form; here is what all of them have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from datasets.importing import opening
from datasets.importing.base import Delivers, Source
from datasets.importing.models import Schedule, Treatment
from datasets.models import Dataset

OWN = "importer"  # prefix: a source's form has names of its own
OF_FILES = [choice for choice in Treatment.choices if choice[0] != Treatment.ROWS]


# What may change without the secrets being asked for again: it does not say to whom they are sent, nor how.
FREE = frozenset(
    {
        *("query", "cursor_column", "pattern", "subfolders", "prefix", "resource", "filter", "mapping"),
        *("format", "records", "paging", "paging_name", "first_page", "since_parameter", "since_field"),
        *("modality", "description", "since", "look_back", "overlap_minutes", "overlap_numbers"),
    }
)


def to_ask_again(
    source: type[Source], before: Mapping[str, Any], after: Mapping[str, Any], given: Mapping[str, Any], kept: Mapping[str, Any]
) -> list[str]:
    """The kept secrets that must be entered anew, as they would go elsewhere: else an edit could send them to anybody."""
    moved = any(before.get(name) != after.get(name) for name in set(source.Form().fields) - source.secrets - FREE)
    return sorted(name for name in source.secrets if moved and name in kept and not given.get(name))


class HiddenTextarea(forms.Textarea):
    """A secret of several lines: what was entered is never sent back."""

    def format_value(self, value: Any) -> str:
        return ""


class ImporterForm(forms.Form):
    """Its name and where what comes goes."""

    name = forms.CharField(label=_("Name"), max_length=100, help_text=_("As you call it, such as “Laboratory, nightly”."))
    treatment = forms.ChoiceField(
        label=_("What becomes of the files"), choices=OF_FILES, widget=forms.RadioSelect, initial=Treatment.ARRIVAL
    )
    dataset = forms.ModelChoiceField(
        label=_("Data set"), queryset=Dataset.objects.none(), required=False, empty_label=_("a new one, made from the preview")
    )
    from_beginning = forms.BooleanField(
        label=_("Read everything again from the beginning"),
        required=False,
        help_text=_("Records that are there already stay as they are."),
    )

    def __init__(self, data: Any = None, *, source: type[Source], datasets: Any, new: bool, initial: Any = None) -> None:
        super().__init__(data, prefix=OWN, initial=initial)
        field: Any = self.fields["dataset"]
        field.queryset = datasets
        if source.delivers != Delivers.FILES:
            del self.fields["treatment"]
        else:
            field.empty_label = _("none, or a new one made from the preview")
        if new:
            del self.fields["from_beginning"]


def source_form(
    source: type[Source], organisation: Any, data: Mapping[str, Any] | None = None, *, kept: Mapping[str, Any],
    secrets: Mapping[str, Any],
) -> forms.Form:  # fmt: skip
    """The source's form. A secret that is kept is never shown; left empty, it stays (see `with_kept`)."""
    full = with_kept(source, data, secrets) if data is not None else None
    form = opening.form_of(source, organisation, full, initial=dict(kept))
    for name in source.secrets:
        field = form.fields[name]
        several = isinstance(field.widget, forms.Textarea)
        attrs = {"autocomplete": "off" if several else "new-password"}
        if name in secrets:
            attrs["placeholder"] = str(_("set; leave empty to keep it"))
            field.widget.is_required = False
        field.widget = HiddenTextarea(attrs) if several else forms.PasswordInput(attrs)
        field.widget.is_required = field.required and name not in secrets
    return form


def with_kept(source: type[Source], data: Mapping[str, Any], secrets: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was sent, with kept secrets in the place of those left empty."""
    if not any(name in secrets and not data.get(name) for name in source.secrets):
        return data
    full: Any = data.copy() if isinstance(data, QueryDict) else dict(data)
    for name in source.secrets:
        if name in secrets and not full.get(name):
            full[name] = secrets[name]
    return dict(full) if not isinstance(full, QueryDict) else full


class ScheduleForm(forms.Form):
    """When it runs by itself, and when its silence is told."""

    schedule = forms.ChoiceField(label=_("When"), choices=Schedule.choices, required=False)
    every = forms.IntegerField(label=_("How many"), min_value=1, max_value=1000, initial=1, required=False)
    at = forms.TimeField(label=_("Time of day"), required=False, widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"))
    zone = forms.ChoiceField(label=_("Time zone"), required=False)
    quiet_days = forms.IntegerField(
        label=_("Tell the administrators when nothing new came for so many days"),
        min_value=1,
        max_value=365,
        required=False,
        help_text=_("Empty: never. That it fails is always told, once."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zones: Any = self.fields["zone"]
        zones.choices = [(name, name) for name in sorted(available_timezones())]

    def clean(self) -> dict[str, Any]:
        data = dict(super().clean() or {})
        chosen = data.get("schedule", "")
        if chosen in (Schedule.MINUTES, Schedule.HOURS) and not data.get("every") and "every" not in self.errors:
            self.add_error("every", _("Give a number of at least 1."))
        if chosen == Schedule.DAILY and data.get("at") is None and "at" not in self.errors:
            self.add_error("at", _("Give the time of day."))
        data["every"] = data.get("every") or 1
        return data
