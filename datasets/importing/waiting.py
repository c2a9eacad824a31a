"""What a source does not give yet, in sentences: stored as codes with numbers, said in the reader's language."""

from collections.abc import Mapping

from django.utils.translation import gettext_noop as _

from datasets.importing.said import gettext

WAITING: dict[str, str] = {
    "arriving": _("Series that are still arriving, or whose last image has just come: %(count)s. They are taken by a later run."),
    "held": _(
        "Series of which some images are in quarantine: %(count)s. They are taken once a person has let these in or discarded"
        " them."
    ),
    "held_whole": _(
        "Series of any kind whose images are all in quarantine: %(count)s. They are taken once a person has let them in."
    ),
}


def texts(waiting: Mapping[str, int]) -> list[str]:
    """Codes of a newer version are passed over."""
    return [gettext(WAITING[code]) % {"count": count} for code, count in waiting.items() if count and code in WAITING]
