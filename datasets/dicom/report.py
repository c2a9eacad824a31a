"""What became of one file: its outcome, and what was done to which elements. Holds tags, actions and counts, never values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from datasets.dicom.profile import Identity

Path = tuple[int, ...]  # the tags of the sequences above an element, then its own


class Outcome(StrEnum):
    DONE = "done"  # written, de-identified
    QUARANTINED = "quarantined"  # not written: a person has to look at the picture
    REFUSED = "refused"  # not written: it can't be read, or could not be de-identified with certainty


class Action(StrEnum):
    REMOVED = "removed"
    EMPTIED = "emptied"
    REPLACED = "replaced"  # by a dummy
    PSEUDONYM = "pseudonym"
    NEW_UID = "new_uid"
    SHIFTED = "shifted"
    GENERALISED = "generalised"  # ages above 89
    KEPT = "kept"  # by an option, where the Basic Profile alone would have taken it out
    CLEANED = "cleaned"  # a known identifier was found in it
    STRIPPED = "stripped"  # comments inside of compressed pixels, hidden bits or bytes beside the picture


@dataclass
class Report:
    """`reasons` are codes of datasets.dicom.codes; `counts` maps (path, action) to how often.

    `pseudonym` is what stands in the place of the patient; `identity` is for the encrypted key alone and is not shown.
    """

    outcome: Outcome = Outcome.REFUSED
    reasons: tuple[str, ...] = ()
    pseudonym: str = ""
    options: tuple[str, ...] = ()
    counts: Counter[tuple[Path, Action]] = field(default_factory=Counter)
    looked_at: int = 0  # frames searched for text
    pixels_checked: bool = False  # by a person
    identity: Identity | None = field(default=None, repr=False)

    def add(self, path: Path, action: Action) -> None:
        self.counts[path, action] += 1

    def total(self, action: Action) -> int:
        """How many elements that happened to."""
        return sum(n for (_path, kind), n in self.counts.items() if kind is action)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: no values, no identity."""
        return {
            "outcome": str(self.outcome),
            "reasons": list(self.reasons),
            "pseudonym": self.pseudonym,
            "options": list(self.options),
            "looked_at": self.looked_at,
            "pixels_checked": self.pixels_checked,
            "elements": [
                {"tag": tag_text(path), "action": str(action), "count": n}
                for (path, action), n in sorted(
                    self.counts.items(), key=lambda item: (item[0][0], str(item[0][1]))
                )
            ],
        }


def tag_text(path: Path) -> str:
    """ "(0040,A730) > (0040,A160)"."""
    return " > ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in path)
