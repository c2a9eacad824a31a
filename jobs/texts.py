"""What a person is told when a job ends badly, and in which language."""

from typing import Any

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

OUT_OF_MEMORY = _("It ran out of memory: choose a larger profile, or use fewer columns or records.")
OUT_OF_TIME = _("It took longer than its profile allows: choose a larger profile, or use fewer columns or records.")
DIED = _(
    "The work was stopped from outside several times, most often because the computer ran out of "
    "memory. Choose a larger profile, or tell your administrator."
)
LEASE_RAN_OUT = _(
    "The computer that did this work stopped answering, and all attempts are used up. Try again, or "
    "tell your administrator."
)
UNEXPECTED = _(
    "Something went wrong that was not foreseen. Try again; if it happens again, give this job's "
    "number to your administrator."
)
TRY_AGAIN = _("The database or the network was not available for a moment. It will be tried again by itself.")


def language_of(job: Any) -> str:
    """The requester's language, for texts that are stored with the job."""
    user = job.requested_by
    return (user.language if user is not None else "") or settings.LANGUAGE_CODE


def in_language(job: Any, text: str | Promise) -> str:
    """The text as the requester reads it."""
    from django.utils import translation

    with translation.override(language_of(job)):
        return str(text)
