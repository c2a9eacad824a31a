"""What was made of the files of a series, in sentences: stored as codes with numbers, said in the reader's language."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

NOTES: dict[str, Promise] = {
    "gaps": _("Slices that seem to be missing: %(count)s. What lies between their neighbours is mixed from these."),
    "uneven": _("The distances of the slices differ; the volume is put together at even ones."),
    "repeated": _("Slices at a place where another one lies (phases, echoes): %(count)s. The first of each place is kept."),
    "copies": _("Slices that came twice: %(count)s. One of each is kept."),
    "short_series": _("Other series of fewer than %(most)s slices (localizers) that were left out: %(count)s."),
    "other_stacks": _("Slices of another orientation or size that were left out: %(count)s."),
    "tilted": _("The slices are tilted against their stack (as with a tilted gantry): they are moved to stand at right angles."),
    "left_out": _("Files that are no slices of a series and were left out: %(count)s."),
    "unplaced": _("The files do not say where the slices lie: they are ordered by number, and no side of the patient is known."),
}  # fmt: skip


def texts(notes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The sentences; codes of a newer version are passed over."""
    return [str(NOTES[note["code"]]) % note for note in notes if note.get("code") in NOTES]
