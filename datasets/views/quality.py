"""Page: what the training records are like, and what that means for training."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from accounts.permissions import Permission
from accounts.views_base import requires
from datasets.quality import quality
from datasets.views.datasets import dataset_of

# What each finding means for training: (level, short, meaning).
MEANINGS = {
    "empty": (
        "warning",
        gettext_lazy("empty"),
        gettext_lazy("Has no value at all, so nothing can be learned from it."),
    ),
    "constant": (
        "warning",
        gettext_lazy("constant"),
        gettext_lazy("Has the same value everywhere, so nothing can be learned from it."),
    ),
    "identifier": (
        "warning",
        gettext_lazy("identifier"),
        gettext_lazy(
            "Has a different value in every record, like a number of a file: set its role to “ignore”."
        ),
    ),
    "mostly_missing": (
        "warning",
        gettext_lazy("mostly missing"),
        gettext_lazy(
            "More than half of the values are missing. What is filled in says little about the patient."
        ),
    ),
    "outliers": (
        "info",
        gettext_lazy("outliers"),
        gettext_lazy(
            "More than 1% lie far from the middle. Training can clip or replace them; look for typing errors first."
        ),
    ),
    "gives_away": (
        "danger",
        gettext_lazy("gives the label away"),
        gettext_lazy(
            "Tells the label alone, almost without error. Often it was written down after the diagnosis: "
            "then set its role to “ignore”, or the model will fail on new patients."
        ),
    ),
}


@require_safe
@requires(Permission.VIEW_DATA)
def quality_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Missing values, outliers, balance, duplicates, patients and suspicious columns, with plots."""
    dataset = dataset_of(request, pk)
    report = quality(dataset)
    columns = [
        {
            **c,
            "anchor": f"column-{number}",
            "meanings": [MEANINGS[code] for code in c["findings"]],
            "chart": chart(c["name"], c),
        }
        for number, c in enumerate(report["columns"])
    ]
    target = report["target"]
    context = {
        "dataset": dataset,
        "report": report,
        "columns": columns,
        "found": [c for c in columns if c["meanings"]],
        "target_chart": chart(target["name"], target) if target else None,
    }
    return render(request, "datasets/quality.html", context)


def chart(name: str, about: dict[str, Any]) -> dict[str, Any] | None:
    """A bar chart of a distribution, as components/chart.html wants it."""
    shown = about["distribution"]
    if not shown:
        return None
    labels, counts = list(shown["labels"]), list(shown["counts"])
    if shown.get("others"):
        labels.append(_("all others"))
        counts.append(shown["others"])
    return {
        "type": "bar",
        "x": name,
        "y": _("records"),
        "categories": labels,
        "series": [{"label": _("records"), "points": [[i, count] for i, count in enumerate(counts)]}],
    }
