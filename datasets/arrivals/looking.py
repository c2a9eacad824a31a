"""Letting in a picture that may show a patient's name: a person looks at every frame as it came, and says that none does.

What can't be drawn can't be looked at here, so it stays in quarantine: a document, or a picture that no decoder opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.utils.translation import gettext as _

from datasets import storage
from datasets.arrivals import desks
from datasets.arrivals.found import Refused
from datasets.arrivals.models import ArrivedFile, Outcome

CODES = frozenset({"burned_in_declared", "burned_in_likely", "text_seen", "overlay_in_pixels"})
ON_A_PAGE = 24  # frames
LARGEST = 1600  # pixels of the longer side: small print stays readable
SECONDS = 30


@dataclass(frozen=True)
class Frames:
    """The frames of one page. `first` counts from 1, as people do."""

    total: int
    first: int
    indices: range
    previous_url: str
    next_url: str
    whole: bool
    other_url: str  # the same frames in the other range of values

    @property
    def last(self) -> int:
        """The number of the page's last frame."""
        return self.first + len(self.indices) - 1


def waits(file: ArrivedFile) -> bool:
    """Whether it is a picture in quarantine that a person may let in after looking at it."""
    there = file.original is not None and bool(file.original.path)
    return there and file.outcome == Outcome.QUARANTINED and file.code in CODES and file.discarded_at is None


def frames_of(file: ArrivedFile, asked: str, whole: bool) -> Frames | None:
    """The page of frames that was asked for by its number, or the nearest; None for a file that does not wait for a look."""
    if not waits(file):
        return None
    total = max(1, int(file.facts.get("frames", 1)))
    pages = -(-total // ON_A_PAGE)
    number = min(max(int(asked), 1), pages) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1
    start = (number - 1) * ON_A_PAGE

    def url(other: int, whole: bool = whole) -> str:
        wanted = {"frames": other} | ({"range": "whole"} if whole else {})
        return f"?{urlencode(wanted)}#frames" if 1 <= other <= pages else ""

    indices = range(start, min(start + ON_A_PAGE, total))
    return Frames(total, start + 1, indices, url(number - 1), url(number + 1), whole, url(number, not whole))


def frame(file: ArrivedFile, index: int, whole: bool) -> bytes:
    """One frame (from 0) as a PNG, with nothing taken out of it. Raises Refused, desks.Busy; b"" where there is no such frame.

    `whole`: all values that occur, from black to white; else by the file's own window, beyond which text could be hidden.
    """
    assert file.original is not None
    with storage.local(file.original) as path, desks.shared(seconds=SECONDS) as desk:
        window = "whole" if whole else None
        return desk.dicom_shown(path, index, window=window, viewport=(LARGEST, LARGEST), form="PNG", quality=None)


def why_not(error: Refused | ConnectionError) -> str:
    """For whoever waits for a frame."""
    if isinstance(error, Refused):
        return error.why
    return _("The server is busy looking at other files. Open this page again in a minute.")
