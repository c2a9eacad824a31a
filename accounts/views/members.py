"""Who belongs to the organisation, as what; inviting, changing roles, removing."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from accounts import services
from accounts.actor import Actor, actor_of
from accounts.forms import InviteForm, RoleForm
from accounts.models import Invitation, Membership
from accounts.permissions import ROLES, Permission
from accounts.scoping import get_or_404
from accounts.views_base import posted, requires


def told(form: Any, error: ValidationError) -> None:
    """Put a service's refusal onto the form: at its field where the form has it, else on top."""
    if not hasattr(error, "error_dict"):
        form.add_error(None, error)
        return
    for field, errors in error.error_dict.items():
        form.add_error(field if field in form.fields else None, errors)


@requires(Permission.VIEW_MEMBERS)
@require_safe
def members(request: HttpRequest) -> HttpResponse:
    """All members with their roles, the open invitations, and what each role may do."""
    organisation = actor_of(request).organisation
    people = Membership.objects.for_organisation(organisation).select_related("user")
    invitations = Invitation.objects.for_organisation(organisation).open().select_related("invited_by")
    roles = ROLES.values()
    return render(request, "accounts/members.html", {"members": people, "invitations": invitations, "roles": roles})


@requires(Permission.MANAGE_MEMBERS)
@require_http_methods(["GET", "HEAD", "POST"])
def invite(request: HttpRequest) -> HttpResponse:
    """Invite somebody by e-mail."""
    form = InviteForm(posted(request), initial={"role": "clinician"})
    if request.method == "POST" and form.is_valid():
        try:
            row, _token = services.invite(actor=actor_of(request), **form.cleaned_data)
        except ValidationError as error:
            told(form, error)
        else:
            messages.success(request, _("An invitation is on its way to %(email)s.") % {"email": row.email})
            return redirect("accounts:members")
    return render(request, "accounts/invite.html", {"form": form})


def member_or_404(actor: Actor, pk: int) -> Membership:
    """A membership of the actor's organisation."""
    membership: Membership = get_or_404(Membership.objects.select_related("user"), actor, pk=pk)
    return membership


@requires(Permission.MANAGE_MEMBERS)
@require_http_methods(["GET", "HEAD", "POST"])
def role(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a member another role."""
    actor = actor_of(request)
    membership = member_or_404(actor, pk)
    form = RoleForm(posted(request), initial={"role": membership.role})
    if request.method == "POST" and form.is_valid():
        try:
            services.change_role(actor=actor, membership=membership, role=form.cleaned_data["role"])
        except ValidationError as error:
            told(form, error)
        else:
            messages.success(request, _("The role of %(person)s is changed.") % {"person": membership.user})
            return redirect("accounts:members")
    return render(request, "accounts/role.html", {"form": form, "membership": membership})


@requires(Permission.MANAGE_MEMBERS)
@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask first, then take a person out of the organisation."""
    actor = actor_of(request)
    membership = member_or_404(actor, pk)
    if request.method == "POST":
        try:
            services.remove_member(actor=actor, membership=membership)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        else:
            messages.success(request, _("%(person)s is no longer a member.") % {"person": membership.user})
        return redirect("home" if membership.user_id == services.person(actor).pk else "accounts:members")
    consequences = [
        _("They can no longer open anything of this organisation."),
        _("Their API keys of this organisation stop working at once."),
        _("What they did stays, also in the audit log."),
    ]
    return render(request, "accounts/member_remove.html", {"membership": membership, "consequences": consequences})
