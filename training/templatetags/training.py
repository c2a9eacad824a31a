"""Words for what training shows: `metric|metric_label`, `recipe|recipe_steps`."""

import json
from typing import Any

from django import template
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from training import metrics, options, words

register = template.Library()


@register.filter
def readable(name: Any) -> str:
    """A column's name as words: `heart_disease` is “heart disease”. Only for display."""
    return str(name).replace("_", " ").strip()


@register.filter
def model_title(model: Any) -> str:
    """What the model tells: its target in words, or the name that a person gave it."""
    name, target = str(model.name), str(model.target)
    return capfirst(readable(target)) if name.endswith(f": {target}") else name


@register.filter
def model_origin(model: Any) -> str:
    """What stands under `model_title`: the data set that the model's name begins with, or the target."""
    name, target = str(model.name), str(model.target)
    if not name.endswith(f": {target}"):
        return readable(target)
    return _("Data set “%(name)s”") % {"name": name.removesuffix(f": {target}")}


@register.filter
def metric_label(name: str) -> str:
    """The metric's name in the person's language."""
    return metrics.label(name)


@register.filter
def candidate_label(name: str) -> str:
    """The candidate's name as people read it."""
    return words.candidate(name)


@register.filter
def engine_says(text: str) -> str:
    """A sentence of the engine in the person's language."""
    return words.said(text)


@register.filter
def candidate_status(status: str) -> str:
    """A candidate's state in words."""
    words = {
        "running": _("being tried"), "fitted": _("fitted"), "done": _("done"), "failed": _("failed"), "skipped": _("not used"),
        "stopped": _("stopped"),
    }  # fmt: skip
    return words.get(status, status)


@register.filter
def recipe_steps(recipe: dict[str, Any]) -> list[tuple[str, str]]:
    """(step, choice) of the five preprocessing steps."""
    return [
        (str(label), options.choice_label(recipe.get(name, "")))
        for name, (label, _meaning) in options.STEPS.items()
    ]


@register.filter
def setting_label(name: str) -> str:
    """A preprocessing step, a hyperparameter or a candidate as people read it; another name in words."""
    if name in options.STEPS:
        return str(options.STEPS[name][0])
    return words.candidate(name) if name in words.CANDIDATES else words.hyperparameter(name)


@register.filter
def setting_value(value: Any) -> str:
    """What a setting is, in words; settings within it one after the other."""
    if isinstance(value, dict):
        return "; ".join(
            f"{setting_label(name)}: {setting_value(part)}" for name, part in sorted(value.items())
        )
    return options.choice_label(value) if isinstance(value, str) else str(value)


@register.filter
def pretty_json(value: Any) -> str:
    """Indented JSON, to read."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
