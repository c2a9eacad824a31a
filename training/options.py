"""Everything that may be chosen for a run, with its default, meaning and limits, in the person's language."""

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from training import metrics, words

# What the portal offers of the engine's tasks; the others are for the engine in a notebook, so far.
TASKS = ("auto", "classification", "regression")
STEPS: dict[str, tuple[Any, Any]] = {
    "scaling": (gettext_lazy("Scaling"), gettext_lazy("Brings numbers to a common scale.")),
    "normalisation": (
        gettext_lazy("Normalisation"),
        gettext_lazy("Changes the shape of a column's distribution, or a row's length."),
    ),
    "imputation": (
        gettext_lazy("Missing values"),
        gettext_lazy("What stands in for a missing value; learned on training data only."),
    ),
    "outliers": (gettext_lazy("Outliers"), gettext_lazy("What becomes of extreme values.")),
    "feature_selection": (
        gettext_lazy("Choice of columns"),
        gettext_lazy("Leaves out columns that do not help."),
    ),
}
CHOICE_LABELS: dict[str, Any] = {
    "search": gettext_lazy("let validation choose"),
    "auto": gettext_lazy("automatic"),
    "none": gettext_lazy("none"),
    "minmax": gettext_lazy("to [0, 1] (min-max)"),
    "symmetric": gettext_lazy("to [-1, 1]"),
    "zscore": gettext_lazy("z-score"),
    "l2": gettext_lazy("each row to length 1"),
    "yeo-johnson": gettext_lazy("towards a normal distribution (Yeo-Johnson)"),
    "quantile": gettext_lazy("by quantiles"),
    "mode": gettext_lazy("most frequent value"),
    "mean": gettext_lazy("mean"),
    "median": gettext_lazy("median"),
    "label_mean": gettext_lazy("mean of the labels' means"),
    "native": gettext_lazy("left to the model"),
    "clip": gettext_lazy("clipped"),
    "variance": gettext_lazy("by variance"),
    "univariate": gettext_lazy("one by one"),
    "model": gettext_lazy("by a model"),
    "classification": gettext_lazy("classification"),
    "regression": gettext_lazy("regression"),
}


def choice_label(value: str) -> str:
    """A choice in words."""
    return str(CHOICE_LABELS.get(value, value))


def describe_options() -> dict[str, Any]:
    """{options, candidates, metrics} as JSON."""
    from engine import registry
    from engine.recipe import CHOICES

    options: dict[str, Any] = {
        name: {"default": "search", "choices": list(CHOICES[name]), "meaning": str(meaning)}
        for name, (_label, meaning) in STEPS.items()
    }
    options["task"] = {
        "default": "auto",
        "choices": list(TASKS),
        "meaning": _("What is to be learned."),
    }
    options["metric"] = {
        "default": "auto",
        "choices": ["auto", *metrics.known()],
        "meaning": _("What validation chooses by."),
    }
    options["time_budget"] = {
        "default": 60.0,
        "low": 0.1,
        "high": 43200,
        "meaning": _("Seconds of computing to try candidates."),
    }
    options["seed"] = {
        "default": 0,
        "low": 0,
        "high": 2**32 - 1,
        "meaning": _("The same seed and data give the same numbers."),
    }
    candidates = [_worded(c) for c in registry.describe() if not c["reference"]]
    return {
        "options": options,
        "candidates": candidates,
        "metrics": [m.to_dict() for m in metrics.known().values()],
    }


def _worded(candidate: dict[str, Any]) -> dict[str, Any]:
    """A candidate's description with the texts in the person's language."""
    return candidate | {
        "label": words.candidate(candidate["name"]),
        "description": words.said(candidate["description"]),
        "hyperparameters": [h | {"meaning": words.said(h["meaning"])} for h in candidate["hyperparameters"]],
    }
