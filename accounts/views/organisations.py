"""Creating, entering and naming organisations; joining one by invitation."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts import services
from accounts.actor import Actor, actor_of
from accounts.forms import OrganisationForm
from accounts.models import Invitation, Membership
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views_base import posted, requires, signed_in


def waiting(actor: Actor) -> list[Invitation]:
    """Open invitations of the addresses that this person has verified."""
    emails = services.person(actor).verified_emails()
    return list(Invitation.objects.open().filter(email__in=emails).select_related("organisation", "invited_by"))


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def create(request: HttpRequest) -> HttpResponse:
    """A new organisation, or one of those that invited this person."""
    actor = actor_of(request)
    form = OrganisationForm(posted(request))
    if request.method == "POST" and form.is_valid():
        services.create_organisation(actor=actor, name=form.cleaned_data["name"])
        return redirect("accounts:welcome")
    return render(request, "accounts/organisation_create.html", {"form": form, "invitations": waiting(actor)})


@requires(Permission.MANAGE_ORGANISATION)
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: HttpRequest) -> HttpResponse:
    """The organisation's name."""
    actor = actor_of(request)
    form = OrganisationForm(posted(request), instance=services.home(actor))
    if request.method == "POST" and form.is_valid():
        services.rename_organisation(actor=actor, name=form.cleaned_data["name"])
        messages.success(request, _("Saved."))
        return redirect("accounts:organisation")
    return render(request, "accounts/organisation.html", {"form": form})


@signed_in
@require_POST
def switch(request: HttpRequest) -> HttpResponse:
    """Enter another of one's organisations."""
    try:
        chosen = UUID(request.POST.get("organisation", ""))
    except ValueError as error:
        raise Http404 from error
    actor = actor_of(request)
    membership = get_object_or_404(Membership.objects.select_related("organisation"), organisation=chosen, user=actor.user)
    organisation = services.switch_organisation(actor=actor, membership=membership)
    messages.success(request, _("You are now working in %(name)s.") % {"name": organisation.name})
    return redirect("home")


def join(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    """Accept, and go on to what matters to the person; or say why it did not work."""
    try:
        membership = services.accept_invitation(actor=actor_of(request), invitation=invitation)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("accounts:organisation_create")
    messages.success(request, _("Welcome to %(name)s.") % {"name": membership.organisation.name})
    return redirect("accounts:welcome")


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Where the e-mailed link leads. Looking changes nothing; joining is a POST."""
    found = services.invitation_of(token)
    if found is None:
        return render(request, "accounts/invitation_closed.html", status=404)
    if request.method == "POST":
        return join(request, found)
    mine = services.person(actor_of(request)).owns(found.email)
    return render(request, "accounts/invitation.html", {"invitation": found, "mine": mine})


@signed_in
@require_POST
def accept(request: HttpRequest, pk: int) -> HttpResponse:
    """Join by an invitation that is listed for one's own verified address, without the link."""
    found = next((each for each in waiting(actor_of(request)) if each.pk == pk), None)
    if found is None:
        raise Http404
    return join(request, found)


@requires(Permission.MANAGE_MEMBERS)
@require_POST
def revoke_invitation(request: HttpRequest, pk: int) -> HttpResponse:
    """Make an invitation's link useless."""
    actor = actor_of(request)
    found = get_or_404(Invitation.objects, actor, pk=pk)
    services.revoke_invitation(actor=actor, invitation=found)
    messages.success(request, _("The invitation of %(email)s is withdrawn.") % {"email": found.email})
    return redirect("accounts:members")
