"""The portal's forms of data sets and records."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from datasets import queries
from datasets.models import Column, Dataset, Kind, Record, Role, Split


class DatasetForm(forms.ModelForm):  # type: ignore[type-arg]
    """Name and description."""

    class Meta:
        model = Dataset
        fields = ["name", "description"]
        widgets = {"description": forms.Textarea(attrs={"rows": 4})}


class ColumnForm(forms.ModelForm):  # type: ignore[type-arg]
    """Kind, role and limits of one column."""

    class Meta:
        model = Column
        fields = ["kind", "role", "minimum", "maximum", "identifies"]
        labels = {
            "kind": _("Kind"),
            "role": _("Role"),
            "minimum": _("Least possible"),
            "maximum": _("Largest possible"),
            "identifies": _("Tells who the patient is"),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs["aria-label"] = f"{self.instance.name}: {field.label}"
            small = "form-check-input" if name == "identifies" else "form-control"
            field.widget.attrs["class"] = "form-select" if name in ("kind", "role") else small


class RecordFilterForm(forms.Form):
    """What the list of records shows."""

    patient = forms.CharField(label=_("Patient begins with"), required=False, max_length=100)
    text = forms.CharField(label=_("Any value contains"), required=False, max_length=200)
    target = forms.CharField(label=_("Label"), required=False, max_length=200)
    split = forms.ChoiceField(label=_("Split"), required=False, choices=[("", _("any")), *Split.choices])
    source = forms.ChoiceField(
        label=_("Source"), required=False, choices=[("", _("any")), *Record.Source.choices]
    )
    upload = forms.TypedChoiceField(label=_("Upload"), required=False)
    missing = forms.ChoiceField(label=_("Missing"), required=False)
    sort = forms.ChoiceField(
        label=_("Order"),
        required=False,
        choices=[
            ("newest", _("newest first")),
            ("oldest", _("oldest first")),
            ("patient", _("by patient")),
            ("label", _("by label, labelled records only")),
        ],
    )

    def __init__(self, dataset: Dataset, labels: list[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        uploads = dataset.uploads.exclude(rows_added=0).values_list("pk", "original_name")[:50]
        columns = dataset.columns.values_list("name", flat=True)
        self.fields["upload"].choices = [("", _("any")), *((str(pk), name) for pk, name in uploads)]  # type: ignore[attr-defined]
        self.fields["missing"].choices = [  # type: ignore[attr-defined]
            ("", _("anything or nothing")),
            ("*", _("any column")),
            *((name, name) for name in columns),
        ]
        if labels:
            self.fields["target"] = label_choice(labels)

    def asked(self) -> queries.RecordFilter:
        """The filter; what is not valid is left out."""
        self.full_clean()
        given = self.cleaned_data if self.is_bound else {}
        return queries.RecordFilter(**{k: v for k, v in given.items() if v})


class GalleryForm(forms.Form):
    """Which pictures are shown; a choice of one is not asked for."""

    target = forms.CharField(label=_("Label"), required=False, max_length=200)
    def __init__(self, columns: list[Column], labels: list[str], labelled: bool, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.columns = {column.name: column for column in columns}
        if len(columns) > 1:
            choices = [(name, name) for name in self.columns]
            self.fields["column"] = forms.ChoiceField(label=_("Column"), required=False, choices=choices)
        if not labelled:
            del self.fields["target"]
        elif labels:
            self.fields["target"] = label_choice(labels)
            self.order_fields(["target", "column"])

    def asked(self) -> tuple[queries.RecordFilter, Column]:
        """The filter and the column of pictures; what is not valid is left out."""
        self.full_clean()
        given = self.cleaned_data if self.is_bound else {}
        column = self.columns.get(given.get("column", ""), next(iter(self.columns.values())))
        return queries.RecordFilter(target=given.get("target", "")), column


def label_choice(labels: list[str]) -> forms.ChoiceField:
    """Any label, none, or one of these."""
    choices = [("", _("any")), (queries.NO_LABEL, _("without a label")), *((v, v) for v in labels)]
    return forms.ChoiceField(label=_("Label"), required=False, choices=choices)


class LabelForm(forms.Form):
    """A corrected label and why."""

    label = forms.CharField(
        label=_("New label"), required=False, max_length=200, help_text=_("Empty: no label.")
    )
    reason = forms.CharField(label=_("Reason"), max_length=300, help_text=_("Kept in the record's history."))
    new_label = forms.BooleanField(label=_("No other record has this label yet; it is meant so"), required=False)


class ErasePatientForm(forms.Form):
    """Which patient to look for."""

    patient = forms.CharField(
        label=_("Patient"),
        max_length=100,
        strip=True,
        help_text=_("The whole patient key, exactly as in the records."),
    )


class EraseConfirmForm(forms.Form):
    """The reason, and the key once more."""

    confirmed = forms.CharField(widget=forms.HiddenInput, initial="yes")
    patient = forms.CharField(required=False, strip=False, max_length=100, widget=forms.HiddenInput)
    record = forms.IntegerField(required=False, widget=forms.HiddenInput)
    reason = forms.CharField(
        label=_("Reason"),
        max_length=300,
        help_text=_("Only that a reason was given is kept, because it could name the patient."),
    )


class ExportForm(forms.Form):
    """Which file to make."""

    form = forms.ChoiceField(
        label=_("Format"),
        choices=[
            ("csv", _("CSV (any size)")),
            ("xlsx", _("Excel (up to 100,000 records)")),
            ("parquet", _("Parquet (any size, exact types)")),
            ("zip", _("ZIP: CSV with the files that it names")),
        ],
    )
    split = forms.ChoiceField(label=_("Records"), required=False, choices=[("", _("all")), *Split.choices])
    with_ids = forms.BooleanField(
        label=_("With record number and split"),
        required=False,
        help_text=_("Leave this out of a file that will be uploaded again."),
    )


KIND_MEANINGS = {
    Kind.NUMBER: _("a measurement; compared by size"),
    Kind.CATEGORY: _("one of a few values, such as a sex or a stage"),
    Kind.TEXT: _("free text, read by its words and characters"),
    Kind.DATE: _("a day or a moment"),
}
ROLE_MEANINGS = {
    Role.FEATURE: _("the model may learn from it"),
    Role.TARGET: _("what the model is to tell: the label"),
    Role.PATIENT: _("whose record it is; keeps all of a patient's records on one side of the locked test"),
    Role.IGNORE: _("kept, but never learned from"),
}
