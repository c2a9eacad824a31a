"""Words for what training shows: `metric|metric_label`, `recipe|recipe_steps`."""

import json
from typing import Any

from django import template
from django.utils.translation import gettext as _

from training import metrics, options

register = template.Library()


@register.filter
def metric_label(name: str) -> str:
    """The metric's name in the person's language."""
    return metrics.label(name)


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
def pretty_json(value: Any) -> str:
    """Indented JSON, to read."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
