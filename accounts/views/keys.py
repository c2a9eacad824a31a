"""A person's API keys: listed, made and shown once, revoked."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts import services
from accounts.actor import Actor, actor_of
from accounts.forms import KeyForm
from accounts.models import ApiKey
from accounts.permissions import Permission
from accounts.scoping import get_or_404
from accounts.views.members import told
from accounts.views_base import posted, requires


def keys_of(actor: Actor) -> Any:
    """One's own keys; an administrator, who answers for the organisation, sees and revokes everybody's."""
    keys = ApiKey.objects.for_organisation(actor.organisation).select_related("user")
    return keys if actor.may(Permission.MANAGE_MEMBERS) else keys.filter(user=actor.user)


@requires(Permission.MANAGE_KEYS)
@require_safe
def keys(request: HttpRequest) -> HttpResponse:
    """The keys with their scopes, expiry and last use; never their text."""
    return render(request, "accounts/keys.html", {"keys": keys_of(actor_of(request))})


@requires(Permission.MANAGE_KEYS)
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def create(request: HttpRequest) -> HttpResponse:
    """Make a key. Its text is in this one answer and nowhere else: it is neither stored nor kept in the session."""
    actor = actor_of(request)
    form = KeyForm(posted(request), actor=actor)
    if request.method == "POST" and form.is_valid():
        try:
            key, plain = services.create_key(actor=actor, **form.cleaned_data)
        except ValidationError as error:
            told(form, error)
        else:
            return render(request, "accounts/key_created.html", {"key": key, "plain": plain}, status=201)
    return render(request, "accounts/key_create.html", {"form": form})


@requires(Permission.MANAGE_KEYS)
@require_http_methods(["GET", "HEAD", "POST"])
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask first, then make the key useless."""
    actor = actor_of(request)
    key = get_or_404(keys_of(actor), actor, pk=pk)
    if request.method == "POST":
        services.revoke_key(actor=actor, key=key)
        messages.success(request, _("The key “%(name)s” is revoked.") % {"name": key.name})
        return redirect("accounts:keys")
    consequences = [_("Programs that use it are refused at once."), _("It cannot be brought back; make a new key instead.")]
    return render(request, "accounts/key_revoke.html", {"key": key, "consequences": consequences})
