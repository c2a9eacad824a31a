"""Attaches the actor and the language to each request."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.functional import SimpleLazyObject

from accounts.actor import NOBODY, Actor
from accounts.models import Membership

GetResponse = Callable[[HttpRequest], HttpResponse]


@lru_cache(maxsize=1024)
def address(text: str) -> str | None:
    """The IP address in the text, with or without a port; None when there is none, whatever a proxy may say."""
    bare = text.strip().removeprefix("[").partition("]")[0]
    for candidate in (bare, bare.partition(":")[0]):
        try:
            return str(ipaddress.ip_address(candidate.partition("%")[0]))
        except ValueError:
            continue
    return None


def client_ip(request: HttpRequest) -> str | None:
    """The client's address. Forwarded headers count only for as many proxies as TRUSTED_PROXIES says."""
    hops = settings.TRUSTED_PROXIES
    forwarded = [part for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if hops and len(forwarded) >= hops:
        return address(forwarded[-hops])
    return address(request.META.get("REMOTE_ADDR") or "")


def actor_for(request: HttpRequest) -> Actor:
    """The signed-in person's actor in the organisation they last chose (or their only one)."""
    user = request.user
    if not user.is_authenticated:
        return NOBODY
    memberships = Membership.objects.filter(user=user).select_related("organisation").order_by("pk")
    by_id = {m.organisation_id: m for m in memberships}
    membership = by_id.get(user.last_organisation_id) or next(iter(by_id.values()), None)
    where: dict[str, Any] = {"ip": client_ip(request), "user_agent": request.headers.get("User-Agent", "")}
    if membership is None:
        return Actor(user=user, **where)
    membership.user = user
    return Actor.member(membership, **where)


class ActorMiddleware:
    """`request.actor`: who asks, for which organisation, with which permissions; read from the database on first use."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = SimpleLazyObject(lambda: actor_for(request))  # type: ignore[attr-defined]
        return self.get_response(request)


def language_of(request: HttpRequest) -> str:
    """A signed-in person's own choice, else the cookie's or the browser's.

    The person is read once here and kept where AuthenticationMiddleware looks, so this costs no query of its own;
    programs, which send no session cookie, cost none at all.
    """
    if settings.SESSION_COOKIE_NAME in request.COOKIES:
        user = get_user(request)
        request._cached_user = user  # type: ignore[attr-defined]
        language = getattr(user, "language", "")
        if language in dict(settings.LANGUAGES):
            return language
    return translation.get_language_from_request(request)


class LanguageMiddleware:
    """The language chosen by the person, by cookie, else the browser's."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        language = language_of(request)
        with translation.override(language):
            request.LANGUAGE_CODE = language
            response = self.get_response(request)
            response.headers.setdefault("Content-Language", language)
        return response
