"""A date however it is written, and every way to write it again."""

import re
from datetime import date

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
SEPARATOR = r"\s*[-/.,年月\s]\s*"


def read(text: str) -> date | None:
    """ISO, 1980/5/3, 3.5.1980, 19800503, 1980年5月3日, 3 May 1980, May 3, 1980; None for anything else.

    Of two numbers that could both be the month the day is taken to come first; `pattern` matches both orders.
    """
    text = text.strip()
    if m := re.fullmatch(r"(\d{4})(?:[-/.年\s]\s?)(\d{1,2})(?:[-/.月\s]\s?)(\d{1,2})日?", text):
        return _date(int(m[1]), int(m[2]), int(m[3]))
    if m := re.fullmatch(r"(19|20)(\d\d)(\d\d)(\d\d)", text):
        return _date(int(m[1] + m[2]), int(m[3]), int(m[4]))
    if m := re.fullmatch(r"(\d{1,2})[-/.\s](\d{1,2})[-/.\s](\d{4})", text):
        return _date(int(m[3]), int(m[2]), int(m[1])) or _date(int(m[3]), int(m[1]), int(m[2]))
    if m := re.fullmatch(r"(\d{1,2})\.?\s([a-z]{3,9})\.?,?\s(\d{4})", text):
        return _named(m[3], m[2], m[1])
    if m := re.fullmatch(r"([a-z]{3,9})\.?\s(\d{1,2}),?\s(\d{4})", text):
        return _named(m[3], m[1], m[2])
    return None


def _named(year: str, month: str, day: str) -> date | None:
    found = [number for number, name in enumerate(MONTHS, 1) if name.startswith(month[:3])]
    return _date(int(year), found[0], int(day)) if found else None


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def pattern(day: date) -> str:
    """A pattern of folded text that matches the date in any of these ways, also with a year of two digits."""
    year, month, number = rf"(?:{day.year}|{day.year % 100:02d})", rf"0?{day.month}", rf"0?{day.day}"
    full = MONTHS[day.month - 1]
    name = rf"(?:{full}|{full[:3]}\.?)"
    ways = (
        rf"{day.year}{SEPARATOR}{month}{SEPARATOR}{number}日?",
        rf"{number}{SEPARATOR}{month}{SEPARATOR}{year}",
        rf"{month}{SEPARATOR}{number}{SEPARATOR}{year}",
        rf"{number}(?:st|nd|rd|th)?\.?[\s-]{{0,2}}(?:of\s)?{name}[\s,-]{{0,2}}{year}",
        rf"{name}[\s-]{{0,2}}{number}(?:st|nd|rd|th)?[\s,]{{1,2}}{year}",
        f"{day:%Y%m%d}",
    )
    return rf"(?<!\d)(?:{'|'.join(ways)})(?!\d)"
