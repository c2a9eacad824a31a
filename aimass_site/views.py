"""The home page, the health check and the error pages."""

from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from accounts.views_base import requires


@requires(None)
def home(request: HttpRequest) -> HttpResponse:
    """Where a person lands: what to do next."""
    return render(request, "home.html")


def health(request: HttpRequest) -> HttpResponse:
    """For load balancers: answers only when the database answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok"})


def wants_json(request: HttpRequest) -> bool:
    return request.path.startswith("/api/") and request.path != "/api/docs/"


def error(request: HttpRequest, status: int, detail: str = "") -> HttpResponse:
    """One page for all errors; problem details for programs. Never a stack trace."""
    if wants_json(request):
        body = {"type": f"urn:aimass:problem:{status}", "title": detail or f"HTTP {status}", "status": status, "detail": detail}
        return JsonResponse(body, status=status, content_type="application/problem+json")
    return render(request, "error.html", {"status": status, "detail": detail}, status=status)


def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return error(request, 400)


def permission_denied(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return error(request, 403, str(exception) if exception else "")


def page_not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return error(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    return error(request, 500)
