"""The forms of the upload pages: choosing a file, and correcting what was inferred."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from datasets.models import Dataset, Kind, Role, Upload
from datasets.readers.delimited import DELIMITERS
from datasets.readers.encodings import ENCODINGS
from datasets.records import FILE_KINDS

ENCODING_CHOICES = [("", _("found out"))] + [(e, e.upper()) for e in ENCODINGS]
DELIMITER_CHOICES = [
    ("", _("found out")),
    (",", _("comma")),
    (";", _("semicolon")),
    ("\t", _("tab")),
    ("|", _("vertical bar")),
]
HEADER_CHOICES = [
    ("", _("found out")),
    ("yes", _("the first row is the header")),
    ("no", _("there is no header")),
]
KINDS = [c for c in Kind.choices if c[0] in (Kind.NUMBER, Kind.CATEGORY, Kind.TEXT, Kind.DATE)]
FILE_KIND_CHOICES = [c for c in Kind.choices if c[0] in FILE_KINDS]
NUMBER_FORMATS = [
    ("|", _("not decided")), (".|", "1234.5"), (".|,", "1,234.5"), (",|", "1234,5"), (",|.", "1.234,5"), (",| ", "1 234,5"),
    (".| ", "1 234.5"), (".|'", "1'234.5"), (",|'", "1'234,5"),
]  # fmt: skip
DATE_ORDERS = [
    ("", _("not decided")),
    ("ymd", _("year-month-day")),
    ("dmy", _("day/month/year")),
    ("mdy", _("month/day/year")),
]
assert set(DELIMITERS) == {value for value, _label in DELIMITER_CHOICES if value}


class UploadForm(forms.Form):
    """A file, and optionally the data set that it is appended to."""

    file = forms.FileField(label=_("File"), allow_empty_file=True)
    dataset = forms.ModelChoiceField(
        label=_("Append to"), queryset=Dataset.objects.none(), required=False, empty_label=_("a new data set")
    )

    def __init__(self, *args: Any, datasets: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dataset"].queryset = datasets  # type: ignore[attr-defined]


class ReadingForm(forms.Form):
    """How the file is read."""

    encoding = forms.ChoiceField(label=_("Encoding"), choices=ENCODING_CHOICES, required=False)
    delimiter = forms.ChoiceField(label=_("Delimiter"), choices=DELIMITER_CHOICES, required=False)
    header = forms.ChoiceField(label=_("Header"), choices=HEADER_CHOICES, required=False)
    member = forms.ChoiceField(label=_("Table in the zip file"), required=False)
    sheet = forms.ChoiceField(label=_("Sheet"), required=False)

    def __init__(self, data: Any = None, *, upload: Upload) -> None:
        kept = upload.options.get("settings", {})
        header = {True: "yes", False: "no"}.get(kept.get("header"), "")
        shown = {"member": upload.options.get("member", ""), "sheet": upload.options.get("sheet", "")}
        super().__init__(data, initial={**kept, "header": header, **shown})
        if upload.options.get("format") not in ("csv", "tsv"):
            del self.fields["encoding"], self.fields["delimiter"]
        for name in ("member", "sheet"):
            choices = upload.options.get(f"{name}s") or []
            if len(choices) > 1:
                self.fields[name].choices = [(c, c) for c in choices]  # type: ignore[attr-defined]
            else:
                del self.fields[name]

    def settings(self) -> dict[str, Any]:
        """What `intake.preview_again` takes."""
        chosen = dict(self.cleaned_data)
        chosen["header"] = {"yes": True, "no": False}.get(chosen.get("header", ""))
        return chosen


class ColumnForm(forms.Form):
    """One column of the preview: fields that do not apply to its kind are left out by the page."""

    include = forms.BooleanField(required=False)
    kind = forms.ChoiceField(choices=KINDS, required=False)
    role = forms.ChoiceField(choices=Role.choices, required=False)
    number_format = forms.ChoiceField(choices=NUMBER_FORMATS, required=False)
    date_order = forms.ChoiceField(choices=DATE_ORDERS, required=False)
    minimum = forms.FloatField(required=False)
    maximum = forms.FloatField(required=False)
    future = forms.BooleanField(required=False)
    keep_words = forms.BooleanField(required=False)
    identifies = forms.BooleanField(required=False)

    def __init__(self, column: Mapping[str, Any], place: int, data: Mapping[str, Any] | None = None) -> None:
        number_format = f"{column['decimal']}|{column['thousands']}"
        super().__init__(
            data,
            prefix=f"c{place}",
            initial={**column, "number_format": number_format},
            use_required_attribute=False,
        )
        self.column = column
        if column.get("of_files") or column["kind"] in FILE_KINDS:
            kinds = self.fields["kind"]
            assert isinstance(kinds, forms.ChoiceField)
            kinds.choices = [*KINDS, *FILE_KIND_CHOICES]
        for name, field in self.fields.items():
            small = (
                "form-select form-select-sm"
                if isinstance(field, forms.ChoiceField)
                else "form-control form-control-sm"
            )
            css = "form-check-input" if isinstance(field, forms.BooleanField) else small
            field.widget.attrs |= {"class": css, "aria-label": f"{LABELS[name]}: {column['name']}"}
        self.fields["number_format"].strip = False  # type: ignore[attr-defined]
        if column["fixed"]:
            for name in ("kind", "role", "minimum", "maximum", "identifies"):
                self.fields[name].disabled = True

    def choice(self) -> dict[str, Any]:
        """What `intake.confirm` takes for this column."""
        chosen = dict(self.cleaned_data)
        written = chosen.pop("number_format") or "|"
        decimal, _bar, thousands = written.partition("|")
        return {**chosen, "name": self.column["name"], "decimal": decimal, "thousands": thousands}


LABELS = {
    "include": _("keep"), "kind": _("kind"), "role": _("role"), "number_format": _("how numbers are written"),
    "date_order": _("order of day and month"), "minimum": _("least possible value"), "maximum": _("largest possible value"),
    "future": _("allow future dates"), "keep_words": _("keep words as values"),
    "identifies": _("tells who the patient is"),
}  # fmt: skip


class ConfirmForm(forms.Form):
    """Where the rows go, and what happens when some are refused."""

    new_dataset_name = forms.CharField(label=_("Name of the new data set"), max_length=150, required=False)
    keep_good_rows = forms.ChoiceField(
        label=_("If some rows are refused"),
        choices=[
            ("yes", _("import the good rows and report the others")),
            ("no", _("import nothing and report them")),
        ],
        widget=forms.RadioSelect,
        initial="yes",
        required=False,
    )
    looked = forms.BooleanField(
        label=_("I have looked at the DICOM pictures, and none shows who the patient is"),
        help_text=_(
            "Without this, a picture in which text is seen is refused, and a series with it. "
            "Your name and this decision are written into the audit log."
        ),
        required=False,
    )
