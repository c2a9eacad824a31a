"""What changes accounts: each function is atomic, takes the actor, and writes its audit event."""

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, choices, keys, mails
from accounts.actor import Actor
from accounts.models import ApiKey, Invitation, Membership, Notification, Organisation, Preference, User
from accounts.permissions import ROLES, Permission
from accounts.signals import preferences_changed

INVITATION_DAYS = 7
KEY_DAYS_MAXIMUM = 365


def person(actor: Actor) -> User:
    """The person behind the actor; these services are for people, never for the system."""
    if actor.user is None:
        raise ValueError("This needs a person, and the actor is the system.")
    return actor.user


def home(actor: Actor) -> Organisation:
    """The organisation that the actor acts for."""
    if actor.organisation is None:
        raise ValueError("This needs an organisation, and the actor has none.")
    return actor.organisation


def clean_name(name: str) -> str:
    """A name without surrounding or doubled spaces, 1 to 150 characters."""
    name = " ".join(name.split())
    if not name:
        raise ValidationError({"name": _("Give a name.")})
    if len(name) > 150:
        raise ValidationError({"name": _("A name has at most 150 characters.")})
    return name


# Organisations


@transaction.atomic
def create_organisation(*, actor: Actor, name: str) -> Organisation:
    """A new organisation with the actor as its administrator; the portal moves there, a key's owner stays."""
    user = person(actor)
    organisation = Organisation.objects.create(name=clean_name(name), created_by=user)
    Membership.objects.create(organisation=organisation, user=user, role="administrator")
    if actor.api_key is None:
        move(user, organisation)
    audit.record(actor, "organisation.created", organisation, organisation=organisation)
    return organisation


@transaction.atomic
def rename_organisation(*, actor: Actor, name: str) -> Organisation:
    """Give the actor's organisation another name."""
    organisation = Organisation.objects.select_for_update().get(pk=home(actor).pk)
    before, organisation.name = organisation.name, clean_name(name)
    organisation.save(update_fields=["name"])
    audit.record(actor, "organisation.renamed", organisation, before=before, after=organisation.name)
    return organisation


@transaction.atomic
def switch_organisation(*, actor: Actor, membership: Membership) -> Organisation:
    """Make another of the person's organisations the one that the portal shows."""
    if membership.user_id != person(actor).pk:
        raise ValueError("A person switches only between their own organisations.")
    move(person(actor), membership.organisation)
    audit.record(actor, "organisation.entered", membership.organisation, organisation=membership.organisation)
    return membership.organisation


def move(user: User, organisation: Organisation | None) -> None:
    """Remember the organisation that the person works in."""
    user.last_organisation = organisation
    User.objects.filter(pk=user.pk).update(last_organisation=organisation)


# Invitations


@transaction.atomic
def invite(*, actor: Actor, email: str, role: str) -> tuple[Invitation, str]:
    """Invite an e-mail address; an earlier open invitation of it is revoked. Returns the row and the token, once.

    The link is e-mailed after commit.
    """
    organisation, email = home(actor), email.strip().lower()
    if role not in ROLES:
        raise ValidationError({"role": _("There is no such role.")})
    if Membership.objects.filter(organisation=organisation, user__email__iexact=email).exists():
        raise ValidationError({"email": _("This person is already a member.")})
    now, token = timezone.now(), secrets.token_urlsafe(32)
    Invitation.objects.open().filter(organisation=organisation, email__iexact=email).update(revoked_at=now)
    invitation = Invitation.objects.create(
        organisation=organisation,
        email=email,
        role=role,
        token_hash=keys.hash_key(token),
        invited_by=person(actor),
        expires_at=now + timedelta(days=INVITATION_DAYS),
    )
    audit.record(actor, "invitation.sent", invitation, role=role)
    transaction.on_commit(lambda: mails.send_invitation(invitation, token), robust=True)
    return invitation, token


@transaction.atomic
def revoke_invitation(*, actor: Actor, invitation: Invitation) -> None:
    """Make an open invitation's link useless; nothing happens to one that is not open."""
    if Invitation.objects.open().filter(pk=invitation.pk).update(revoked_at=timezone.now()):
        audit.record(actor, "invitation.revoked", invitation)


def invitation_of(token: str) -> Invitation | None:
    """The open invitation that a link's token belongs to."""
    return Invitation.objects.open().select_related("organisation").filter(token_hash=keys.hash_key(token)).first()


@transaction.atomic
def accept_invitation(*, actor: Actor, invitation: Invitation) -> Membership:
    """Join. Works once (compare-and-set), before it expires, and only for the verified owner of its address."""
    user = person(actor)
    if not user.owns(invitation.email):
        text = _("This invitation is for another e-mail address. Sign in with that address, or ask for a new invitation.")
        raise ValidationError(text, code="wrong-address")
    taken = Invitation.objects.open().filter(pk=invitation.pk)
    if not taken.update(accepted_at=timezone.now(), accepted_by=user):
        raise ValidationError(_("This invitation was used, withdrawn or has expired. Ask for a new one."), code="closed")
    membership, created = Membership.objects.get_or_create(
        organisation=invitation.organisation, user=user, defaults={"role": invitation.role}
    )
    if actor.api_key is None:
        move(user, invitation.organisation)
    if created:
        audit.record(actor, "member.joined", membership, organisation=invitation.organisation, role=membership.role)
    return membership


# Members


def keep_an_administrator(membership: Membership) -> None:
    """Refuse what would leave the organisation without an administrator. The caller holds the organisation's lock."""
    others = Membership.objects.filter(organisation=membership.organisation_id, role="administrator")
    if membership.role == "administrator" and not others.exclude(pk=membership.pk).exists():
        text = _("This is the last administrator. Make somebody else an administrator first.")
        raise ValidationError({"role": text}, code="last-administrator")


def locked(membership: Membership) -> Membership:
    """The membership as it is now, with its organisation locked, so that two changes never cross."""
    Organisation.objects.select_for_update().get(pk=membership.organisation_id)
    return cast(Membership, Membership.objects.select_related("user", "organisation").get(pk=membership.pk))


@transaction.atomic
def change_role(*, actor: Actor, membership: Membership, role: str) -> Membership:
    """Give a member another role; the last administrator keeps theirs."""
    if role not in ROLES:
        raise ValidationError({"role": _("There is no such role.")})
    membership = locked(membership)
    if role == membership.role:
        return membership
    if role != "administrator":
        keep_an_administrator(membership)
    before, membership.role = membership.role, role
    membership.save(update_fields=["role"])
    audit.record(actor, "member.role_changed", membership, before=before, after=role)
    keys.forget(ApiKey.objects.filter(organisation=membership.organisation_id, user=membership.user_id))
    return membership


@transaction.atomic
def remove_member(*, actor: Actor, membership: Membership) -> None:
    """Take a person out of the organisation and revoke their keys of it; their work and its history stay."""
    membership = locked(membership)
    keep_an_administrator(membership)
    owned = ApiKey.objects.filter(organisation=membership.organisation_id, user=membership.user_id)
    revoked = owned.filter(revoked_at=None).update(revoked_at=timezone.now(), revoked_by=actor.user)
    keys.forget(owned)
    audit.record(actor, "member.removed", membership, role=membership.role, keys_revoked=revoked)
    User.objects.filter(pk=membership.user_id, last_organisation=membership.organisation_id).update(last_organisation=None)
    membership.delete()


# API keys


def clean_scopes(actor: Actor, scopes: Iterable[str]) -> list[str]:
    """The scopes in order; refuses none, unknown ones, and what the actor may not do."""
    wanted = sorted(set(scopes))
    if not wanted:
        raise ValidationError({"scopes": _("Choose at least one scope.")})
    for scope in wanted:
        if scope not in Permission.known(wanted) & actor.permissions:
            text = _("You may not give the scope “%(scope)s”.") % {"scope": scope[:50]}
            raise ValidationError({"scopes": text})
    return wanted


@transaction.atomic
def create_key(*, actor: Actor, name: str, scopes: Iterable[str], days: int = 90) -> tuple[ApiKey, str]:
    """A new API key of the actor's and its plain text, which exists nowhere else. Valid for 1 to 365 days.

    A key that makes a key can give neither more than it may itself nor a longer life than its own.
    """
    if not 1 <= days <= KEY_DAYS_MAXIMUM:
        text = _("A key is valid for 1 to %(most)d days.") % {"most": KEY_DAYS_MAXIMUM}
        raise ValidationError({"days": text})
    name = clean_name(name)
    if len(name) > 100:
        raise ValidationError({"name": _("A key's name has at most 100 characters.")})
    expires_at = timezone.now() + timedelta(days=days)
    if actor.api_key is not None:
        expires_at = min(expires_at, actor.api_key.expires_at)
    plain, prefix, key_hash = keys.make_key()
    key = ApiKey.objects.create(
        organisation=home(actor),
        user=person(actor),
        name=name,
        prefix=prefix,
        key_hash=key_hash,
        scopes=clean_scopes(actor, scopes),
        expires_at=expires_at,
    )
    audit.record(actor, "key.created", key, scopes=key.scopes, expires_at=key.expires_at.isoformat())
    return key, plain


@transaction.atomic
def revoke_key(*, actor: Actor, key: ApiKey) -> None:
    """Make a key useless: at once in this process, within `keys.CACHE_SECONDS` in others. Repeating it is harmless."""
    changed = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now(), revoked_by=actor.user)
    keys.forget([key])
    if changed:
        audit.record(actor, "key.revoked", key)


# What a person sets for themselves


@transaction.atomic
def save_preference(
    *,
    actor: Actor,
    outcome: str,
    weights: dict[str, Any],
    floors: dict[str, Any] | None = None,
    email_notifications: bool = True,
) -> Preference:
    """Store what matters to the person in this organisation; `preferences_changed` follows after commit."""
    outcome = " ".join(outcome.split())
    if not outcome:
        raise ValidationError({"outcome": _("Choose an outcome, or name it in your own words.")})
    if len(outcome) > 200:
        raise ValidationError({"outcome": _("An outcome has at most 200 characters.")})
    organisation, user = home(actor), person(actor)
    preference, _created = Preference.objects.update_or_create(
        organisation=organisation,
        user=user,
        defaults={
            "outcome": outcome,
            "weights": choices.clean_weights(weights),
            "floors": choices.clean_floors(floors or {}),
            "email_notifications": email_notifications,
        },
    )
    audit.record(actor, "preference.saved", preference, weights=preference.weights, floors=preference.floors)
    transaction.on_commit(
        lambda: preferences_changed.send_robust(sender=Preference, organisation=organisation, user=user) and None
    )
    return preference


@transaction.atomic
def save_profile(*, actor: Actor, full_name: str, language: str) -> User:
    """The person's name and the language that the portal and e-mails speak to them; "" follows the browser."""
    user = person(actor)
    user.full_name, user.language = " ".join(full_name.split())[:150], language
    user.save(update_fields=["full_name", "language"])
    audit.record(actor, "profile.saved", user)
    return user


@transaction.atomic
def mark_read(*, actor: Actor, notification: Notification | None = None) -> int:
    """Mark one of the person's notifications, or all of this organisation's, as read. Returns how many were unread.

    Not audited: it changes nothing that anybody else can see.
    """
    rows = Notification.objects.filter(organisation=home(actor), user=person(actor), read_at=None)
    if notification is not None:
        rows = rows.filter(pk=notification.pk)
    return rows.update(read_at=timezone.now())
