"""Pages of models: the list, the leaderboard, confirming, rolling back, publishing."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from accounts.actor import actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from training import gate, leaderboard, metrics, panels, queries, services
from training.errors import ChangeRefused
from training.forms import PublishForm, ReasonForm
from training.models import Model, ModelVersion
from training.views.runs import pager


@require_GET
@requires(Permission.VIEW_MODELS)
def models(request: HttpRequest) -> HttpResponse:
    """One's own models and those that others have published."""
    organisation = actor_of(request).organisation
    heavy = [f"champion__{name}" for name in queries.HEAVY]
    rows = (
        queries.visible_models(organisation)
        .select_related("organisation", "dataset", "champion")
        .defer(*heavy)
    )
    page = Paginator(rows.order_by("-created_at", "-id"), 25).get_page(request.GET.get("page"))
    lines = [
        {"model": m, "own": queries.is_own(organisation, m), "metric": m.champion.metrics.get(name) if m.champion else None,
         "metric_label": metrics.label(name)}
        for m in page
        for name in [metrics.default_for(m.task, len(m.champion.classes) if m.champion else 2)]
    ]  # fmt: skip
    return render(request, "training/models.html", {"page": page, "lines": lines, **pager(page)})


@require_GET
@requires(Permission.VIEW_MODELS)
def model(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The leaderboard; of another organisation's published model, its champion's report."""
    actor = actor_of(request)
    heavy = [f"champion__{name}" for name in queries.HEAVY]
    visible = (
        queries.visible_models(actor.organisation)
        .select_related("organisation", "dataset", "champion")
        .defer(*heavy)
    )
    row = get_object_or_404(visible, pk=pk)
    if not queries.is_own(actor.organisation, row):
        return (
            redirect("training:version", pk=row.champion_id)
            if row.champion_id
            else render(request, "training/model_foreign.html", {"model": row})
        )
    metric = request.GET.get("metric", "")
    if metric not in metrics.names_of(row.task):
        metric = leaderboard.default_metric(row, actor)
    count = row.versions.count()
    start = page_start(request, count)
    lines = [
        {"row": r, "reasons": [gate.reason_text(x) for x in r.version.gate_reasons]}
        for r in leaderboard.rows(row, metric, start)
    ]
    context = {
        "model": row, "lines": lines, "metric": metric,
        "metric_label": metrics.label(metric), "metric_meaning": metrics.meaning(metric),
        "choices": leaderboard.choices(row), "previous": services.before_champion(row), "new_records": new_records(row),
        "changes": row.champion_changes.select_related("version", "changed_by").defer("version__report", "version__schema")[:10],
        "previous_url": f"?metric={metric}&start={max(0, start - leaderboard.PAGE)}" if start else "",
        "test_sets_note": leaderboard.test_sets_note() if leaderboard.test_sets_differ(row, metric) else "",
        "next_url": f"?metric={metric}&start={start + leaderboard.PAGE}" if start + leaderboard.PAGE < count else "",
    }  # fmt: skip
    return render(request, "training/model.html", context)


def page_start(request: HttpRequest, count: int) -> int:
    """The first line to show."""
    given = request.GET.get("start", "0")
    start = int(given) if given.isascii() and given.isdigit() and len(given) < 9 else 0
    return start if start < count else 0


def new_records(row: Model) -> int | None:
    """Records that came since the champion learned."""
    if row.champion is None:
        return None
    run = row.champion.run
    return panels.new_since(row.dataset, run)


@requires(Permission.CONFIRM_MODEL)
def confirm(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask, then make the version the champion."""
    actor = actor_of(request)
    version = get_or_404(ModelVersion.objects.select_related("model__champion"), actor, pk=pk)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    back = reverse("training:model", args=[version.model_id])
    if request.method == "POST" and form.is_valid():
        try:
            services.confirm_champion(actor=actor, version=version, reason=form.cleaned_data["reason"])
        except ChangeRefused as error:
            messages.error(request, str(error))
        else:
            messages.success(
                request, _("Version %(number)d serves from now on.") % {"number": version.number}
            )
        return redirect(back)
    consequences = [
        _("All new diagnoses of this model are made by this version."),
        _("The audit log keeps who confirmed it, and when."),
    ]
    if version.model.champion is not None:
        consequences.append(
            _("Version %(number)d stops serving; rolling back brings it back.")
            % {"number": version.model.champion.number}
        )
    if version.model.published_at is not None:
        consequences.append(_("The model is published: other organisations get this version too."))
    context = {
        "title": _("Confirm version %(number)d as champion?") % {"number": version.number}, "consequences": consequences,
        "action_label": _("Confirm"), "back_url": back, "level": "primary", "form": form,
        "text": "" if version.gate_passed else _("This version did not pass the gate, so it cannot serve."),
    }  # fmt: skip
    return render(request, "training/confirm.html", context)


@require_POST
@requires(Permission.CONFIRM_MODEL)
def roll_back(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One click: the champion that the button names serves again. A second click, or an older page, goes no further."""
    actor = actor_of(request)
    row = get_or_404(Model.objects, actor, pk=pk)
    try:
        change = services.roll_back(actor=actor, model=row, to=request.POST.get("to", ""))
    except ChangeRefused as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request, _("Rolled back: version %(number)d serves again.") % {"number": change.version.number}
        )
    return redirect("training:model", pk=pk)


@requires(Permission.PUBLISH_MODEL)
def publish(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show what others will see, then publish (or take back): what the form said, whatever has happened meanwhile."""
    actor = actor_of(request)
    row = get_or_404(Model.objects.select_related("organisation", "dataset"), actor, pk=pk)
    back = reverse("training:model", args=[pk])
    posted = request.POST if request.method == "POST" else None
    publishing = posted.get("published") == "yes" if posted is not None else row.published_at is None
    name = row.target if services.tells_data_set(row.name, row) else row.name
    form = PublishForm(posted, publishing=publishing, initial={"published": "yes" if publishing else "no", "name": name})
    if posted is not None:
        if form.is_valid():
            try:
                if publishing:
                    services.publish(actor=actor, model=row, name=form.cleaned_data["name"])
                else:
                    services.unpublish(actor=actor, model=row)
            except ChangeRefused as error:
                if error.code != "name-tells-data-set":
                    messages.error(request, str(error))
                    return redirect(back)
                form.add_error("name", str(error))
            else:
                return redirect(back)
        elif "published" in form.errors:
            raise BadRequest("published: yes or no")
    if not publishing:
        title, action = _("Take “%(model)s” back?") % {"model": row.name}, _("Make it private")
        consequences = [
            _("Other organisations can no longer see or use it."),
            _("Diagnoses that they have made stay."),
        ]
    else:
        title, action = _("Publish “%(model)s” to all organisations?") % {"model": row.name}, _("Publish")
        consequences = [
            _(
                "They see the model's name and target, your organisation's name (%(organisation)s), and the champion's report."
            )
            % {"organisation": row.organisation.name},
            _("They see the columns that the form asks for, with their categories and usual ranges."),
            _("They can ask the champion for diagnoses."),
            _("They never see your data set, records, runs, or who trained it."),
        ]
    context = {
        "title": title,
        "consequences": consequences,
        "action_label": action,
        "back_url": back,
        "level": "warning",
        "form": form,
    }
    return render(request, "training/confirm.html", context, status=422 if form.errors else 200)


@require_POST
@requires(Permission.TRAIN)
def nightly(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Switch the nightly retraining on or off."""
    actor = actor_of(request)
    row = get_or_404(Model.objects, actor, pk=pk)
    services.set_nightly(actor=actor, model=row, nightly=request.POST.get("nightly") == "on")
    return redirect("training:model", pk=pk)
