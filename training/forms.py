"""The portal's forms: starting a run with or without choices, the gate, and reasons."""

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from datasets.models import Dataset, Role
from jobs.profiles import HEAVY, PROFILES
from training import metrics, words
from training.options import STEPS, TASKS, choice_label

HYPER = "hp__"


class StartForm(forms.Form):
    """Everything is optional: what is left empty is chosen by validation or taken from the defaults."""

    target = forms.ChoiceField(label=gettext_lazy("Column to learn"), required=False)
    task = forms.ChoiceField(label=gettext_lazy("Task"), required=False)
    metric = forms.ChoiceField(label=gettext_lazy("Metric that validation chooses by"), required=False)
    time_budget = forms.FloatField(
        label=gettext_lazy("Time budget in seconds"), required=False, min_value=0.1, max_value=43200,
        help_text=gettext_lazy("How much computing is spent on trying candidates. Default: 60."),
    )  # fmt: skip
    seed = forms.IntegerField(
        label=gettext_lazy("Seed"), required=False, min_value=0, max_value=2**32 - 1,
        help_text=gettext_lazy("The same seed and the same data give the same numbers. Default: 0."),
    )  # fmt: skip
    ignore = forms.MultipleChoiceField(
        label=gettext_lazy("Columns to leave out"), required=False, widget=forms.CheckboxSelectMultiple
    )
    positive = forms.CharField(
        label=gettext_lazy("The finding, of two classes"), required=False, max_length=200,
        help_text=gettext_lazy(
            "The class that sensitivity speaks of, as it is written in the data. "
            "Default: the one named as a finding (present, yes, 阳性, …), else the rarer one."
        ),
    )  # fmt: skip
    profile = forms.ChoiceField(
        label=gettext_lazy("Resource profile"), required=False,
        help_text=gettext_lazy("How much memory and time the training may use. Default: by the size of the data."),
    )  # fmt: skip
    allow_leaks = forms.BooleanField(
        label=gettext_lazy("Use suspicious columns, too: those that give the answer away"), required=False
    )
    candidates = forms.MultipleChoiceField(
        label=gettext_lazy("Candidates to try"), required=False, widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("None chosen: the size and the kinds of the data decide."),
    )  # fmt: skip

    def __init__(self, *args: Any, dataset: Dataset, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from engine import registry
        from engine.recipe import CHOICES

        columns = list(dataset.columns.all())
        own = next((c.name for c in columns if c.role == Role.TARGET), None)
        default = _("the data set's own: %(name)s") % {"name": own} if own else _("please choose")
        self._choices("target", [("", default), *((c.name, c.name) for c in columns)])
        self._choices("task", [(c, choice_label(c)) for c in TASKS])
        self._choices(
            "metric", [("auto", choice_label("auto")), *((n, metrics.label(n)) for n in metrics.known())]
        )
        profiles = [(p.name, f"{p.label} ({p.memory_mb} MB)") for p in PROFILES.values() if p.queue == HEAVY]
        self._choices("profile", [("", _("by the size of the data")), *profiles])
        self._choices("ignore", [(c.name, c.name) for c in columns if c.role == Role.FEATURE])
        for name, (label, meaning) in STEPS.items():
            choices = [(c, choice_label(c)) for c in CHOICES[name]]
            self.fields[name] = forms.ChoiceField(
                label=label, choices=choices, required=False, help_text=meaning
            )
        self.described = [c for c in registry.describe() if not c["reference"]]
        self._choices("candidates", [(c["name"], words.candidate(c["name"])) for c in self.described])
        for candidate in self.described:
            for parameter in candidate["hyperparameters"]:
                self.fields[f"{HYPER}{candidate['name']}__{parameter['name']}"] = hyperparameter_field(
                    parameter
                )

    def _choices(self, name: str, choices: list[tuple[str, Any]]) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]

    def options(self) -> dict[str, Any]:
        """The recipe's fields that were chosen."""
        data = self.cleaned_data
        chosen = {k: data[k] for k in (*STEPS, "task", "metric", "candidates", "ignore", "positive", "profile") if data.get(k)}
        chosen |= {k: data[k] for k in ("time_budget", "seed") if data.get(k) is not None}
        if data.get("allow_leaks"):
            chosen["allow_leaks"] = True
        hyperparameters: dict[str, dict[str, Any]] = {}
        for candidate in self.described:
            for parameter in candidate["hyperparameters"]:
                value = data.get(f"{HYPER}{candidate['name']}__{parameter['name']}")
                if value not in (None, ""):
                    hyperparameters.setdefault(candidate["name"], {})[parameter["name"]] = typed(
                        parameter, value
                    )
        return chosen | ({"hyperparameters": hyperparameters} if hyperparameters else {})

    @property
    def general(self) -> list[Any]:
        """The fields that are not a step, a candidate's or advanced in another way."""
        return [self[n] for n in ("target", "task", "metric", "positive", "time_budget", "seed", "profile")]

    @property
    def steps(self) -> list[Any]:
        """The five preprocessing steps."""
        return [self[n] for n in STEPS]

    @property
    def columns(self) -> list[Any]:
        """What concerns columns, and which candidates are tried."""
        return [self[n] for n in ("ignore", "allow_leaks", "candidates")]

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Each candidate with its hyperparameters' fields."""
        return [
            {
                "label": words.candidate(c["name"]),
                "description": words.said(c["description"]),
                "fields": [self[f"{HYPER}{c['name']}__{p['name']}"] for p in c["hyperparameters"]],
            }
            for c in self.described
            if c["hyperparameters"]
        ]


def hyperparameter_field(parameter: dict[str, Any]) -> forms.Field:
    """A field with the hyperparameter's meaning, default and limits."""
    default, label = parameter["default"], words.hyperparameter(parameter["name"])
    meaning = words.said(parameter["meaning"])
    what: dict[str, Any] = {"meaning": meaning, "default": default}
    if parameter["type"] in ("choice", "bool"):
        values = parameter["choices"] or [True, False]
        choices = [("", _("default")), *((str(v), str(v)) for v in values)]
        text = _("%(meaning)s Default: %(default)s.") % what
        return forms.ChoiceField(label=label, choices=choices, required=False, help_text=text)
    low, high = parameter["low"], parameter["high"]
    text = _("%(meaning)s Default: %(default)s. Allowed: %(low)g to %(high)g.") % {
        **what,
        "low": low,
        "high": high,
    }
    kind = forms.IntegerField if parameter["type"] == "int" else forms.FloatField
    return kind(label=label, required=False, help_text=text, min_value=low, max_value=high)


def typed(parameter: dict[str, Any], value: Any) -> Any:
    """A form's text as the hyperparameter's own type."""
    if parameter["type"] == "bool":
        return value == "True"
    if parameter["type"] == "choice":
        return next((c for c in parameter["choices"] if str(c) == value), value)
    return value


class GateForm(forms.Form):
    """One number per metric; empty: no floor."""

    def __init__(self, *args: Any, floors: dict[str, float] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in metrics.known():
            wanted = _("at least") if metrics.higher_is_better(name) else _("at most")
            self.fields[name] = forms.FloatField(
                label=f"{metrics.label(name)} ({wanted})", required=False, initial=(floors or {}).get(name),
                help_text=metrics.meaning(name),
            )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for name, message in metrics.check_floors(self.floors(data)).items():
            self.add_error(name, message)
        return data

    def floors(self, data: dict[str, Any] | None = None) -> dict[str, float]:
        """The floors that were given."""
        data = self.cleaned_data if data is None else data
        return {name: value for name, value in data.items() if value is not None}


class ReasonForm(forms.Form):
    """Why; kept with the change."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=300,
        help_text=gettext_lazy("Without patient data."),
    )


class PublishForm(forms.Form):
    """What the person saw and agreed to: never "the other of what it is now", which another tab may have changed."""

    published = forms.ChoiceField(choices=[("yes", ""), ("no", "")], widget=forms.HiddenInput)
    name = forms.CharField(
        label=gettext_lazy("Name that all organisations see"), max_length=200,
        help_text=gettext_lazy("Your own programs that ask for the model by its name need this one from then on."),
    )  # fmt: skip

    def __init__(self, *args: Any, publishing: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not publishing:
            del self.fields["name"]
