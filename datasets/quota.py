"""How much an organisation may keep: its files, and what is on its way to become one."""

from datetime import datetime

from django.conf import settings
from django.db.models import Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.held import Held
from accounts.models import Organisation
from datasets.models import StoredFile
from datasets.storage import limit_text
from datasets.tus.models import Transfer

# Adding up a million files takes a while, and a folder of pictures asks for it thousands of times.
_stored: Held[tuple[datetime, int]] = Held(seconds=10.0)


class OverQuota(ValueError):
    """There is no room for it; the text says how much there is and what to do."""


def used(organisation: Organisation) -> int:
    """Bytes of stored files, not more than ten seconds old, and of all that is on its way or arrived since."""
    held = _stored.get(str(organisation.pk))
    if held is None:
        now = timezone.now()
        files = StoredFile.objects.for_organisation(organisation).exclude(path="")
        held = (now, int(files.aggregate(sum=Sum("size"))["sum"] or 0))
        _stored.set(str(organisation.pk), held)
    since, stored = held
    coming = Transfer.objects.for_organisation(organisation).filter(
        Q(state=Transfer.State.RECEIVING) | Q(state=Transfer.State.FINISHED, finished_at__gte=since)
    )
    return stored + int(coming.aggregate(sum=Sum("length"))["sum"] or 0)


def check(*, organisation: Organisation, more: int) -> None:
    """Raises OverQuota when `more` bytes would be too many. Call it in the transaction that adds them."""
    quota = settings.UPLOAD_QUOTA_BYTES
    if not quota:
        return
    # Two that ask at once wait for each other. Not its key: rows that refer to it can still be added.
    Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
    taken = used(organisation)
    if taken + more > quota:
        raise OverQuota(
            _(
                "Your organisation may keep %(quota)s; %(used)s are used or on their way, and this needs %(more)s. "
                "Discard uploads that you no longer need, or ask whoever runs the portal for more room."
            )
            % {"quota": limit_text(quota), "used": limit_text(taken), "more": limit_text(more)}
        )
