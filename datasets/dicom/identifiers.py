"""The patient's own identifiers, gathered from a file before it is changed, to find them where no rule expects them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydicom.dataelem import DataElement

from datasets.dicom.actions import TEXTS, values_of

# Numbers and addresses of a patient or visit, by tag; names are gathered by their representation, wherever they stand.
_NUMBERS = frozenset(
    {0x00100020, 0x00101000, 0x00080050, 0x00380010, 0x00101090, 0x00101040, 0x00102154, 0x00101050}
)
# Words that stand in names of phantoms and tests, and in technical text as well.
_ORDINARY = frozenset(
    [
        "anonymous",
        "anonym",
        "anon",
        "test",
        "tests",
        "patient",
        "phantom",
        "unknown",
        "none",
        "null",
        "removed",
        "name",
        "doctor",
        "physician",
        "operator",
        "hospital",
        "demo",
        "first",
        "last",
        "middle",
        "enter",
        "text",
        "sample",
        "samples",
        "research",
        "quality",
        "control",
        "head",
        "chest",
        "abdomen",
        "body",
    ]
)
_HAN = re.compile(r"[\u3400-\u9fff]")
SEARCHED_BYTES = 2**16  # of a binary element that is not pixels


def walk(data: Any) -> Iterator[DataElement]:
    """Every element, also those in sequences."""
    for element in data:
        if element.VR == "SQ":
            for item in element.value:
                yield from walk(item)
        else:
            yield element


class Identifiers:
    """Tokens to search for. Holds patients' values: it lives as long as one file is worked on, and has no repr."""

    def __init__(self, data: Any) -> None:
        found: set[str] = set()
        for element in walk(data):
            if element.VR == "PN":
                for value in values_of(element):
                    found.update(re.split(r"[\^= ,]+", str(value)))
            elif element.tag in _NUMBERS:
                found.update(str(value).strip() for value in values_of(element))
        self._pattern = _pattern({token for token in found if _telling(token)})

    def __repr__(self) -> str:
        return "Identifiers(…)"

    def found_in(self, element: DataElement) -> bool:
        """Whether a text, or a short binary element, holds one of them as a word of its own."""
        if self._pattern is None:
            return False
        if element.VR in TEXTS:
            return any(self._pattern.search(str(value)) for value in values_of(element))
        if (
            element.VR in ("OB", "UN")
            and isinstance(element.value, bytes)
            and len(element.value) <= SEARCHED_BYTES
        ):
            plain = [element.value.decode(code, "replace") for code in ("utf-8", "utf-16-le")]
            return any(self._pattern.search(text) for text in plain)
        return False


def _telling(token: str) -> bool:
    """Long enough to mean somebody: 2 Han characters, 4 letters or letters with digits, 6 digits."""
    if _HAN.search(token):
        return len(token) >= 2
    if token.lower() in _ORDINARY:
        return False
    return len(token) >= (6 if token.isdigit() else 4)


def _pattern(tokens: set[str]) -> re.Pattern[str] | None:
    if not tokens:
        return None
    words = [
        re.escape(token) if _HAN.search(token) else rf"(?<![^\W_]){re.escape(token)}(?![^\W_])"
        for token in sorted(tokens, key=len, reverse=True)
    ]
    return re.compile("|".join(words), re.IGNORECASE)
