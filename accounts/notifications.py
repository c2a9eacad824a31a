"""Telling people: one call writes the portal's notification and, after commit, sends the e-mail."""

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import override

from accounts.models import Membership, Notification, Organisation, Preference, User

logger = logging.getLogger(__name__)


Text = str | Promise | Callable[[], str]


def spoken(text: Text) -> str:
    """The text in the language that is active now: lazy texts and functions are made only here."""
    return str(text() if callable(text) else text)


def notify(
    *,
    organisation: Organisation,
    users: Iterable[User],
    key: str,
    title: Text,
    body: Text = "",
    url: str = "",
    level: str = "info",
) -> int:
    """Tell each user once per `key` (safe to repeat). Returns how many were new. Titles carry no patient data.

    A lazy text, or a function that makes the text, is said in each reader's own language. Who has left the organisation
    is told nothing more of it, also not how the training ended that they asked for.
    """
    made = 0
    asked = list(users)
    members = set(Membership.objects.filter(organisation=organisation, user__in=asked).values_list("user_id", flat=True))
    for user in (user for user in asked if user.pk in members):
        with override(user.language or settings.LANGUAGE_CODE):
            texts = {"title": " ".join(spoken(title).split())[:200], "body": spoken(body)}
        row, created = Notification.objects.get_or_create(
            organisation=organisation, user=user, key=key[:200], defaults={**texts, "url": url, "level": level}
        )
        if created:
            made += 1
            transaction.on_commit(partial(send_email, row.pk), robust=True)
    return made


def send_waiting_emails() -> int:
    """Send again what a broken mail server or a killed process left unsent. Returns how many were tried.

    Younger than five minutes: it is being sent; older than a day: the portal has told it long since.
    """
    now = timezone.now()
    waiting = Notification.objects.filter(
        emailed_at=None, created_at__lt=now - timedelta(minutes=5), created_at__gt=now - timedelta(days=1)
    )
    unwanted = Preference.objects.filter(
        organisation=OuterRef("organisation"), user=OuterRef("user"), email_notifications=False
    )
    rows = waiting.filter(~Exists(unwanted), user__is_active=True).order_by("pk").values_list("pk", flat=True)[:200]
    for pk in rows:
        send_email(pk)
    return len(rows)


def send_email(pk: int) -> None:
    """Send the notification's e-mail once; a broken mail server never breaks the work that caused it."""
    row = Notification.objects.select_related("user").get(pk=pk)
    preference = Preference.objects.filter(organisation=row.organisation_id, user=row.user_id).first()
    if not row.user.is_active or (preference is not None and not preference.email_notifications):
        return
    if not Notification.objects.filter(pk=pk, emailed_at=None).update(emailed_at=timezone.now()):
        return
    link = f"\n\n{settings.PORTAL_URL}{row.url}" if row.url else ""
    try:
        send_mail(f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}{row.title}", row.body + link, None, [row.user.email])
    except OSError:
        logger.exception("E-mail of notification %s could not be sent", pk)
        Notification.objects.filter(pk=pk).update(emailed_at=None)
