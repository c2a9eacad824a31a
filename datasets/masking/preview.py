"""What of a file's texts will be masked, shown before anything is imported."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from datasets.masking import known, texts
from datasets.models import Kind, Role
from datasets.readers.base import Cell

ROWS = 1_000
CHARACTERS = 400_000  # looked at, so that a page does not wait for long notes
EXAMPLES = 4  # of each column
AROUND = 50  # characters of an example's unmasked text that are shown beside what is masked


def is_masked(column: Mapping[str, Any]) -> bool:
    """As `columns.is_masked`, of a column of a preview."""
    fits = column["kind"] == Kind.TEXT and column["role"] not in (Role.TARGET, Role.PATIENT)
    return fits and not column.get("identifies") and bool(column["include"])


def tells(column: Mapping[str, Any]) -> bool:
    """As `columns.tells`; a column that is not kept tells too."""
    return column["role"] == Role.PATIENT or (bool(column.get("identifies")) and column["role"] != Role.TARGET)


def describe(columns: Sequence[Mapping[str, Any]], rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    """`{"rows": looked at, "telling": [names], "columns": [{name, cells, counts, examples}], "categories": [the same]}`.

    Categories are not masked: those in whose cells something was found are told of. {} where there is nothing to say.
    """
    masked = [column for column in columns if is_masked(column)]
    categories = [column for column in columns if column["include"] and _may_hold(column)]
    telling = [column for column in columns if tells(column)]
    found = {column["name"]: Found() for column in (*masked, *categories)}
    looked, left = 0, CHARACTERS
    for row in rows[:ROWS]:
        if left <= 0:
            break
        looked += 1
        own = known.told([row[c["place"]] for c in telling if c["place"] < len(row)])
        for column in (*masked, *categories):
            cell = row[column["place"]] if column["place"] < len(row) else None
            if cell is not None:
                left -= found[column["name"]].look(str(cell), own)
    kept = [column["name"] for column in categories if found[column["name"]].cells]
    if not masked and not kept:
        return {}
    return {
        "rows": looked,
        "telling": [column["name"] for column in telling],
        "columns": [{"name": column["name"], **found[column["name"]].as_json()} for column in masked],
        "categories": [{"name": name, **found[name].as_json()} for name in kept],
    }


def _may_hold(column: Mapping[str, Any]) -> bool:
    fits = column["kind"] == Kind.CATEGORY and column["role"] not in (Role.TARGET, Role.PATIENT)
    return fits and not column.get("identifies")


class Found:
    """What one column's texts hold."""

    def __init__(self) -> None:
        self.cells = 0
        self.counts: Counter[str] = Counter()
        self.examples: list[list[list[str]]] = []

    def look(self, text: str, own: Sequence[str]) -> int:
        """Look at a text; how many characters it has."""
        spans = texts.find(text, own)
        if spans:
            self.cells += 1
            self.counts.update(str(span.what) for span in spans)
            if len(self.examples) < EXAMPLES:
                pieces = [(piece, str(span.what) if span else "") for piece, span in texts.parts(text, spans)]
                self.examples.append([[_shown(piece, what), what] for piece, what in pieces[:12]])
        return len(text)

    def as_json(self) -> dict[str, Any]:
        return {"cells": self.cells, "counts": dict(self.counts), "examples": self.examples}


def _shown(piece: str, what: str) -> str:
    if what or len(piece) <= 2 * AROUND:
        return piece
    return f"{piece[:AROUND]} … {piece[-AROUND:]}"
