"""API keys: made, hashed, looked up. Creation, listing and revocation for people are in services and views."""

import hashlib
import secrets
from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.actor import Actor
from accounts.held import Held
from accounts.models import ApiKey, Membership
from accounts.permissions import ROLES, Permission

PREFIX = "am_"
CACHE_SECONDS = 5  # a revoked key works at most this much longer
TOUCH_SECONDS = 60  # "last used" is written at most once a minute


held: Held[tuple[ApiKey, Membership, Actor]] = Held(CACHE_SECONDS)  # by the key's hash; shared by all requests


def hash_key(plain: str) -> str:
    """SHA-256 is enough: a key has 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(plain.encode()).hexdigest()


def make_key() -> tuple[str, str, str]:
    """A new key as (plain text, shown prefix, hash)."""
    plain = PREFIX + secrets.token_urlsafe(32)
    return plain, plain[:11], hash_key(plain)


def forget(keys: Iterable[ApiKey]) -> None:
    """Drop these keys from this process's cache, now and again when the change is committed.

    Twice, because a request that is answered in between would put the old row back.
    """
    hashes = [key.key_hash for key in keys]

    def drop() -> None:
        for key_hash in hashes:
            held.delete(key_hash)

    drop()
    transaction.on_commit(drop)


def look_up(key_hash: str) -> tuple[ApiKey, Membership] | None:
    """The key and its owner's membership as the database has them now; None when either no longer counts."""
    key = ApiKey.objects.select_related("user", "organisation").filter(key_hash=key_hash, revoked_at=None).first()
    if key is None or not key.user.is_active:
        return None
    membership = Membership.objects.filter(organisation=key.organisation_id, user=key.user_id).first()
    return (key, membership) if membership is not None else None


def touch(key: ApiKey) -> bool:
    """Write when the key was last used, at most once a minute. False when the key has been revoked meanwhile."""
    now = timezone.now()
    if key.last_used_at is not None and now - key.last_used_at <= timedelta(seconds=TOUCH_SECONDS):
        return True
    key.last_used_at = now
    return bool(ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(last_used_at=now))


def actor_for_key(plain: str) -> Actor | None:
    """The actor behind a key: what the key's scopes and its owner's role both allow. None when it is not valid.

    The actor is shared by all requests with this key: read it, and change neither it nor its person. (`own_copy` gives
    one that may be handed to whoever may change it.)
    """
    key_hash = hash_key(plain)
    kept = held.get(key_hash)
    if kept is None:
        found = look_up(key_hash)
        if found is None:
            return None
        kept = (*found, _actor(*found))
        fresh = True
    else:
        fresh = False
    key, _membership, actor = kept
    if key.expires_at <= timezone.now():
        return None
    before = key.last_used_at
    if not touch(key):
        held.delete(key_hash)
        return None
    if fresh:
        held.set(key_hash, kept)
    elif key.last_used_at != before:
        held.delete(key_hash)  # so that the new time is read again; never a longer life for what is held
    return actor


def _actor(key: ApiKey, membership: Membership) -> Actor:
    return Actor(
        user=key.user,
        organisation=key.organisation,
        role=membership.role,
        permissions=Permission.known(key.scopes) & ROLES[membership.role].permissions,
        api_key=key,
    )


def own_copy(actor: Actor) -> Actor:
    """The actor with a person, an organisation and a key of its own, which a view may change."""
    return replace(actor, user=copy(actor.user), organisation=copy(actor.organisation), api_key=copy(actor.api_key))
