"""The form of what matters to a person: the outcome, and for each metric a weight and a floor."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BoundField
from django.utils.translation import gettext_lazy as _

from accounts import choices
from accounts.models import Organisation, Preference

OTHER = "__other__"
MISSING_OUTCOME = _("Choose an outcome, or name it in your own words.")


class PreferenceForm(forms.Form):
    """`weight_<metric>` and `floor_<metric>` beside the outcome; `cleaned()` gives what the service wants."""

    outcome_choice = forms.ChoiceField(label=_("Outcome of interest"), error_messages={"required": MISSING_OUTCOME})
    outcome_words = forms.CharField(label=_("In your own words"), required=False, max_length=200)
    email_notifications = forms.BooleanField(label=_("Notify me by e-mail as well"), required=False)

    def __init__(self, *args: Any, organisation: Organisation, preference: Preference | None, **kwargs: Any) -> None:
        known = choices.outcome_choices(organisation)
        self.metrics = choices.metric_choices()
        kwargs["initial"] = self.starting_values(preference, known) | kwargs.get("initial", {})
        super().__init__(*args, **kwargs)
        options = [("", _("Choose one")), *known, (OTHER, _("Something else, in my own words"))]
        self.fields["outcome_choice"].choices = options  # type: ignore[attr-defined]
        for metric in self.metrics:
            self.fields[f"weight_{metric['name']}"] = self.weight_field(metric)
            self.fields[f"floor_{metric['name']}"] = self.floor_field(metric)

    def starting_values(self, preference: Preference | None, known: list[tuple[str, str]]) -> dict[str, Any]:
        """What was saved, else the defaults."""
        weights = preference.weights if preference else choices.default_weights()
        floors = preference.floors if preference else {}
        outcome = preference.outcome if preference else ""
        listed = outcome in {value for value, _label in known}
        values = {
            "outcome_choice": outcome if listed else (OTHER if outcome or not known else ""),
            "outcome_words": "" if listed else outcome,
            "email_notifications": preference.email_notifications if preference else True,
        }
        for metric in self.metrics:
            values[f"weight_{metric['name']}"] = f"{weights.get(metric['name'], 0):g}"
            values[f"floor_{metric['name']}"] = floors.get(metric["name"])
        return values

    def weight_field(self, metric: choices.Metric) -> forms.FloatField:
        """0 to 10; an empty field counts as 0."""
        return forms.FloatField(
            label=_("Weight of %(metric)s") % {"metric": metric["label"]},
            required=False,
            min_value=0,
            max_value=choices.WEIGHT_MAXIMUM,
            widget=forms.NumberInput(attrs={"step": "any", "min": 0, "max": int(choices.WEIGHT_MAXIMUM)}),
        )

    def floor_field(self, metric: choices.Metric) -> forms.FloatField:
        """What the metric must reach at least (errors: at most); empty means no limit."""
        text = _("%(metric)s at least") if metric["better"] == "higher" else _("%(metric)s at most")
        return forms.FloatField(
            label=text % {"metric": metric["label"]},
            required=False,
            min_value=metric["low"],
            max_value=metric["high"],
            step_size=None,
            widget=forms.NumberInput(attrs={"step": "any"}),
        )

    def groups(self) -> list[dict[str, Any]]:
        """The metrics of classes, then those of numbers: {title, shown, more}; what is in use is shown, the rest folded."""
        titles = {
            False: _("When the outcome is one of several, such as present or absent"),
            True: _("When the outcome is a number"),
        }
        rows = [self.row(metric) for metric in self.metrics]
        groups = []
        for numeric, title in titles.items():
            own = [row for row in rows if bool(row["metric"].get("numeric")) is numeric]
            shown, more = [r for r in own if r["common"]], [r for r in own if not r["common"]]
            if own:
                groups.append({"title": title, "shown": shown, "more": more})
        return groups

    def row(self, metric: choices.Metric) -> dict[str, Any]:
        """A metric with its two fields. Common: offered first by default, or given a weight, a limit or an error here."""
        weight: BoundField = self[f"weight_{metric['name']}"]
        floor: BoundField = self[f"floor_{metric['name']}"]
        used = weight.value() not in (None, "", "0") or floor.value() not in (None, "") or weight.errors or floor.errors
        common = bool(used) or metric["name"] in choices.DEFAULT_WEIGHTS
        return {"metric": metric, "weight": weight, "floor": floor, "lower": metric["better"] == "lower", "common": common}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        chosen = data.get("outcome_choice", "")
        data["outcome"] = " ".join(data.get("outcome_words", "").split()) if chosen == OTHER else chosen
        if chosen == OTHER and not data["outcome"] and "outcome_words" not in self.errors:
            self.add_error("outcome_words", MISSING_OUTCOME)
        data["weights"] = self.by_metric(data, "weight_")
        data["floors"] = self.by_metric(data, "floor_")
        if not self.errors and not any(data["weights"].values()):
            raise ValidationError(_("Give at least one metric a weight above 0."))
        return data

    def by_metric(self, data: dict[str, Any], prefix: str) -> dict[str, float]:
        names = [metric["name"] for metric in self.metrics]
        return {name: data[prefix + name] for name in names if data.get(prefix + name) is not None}
