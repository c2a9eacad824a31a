"""What every portal view is wrapped in: signed in, in an organisation, allowed."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from accounts import audit
from accounts.actor import Actor, actor_of
from accounts.permissions import Permission

Params = ParamSpec("Params")
View = Callable[Concatenate[HttpRequest, Params], HttpResponse]
FOR_ORGANISATION = "for_organisation"  # in every form of the portal, by `{% csrf_token %}`


class ActorRequest(HttpRequest):
    """A request that has passed `requires`: for type checkers."""

    actor: Actor


def posted(request: HttpRequest) -> QueryDict | None:
    """What a form was sent with (perhaps nothing at all); None when the form is only looked at."""
    return request.POST if request.method == "POST" else None


def meant_for_another(request: HttpRequest, actor: Actor) -> bool:
    """Whether the form was made for another organisation, which the person has left since (in another tab, say).

    What it holds, a file of patients or an invitation, would otherwise end up in the wrong one.
    """
    meant = request.POST.get(FOR_ORGANISATION, "") if request.method == "POST" else ""
    return meant != "" and (actor.organisation is None or meant != str(actor.organisation.pk))


def switched_meanwhile(request: HttpRequest) -> HttpResponse:
    """The page that says so; nothing was changed."""
    context = {
        "status": 409,
        "title": _("You now work in another organisation"),
        "text": _("This form was opened for another organisation than the one that you work in now. Nothing was changed."),
        "advice": _("Switch back to that organisation and send the form again, or open it anew for this one."),
    }
    return render(request, "error.html", context, status=409)


def signed_in(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Gate a view that also serves people who belong to no organisation yet; nobody is sent to the login page."""

    @login_required
    @wraps(view)
    def gated(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return view(request, *args, **kwargs)

    gated.required_permission = None  # type: ignore[attr-defined]
    return gated


def requires(permission: Permission | None) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Gate a view: nobody is sent to the login page, the homeless to make an organisation, the unentitled get 403.

    Rows of other organisations are answered 404 by `scoping.get_or_404`, before or after this makes no difference.
    """

    def decorate(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @login_required
        @wraps(view)
        def gated(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            actor = actor_of(request)
            if actor.organisation is None:
                return redirect("accounts:organisation_create")
            if meant_for_another(request, actor):
                return switched_meanwhile(request)
            if permission is not None and not actor.may(permission):
                audit.record(actor, "access.denied", outcome="denied", permission=str(permission), path=request.path[:200])
                raise PermissionDenied(_("Your role does not allow you to %(what)s.") % {"what": permission.label})
            return view(request, *args, **kwargs)

        gated.required_permission = permission  # type: ignore[attr-defined]
        return gated

    return decorate
