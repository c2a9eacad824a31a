"""Dates as people write them; whether 03/04 is March or April is decided on evidence only."""

import re
from collections.abc import Iterable
from datetime import datetime

ORDERS = ("ymd", "dmy", "mdy")
_YMD = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?")
_XXY = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})")
_TIME = re.compile(r"[T ]\s*(\d{1,2}):(\d{2})(?::(\d{2})(\.\d{1,6})?)?\s*(Z|[+-]\d{2}:?\d{2})?")
_NAMED = ("%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y")


def _split(text: str) -> tuple[str, str]:
    text = text.strip()
    if match := re.search(r"(?<=\d|日)[T ]\s*\d{1,2}:", text):
        return text[: match.start()].strip(), text[match.start() :]
    return text, ""


def look_like_date(text: str) -> bool:
    """Whether this is a date in some order."""
    return any(parse(text, order) is not None for order in ORDERS)


def order_of(texts: Iterable[str]) -> tuple[str, list[str]]:
    """(order, ambiguous examples): "ymd", "dmy", "mdy"; "" when only the person can tell, or the cells contradict."""
    day_first = month_first = False
    ambiguous = []
    for text in texts:
        match = _XXY.fullmatch(_split(text)[0])
        if match:
            first, second = int(match[1]), int(match[3])
            day_first |= first > 12
            month_first |= second > 12
            if first <= 12 and second <= 12 and first != second:
                ambiguous.append(text)
    if day_first and month_first:
        return "", ambiguous
    if day_first or month_first:
        return ("dmy" if day_first else "mdy"), []
    return ("", ambiguous) if ambiguous else ("ymd", [])


def parse(text: str, order: str) -> str | None:
    """The ISO form, or None when it is not a date in this order. Year-first dates are read in every order."""
    day, clock = _split(text)
    iso = _day(day, order)
    if iso is None:
        return None
    if not clock:
        return iso
    match = _TIME.fullmatch(clock)
    if match is None:
        return None
    zone = (match[5] or "").replace("Z", "+00:00")
    whole = f"{iso}T{int(match[1]):02d}:{match[2]}:{match[3] or '00'}{match[4] or ''}{zone}"
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError:
        return None
    midnight = not zone and (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0)
    return iso if midnight else moment.isoformat()


def _day(text: str, order: str) -> str | None:
    if match := _YMD.fullmatch(text):
        year, month, day = match.groups()
    elif match := _XXY.fullmatch(text):
        if order not in ("dmy", "mdy") and match[1] != match[3]:
            return None
        day, month, year = (
            (match[1], match[3], match[4]) if order != "mdy" else (match[3], match[1], match[4])
        )
    else:
        return _named(text)
    try:
        return datetime(int(year), int(month), int(day)).date().isoformat()
    except ValueError:
        return None


def _named(text: str) -> str | None:
    if not any(c.isalpha() for c in text) or len(text) > 30:
        return None
    for form in _NAMED:
        try:
            return datetime.strptime(text, form).date().isoformat()
        except ValueError:
            continue
    return None
