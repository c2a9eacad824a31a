"""What Django and allauth tell us about signing in, passwords and second factors, written to the audit log."""

from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from django.contrib.auth import signals as auth
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import audit
from accounts.actor import Actor
from accounts.middleware import client_ip
from accounts.models import AuditEvent, Organisation, User


def note(request: HttpRequest | None, user: User | None, action: str, *, outcome: str = "ok", **detail: Any) -> None:
    """One event in the log of each organisation that the person belongs to (of none, when there is none)."""
    ip = client_ip(request) if request is not None else None
    agent = request.headers.get("User-Agent", "") if request is not None else ""
    actor = Actor(user=user, ip=ip, user_agent=agent)
    homes: list[Organisation | None] = list(Organisation.objects.filter(memberships__user=user)) if user else []
    AuditEvent.objects.bulk_create(
        audit.event(actor, action, user, outcome=outcome, organisation=home, **detail) for home in homes or [None]
    )


@receiver(auth.user_logged_in)
def logged_in(request: HttpRequest | None, user: User, **kwargs: Any) -> None:
    note(request, user, "person.signed_in")


@receiver(auth.user_logged_out)
def logged_out(request: HttpRequest | None, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        note(request, user, "person.signed_out")


@receiver(auth.user_login_failed)
def login_failed(credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any) -> None:
    """What was typed is not kept: people type passwords into the wrong field. A known address is named."""
    email = str(credentials.get("email") or credentials.get("username") or "")
    user = User.objects.filter(email__iexact=email).first() if "\0" not in email else None
    note(request, user, "person.sign_in_failed", outcome="denied")


@receiver(account.user_signed_up)
def signed_up(request: HttpRequest, user: User, **kwargs: Any) -> None:
    note(request, user, "person.signed_up")


@receiver(account.email_confirmed)
def email_confirmed(request: HttpRequest, email_address: Any, **kwargs: Any) -> None:
    note(request, email_address.user, "person.email_confirmed", email=email_address.email)


@receiver(account.email_added)
def email_added(request: HttpRequest, user: User, email_address: Any, **kwargs: Any) -> None:
    note(request, user, "person.email_added", email=email_address.email)


@receiver(account.email_removed)
def email_removed(request: HttpRequest, user: User, email_address: Any, **kwargs: Any) -> None:
    note(request, user, "person.email_removed", email=email_address.email)


@receiver(account.email_changed)
def email_changed(request: HttpRequest, user: User, to_email_address: Any, **kwargs: Any) -> None:
    note(request, user, "person.email_changed", email=to_email_address.email)


@receiver(account.password_changed)
def password_changed(request: HttpRequest, user: User, **kwargs: Any) -> None:
    note(request, user, "person.password_changed")


@receiver(account.password_set)
def password_set(request: HttpRequest, user: User, **kwargs: Any) -> None:
    note(request, user, "person.password_set")


@receiver(account.password_reset)
def password_reset(request: HttpRequest, user: User, **kwargs: Any) -> None:
    note(request, user, "person.password_reset")


@receiver(mfa.authenticator_added)
def factor_added(request: HttpRequest, user: User, authenticator: Any, **kwargs: Any) -> None:
    note(request, user, "person.second_factor_added", factor=str(authenticator.type))


@receiver(mfa.authenticator_removed)
def factor_removed(request: HttpRequest, user: User, authenticator: Any, **kwargs: Any) -> None:
    note(request, user, "person.second_factor_removed", factor=str(authenticator.type))


@receiver(mfa.authenticator_reset)
def factor_reset(request: HttpRequest, user: User, authenticator: Any, **kwargs: Any) -> None:
    note(request, user, "person.second_factor_reset", factor=str(authenticator.type))
