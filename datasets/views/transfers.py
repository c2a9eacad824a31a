"""Files on their way, in the portal: what the upload page says of them, and giving one up without scripts."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts.actor import Actor, actor_of
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import requires
from datasets import intake
from datasets.tus import parts, services
from datasets.tus.models import Transfer

MOST_SHOWN = 20


def unfinished(actor: Actor) -> Any:
    """The person's own files that can go on, newest first."""
    rows = Transfer.objects.for_organisation(actor.organisation).on_the_way().filter(created_by=actor.user)
    return rows.select_related("dataset")[:MOST_SHOWN]


def texts(limit: str) -> dict[str, str]:
    """What the page's script says of a file; {…} is filled in by it."""
    return {
        "waiting": _("Waiting for its turn · {size}"),
        "sending": _("{done} of {size}"),
        "moving": _("{done} of {size} · {speed} · {left} left"),
        "paused": _("Paused · {done} of {size}"),
        "offline": _("No connection. It goes on by itself · {done} of {size}"),
        "checking": _("All of it is here. It is being looked at…"),
        "arrived": _("Arrived · {size}"),
        "refused": _("Refused by the server."),
        "cancelled": _("Cancelled. Nothing of it is kept."),
        "signedOut": _("You are signed out. Sign in again in another tab, then choose “Resume”."),
        "tooLarge": _("This file is larger than %(limit)s.") % {"limit": limit},
    }


@require_http_methods(["GET", "POST"])
@requires(Permission.WRITE_DATA)
def discard(request: HttpRequest, pk: Any) -> HttpResponse:
    """Ask, then give up a file that is on its way."""
    actor = actor_of(request)
    transfer = get_or_404(Transfer.objects.select_related("upload"), actor, pk=pk)
    if request.method != "POST":
        return render(request, "datasets/uploads/transfer_discard.html", {"transfer": transfer})
    try:
        services.give_up(actor=actor, transfer=transfer)
    except parts.Busy:
        messages.error(request, _("A piece of this file is arriving just now. Pause it, then try again."))
    except intake.IntakeRefused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The upload was cancelled; nothing of it is kept."))
    return redirect("datasets:upload")
