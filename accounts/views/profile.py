"""The person's own page, and the language switch in the footer."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST
from django.views.i18n import set_language

from accounts import services
from accounts.actor import actor_of
from accounts.forms import ProfileForm
from accounts.models import User
from accounts.views_base import posted, signed_in


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Name and language; links to password, e-mail addresses and the second factor."""
    actor = actor_of(request)
    form = ProfileForm(posted(request), instance=services.person(actor))
    if request.method == "POST" and form.is_valid():
        user = services.save_profile(actor=actor, **form.cleaned_data)
        with translation.override(user.language or translation.get_language()):
            messages.success(request, _("Saved."))
        return redirect("accounts:profile")
    return render(request, "accounts/profile.html", {"form": form})


@require_POST
def language(request: HttpRequest) -> HttpResponse:
    """Django's language switch (a cookie), which a signed-in person's profile remembers as well. Open to all."""
    chosen = request.POST.get("language", "")
    if request.user.is_authenticated and chosen in dict(settings.LANGUAGES):
        User.objects.filter(pk=request.user.pk).update(language=chosen)
    return set_language(request)
