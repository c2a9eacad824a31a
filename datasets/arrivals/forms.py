"""The forms of the arrival pages."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from datasets.arrivals.models import ArrivedKind, Outcome
from datasets.models import Dataset


class ManyFiles(forms.ClearableFileInput):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Any number of files."""

    def clean(self, data: Any, initial: Any = None) -> Any:
        files = data if isinstance(data, list | tuple) else [data]
        return [super(FilesField, self).clean(file, initial) for file in files or [None]]


class KnownField(forms.CharField):
    """Identifiers of the patients, one a line → a list of them."""

    widget = forms.Textarea(attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false"})

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return [line.strip() for line in text.splitlines() if line.strip()]


KNOWN_HELP = _(
    "Names, numbers, dates of birth and addresses of the patients whose texts these are, one on each line. They are masked "
    "however they are written, kept encrypted until that is done, and then forgotten."
)


class SendForm(forms.Form):
    """Files, and what is to be masked in the texts among them."""

    file = FilesField(label=_("Files"), widget=ManyFiles, allow_empty_file=True, max_length=500)
    dataset = forms.ModelChoiceField(
        label=_("Tables go to"),
        queryset=Dataset.objects.none(),
        required=False,
        empty_label=_("a new data set"),
    )
    known = KnownField(
        label=_("What to mask in texts"), required=False, max_length=20_000, help_text=KNOWN_HELP
    )
    hold_texts = forms.BooleanField(
        label=_("Show me what is masked in each text before it is stored"), required=False, initial=True
    )

    def __init__(self, *args: Any, datasets: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["dataset"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = datasets


class FileFilterForm(forms.Form):
    """Which files are shown."""

    outcome = forms.ChoiceField(
        label=_("Outcome"),
        required=False,
        choices=[("", _("all")), *Outcome.choices, ("waiting", _("waiting"))],
    )
    kind = forms.ChoiceField(label=_("Kind"), required=False, choices=[("", _("all")), *ArrivedKind.choices])

    def narrowed(self, rows: Any) -> Any:
        """The rows that match; a filter that is not valid shows none."""
        if not self.is_valid():
            return rows.none()
        outcome, kind = self.cleaned_data["outcome"], self.cleaned_data["kind"]
        if outcome:
            rows = rows.filter(outcome="" if outcome == "waiting" else outcome)
        return rows.filter(kind=kind) if kind else rows


class RetryForm(forms.Form):
    """Try again; for a text, more identifiers to mask, and the confirmation that it may be stored."""

    def known_now(self) -> list[str]:
        """What was typed, for the page that shows it masked."""
        return list(self.cleaned_data.get("known", [])) if self.is_bound and self.is_valid() else []

    known = KnownField(label=_("Also mask"), required=False, max_length=20_000, help_text=KNOWN_HELP)
