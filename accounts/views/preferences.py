"""What matters to the person: asked once after registration, changed any time."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.actor import actor_of
from accounts.models import Preference
from accounts.permissions import Permission
from accounts.preference_form import PreferenceForm
from accounts.views.members import told
from accounts.views_base import posted, requires


def recommendation_url() -> str:
    """Where the recommended model is shown; the home page when no app offers it."""
    try:
        return reverse("training:recommendation")
    except NoReverseMatch:
        return reverse("home")


def ask(request: HttpRequest, template: str) -> HttpResponse:
    """Show the form; when it is sent and right, save and go to the recommendation."""
    actor = actor_of(request)
    preference = Preference.objects.for_organisation(actor.organisation).filter(user=actor.user).first()
    form = PreferenceForm(posted(request), organisation=services.home(actor), preference=preference)
    if request.method == "POST" and form.is_valid():
        names = ("outcome", "weights", "floors", "email_notifications")
        try:
            services.save_preference(actor=actor, **{name: form.cleaned_data[name] for name in names})
        except ValidationError as error:
            told(form, error)
        else:
            messages.success(request, _("Saved. The recommendation follows what you chose."))
            return redirect(recommendation_url())
    return render(request, template, {"form": form, "skip_url": reverse("home")})


@requires(Permission.VIEW_MODELS)
@require_http_methods(["GET", "HEAD", "POST"])
def welcome(request: HttpRequest) -> HttpResponse:
    """The question after registration."""
    return ask(request, "accounts/welcome.html")


@requires(Permission.VIEW_MODELS)
@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: HttpRequest) -> HttpResponse:
    """The same question, later."""
    return ask(request, "accounts/preferences.html")
