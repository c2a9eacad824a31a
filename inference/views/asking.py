"""Asking for a diagnosis: choose the model, fill in the form."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.views_base import requires
from datasets.arrivals import looking
from inference import files, queries, serving, wording
from inference.errors import DiagnosisRefused, RecordsInvalid
from inference.forms import DiagnosisForm
from inference.services import audit_refusal, diagnose_once
from training.models import Model


@require_safe
@requires(Permission.DIAGNOSE)
def start(request: HttpRequest) -> HttpResponse:
    """Which model to ask: the organisation's own first, then those that others have published."""
    actor = actor_of(request)
    assert actor.organisation is not None
    models: list[Model] = list(queries.usable_models(actor.organisation)[:500])
    cards: list[dict[str, Any]] = [{"model": m, "sentences": wording.operating_sentences(_with_model(m))[:2]} for m in models]
    own = [c for c in cards if c["model"].organisation_id == actor.organisation.pk]
    others = [c for c in cards if c["model"].organisation_id != actor.organisation.pk]
    return render(request, "inference/start.html", {"own": own, "others": others})


def _with_model(model: Model) -> Any:
    """The champion, knowing its model without another query."""
    model.champion.model = model  # type: ignore[union-attr]
    return model.champion


@require_http_methods(["GET", "HEAD", "POST"])
@requires(Permission.DIAGNOSE)
def form(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The form made from the champion's columns; sending it makes one diagnosis, however often it is sent."""
    actor = actor_of(request)
    try:
        served = serving.champion_of(actor, pk)
        page = DiagnosisForm(
            request.POST or None, request.FILES or None, version=served.version, features=served.columns.features
        )
        if request.method == "POST" and page.is_valid() and _taken_in(request, page):
            token, patient = page.cleaned_data["token"], page.cleaned_data["patient"]
            diagnosis = diagnose_once(actor=actor, served=served, record=page.record(), token=token, patient=patient)
            return redirect("inference:diagnosis", pk=diagnosis)
    except RecordsInvalid as error:
        page.add_error(None, "; ".join(e["message"] for e in error.errors))
    except DiagnosisRefused as refusal:
        return _refused(request, pk, refusal)
    sentences = wording.operating_sentences(served.version)
    context = {"form": page, "served": served, "with_files": bool(served.columns.files), "sentences": sentences}
    return render(request, "inference/form.html", context, status=400 if page.errors else 200)


def _taken_in(request: HttpRequest, page: DiagnosisForm) -> bool:
    """Keep the attached files; what cannot be a cell is said at its field."""
    try:
        page.keep(files.take_in(actor_of(request), page.attached(), looked=page.cleaned_data.get("looked", False)))
    except RecordsInvalid as error:
        for one in error.errors:
            page.add_error(one["field"], one["message"])
            page.ask_to_look |= one["code"] in looking.CODES
    return not page.errors


def _refused(request: HttpRequest, pk: UUID, refusal: DiagnosisRefused) -> HttpResponse:
    """Why the model gives no diagnosis, and what to do."""
    actor = actor_of(request)
    audit_refusal(actor, refusal)
    visible: QuerySet[Model] = Model.objects.filter(pk=pk)
    model = get_object_or_404(visible)
    own = actor.organisation is not None and model.organisation_id == actor.organisation.pk
    context = {"model": model, "refusal": refusal, "may_open": own and actor.may(Permission.VIEW_MODELS)}
    return render(request, "inference/refused.html", context, status=refusal.status)
