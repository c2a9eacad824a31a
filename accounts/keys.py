"""API keys: made, hashed, looked up. Creation, listing and revocation for people are in services and views."""

import hashlib
import secrets
from datetime import timedelta

from django.core.cache import cache
from django.utils import timezone

from accounts.actor import Actor
from accounts.models import ApiKey, Membership
from accounts.permissions import ROLES, Permission

PREFIX = "am_"
CACHE_SECONDS = 5  # a revoked key works at most this much longer
TOUCH_SECONDS = 60  # "last used" is written at most once a minute


def hash_key(plain: str) -> str:
    """SHA-256 is enough: a key has 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(plain.encode()).hexdigest()


def make_key() -> tuple[str, str, str]:
    """A new key as (plain text, shown prefix, hash)."""
    plain = PREFIX + secrets.token_urlsafe(32)
    return plain, plain[:11], hash_key(plain)


def cache_name(key_hash: str) -> str:
    return f"apikey:{key_hash}"


def actor_for_key(plain: str) -> Actor | None:
    """The actor behind a key: what the key's scopes and its owner's role both allow. None when it is not valid."""
    key_hash = hash_key(plain)
    held: tuple[ApiKey, Membership] | None = cache.get(cache_name(key_hash))
    if held is None:
        key = ApiKey.objects.select_related("user", "organisation").filter(key_hash=key_hash, revoked_at=None).first()
        if key is None or not key.user.is_active:
            return None
        membership = Membership.objects.filter(organisation=key.organisation_id, user=key.user_id).first()
        if membership is None:
            return None
        held = (key, membership)
        cache.set(cache_name(key_hash), held, CACHE_SECONDS)
    key, membership = held
    now = timezone.now()
    if key.expires_at <= now:
        return None
    if key.last_used_at is None or now - key.last_used_at > timedelta(seconds=TOUCH_SECONDS):
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
        key.last_used_at = now
        cache.set(cache_name(key_hash), (key, membership), CACHE_SECONDS)
    scopes = frozenset(Permission(s) for s in key.scopes if s in Permission)
    return Actor(
        user=key.user,
        organisation=key.organisation,
        role=membership.role,
        permissions=scopes & ROLES[membership.role].permissions,
        api_key=key,
    )
