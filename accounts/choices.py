"""What a person may choose at registration; the choices come from above through dotted names in the settings."""

from collections.abc import Callable
from typing import Any, NotRequired, TypedDict

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from accounts.models import Organisation

WEIGHT_MAXIMUM = 10.0
# Offered first: misses weigh most, then the order of risk, false alarms and honest probabilities; for numbers, the error.
DEFAULT_WEIGHTS = {"sensitivity": 3.0, "roc_auc": 2.0, "specificity": 1.0, "brier": 1.0, "mae": 1.0}


class Metric(TypedDict):
    """One metric: `better` is "higher" or "lower"; a floor must lie in [low, high]; a bound that is None is open."""

    name: str
    label: Any
    better: str
    low: float | None
    high: float | None
    description: Any
    numeric: NotRequired[bool]  # measures the prediction of a number, not of a class


def source(setting: str) -> Callable[..., Any] | None:
    """The function that a setting names, or None when the setting is empty."""
    dotted = getattr(settings, setting, "")
    return import_string(dotted) if dotted else None


def outcome_choices(organisation: Organisation | None) -> list[tuple[str, str]]:
    """(value, label) of the outcomes that published models and this organisation's own predict."""
    known = source("OUTCOME_SOURCE")
    return [(str(value), str(label)) for value, label in known(organisation)] if known else []


def metric_choices() -> list[Metric]:
    """The metrics that can be weighed and given floors."""
    known = source("METRIC_SOURCE")
    return list(known()) if known else []


def default_weights() -> dict[str, float]:
    """Sensible weights to start from: those of DEFAULT_WEIGHTS that exist, else every metric alike."""
    names = [metric["name"] for metric in metric_choices()]
    chosen = {name: weight for name, weight in DEFAULT_WEIGHTS.items() if name in names}
    return chosen or dict.fromkeys(names, 1.0)


def number(value: Any, field: str) -> float:
    """A finite number, or a ValidationError that names the field."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValidationError({field: _("Give a number.")})
    try:
        result = float(value)
    except OverflowError:
        result = float("inf")
    if result != result or result in {float("inf"), float("-inf")}:
        raise ValidationError({field: _("Give a finite number.")})
    return result


def clean_weights(weights: dict[str, Any]) -> dict[str, float]:
    """The weights above 0; refuses unknown metrics, numbers outside 0 to 10, and no weight at all."""
    known = {metric["name"] for metric in metric_choices()}
    result: dict[str, float] = {}
    for name, raw in weights.items():
        if name not in known:
            raise ValidationError({"weights": _("There is no metric called “%(name)s”.") % {"name": str(name)[:50]}})
        weight = number(raw, "weights")
        if not 0 <= weight <= WEIGHT_MAXIMUM:
            text = _("The weight of %(name)s must lie between 0 and %(most)g.")
            raise ValidationError({"weights": text % {"name": name, "most": WEIGHT_MAXIMUM}})
        if weight > 0:
            result[name] = weight
    if not result:
        raise ValidationError({"weights": _("Give at least one metric a weight above 0.")})
    return result


def clean_floors(floors: dict[str, Any]) -> dict[str, float]:
    """The floors (for errors: ceilings); refuses unknown metrics and values that the metric cannot take."""
    known = {metric["name"]: metric for metric in metric_choices()}
    result: dict[str, float] = {}
    for name, raw in floors.items():
        if name not in known:
            raise ValidationError({"floors": _("There is no metric called “%(name)s”.") % {"name": str(name)[:50]}})
        value, low, high = number(raw, "floors"), known[name].get("low"), known[name].get("high")
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValidationError({"floors": out_of_range(name, low, high)})
        result[name] = value
    return result


def out_of_range(name: str, low: float | None, high: float | None) -> str:
    """What to do about a floor that its metric can never take."""
    if high is None:
        return _("The limit of %(name)s must be at least %(low)g.") % {"name": name, "low": low}
    if low is None:
        return _("The limit of %(name)s must be at most %(high)g.") % {"name": name, "high": high}
    text = _("The limit of %(name)s must lie between %(low)g and %(high)g.")
    return text % {"name": name, "low": low, "high": high}
