"""The auditor's pages: the log with its filters, and its export."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts import audit as log
from accounts.actor import actor_of
from accounts.audit_queries import csv_lines, filtered
from accounts.forms import AuditFilterForm
from accounts.paging import page
from accounts.permissions import Permission
from accounts.views_base import requires


def chosen(form: AuditFilterForm) -> dict[str, Any]:
    """The filters that are set."""
    return {name: value for name, value in form.cleaned_data.items() if value}


@requires(Permission.VIEW_AUDIT)
@require_safe
def audit(request: HttpRequest) -> HttpResponse:
    """Newest first. A filter that is not valid shows nothing rather than everything."""
    organisation = actor_of(request).organisation
    form = AuditFilterForm(request.GET)
    events = filtered(organisation, **chosen(form)) if form.is_valid() else filtered(None)
    query = request.GET.copy()
    for name in ("before", "after"):
        query.pop(name, None)
    context = {"form": form, "page": page(request, events), "query": query.urlencode(), "filtered": bool(query)}
    return render(request, "accounts/audit.html", context)


@requires(Permission.VIEW_AUDIT)
@require_safe
def export(request: HttpRequest) -> HttpResponseBase:
    """The filtered log as a spreadsheet; that it was exported is itself in the log, before the first line leaves."""
    actor = actor_of(request)
    form = AuditFilterForm(request.GET)
    if not form.is_valid():
        return render(request, "accounts/audit.html", {"form": form, "filtered": True}, status=400)
    filters = chosen(form)
    events = filtered(actor.organisation, **filters).order_by("pk")
    log.record(actor, "audit.exported", filters={name: str(value) for name, value in filters.items()})
    response = StreamingHttpResponse(csv_lines(events), content_type="text/csv; charset=utf-8")
    name = f"audit-{timezone.localdate().isoformat()}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
