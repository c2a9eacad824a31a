"""Which organisation may reach what: entries of the settings, `ORGANISATION=VALUE`, or `*=VALUE` for all of them.

Whoever registers has an organisation, and names of organisations may be given twice. So a private network or a folder of this
host is granted to an organisation by its id, and without a grant there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

ALL = "*"


def parsed(entry: str) -> tuple[str, str]:
    """(organisation's id or "*", value). Raises ValueError."""
    whose, equals, value = (part.strip() for part in entry.partition("="))
    if not equals or not value:
        raise ValueError(f"{entry!r} does not say whose it is: write ORGANISATION-ID={entry} or *={entry}")
    return (ALL if whose == ALL else str(UUID(whose))), value


def check(entries: Sequence[str], value: Callable[[str], Any]) -> None:
    """Raises ValueError for an entry that is not as above, or whose value is refused by `value`."""
    for entry in entries:
        value(parsed(entry)[1])


def absolute(folder: str) -> str:
    """Raises ValueError for a path that is not absolute."""
    if not Path(folder).is_absolute():
        raise ValueError(f"{folder!r} is not an absolute path")
    return folder


def granted(entries: Sequence[str], organisation: Any) -> tuple[str, ...]:
    """The values for an organisation (by its id)."""
    pairs = map(parsed, entries)
    return tuple(value for whose, value in pairs if whose in (ALL, str(organisation)))
