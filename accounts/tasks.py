"""Background work of accounts, run by jobs' schedule under its dotted name."""

from datetime import timedelta

from django.utils import timezone

from accounts import notifications
from accounts.models import IdempotencyKey

KEPT_DAYS = 2  # much longer than any client repeats a request; what it answered need not be kept for ever


def send_waiting_emails() -> int:
    """See `notifications.send_waiting_emails`."""
    return notifications.send_waiting_emails()


def forget_idempotency_keys() -> int:
    """Delete the remembered answers of requests that nobody repeats any more. Returns how many."""
    deleted, _by_model = IdempotencyKey.objects.filter(created_at__lt=timezone.now() - timedelta(days=KEPT_DAYS)).delete()
    return deleted
