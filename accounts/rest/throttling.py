"""Throttling by key (or person), so that one runaway program does not slow a ward."""

import time
from typing import Any

from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from accounts.actor import Actor, actor_of
from accounts.held import Held
from accounts.middleware import client_ip

_ended: Held[int] = Held(seconds=5.0)


def _count_of(window: str) -> int:
    """How many requests a window that is over has counted; it grows no more, so it is not asked for at each request."""
    count = _ended.get(window)
    if count is None:
        count = int(cache.get(window, 0))
        _ended.set(window, count)
    return count


def spend(ident: str, most: int, seconds: int) -> float | None:
    """Count one request of `ident`; None when it is allowed, else how many seconds to wait.

    A sliding window of two counters (this window's, and the last one's by how much of it still counts). DRF's own keeps
    the time of each request of the last minute and copies that list at every request.
    """
    window, gone = divmod(time.time(), seconds)
    now = f"{ident}:{int(window)}"
    earlier = _count_of(f"{ident}:{int(window) - 1}") * (1.0 - gone / seconds)
    try:
        count = cache.incr(now)
    except ValueError:  # the window's first request
        cache.add(now, 0, 2 * seconds)
        try:
            count = cache.incr(now)
        except ValueError:  # forgotten by the cache between the two lines
            return None
    return None if earlier + count <= most else max(1.0, seconds - gone)


def ident_of(actor: Actor) -> str | None:
    """Under what a known caller's requests are counted."""
    if actor.api_key is not None:
        return f"throttle:key:{actor.api_key.pk}"
    return f"throttle:user:{actor.user.pk}" if actor.user is not None else None


class KeyThrottle(SimpleRateThrottle):
    """The rate of REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]["key"], counted per API key or person."""

    scope = "key"

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        # never by a header that the caller can invent
        return ident_of(actor_of(request)) or f"throttle:ip:{client_ip(request._request)}"

    def allow_request(self, request: Request, view: Any) -> bool:
        most, seconds = self.parse_rate(self.rate)
        if most is None or seconds is None:
            return True
        self.seconds = spend(str(self.get_cache_key(request, view)), most, seconds)
        return self.seconds is None

    def wait(self) -> float | None:
        return self.seconds


class StoreThrottle(KeyThrottle):
    """The rate "store", counted apart: a scanner that sends each slice by itself makes hundreds of requests a second."""

    scope = "store"

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        return f"{super().get_cache_key(request, view)}:store"
