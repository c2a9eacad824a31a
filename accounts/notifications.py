"""Telling people: one call writes the portal's notification and, after commit, sends the e-mail."""

import logging
from collections.abc import Iterable

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone
from django.utils.translation import override

from accounts.models import Notification, Organisation, Preference, User

logger = logging.getLogger(__name__)


def notify(
    *, organisation: Organisation, users: Iterable[User], key: str, title: str, body: str = "", url: str = "", level: str = "info"
) -> int:
    """Tell each user once per `key` (safe to repeat). Returns how many were new. Titles carry no patient data."""
    made = 0
    for user in users:
        row, created = Notification.objects.get_or_create(
            organisation=organisation,
            user=user,
            key=key[:200],
            defaults={"title": str(title)[:200], "body": str(body), "url": url, "level": level},
        )
        if created:
            made += 1
            transaction.on_commit(lambda pk=row.pk: send_email(pk), robust=True)  # type: ignore[misc]
    return made


def send_email(pk: int) -> None:
    """Send the notification's e-mail once; a broken mail server never breaks the work that caused it."""
    row = Notification.objects.select_related("user").get(pk=pk)
    wants = Preference.objects.filter(organisation=row.organisation_id, user=row.user_id).values_list("email_notifications", flat=True).first()
    if wants is False or not Notification.objects.filter(pk=pk, emailed_at=None).update(emailed_at=timezone.now()):
        return
    link = f"\n\n{settings.PORTAL_URL}{row.url}" if row.url else ""
    try:
        with override(row.user.language or settings.LANGUAGE_CODE):
            send_mail(f"[AI Mass] {row.title}", row.body + link, None, [row.user.email])
    except OSError:
        logger.exception("E-mail of notification %s could not be sent", pk)
        Notification.objects.filter(pk=pk).update(emailed_at=None)
