"""The report of a version; the gate; the recommendation."""

from math import ceil
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from accounts import choices
from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets.models import Dataset
from training import charts, gate, metrics, problems, queries, recommendation, subgroups, words
from training.forms import GateForm
from training.models import Gate, ModelVersion


@require_GET
@requires(Permission.VIEW_MODELS)
def version(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The report; of another organisation's champion without where it comes from."""
    organisation = actor_of(request).organisation
    row = get_object_or_404(
        queries.visible_versions(organisation).select_related("model__organisation"), pk=pk
    )
    own = queries.is_own(organisation, row.model)
    report = row.report
    lines = [
        {
            "name": name,
            "label": metrics.label(name),
            "metric": m,
            "meaning": metrics.meaning(name),
            "reason": words.said(m.get("reason") or ""),
        }
        for name, m in report.get("metrics", {}).items()
    ]
    context: dict[str, Any] = {
        "version": row, "model": row.model, "own": own, "report": report, "lines": lines, "charts": charts.charts_of(report),
        "confusion": confusion_rows(report), "per_class": report.get("per_class") or [],
        "operating_point": charts.operating_point_text(row.operating_point),
        "suspicious": [problems.text(s["code"], s["params"], s["why"]) for s in report.get("suspicious") or []],
        "subgroups": subgroups.table(report),
        "gate_reasons": [gate.reason_text(r) for r in row.gate_reasons], "lineage": lineage_rows(row) if own else [],
        "is_champion": row.model.champion_id == row.pk,
    }  # fmt: skip
    return render(request, "training/version.html", context)


def confusion_rows(report: dict[str, Any]) -> dict[str, Any] | None:
    """{classes, rows: [{name, n, cells: [{count, percent, heat, right}]}]}; heat: 0 to 5, how dark the cell is."""
    found = report.get("confusion")
    if not found:
        return None
    rows = []
    for place, (name, counts) in enumerate(zip(found["classes"], found["counts"], strict=True)):
        shares = [count / (sum(counts) or 1) for count in counts]
        cells = [
            {"count": count, "percent": round(100 * share), "heat": ceil(5 * share), "right": column == place}
            for column, (count, share) in enumerate(zip(counts, shares, strict=True))
        ]
        rows.append({"name": name, "n": sum(counts), "cells": cells})
    return {"classes": found["classes"], "rows": rows}


def lineage_rows(row: ModelVersion) -> list[dict[str, Any]]:
    """{label, value or pairs} of a version's lineage; `code` marks what is copied rather than read."""
    lineage = row.lineage
    shown: list[tuple[str, Any]] = [
        (_("Data set version"), lineage.get("dataset_version_number")),
        (_("Training records"), lineage.get("training_records")),
        (_("Test records"), lineage.get("test_records")),
        (_("Seed"), lineage.get("seed")),
        (_("Preprocessing"), lineage.get("preprocessing")),
        (_("Hyperparameters"), lineage.get("hyperparameters")),
        (_("Requested by"), lineage.get("requester")),
        (_("Code version"), lineage.get("code_version")),
        (_("Libraries"), lineage.get("libraries")),
    ]
    hashes = [(_("Data hash"), lineage.get("data_hash")), (_("Artefact hash"), row.artefact_hash)]
    return [
        *({"label": label, **value_or_pairs(value)} for label, value in shown if value not in (None, "", {})),
        *({"label": label, "value": value, "code": True} for label, value in hashes if value),
    ]


def value_or_pairs(value: Any) -> dict[str, Any]:
    """A dictionary as sorted pairs, so that it is read as a list; all else as it is."""
    return {"pairs": sorted(value.items())} if isinstance(value, dict) else {"value": value}


@require_GET
@requires(Permission.VIEW_MODELS)
def gate_page(request: HttpRequest) -> HttpResponse:
    """The floors of the organisation and of its data sets."""
    actor = actor_of(request)
    return render(
        request,
        "training/gate.html",
        gate_context(request, gate_dataset(request, request.GET.get("dataset", ""))) | {"actor": actor},
    )


def gate_dataset(request: HttpRequest, given: str) -> Dataset | None:
    """The data set whose floors are meant; None: those of the organisation."""
    if not given:
        return None
    try:
        pk = UUID(given)
    except ValueError:
        pk = UUID(int=0)
    dataset: Dataset = get_or_404(Dataset.objects, actor_of(request), pk=pk)
    return dataset


def gate_context(
    request: HttpRequest, dataset: Dataset | None, form: GateForm | None = None
) -> dict[str, Any]:
    """What the gate's page shows."""
    actor = actor_of(request)
    own = Gate.objects.for_organisation(actor.organisation)
    row = own.filter(dataset=dataset).first() if dataset else own.filter(dataset__isnull=True).first()
    floors = row.floors if row else {}
    return {
        "dataset": dataset,
        "form": form or GateForm(floors=floors),
        "floors": [metrics.floor_text(name, floor) for name, floor in sorted(floors.items())],
        "datasets": Dataset.objects.for_organisation(actor.organisation).filter(archived_at=None)[:100],
    }


@require_POST
@requires(Permission.CONFIRM_MODEL)
def gate_save(request: HttpRequest) -> HttpResponse:
    """Set the floors."""
    dataset = gate_dataset(request, request.POST.get("dataset", ""))
    form = GateForm(request.POST)
    if not form.is_valid():
        return render(request, "training/gate.html", gate_context(request, dataset, form), status=422)
    gate.save_gate(actor=actor_of(request), dataset=dataset, floors=form.floors())
    messages.success(request, _("The gate is set. It holds for versions that arrive from now on."))
    return redirect("training:gate")


@require_GET
@requires(Permission.VIEW_MODELS)
def recommended(request: HttpRequest) -> HttpResponse:
    """The model that fits what the person said matters, why, and why not the others."""
    actor = actor_of(request)
    assert actor.organisation is not None and actor.user is not None
    made = recommendation.current(actor.organisation, actor.user)
    reasons = made.reasons
    why = [{**w, "label": metrics.label(w["metric"])} for w in reasons["why"]]
    undecided = not made.outcome and not made.floors and made.weights == choices.default_weights()
    context = {
        "made": made, "undecided": undecided, "chosen": made.version or made.nearest, "state": reasons["state"],
        "score": reasons["score"], "why": why,
        "missed": [recommendation.missed_text(m) for m in reasons["missed"]],
        "floors": [metrics.floor_text(name, floor) for name, floor in sorted(made.floors.items())],
        "others": [{**o, "reason": recommendation.other_text(o)} for o in reasons["others"]],
    }  # fmt: skip
    return render(request, "training/recommendation.html", context)
