"""The home page, the health check, the API documentation and the error pages."""

from typing import Any

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from accounts.actor import actor_of
from accounts.permissions import ROLES
from accounts.views_base import requires
from aimass_site.home import home_context


@require_safe
@requires(None)
def home(request: HttpRequest) -> HttpResponse:
    """Where a person lands: what to do next."""
    actor = actor_of(request)
    return render(request, "home.html", {**home_context(actor), "role_label": ROLES[actor.role].label})


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """For load balancers: answers only when the database answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok"})


@require_safe
@ensure_csrf_cookie
@csp_update({"style-src": [SELF, UNSAFE_INLINE]})
def api_docs(request: HttpRequest) -> HttpResponse:
    """Swagger UI from our own files. It sets style attributes, which this one page allows; scripts stay strict."""
    return render(request, "api_docs.html")


def error_texts(status: int) -> tuple[str, str, str]:
    """Title, what was wrong, and what to do, of an error page."""
    texts = {
        400: (
            _("This request could not be understood"),
            _("Something in the address or in what was sent is not valid."),
            _("Go back, check what you entered, and try again."),
        ),
        403: (
            _("You may not do this"),
            _("Your role in this organisation does not include it."),
            _("An administrator of your organisation can change roles."),
        ),
        404: (
            _("There is nothing here"),
            _("The page does not exist, or it does not belong to your organisation."),
            _("Check the address. If you belong to several organisations, switch to the right one."),
        ),
        413: (
            _("This is too large"),
            _("What was sent is larger than the portal accepts."),
            _("Send fewer records at once, or upload them as a file."),
        ),
        500: (
            _("Something went wrong on our side"),
            _("The error has been logged. Nothing of what you entered was half-saved."),
            _("Try again in a minute. If it happens again, tell your administrator when and on which page."),
        ),
    }
    return texts.get(status, texts[500])


# As REST framework's own answers of the same status are called, so that a program needs to know one name.
PROBLEM_CODES = {
    400: "invalid", 403: "permission-denied", 404: "not-found", 413: "too-large", 500: "error",
}  # fmt: skip


def wants_json(request: HttpRequest) -> bool:
    return request.path.startswith("/api/") and request.path != "/api/docs/"


def error(request: HttpRequest, status: int, detail: str = "", *, advice: str | None = None) -> HttpResponse:
    """One page for all errors; problem details for programs. Never a stack trace."""
    title, text, default_advice = error_texts(status)
    if wants_json(request):
        body = {"type": f"urn:aimass:problem:{PROBLEM_CODES[status]}", "title": title, "status": status, "detail": detail or text}
        return JsonResponse(body, status=status, content_type="application/problem+json")
    context = {
        "status": status,
        "title": title,
        "text": text,
        "detail": detail,
        "advice": default_advice if advice is None else advice,
    }
    if status >= 500:
        # Without the request: what broke may be what the header reads (the session, the database).
        page = render_to_string("error.html", {**context, "LANGUAGE_CODE": get_language()})
        return HttpResponse(page, status=status)
    return render(request, "error.html", context, status=status)


def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    if type(exception).__name__ == "RequestDataTooBig":
        return error(request, 413)
    return error(request, 400)


def permission_denied(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return error(request, 403, str(exception) if exception else "")


def page_not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return error(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    return error(request, 500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was not ours, or too old. Nothing was changed."""
    return error(
        request,
        403,
        _("This form was open for too long, or cookies are switched off. Nothing was changed."),
        advice=_("Go back, reload the page and send the form again."),
    )
