"""Built into every template: `actor|may:"data:write"`, and what the components are made with."""

from collections.abc import Iterator, Mapping
from typing import Any

from django import forms, template
from django.forms import BoundField
from django.template.base import Parser, Token
from django.template.context import Context
from django.template.defaulttags import CsrfTokenNode
from django.utils import formats
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.views_base import FOR_ORGANISATION

register = template.Library()
LEVELS = {"error": "danger", "debug": "secondary", "": "info", "neutral": "secondary"}
TABLE_ROWS_PER_SERIES = 60


class FormTokens(CsrfTokenNode):
    """Django's own token, and the organisation that the form was made for: see `views_base.meant_for_another`."""

    def render(self, context: Context) -> SafeString:
        request = context.get("request")
        organisation = actor_of(request).organisation if request is not None else None
        if organisation is None:
            return SafeString(super().render(context))
        field = format_html('<input type="hidden" name="{}" value="{}">', FOR_ORGANISATION, organisation.pk)
        return SafeString(super().render(context) + field)


@register.tag
def csrf_token(parser: Parser, token: Token) -> FormTokens:
    """Takes the place of Django's tag, so that no form is forgotten."""
    return FormTokens()


@register.filter
def may(actor: Any, permission: str) -> bool:
    """Whether the actor has the permission: `{% if request.actor|may:"data:write" %}`."""
    return bool(actor) and actor.may(Permission(permission))


@register.filter
def alert_level(level: Any) -> str:
    """Django's message tags in Bootstrap's words."""
    name = str(level or "")
    return LEVELS.get(name, name)


@register.filter
def widget_kind(field: BoundField) -> str:
    """How a field is laid out: checkbox, choices (several inputs under one legend) or input."""
    widget = field.field.widget
    if isinstance(widget, forms.CheckboxInput):
        return "checkbox"
    return "choices" if isinstance(widget, forms.RadioSelect) else "input"


@register.filter
def with_classes(field: BoundField) -> SafeString:
    """The field's widget with Bootstrap's class beside its own."""
    widget = field.field.widget
    if isinstance(widget, forms.RadioSelect):
        return field.as_widget()  # Django would put the class on the group as well; components.css styles .choices
    if isinstance(widget, forms.CheckboxInput):
        name = "form-check-input"
    elif isinstance(widget, forms.Select):
        name = "form-select"
    else:
        name = "form-control"
    own = str(widget.attrs.get("class", ""))
    return field.as_widget(attrs={"class": f"{own} {name}".strip()})


def number(value: float, percent: Any = False) -> str:
    """Two decimals, or a whole percentage, in the language's own digits and marks."""
    if percent:
        return f"{formats.number_format(value * 100, 0)}%"
    return formats.number_format(value, 2 if abs(value) < 100 else 1)


@register.filter
def metric_parts(metric: Mapping[str, Any] | None, percent: Any = False) -> dict[str, str]:
    """{value, interval} of {value, low, high, n}: "0.87" and "(0.82–0.91), n = 184"; a dash when not measured."""
    if not metric or metric.get("value") is None:
        return {"value": "–", "interval": _("not measured")}
    low, high, n = metric.get("low"), metric.get("high"), metric.get("n")
    parts = []
    if low is not None and high is not None:
        parts.append(f"({number(low, percent).removesuffix('%')}–{number(high, percent)})")
    if n is not None:
        parts.append(f"n = {formats.number_format(n, 0, use_l10n=True)}")
    return {"value": number(metric["value"], percent), "interval": ", ".join(parts)}


@register.filter
def metric_text(metric: Mapping[str, Any] | None, percent: Any = False) -> str:
    """The metric as one sentence part, for tables: "0.87 (0.82–0.91), n = 184"."""
    parts = metric_parts(metric, percent)
    return f"{parts['value']} {parts['interval']}".strip()


def thinned(points: list[Any]) -> Iterator[tuple[int, Any]]:
    """At most TABLE_ROWS_PER_SERIES of the points, evenly, first and last among them."""
    step = max(1, -(-len(points) // TABLE_ROWS_PER_SERIES))
    for index, point in enumerate(points):
        if index % step == 0 or index == len(points) - 1:
            yield index, point


@register.filter
def chart_rows(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A chart's numbers as table rows {series, x, y}; long curves are thinned evenly."""
    categories = data.get("categories") or []
    for series in data.get("series", []):
        for index, point in thinned(list(series.get("points", []))):
            x, y = point if isinstance(point, list | tuple) else (index, point)
            if categories and index < len(categories):
                x = categories[index]
            yield {"series": series.get("label", ""), "x": cell(x), "y": cell(y)}


def cell(value: Any) -> str:
    if isinstance(value, float):
        return formats.number_format(float(f"{value:.4g}"))
    return "" if value is None else str(value)
