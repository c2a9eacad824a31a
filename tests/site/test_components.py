"""The components: each renders with only what it needs, escapes what it is given, and says numbers as a person would."""

from typing import Any

import pytest
from django import forms
from django.template.loader import render_to_string
from django.test import RequestFactory
from django.utils.translation import override

from accounts.templatetags.aimass import cell, chart_rows, metric_parts, metric_text
from tests.site.test_templates import FORBIDDEN

METRIC = {"value": 0.8712, "low": 0.82, "high": 0.914, "n": 184}
CHART = {"type": "line", "x": "epoch", "y": "loss", "series": [{"label": "validation", "points": [[1, 0.5], [2, 0.25]]}]}


def show(name: str, **context: Any) -> str:
    return render_to_string(f"components/{name}.html", context, request=RequestFactory().get("/here/"))


class Sample(forms.Form):
    name = forms.CharField(help_text="As on the card.")
    agree = forms.BooleanField(required=False)
    kind = forms.ChoiceField(choices=[("a", "A"), ("b", "B")])
    sort = forms.ChoiceField(choices=[("a", "A")], widget=forms.RadioSelect)


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("page_header", {"title": "T"}),
        ("empty_state", {"title": "T"}),
        ("alert", {"text": "T"}),
        ("metric", {"metric": METRIC}),
        ("metric", {"metric": None}),
        ("form", {"form": Sample()}),
        ("pagination", {}),
        ("badge", {"text": "T"}),
        ("confirm", {"title": "T", "action_label": "Do"}),
        ("chart", {"id": "c", "title": "T", "data": CHART}),
    ],
)
def test_component_needs_no_more_than_this(name: str, context: dict[str, Any]) -> None:
    text = show(name, **context)
    without_data = text.replace('type="application/json"', 'src="data"')
    assert not [what for what, pattern in FORBIDDEN.items() if pattern.search(without_data)]


def test_texts_are_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    for name in ("page_header", "empty_state", "confirm"):
        assert evil not in show(name, title=evil, text=evil, subtitle=evil, action_label=evil, consequences=[evil])
    assert evil not in show("alert", text=evil)
    assert evil not in show("badge", text=evil)
    data = {**CHART, "x": evil, "series": [{"label": evil, "points": [[evil, 1]]}]}
    assert evil not in show("chart", id="c", title=evil, data=data, description=evil)


def test_metric_is_a_sentence_part() -> None:
    assert metric_text(METRIC) == "0.87 (0.82–0.91), n = 184"
    assert metric_text(METRIC, True) == "87% (82–91%), n = 184"
    assert metric_text({"value": 1234.5, "low": None, "high": None, "n": None}) == "1234.5"
    assert metric_parts(None)["value"] == "–"
    text = show("metric", label="ROC AUC", metric=METRIC, percent=True)
    assert "ROC AUC" in text
    assert "87%" in text


def test_percent_false_is_no_percentage() -> None:
    assert "0.87" in show("metric", metric=METRIC, percent=False)


def test_metric_uses_the_languages_marks() -> None:
    with override("de"):
        assert metric_text(METRIC).startswith("0,87")


def test_field_says_its_error_and_help_to_screen_readers() -> None:
    form = Sample({"name": "", "kind": "a", "sort": "a"})
    text = show("form", form=form)
    assert 'aria-invalid="true"' in text
    assert 'aria-describedby="id_name_helptext id_name_error"' in text
    assert 'id="id_name_helptext"' in text
    assert 'id="id_name_error"' in text
    assert 'role="alert"' in text


def test_each_widget_gets_its_class() -> None:
    text = show("form", form=Sample())
    assert 'class="form-control"' in text
    assert 'class="form-select"' in text
    assert text.count('class="form-check-input"') == 1
    assert '<div class="choices"><div id="id_sort">' in text
    assert "<fieldset" in text


def test_chart_has_its_numbers_as_a_table() -> None:
    text = show("chart", id="loss", title="Loss", data=CHART, description="Lower is better.")
    assert 'data-chart="loss-data"' in text
    assert '<script id="loss-data" type="application/json">' in text
    rows = list(chart_rows(CHART))
    assert rows == [{"series": "validation", "x": "1", "y": "0.5"}, {"series": "validation", "x": "2", "y": "0.25"}]


def test_long_curves_are_thinned_in_the_table_only() -> None:
    points = [[i, i] for i in range(1000)]
    rows = list(chart_rows({"series": [{"label": "a", "points": points}]}))
    assert len(rows) <= 62
    assert rows[0]["x"] == "0"
    assert rows[-1]["x"] == "999"


def test_categories_name_the_rows() -> None:
    data = {"type": "bar", "categories": ["ill", "well"], "series": [{"label": "n", "points": [3, 4]}]}
    assert [row["x"] for row in chart_rows(data)] == ["ill", "well"]


def test_cells_are_short() -> None:
    assert cell(0.123456789) == "0.1235"
    assert cell(None) == ""


def test_confirm_posts_with_a_token_and_offers_a_way_back() -> None:
    text = show("confirm", title="Erase", action_label="Erase", back_url="/datasets/", consequences=["3 records"])
    assert 'method="post"' in text
    assert "csrfmiddlewaretoken" in text
    assert 'href="/datasets/"' in text
    assert "3 records" in text
