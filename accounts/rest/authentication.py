"""Who calls the API: `Authorization: Bearer <key>`, or the portal's session."""

from dataclasses import replace
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from accounts import audit
from accounts.actor import Actor
from accounts.held import Held
from accounts.keys import actor_for_key, hash_key, own_copy
from accounts.middleware import client_ip
from accounts.models import ApiKey

NOTED_SECONDS = 60.0  # a program that goes on trying does not fill the log
_noted: Held[bool] = Held(NOTED_SECONDS)


def note_refused(plain: str, request: Request) -> None:
    """Write into the organisation's log that its key was tried though it is expired, revoked or its owner's no more.

    What is no key of anybody's belongs into nobody's log.
    """
    key_hash = hash_key(plain)
    if _noted.get(key_hash):
        return
    key = ApiKey.objects.select_related("user", "organisation").filter(key_hash=key_hash).first()
    if key is None:
        return
    _noted.set(key_hash, True)
    agent = request.headers.get("User-Agent", "")
    who = Actor(user=key.user, organisation=key.organisation, api_key=key, ip=client_ip(request._request), user_agent=agent)
    audit.record(who, "key.refused", key, outcome="denied", state=key.state)


class KeyAuthentication(authentication.BaseAuthentication):
    """Bearer keys. The actor is put on the underlying request, where views and services find it."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        scheme, _space, plain = header.partition(" ")
        if scheme.lower() != "bearer" or not plain.strip():
            raise exceptions.AuthenticationFailed(_("Send the key as “Authorization: Bearer <key>”."))
        actor = actor_for_key(plain.strip())
        if actor is None:
            note_refused(plain.strip(), request)
            raise exceptions.AuthenticationFailed(_("This key is unknown, expired or revoked."))
        actor, http = own_copy(actor), request._request
        http.actor = replace(actor, ip=client_ip(http), user_agent=request.headers.get("User-Agent", ""))  # type: ignore[attr-defined]
        return actor.user, actor.api_key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionAuthentication(authentication.SessionAuthentication):
    """The portal's session, with CSRF protection; its actor comes from the middleware."""


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the session is described in the OpenAPI schema."""

    target_class = "accounts.rest.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        description = "The portal's own session; changing requests need the CSRF token."
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME, "description": description}


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the key is described in the OpenAPI schema."""

    target_class = "accounts.rest.authentication.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key made on the portal's “API keys” page."}
