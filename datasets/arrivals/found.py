"""What a file turned out to be, or why it is not taken."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from datasets.arrivals import reasons


class Shape(StrEnum):
    """What a file is for us. `slice`: one picture of a series that makes a volume; `part`: needs another file beside it."""

    TABLE = "table"
    TEXT = "text"
    IMAGE = "image"
    SLICE = "slice"
    VOLUME = "volume"
    VIDEO = "video"
    SIGNAL = "signal"
    PART = "part"
    INDEX = "index"
    ARCHIVE = "archive"


# Which kinds of column (datasets.models.Kind) a file of this shape can fill.
FILLS: dict[str, tuple[str, ...]] = {
    Shape.TEXT: ("text",),
    Shape.IMAGE: ("image",),
    Shape.SLICE: ("volume", "image"),
    Shape.VOLUME: ("volume",),
    Shape.VIDEO: ("video",),
    Shape.SIGNAL: ("signal",),
}


@dataclass(frozen=True)
class Found:
    """`kind` is a Shape; `format` a short name such as "png", "dicom", "nifti.gz"; `facts` hold nothing of a patient.

    Facts by kind: image and slice `width`, `height` (pixels); volume `shape` (voxels); video `width`, `height`, `frames`,
    `seconds`; signal `channels`, `seconds`; text `characters`, `pages`; WFDB header `files` (names that must lie beside it).
    """

    kind: str
    format: str
    facts: dict[str, Any] = field(default_factory=dict)

    def fits(self, column_kind: str) -> bool:
        """Whether a cell of a column of this kind (image, volume, video, signal, text) can be made of this file."""
        if self.kind == Shape.TABLE:
            return column_kind == "signal" and bool(self.facts.get("numbers"))
        return column_kind in FILLS.get(self.kind, ())


class Refused(Exception):
    """A file that is not taken. `code` is for programs (see reasons.REASONS), `why` for the person, in their language."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:  # the looking is done in another process
        return _again, (self.code, self.facts)

    @property
    def why(self) -> str:
        return reasons.text(self.code, self.facts)

    def __str__(self) -> str:
        return self.why


def _again(code: str, facts: dict[str, Any]) -> Refused:
    return Refused(code, **facts)
