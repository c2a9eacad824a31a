"""What is done to one element: dummies by value representation, dates moved, UIDs replaced. Knows no rules of the standard."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.uid import UID

from datasets.dicom.profile import Profile, shifted

REMOVED = "REMOVED"
OLDEST_AGE = 89  # years; above it an age is one of few people (HIPAA 45 CFR 164.514), and is written as 90
TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_DUMMIES: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), REMOVED),
    "UR": "http://removed.invalid",
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("FD", "FL"), 0.0),
    **dict.fromkeys(("SL", "SS", "SV", "UL", "US", "UV"), 0),
    "AT": 0,
    **dict.fromkeys(BYTES, b"\0" * 8),
}
_TIME = re.compile(r"\d{2}(:?\d{2}(:?\d{2}(\.\d{1,6})?)?)?")
_DATETIME = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")
_AGE = re.compile(r"(\d{3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def empty(element: DataElement) -> bool:
    """Whether there is nothing in it."""
    value = element.value
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def values_of(element: DataElement) -> list[Any]:
    """Its values as a list; of an empty one none."""
    if empty(element):
        return []
    value = element.value
    return list(value) if element.VM > 1 and not isinstance(value, str | bytes) else [value]


def put(element: DataElement, values: list[Any]) -> None:
    """Set a list of values (one is no list; none is empty)."""
    element.value = values if len(values) > 1 else values[0] if values else None


def dummy(vr: str) -> Any:
    """A value of this representation that says nothing; raises KeyError for an unknown one, so that nothing is kept."""
    return _DUMMIES[vr]


def new_uids(element: DataElement, profile: Profile) -> bool:
    """Replace its UIDs, except those that the standard itself gives (well-known frames of reference); whether any was."""
    old = [str(value) for value in values_of(element)]
    fresh = [value if well_known(value) else profile.uid(value) for value in old]
    put(element, fresh)
    return fresh != old


def well_known(uid: str) -> bool:
    """Whether PS3.6 lists it."""
    return UID(uid).name != uid


def move(element: DataElement, shift: timedelta) -> bool:
    """Move its dates; times of day stay. False (nothing changed) where a value is no date or time of the standard's form."""
    old = [str(value).strip() for value in values_of(element)]
    if element.VR == "DA":
        moved = [shifted(value, shift) for value in old]
    elif element.VR == "TM":
        moved = [value if _TIME.fullmatch(value) else None for value in old]
    elif element.VR == "DT":
        moved = [_moved_datetime(value, shift) for value in old]
    else:
        return False
    if any(value is None for value in moved):
        return False
    put(element, moved)
    return True


def _moved_datetime(value: str, shift: timedelta) -> str | None:
    match = _DATETIME.fullmatch(value)
    day = shifted(match.group(1), shift) if match else None
    return None if match is None or day is None else day + (match.group(2) or "") + (match.group(3) or "")


def keep_age(element: DataElement) -> bool:
    """Ages above 89 years become 90 years. False where a value is not of the standard's form."""
    capped = []
    for value in values_of(element):
        match = _AGE.fullmatch(str(value).strip())
        if match is None:
            return False
        years = int(match.group(1)) / _PER_YEAR[match.group(2)]
        capped.append("090Y" if years > OLDEST_AGE else match.group(0))
    put(element, capped)
    return True
