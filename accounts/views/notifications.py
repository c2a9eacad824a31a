"""What the person was told, and marking it as read."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from accounts import services
from accounts.actor import Actor, actor_of
from accounts.models import Notification
from accounts.paging import page
from accounts.views_base import requires


def notifications_of(actor: Actor) -> Any:
    """The person's own, in the organisation that they are in."""
    return Notification.objects.for_organisation(actor.organisation).filter(user=actor.user)


@requires(None)
@require_safe
def notifications(request: HttpRequest) -> HttpResponse:
    """Newest first; unread ones stand out."""
    return render(request, "accounts/notifications.html", {"page": page(request, notifications_of(actor_of(request)))})


@requires(None)
@require_POST
def read(request: HttpRequest, pk: int) -> HttpResponse:
    """Mark one as read and go where it points."""
    actor = actor_of(request)
    row = get_object_or_404(notifications_of(actor), pk=pk)
    services.mark_read(actor=actor, notification=row)
    local = row.url and url_has_allowed_host_and_scheme(row.url, allowed_hosts=None)
    return redirect(row.url if local and "open" in request.POST else "accounts:notifications")


@requires(None)
@require_POST
def read_all(request: HttpRequest) -> HttpResponse:
    """Mark all as read."""
    services.mark_read(actor=actor_of(request))
    return redirect("accounts:notifications")
