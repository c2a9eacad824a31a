"""Numbers as people write them: decimal commas and thousands separators, decided per column and on evidence only."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

PLAIN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
INFINITE = re.compile(r"[+-]?(?:inf|infinity|∞)", re.IGNORECASE)
SPACES = " \u00a0\u202f\u2009"
GROUPERS = ",.'’" + SPACES
DECIMALS = (".", ",")
THOUSANDS = ("", ",", ".", "'", " ")
_AMBIGUOUS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_BOTH = re.compile(
    rf"[+-]?[0-9]{{1,3}}(?:([{re.escape(GROUPERS)}])[0-9]{{3}})(?:\1[0-9]{{3}})*([.,])[0-9]+(?:[eE][+-]?[0-9]+)?"
)
_GROUPS = re.compile(rf"[+-]?[0-9]{{1,3}}(?:([{re.escape(GROUPERS)}])[0-9]{{3}})(?:\1[0-9]{{3}})+")
_ONE_GROUP = re.compile(rf"[+-]?[1-9][0-9]{{0,2}}['’{SPACES}][0-9]{{3}}")
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
_POINT = re.compile(r"[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?")
_ONE_POINT_GROUP = re.compile(r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}")


@dataclass
class Evidence:
    """What the cells of one column say about how its numbers are written."""

    decimals: set[str]
    thousands: set[str]
    ambiguous: list[str]
    point_groups: list[str]  # like "1.234": a decimal number unless the column's decimal sign is a comma

    @property
    def decided(self) -> bool:
        return bool(self.decimals or self.thousands) or not self.ambiguous

    @property
    def contradictory(self) -> bool:
        return len(self.decimals) > 1 or bool(self.decimals & self.thousands)

    def format(self) -> tuple[str, str]:
        """(decimal, thousands). ("", "") when only the person can tell."""
        if not self.decided or self.contradictory:
            return "", ""
        grouped = next(iter(self.thousands), "")
        decimal = next(iter(self.decimals), "")
        if not decimal:
            decimal = "," if grouped == "." else "."
        if not grouped and self.ambiguous and decimal == ".":
            grouped = ","  # with a decimal point proven, "265,000" can only be thousands
        if not grouped and self.point_groups and decimal == ",":
            grouped = "."
        return decimal, grouped


def look_like_number(text: str) -> bool:
    """Whether this is a number in some way of writing."""
    return bool(PLAIN.fullmatch(text) or _COMMA.fullmatch(text) or _BOTH.fullmatch(text) or _GROUPS.fullmatch(text)
                or _ONE_GROUP.fullmatch(text))  # fmt: skip


def sign(mark: str) -> str:
    """All kinds of spaces and apostrophes count as one thousands separator each."""
    return " " if mark in SPACES else "'" if mark == "’" else mark


def evidence(texts: Iterable[str]) -> Evidence:
    """Read the ways of writing from a column's cells."""
    found = Evidence(set(), set(), [], [])
    for text in texts:
        if groups := _GROUPS.fullmatch(text):
            found.thousands.add(sign(groups[1]))
        elif (both := _BOTH.fullmatch(text)) and both[1] != both[2]:
            found.thousands.add(sign(both[1]))
            found.decimals.add(both[2])
        elif one := _ONE_GROUP.fullmatch(text):
            found.thousands.add("'" if "'" in one[0] or "’" in one[0] else " ")
        elif _AMBIGUOUS.fullmatch(text):
            found.ambiguous.append(text)
        elif _COMMA.fullmatch(text):
            found.decimals.add(",")
        elif _ONE_POINT_GROUP.fullmatch(text):
            found.point_groups.append(text)
        elif _POINT.fullmatch(text):
            found.decimals.add(".")
    # "1.234" beside nothing that speaks for a decimal comma is what every program writes: a point.
    if found.point_groups and "," not in found.decimals and "." not in found.thousands:
        found.decimals.add(".")
    return found


@lru_cache(maxsize=64)
def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    mark = {" ": f"[{SPACES}]", "'": "['’]"}.get(thousands, re.escape(thousands))
    whole = rf"(?:[0-9]+|[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+)" if thousands else "[0-9]+"
    point = re.escape(decimal)
    return re.compile(rf"[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?")


def parse(text: str, decimal: str, thousands: str) -> float | None:
    """The number, or None when the text is not one in this way of writing. Undecided ("") takes plain numbers only."""
    text = text.strip()
    if not decimal or (decimal == "." and not thousands):
        return float(text) if PLAIN.fullmatch(text) else None
    if not _pattern(decimal, thousands).fullmatch(text):
        return None
    if thousands:
        for mark in SPACES if thousands == " " else "'’" if thousands == "'" else thousands:
            text = text.replace(mark, "")
    return float(text.replace(decimal, "."))
