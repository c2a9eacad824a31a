"""Reading and reviewing diagnoses: the list, one diagnosis, a batch."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import audit
from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from inference import presentation, queries
from inference.errors import ReviewRefused
from inference.forms import FilterForm, ReviewForm
from inference.models import Batch, Diagnosis
from inference.reviews import review as save_review
from training.models import Model


def _address(query: QueryDict, **cursor: str) -> str:
    """This list's address with another cursor."""
    kept = query.copy()
    for name in ("before", "after"):
        kept.pop(name, None)
    kept.update(cursor)
    return f"?{kept.urlencode()}"


@require_safe
@requires(Permission.VIEW_DIAGNOSES)
def diagnoses(request: HttpRequest) -> HttpResponse:
    """The organisation's diagnoses, newest first, filtered and in pages by cursor."""
    actor = actor_of(request)
    used = Model.objects.for_organisation(actor.organisation) | Model.objects.filter(published_at__isnull=False)
    choices = [(str(pk), name) for pk, name in used.order_by("name").values_list("pk", "name")[:500]]
    form = FilterForm(request.GET, models=choices)
    filters: dict[str, Any] = form.cleaned_data if form.is_valid() else {}
    rows = queries.diagnoses(actor.organisation, **filters).select_related("model", "model_version", "requested_by")
    page = queries.page(rows, before=request.GET.get("before", ""), after=request.GET.get("after", ""))
    audit.record(actor, "diagnosis.listed", count=len(page.rows), filters=sorted(k for k, v in filters.items() if v))
    context = {
        "form": form,
        "rows": [presentation.line(row) for row in page.rows],
        "filtered": any(filters.values()),
        "previous_url": _address(request.GET, after=page.newer) if page.newer else "",
        "next_url": _address(request.GET, before=page.older) if page.older else "",
    }
    return render(request, "inference/diagnoses.html", context)


def _one(request: HttpRequest, pk: UUID) -> Diagnosis:
    related = ("model__organisation", "model_version__model", "requested_by", "batch")
    row: Diagnosis = get_or_404(Diagnosis.objects.select_related(*related), actor_of(request), pk=pk)
    return row


@require_safe
@requires(Permission.VIEW_DIAGNOSES)
def diagnosis(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One diagnosis: the decision, how sure, the warnings, the reasons, the review."""
    row = _one(request, pk)
    audit.record(actor_of(request), "diagnosis.read", row)
    return _page(request, row, ReviewForm(diagnosis=row))


def _page(request: HttpRequest, row: Diagnosis, form: ReviewForm, status: int = 200) -> HttpResponse:
    actor = actor_of(request)
    reviews = list(row.reviews.select_related("reviewed_by", "record"))
    own = actor.organisation is not None and row.model.organisation_id == actor.organisation.pk
    context = {
        "diagnosis": row,
        "shown": presentation.diagnosis(row),
        "reviews": reviews,
        "form": form,
        "own_model": own,
        "may_review": actor.may(Permission.REVIEW_DIAGNOSIS) and row.erased_at is None,
    }
    return render(request, "inference/diagnosis.html", context, status=status)


@require_POST
@requires(Permission.REVIEW_DIAGNOSIS)
def review(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Confirm, correct or reject."""
    row = _one(request, pk)
    form = ReviewForm(request.POST, diagnosis=row)
    if not form.is_valid():
        return _page(request, row, form, 400)
    try:
        saved = save_review(actor=actor_of(request), diagnosis=row, **form.cleaned_data)
    except ReviewRefused as refusal:
        form.add_error(refusal.field, refusal.message)
        return _page(request, row, form, 400)
    messages.success(request, _("Your review is saved."))
    if saved.record_refused:  # type: ignore[attr-defined]
        messages.warning(request, saved.record_refused)  # type: ignore[attr-defined]
    return redirect("inference:diagnosis", pk=row.pk)


@require_safe
@requires(Permission.VIEW_DIAGNOSES)
def batch(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The diagnoses of one call, in its order."""
    actor = actor_of(request)
    related = ("model_version__model", "requested_by")
    row: Batch = get_or_404(Batch.objects.select_related(*related), actor, pk=pk)
    counts = presentation.batch_counts(row)
    after = request.GET.get("after", "")
    start = int(after) if after.isascii() and after.isdigit() and len(after) < 9 else 0
    rows = list(
        Diagnosis.objects.for_organisation(actor.organisation)
        .filter(batch=row, position__gte=start)
        .select_related("model", "model_version", "requested_by")
        .order_by("position")[: queries.PAGE_SIZE + 1]
    )
    audit.record(actor, "batch.read", row, count=min(len(rows), queries.PAGE_SIZE))
    more = len(rows) > queries.PAGE_SIZE
    context = {
        "batch": row,
        "counts": counts,
        "rows": [presentation.line(r) for r in rows[: queries.PAGE_SIZE]],
        "previous_url": f"?after={max(0, start - queries.PAGE_SIZE)}" if start else "",
        "next_url": f"?after={start + queries.PAGE_SIZE}" if more else "",
    }
    return render(request, "inference/batch.html", context)
