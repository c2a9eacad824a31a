"""Which row is the header, and names for its columns: none empty, none twice."""

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from datasets.readers.base import Cell, ReadError
from datasets.readers.formulas import as_meant
from datasets.readers.numbers import look_like_number

MAX_NAME = 200


def text_of(cell: Cell) -> str:
    """A header cell as text on one line."""
    return " ".join(str(cell).replace("\x00", "").split()) if cell is not None else ""


def filled(row: Sequence[Cell]) -> int:
    return sum(bool(text_of(c)) for c in row)


def warning(code: str, message: str, column: str = "") -> dict[str, str]:
    return {"code": code, "message": message, **({"column": column} if column else {})}


def find(
    rows: list[list[Cell]], *, sheet: bool, header: bool | None = None
) -> tuple[list[str], int, list[dict[str, Any]]]:
    """(raw names, how many rows come before the data, warnings). `header` False: the first row is data already.

    Raises ReadError when there is nothing that could be a table.
    """
    warnings: list[dict[str, Any]] = []
    start = next((i for i, row in enumerate(rows) if filled(row)), None)
    if start is not None and _names_the_delimiter(rows[start]):
        start = next((i for i, row in enumerate(rows) if i > start and filled(row)), None)
    if start is None:
        raise ReadError("empty", _("The file has no rows."))
    width = max(filled(row) for row in rows[start : start + 50])
    first = start
    while (
        first + 1 < len(rows)
        and first - start < 10
        and width > 2
        and filled(rows[first]) <= max(1, width // 4)
    ):
        first += 1
    if first > start and filled(rows[first]) > max(1, width // 4):
        text = _("%(count)d rows above the table (a title, perhaps) are left out.") % {"count": first - start}
        warnings.append(warning("title_rows", text))
    else:
        first = start
    names = [text_of(c) for c in rows[first]]
    if header is False or (header is None and _is_data(rows[first])):
        text = _(
            "The first row looks like data, so the columns are named by their numbers. Add a header row if that is wrong."
        )
        warnings.append(warning("no_header", text))
        return [""] * len(rows[first]), first, warnings
    if sheet and _two_rows(rows, first):
        names = _merged(names, [text_of(c) for c in rows[first + 1]])
        warnings.append(warning("merged_header", _("The header has two rows; their texts are joined.")))
        return names, first + 2, warnings
    return names, first + 1, warnings


def _names_the_delimiter(row: Sequence[Cell]) -> bool:
    """Excel's own line "sep=;" above a table."""
    return filled(row) == 1 and text_of(row[0]).lower() in ("sep=", "sep=,", "sep=;", "sep=|")


def _is_data(row: Sequence[Cell]) -> bool:
    present = [c for c in row if text_of(c)]
    return bool(present) and all(not isinstance(c, str) or look_like_number(c.strip()) for c in present)


def _two_rows(rows: list[list[Cell]], first: int) -> bool:
    """Merged cells leave gaps in the first header row, which a second row of texts fills."""
    if first + 2 >= len(rows):
        return False
    upper, lower = rows[first], rows[first + 1]
    wide = max(len(upper), len(lower))
    gaps = filled(upper) < wide
    texts = filled(lower) >= 2 and all(
        c is None or (isinstance(c, str) and not look_like_number(c.strip())) for c in lower
    )
    either = all(
        text_of(upper[i] if i < len(upper) else None) or text_of(lower[i] if i < len(lower) else None)
        for i in range(wide)
    )
    data = any(not isinstance(c, str) and c is not None for c in rows[first + 2])
    return gaps and texts and either and data


def _merged(upper: list[str], lower: list[str]) -> list[str]:
    wide = max(len(upper), len(lower))
    upper, lower = upper + [""] * (wide - len(upper)), lower + [""] * (wide - len(lower))
    names, group = [], ""
    for above, below in zip(upper, lower, strict=True):
        group = above or group
        names.append(f"{group} {below}".strip() if below else above)
    return names


def name_columns(raw: Sequence[str]) -> tuple[list[str], list[dict[str, Any]]]:
    """Names for the columns and what had to be renamed."""
    taken: set[str] = set()
    names, warnings = [], []
    reserved = {name.strip()[:MAX_NAME] for name in raw}
    for place, given in enumerate(map(as_meant, raw), 1):
        name = given.strip()[:MAX_NAME]
        if not name:
            name = _free(f"column {place}", taken | reserved)
            warnings.append(
                warning(
                    "empty_header",
                    _("Column %(place)d has no name: it is called “%(name)s”.")
                    % {"place": place, "name": name},
                    name,
                )
            )
        elif name in taken:
            name = _free(name, taken | reserved)
            warnings.append(
                warning(
                    "duplicate_header",
                    _("There is another column “%(old)s”: this one is called “%(name)s”.")
                    % {"old": given[:100], "name": name},
                    name,
                )
            )
        elif len(given.strip()) > MAX_NAME:
            warnings.append(
                warning(
                    "long_header",
                    _("The name of column %(place)d was cut to 200 characters.") % {"place": place},
                    name,
                )
            )
        taken.add(name)
        names.append(name)
    return names, warnings


def _free(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    count = 2
    while (candidate := f"{name[: MAX_NAME - 8]} ({count})") in taken:
        count += 1
    return candidate
