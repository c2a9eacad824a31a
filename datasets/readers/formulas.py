"""Texts that a spreadsheet would run as a formula, and the apostrophe that stops it (OWASP, CSV injection)."""

import re
from typing import Any

STARTS = ("=", "+", "-", "@", "\t", "\r")
DISARMED = re.compile(r"\s*'[=+\-@]")


def safe_cell(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe before it."""
    return "'" + value if isinstance(value, str) and value[:1] in STARTS else value


def as_meant(value: Any) -> Any:
    """The reverse, so that an exported file that is uploaded again brings the same rows."""
    return value.strip()[1:] if isinstance(value, str) and DISARMED.match(value) else value
