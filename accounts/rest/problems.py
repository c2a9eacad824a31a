"""Errors as RFC 9457 problem details that name the field: {type, title, status, detail, errors: [{field, message, code}]}."""

import logging
import math
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, ValidationError
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

logger = logging.getLogger(__name__)


class Problem(exceptions.APIException):
    """Raise it anywhere under an API view: `Problem(409, "already-running", _("…"))`."""

    def __init__(self, status_code: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail=detail, code=code)
        self.status_code = status_code
        self.extra = extra


def place(path: str, key: Any) -> str:
    """Where a key is below a path: `record.age`, and `scopes[0]` for the number by which DRF names a list's item."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def flatten(detail: Any, path: str = "") -> list[dict[str, str]]:
    """DRF's nested error details as a flat list of {field, message, code}."""
    if isinstance(detail, dict):
        return [e for key, value in detail.items() for e in flatten(value, place(path, key))]
    if isinstance(detail, list):
        nested = any(isinstance(item, dict | list) for item in detail)
        return [
            e for i, item in enumerate(detail) for e in flatten(item, f"{path}[{i}]" if nested else path) if item
        ]
    return [{"field": path, "message": str(detail), "code": getattr(detail, "code", "invalid")}]


def problem(status_code: int, code: str, detail: str, *, errors: Any = None, headers: Any = None, **extra: Any) -> Response:
    """A problem+json response."""
    titles = {
        400: _("The request is not valid"), 401: _("Not signed in"), 403: _("Not allowed"), 404: _("Not found"),
        405: _("Method not allowed"), 406: _("Not acceptable"), 409: _("Conflict"), 410: _("Gone"),
        411: _("Length required"), 412: _("Precondition failed"), 413: _("Too large"), 423: _("Locked"),
        460: _("Checksum mismatch"), 415: _("Unsupported media type"), 422: _("Cannot be processed"), 429: _("Too many requests"),
        503: _("Not available now"), 507: _("No room left"),
    }  # fmt: skip
    body: dict[str, Any] = {
        "type": f"urn:aimass:problem:{code}",
        "title": titles.get(status_code, _("Error")),
        "status": status_code,
        "detail": detail,
        **extra,
    }
    if errors:
        body["errors"] = errors
    return Response(body, status=status_code, headers=headers, content_type="application/problem+json")


def problem_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. An unexpected error is logged without the request's data and answered 500 by Django."""
    if isinstance(exc, Http404):
        exc = exceptions.NotFound(_("There is nothing here, or it is not yours."))
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied(*exc.args)
    elif isinstance(exc, RequestDataTooBig):
        exc = Problem(413, "too-large", _("The request's body is too large. Send fewer records, or upload a file."))
    elif isinstance(exc, ValidationError):
        exc = exceptions.ValidationError(exc.message_dict if hasattr(exc, "error_dict") else exc.messages)
    if not isinstance(exc, exceptions.APIException):
        return None
    set_rollback()
    headers: dict[str, str] = {}
    if getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = exc.auth_header  # type: ignore[attr-defined]
    if getattr(exc, "wait", None):
        headers["Retry-After"] = str(max(1, math.ceil(exc.wait)))  # type: ignore[attr-defined]
    if isinstance(exc, exceptions.ValidationError):
        errors = flatten(exc.detail)
        first = errors[0] if errors else {"field": "", "message": ""}
        where = f"{first['field']}: " if first["field"] else ""
        return problem(status.HTTP_400_BAD_REQUEST, "invalid", where + first["message"], errors=errors)
    code = str(exc.get_codes()) if isinstance(exc.get_codes(), str) else "error"
    return problem(exc.status_code, code.replace("_", "-"), str(exc.detail), headers=headers, **getattr(exc, "extra", {}))
