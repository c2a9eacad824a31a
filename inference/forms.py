"""The diagnosis form, made from a version's columns; the review form; the list's filters."""

from typing import Any
from uuid import uuid4

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from inference.models import Diagnosis, Review
from inference.validation import (
    FILE_KINDS,
    MAX_CATEGORY,
    MAX_PATIENT_KEY,
    MAX_TEXT,
    Refused,
    check_date,
    check_number,
)
from inference.wording import number
from training.models import ModelVersion

FILE_HINTS = {
    "image": _("A picture: PNG, JPEG, TIFF, BMP, WebP or DICOM."),
    "volume": _("A volume: NIfTI, or DICOM of one series: a file, its slices together (up to 600), or a ZIP of them."),
    "video": _("A clip: MP4, AVI, MOV, MKV, MPEG, GIF or DICOM cine."),
    "signal": _("A recording: CSV, EDF, BDF, NPY, a DICOM waveform, or a WFDB header (.hea) together with its samples."),
}
OTHER = "\x1fother"  # no category of a file can be this
MOST_CHOICES = 200
P5, P95 = 1, 5  # places in ColumnSpec.quantiles


def usual_range(column: dict[str, Any]) -> tuple[float, float] | None:
    """Between which two values 90 of 100 training records lay."""
    quantiles = column.get("quantiles")
    if not quantiles or len(quantiles) <= P95:
        return None
    return quantiles[P5], quantiles[P95]


class NumberField(forms.Field):
    """A number, or empty for not known. What is no number is an error at the field."""

    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})

    def clean(self, value: Any) -> float | int | None:
        try:
            found = check_number((value or "").strip())
        except Refused as error:
            raise forms.ValidationError(error.message, code=error.code) from error
        return int(found) if isinstance(found, float) and found.is_integer() and abs(found) < 2**53 else found


class DateField(forms.Field):
    """An ISO date, or empty."""

    widget = forms.DateInput(attrs={"type": "date"})

    def clean(self, value: Any) -> str | None:
        try:
            return check_date(value or "")
        except Refused as error:
            raise forms.ValidationError(error.message, code=error.code) from error


class FilesInput(forms.ClearableFileInput):
    """Several files at once."""

    allow_multiple_selected = True


class FilesField(forms.FileField):
    """One file, or several that are one together; always a list."""

    widget = FilesInput

    def __init__(self, *, several: bool, **kwargs: Any) -> None:
        super().__init__(widget=FilesInput(attrs={"multiple": True}) if several else forms.FileInput(), **kwargs)

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        sent = data if isinstance(data, list) else [data]
        return [super(FilesField, self).clean(file, initial) for file in sent if file]


_LOOKED = _("I have looked at the DICOM pictures, and none shows who the patient is")
_LOOKED_HELP = _(
    "Needed where text is seen in a picture: tick it and attach the files again. "
    "Your name and this decision are written into the audit log."
)


class DiagnosisForm(forms.Form):
    """One field per column of the version. Nothing is required: what is not known is told as a warning with the result."""

    token = forms.CharField(widget=forms.HiddenInput, max_length=64)
    patient = forms.CharField(
        label=_("Patient identifier"), max_length=MAX_PATIENT_KEY, required=False, strip=True,
        help_text=_("Optional. As in your records, so that this patient's diagnoses can be found and erased."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )  # fmt: skip

    def __init__(self, *args: Any, version: ModelVersion, features: tuple[dict[str, Any], ...], **kwargs: Any) -> None:
        kwargs.setdefault("initial", {"token": uuid4().hex})
        super().__init__(*args, **kwargs)
        self.version = version
        self.ask_to_look = False  # whether a picture waits for a person's eyes
        self.hashes: dict[str, str] = {}  # column → hash of its file, once taken in
        self.columns: dict[str, dict[str, Any]] = {}
        if any(column["kind"] in FILE_KINDS for column in features):
            self.fields["looked"] = forms.BooleanField(label=_LOOKED, help_text=_LOOKED_HELP, required=False)
        for position, column in enumerate(features):
            name = f"c{position}"
            self.columns[name] = column
            self.fields[name] = _field(column)
            if column["kind"] == "category" and isinstance(self.fields[name], forms.ChoiceField):
                self.fields[f"{name}_other"] = _other_field(column)

    def rows(self) -> list[dict[str, Any]]:
        """For the template: each column's field, with the field for another value beside it."""
        return [
            {"field": self[name], "other": self[f"{name}_other"] if f"{name}_other" in self.fields else None,
             "other_choice": OTHER, "wide": column["kind"] in ("text", *FILE_KINDS)}
            for name, column in self.columns.items()
        ]  # fmt: skip

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name in self.columns:
            other = cleaned.get(f"{name}_other", "")
            chosen = cleaned.get(name)
            if chosen == OTHER and not other:
                self.add_error(name, gettext("Write the other value beside it, or choose “not known”."))
            elif other and chosen not in {OTHER, "", None}:
                self.add_error(name, gettext("Choose one of the list or write another value, not both."))
            elif other:
                cleaned[name] = other
        if not self.errors and not self.record(cleaned):
            raise forms.ValidationError(gettext("Fill in at least one field."), code="empty")
        return cleaned

    def record(self, cleaned: dict[str, Any] | None = None) -> dict[str, Any]:
        """The filled columns by their names; without the patient."""
        data = self.cleaned_data if cleaned is None else cleaned
        given = {
            column["name"]: data[name]
            for name, column in self.columns.items()
            if data.get(name) not in (None, "", [])
        }
        return {name: self.hashes.get(name, value) for name, value in given.items()}

    def attached(self) -> dict[str, Any]:
        """Field → the files that were sent in it."""
        return {
            name: self.cleaned_data[name]
            for name, column in self.columns.items()
            if column["kind"] in FILE_KINDS and self.cleaned_data.get(name)
        }

    def keep(self, hashes: dict[str, str]) -> None:
        """Field → hash of its file, kept: `record()` then holds the hashes."""
        self.hashes = {self.columns[name]["name"]: sha256 for name, sha256 in hashes.items()}


def _field(column: dict[str, Any]) -> forms.Field:
    label, kind = column["name"], column["kind"]
    if kind == "number":
        usual = usual_range(column)
        hint = (
            gettext("Usually %(low)s to %(high)s.") % {"low": number(usual[0]), "high": number(usual[1])} if usual else ""
        )
        return NumberField(label=label, required=False, help_text=hint)
    if kind == "date":
        return DateField(label=label, required=False)
    if kind == "text":
        widget = forms.Textarea(attrs={"rows": 5})
        return forms.CharField(label=label, required=False, max_length=MAX_TEXT, widget=widget)
    if kind in FILE_KINDS:
        several = kind in ("volume", "signal")
        return FilesField(
            several=several, label=label, required=False, help_text=str(FILE_HINTS[kind]), allow_empty_file=True
        )
    categories = [str(c) for c in column.get("categories") or []]
    if not categories or len(categories) > MOST_CHOICES:
        box = forms.TextInput(attrs={"autocomplete": "off"})
        return forms.CharField(label=label, required=False, max_length=MAX_CATEGORY, widget=box)
    choices = [("", gettext("not known")), *((c, c) for c in categories), (OTHER, gettext("another value…"))]
    return forms.ChoiceField(
        label=label, required=False, choices=choices, widget=forms.Select()
    )


def _other_field(column: dict[str, Any]) -> forms.Field:
    label = gettext("Another value of “%(column)s”") % {"column": column["name"]}
    attrs = {"autocomplete": "off", "aria-label": label, "placeholder": gettext("another value")}
    return forms.CharField(label=label, required=False, max_length=MAX_CATEGORY, widget=forms.TextInput(attrs=attrs))


class ReviewForm(forms.Form):
    """Confirm, correct or reject. Which parts belong to which verdict is decided by `inference.reviews`."""

    verdict = forms.ChoiceField(
        label=_("Your verdict"), choices=[("confirmed", _("Confirm: the diagnosis is right")),
        ("corrected", _("Correct: the right value is another one")), ("rejected", _("Reject: it cannot be judged or used"))],
        widget=forms.RadioSelect(),
    )  # fmt: skip
    corrected_value = forms.CharField(label=_("The right value (when you correct)"), required=False, max_length=200)
    reason = forms.CharField(
        label=_("Reason (needed when you reject)"), required=False, max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
    )  # fmt: skip

    def __init__(self, *args: Any, diagnosis: Diagnosis, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if diagnosis.model.task == "regression":
            widget: forms.Widget = forms.TextInput(attrs={"inputmode": "decimal"})
        else:
            others = [str(c) for c in diagnosis.model_version.classes]
            widget = forms.Select(
                choices=[("", gettext("choose…")), *((c, c) for c in others)]
            )
        self.fields["corrected_value"].widget = widget


class FilterForm(forms.Form):
    """The filters of the list of diagnoses; all optional, all in the address."""

    model = forms.UUIDField(required=False, widget=forms.Select(), label=_("Model"))
    verdict = forms.ChoiceField(
        required=False, label=_("Review"), widget=forms.Select(),
        choices=[("", _("any")), ("unreviewed", _("not reviewed yet")), *Review.Verdict.choices],
    )  # fmt: skip
    value = forms.CharField(
        required=False, label=_("Value"), max_length=200, widget=forms.TextInput()
    )
    patient = forms.CharField(
        required=False, label=_("Patient"), max_length=100, widget=forms.TextInput()
    )
    since = forms.DateField(
        required=False, label=_("From"), widget=forms.DateInput(attrs={"type": "date"})
    )
    until = forms.DateField(
        required=False, label=_("To"), widget=forms.DateInput(attrs={"type": "date"})
    )

    def __init__(self, *args: Any, models: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"].widget.choices = [("", gettext("all models")), *models]
