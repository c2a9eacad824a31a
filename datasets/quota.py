"""How much an organisation may keep: its files, and what is on its way to become one."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Sum
from django.utils.translation import gettext as _

from accounts.held import Held
from accounts.models import Organisation
from datasets.models import StoredFile
from datasets.receiving import spool
from datasets.storage import limit_text
from datasets.tus.models import Transfer

# Adding up a million files takes a while, and a folder of pictures asks for it thousands of times: (newest row, bytes so far).
_stored: Held[tuple[int, int]] = Held(seconds=10.0)


class OverQuota(ValueError):
    """There is no room for it; the text says how much there is and what to do, `facts` the same in figures."""

    def __init__(self, text: str, **facts: str) -> None:
        super().__init__(text)
        self.facts = facts


def used(organisation: Organisation) -> int:
    """Bytes of stored files (what was deleted counts for up to ten seconds more) and of all that is on its way."""
    own: Any = StoredFile.objects.for_organisation(organisation).exclude(path="")
    held = _stored.get(str(organisation.pk))
    if held is None:
        found = own.aggregate(newest=Max("pk"), sum=Sum("size"))
        held = (int(found["newest"] or 0), int(found["sum"] or 0))
        _stored.set(str(organisation.pk), held)
    newest, stored = held
    since = own.filter(pk__gt=newest).aggregate(sum=Sum("size"))["sum"]
    coming = Transfer.objects.for_organisation(organisation).filter(state=Transfer.State.RECEIVING)
    promised = int(coming.aggregate(sum=Sum("length"))["sum"] or 0) + spool.waiting_bytes(organisation.pk)
    return stored + int(since or 0) + promised


@transaction.atomic
def check(*, organisation: Organisation, more: int, sha256: str = "", instead_of: int = 0) -> None:
    """Raises OverQuota when `more` bytes would be too many. Call it in the transaction that adds them, where there is one.

    `sha256`: of the content, which needs no room when it is here already. `instead_of`: bytes that go once it is kept.
    Files that are written while others are (each worker its one) do not see each other, so that many may be too many.
    """
    limit = settings.UPLOAD_QUOTA_BYTES
    if not limit:
        return
    # Two that ask at once wait for each other. Not its key: rows that refer to it can still be added.
    Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
    taken = max(0, used(organisation) - instead_of)
    if taken + more <= limit or (sha256 and _here(organisation, sha256)):
        return
    facts = {"quota": limit_text(limit), "used": limit_text(taken), "more": limit_text(more)}
    raise OverQuota(
        _(
            "Your organisation may keep %(quota)s; %(used)s are used or on their way, and this needs %(more)s. "
            "Discard uploads that you no longer need, or ask whoever runs the portal for more room."
        )
        % facts,
        **facts,
    )


def _here(organisation: Organisation, sha256: str) -> bool:
    return StoredFile.objects.for_organisation(organisation).exclude(path="").filter(sha256=sha256).exists()
