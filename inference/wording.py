"""A diagnosis in words for the person who reads it: warnings, what the operating point means, sets."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from training.models import ModelVersion

MISSING_CODES = {"missing_value", "missing_column"}
PROMINENT = {"out_of_distribution", "out_of_range", "unseen_category", "not_a_number", "not_a_date", "infinite"}


def number(value: Any, digits: int = 4) -> str:
    """A number for reading: `digits` significant ones."""
    if value is None:
        return "–"
    return str(number_format(f"{float(value):.{digits}g}" if abs(float(value)) < 10**digits else f"{float(value):.0f}"))


_TEXTS: dict[str, Callable[[], str]] = {
    "missing_value": lambda: _("“%(column)s” is missing; training records usually had it."),
    "missing_column": lambda: _("“%(column)s” was not given; it counts as missing."),
    "not_a_number": lambda: _("“%(column)s” is not a number; it counts as missing."),
    "not_a_date": lambda: _("“%(column)s” is not a date; it counts as missing."),
    "infinite": lambda: _("“%(column)s” is infinite; it counts as missing."),
    "unseen_category": lambda: _("“%(column)s” has the value “%(value)s”, which the model has not seen in training."),
    "files_folder_missing": lambda: _("The file of “%(column)s” cannot be looked for here; it counts as missing."),
    "file_refused": lambda: _("The file of “%(column)s” was not opened; it counts as missing."),
    "file_missing": lambda: _("The file of “%(column)s” is not there; it counts as missing."),
    "file_unreadable": lambda: _("The file of “%(column)s” cannot be read; it counts as missing."),
    "out_of_range": lambda: _("“%(column)s” is %(value)s, outside what training saw (%(low)s to %(high)s)."),
    "unusual": lambda: _("“%(column)s” is %(value)s; 98 of 100 training records lay between %(low)s and %(high)s."),
    "out_of_distribution": lambda: _(
        "This record is unlike those the model was trained on. Do not rely on the result without checking it."
    ),
    "unknown_column": lambda: _("The model has no column “%(column)s”; it was left out."),
}


def warning_text(warning: Mapping[str, Any]) -> str:
    """The warning in the reader's language; a code that is not known here keeps the engine's English."""
    text = _TEXTS.get(str(warning.get("code")))
    if text is None:
        return str(warning.get("message", ""))
    value = warning.get("value")
    shown = number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return text() % {
        "column": warning.get("column"),
        "value": shown,
        "low": number(warning.get("low")),
        "high": number(warning.get("high")),
    }


def warnings_by_weight(warnings: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The texts as "prominent" (unlike training), "unusual" and "missing"."""
    groups: dict[str, list[str]] = {"prominent": [], "unusual": [], "missing": []}
    for warning in warnings:
        code = warning.get("code")
        group = "prominent" if code in PROMINENT else "missing" if code in MISSING_CODES else "unusual"
        if code == "out_of_distribution":
            groups[group].insert(0, warning_text(warning))
        else:
            groups[group].append(warning_text(warning))
    return groups


def _of_hundred(share: float) -> int:
    return round(100 * share)


def _rate(metric: Any) -> dict[str, Any] | None:
    """A measured share as whole persons of a hundred, with its interval and n; None when it was not measured."""
    if not isinstance(metric, Mapping) or metric.get("value") is None:
        return None
    low, high = metric.get("low"), metric.get("high")
    return {
        "of_hundred": _of_hundred(metric["value"]),
        "low": None if low is None else _of_hundred(low),
        "high": None if high is None else _of_hundred(high),
        "n": metric.get("n"),
    }


def _interval(rate: Mapping[str, Any]) -> str:
    if rate["low"] is None or rate["high"] is None:
        return _("measured on %(n)s test records") % {"n": rate["n"]}
    return _("95%% interval %(low)s to %(high)s, measured on %(n)s test records") % dict(rate)


def operating_sentences(version: ModelVersion) -> list[dict[str, str]]:
    """What the operating point means in natural frequencies, from the locked test split: [{text, interval}].

    Natural frequencies are understood better than percentages (Gigerenzer & Hoffrage 1995,
    doi:10.1037/0033-295X.102.4.684).
    """
    if version.model.task == "regression":
        return _regression_sentences(version)
    if len(version.classes) != 2:
        return _many_classes_sentences(version)
    positive = str(version.operating_point.get("positive") or version.classes[1])
    sentences = []
    found = _rate(version.metrics.get("sensitivity"))
    if found is not None:
        text = ngettext(
            "Finds %(found)d of 100 patients with “%(positive)s”.",
            "Finds %(found)d of 100 patients with “%(positive)s”.",
            found["of_hundred"],
        ) % {"found": found["of_hundred"], "positive": positive}
        sentences.append({"text": text, "interval": _interval(found)})
    spared = _rate(version.metrics.get("specificity"))
    if spared is not None:
        alarms = {"of_hundred": 100 - spared["of_hundred"], "n": spared["n"], "low": None, "high": None}
        if spared["low"] is not None and spared["high"] is not None:
            alarms |= {"low": 100 - spared["high"], "high": 100 - spared["low"]}
        text = ngettext(
            "Wrongly alarms %(alarms)d of 100 patients without it.",
            "Wrongly alarms %(alarms)d of 100 patients without it.",
            alarms["of_hundred"],
        ) % {"alarms": alarms["of_hundred"]}
        sentences.append({"text": text, "interval": _interval(alarms)})
    return sentences


def _many_classes_sentences(version: ModelVersion) -> list[dict[str, str]]:
    right = _rate(version.metrics.get("accuracy"))
    if right is None:
        return []
    text = _("Names the right one of %(classes)d classes for %(right)d of 100 patients.") % {
        "classes": len(version.classes), "right": right["of_hundred"],
    }  # fmt: skip
    return [{"text": text, "interval": _interval(right)}]


def _regression_sentences(version: ModelVersion) -> list[dict[str, str]]:
    metric = version.metrics.get("mae")
    if not isinstance(metric, Mapping) or metric.get("value") is None:
        return []
    text = _("Is off by %(error)s on average.") % {"error": number(metric["value"])}
    if metric.get("low") is None or metric.get("high") is None:
        return [{"text": text, "interval": ""}]
    interval = _("95%% interval %(low)s to %(high)s, measured on %(n)s test records") % {
        "low": number(metric["low"]), "high": number(metric["high"]), "n": metric.get("n"),
    }  # fmt: skip
    return [{"text": text, "interval": interval}]


def threshold_sentence(version: ModelVersion) -> str:
    """From which probability on the positive class is decided, and where that limit comes from; "" without one."""
    point = version.operating_point
    if not point or point.get("threshold") is None or len(version.classes) != 2:
        return ""
    return _(
        "“%(positive)s” is decided from a probability of %(threshold)s%% on; the limit was chosen on %(n)s validation"
        " records."
    ) % {
        "positive": point.get("positive"),
        "threshold": number(100 * float(point["threshold"]), 3),
        "n": point.get("n"),
    }


def against_the_odds(version: ModelVersion, value: str, probabilities: Mapping[str, float | None]) -> str:
    """Why the less likely of two classes is decided; "" when the likelier one is, or when no limit decides."""
    point = version.operating_point
    likeliest = max(probabilities, key=lambda name: probabilities[name] or 0.0, default=value)
    if likeliest == value or not threshold_sentence(version):
        return ""
    positive = str(point.get("positive"))
    return _(
        "“%(likeliest)s” is likelier, but the model decides by its limit: “%(positive)s” from a probability of"
        " %(threshold)s%% on, else “%(negative)s”."
    ) % {
        "likeliest": likeliest,
        "positive": positive,
        "negative": next((str(c) for c in version.classes if str(c) != positive), ""),
        "threshold": number(100 * float(point["threshold"]), 3),
    }


def ambiguity(labels: list[str]) -> str:
    """What a prediction set of several classes means."""
    if len(labels) < 2:
        return ""
    if len(labels) == 2:
        return _("Cannot tell “%(one)s” from “%(other)s”: both stay possible at 95%% confidence.") % {
            "one": labels[0], "other": labels[1],
        }  # fmt: skip
    names = ", ".join(f"“{label}”" for label in labels)
    return _("Cannot decide between %(labels)s: all stay possible at 95%% confidence.") % {"labels": names}
