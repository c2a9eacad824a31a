"""The forms of the receivers' pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from datasets.models import Dataset

TITLE_HELP = _("1 to 16 letters, digits or signs, as it is set up at the other end; capitals and small letters differ.")


def dataset_field() -> forms.ModelChoiceField[Dataset]:
    """One of the organisation's data sets, or none."""
    return forms.ModelChoiceField(
        queryset=Dataset.objects.none(),
        required=False,
        label=_("Data set"),
        empty_label=_("none"),
        help_text=_("Arrivals from this receiver are shown with it."),
    )


class OfDatasetForm(forms.Form):
    """What asks for one of the organisation's data sets, which `datasets` are."""

    dataset = dataset_field()

    def __init__(self, *args: Any, datasets: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["dataset"]
        field.queryset = datasets


class ReceiverForm(OfDatasetForm):
    """A new AE title."""

    title = forms.CharField(label=_("AE title"), max_length=16, help_text=TITLE_HELP)
    field_order = ("title", "dataset")


class ReceiverChangeForm(OfDatasetForm):
    """What can be changed of one."""

    active = forms.BooleanField(label=_("Receives"), required=False)


class PeerForm(forms.Form):
    """Who may send."""

    title = forms.CharField(label=_("AE title of the sender"), max_length=16, help_text=TITLE_HELP)
    address = forms.CharField(
        label=_("IP address"), max_length=50, help_text=_("One address, or a network of them such as 10.1.0.0/16.")
    )
