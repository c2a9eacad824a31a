"""Throttling by key (or person), so that one runaway program does not slow a ward."""

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from accounts.actor import actor_of
from accounts.middleware import client_ip


class KeyThrottle(SimpleRateThrottle):
    """The rate of REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]["key"], counted per API key or person."""

    scope = "key"

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        actor = actor_of(request)
        if actor.api_key is not None:
            return f"throttle:key:{actor.api_key.pk}"
        if actor.user is not None:
            return f"throttle:user:{actor.user.pk}"
        return f"throttle:ip:{client_ip(request._request)}"  # never a header that the caller can invent
