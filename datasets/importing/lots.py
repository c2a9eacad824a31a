"""Rows of several pieces gathered in one table file, with exactly the fields that the mapping knows."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import IO, Any

from django.utils.translation import gettext as _

from datasets.importers.convert import Labels
from datasets.importers.convert import Source as Cells
from datasets.importing.base import Cursor, Faulty, Piece, SourceError
from datasets.importing.erased import Erased
from datasets.models import Column, Role

ROWS = 100_000
BYTES = 64 * 1024 * 1024
SECONDS = 60.0  # so that what a slow source has given is not asked for again after a kill
LONGEST = 2_000_000  # characters of a value, as of every table that is read
READ_AS: dict[str, Any] = {"format": "csv", "encoding": "utf-8", "encoding_certain": True, "delimiter": ",", "skip": 1}


def named(column: dict[str, Any]) -> str:
    """The field of the source that a column of the mapping comes from."""
    return str(column.get("source_name") or column["name"])


class Lot:
    """What becomes one upload. `options` is how its file is read."""

    def __init__(
        self, stream: IO[bytes], mapping: Sequence[dict[str, Any]], erased: Erased, *, omits: bool = False,
        telling: Sequence[dict[str, Any]] = (),
    ) -> None:  # fmt: skip
        self.stream, self.mapping, self.omits = stream, mapping, omits
        self.telling = [given["source_name"] for given in telling]  # not kept: what they hold is masked in the row's texts
        self.fields = [*(named(column) for column in mapping), *self.telling]
        self.text = io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="", write_through=True)
        self.writer = csv.writer(self.text, lineterminator="\n")
        self.writer.writerow(self.fields)
        self.patients = self._patients(mapping, erased)
        self.cursor: Cursor | None = None
        self.count = self.erased = 0
        self.faulty: list[Faulty] = []
        self.unknown: set[str] = set()
        self.waiting: Mapping[str, int] | None = None

    def _patients(self, mapping: Sequence[dict[str, Any]], erased: Erased) -> Any:
        """(field, raw → patient key, erased) where there are erased patients that a row could bring back."""
        given = next((c for c in mapping if c["role"] == Role.PATIENT), None)
        if given is None or not erased.hashes:
            return None
        column = Column(name=given["name"], kind=given["kind"], role=Role.PATIENT)
        cells = Cells(
            place=0, column=column, decimal=given.get("decimal", "."), thousands=given.get("thousands", ""),
            date_order=given.get("date_order", "ymd"), keep_words=bool(given.get("keep_words")),
        )  # fmt: skip
        return named(given), Labels(cells), erased

    def fill(self, pieces: Iterator[Piece]) -> bool:
        """Take pieces until it is large enough. False: no more. Raises SourceError; what it holds then is whole pieces."""
        began = monotonic()
        for piece in pieces:
            self.add(piece)
            if self.count >= ROWS or self.stream.tell() >= BYTES or monotonic() - began > SECONDS:
                return True
        return False

    def add(self, piece: Piece) -> None:
        """Write a piece's rows. Raises SourceError when a mapped field is in none of them."""
        present = {name for row in piece.rows for name in row}
        if piece.rows and (lost := [name for name in self._asked() if name not in present]):
            text = _("The source no longer gives %(fields)s. Correct that there, or map the fields anew. Nothing was taken.")
            raise SourceError("field_lost", text % {"fields": ", ".join(f"“{name}”" for name in lost[:10])})
        self.unknown |= present - set(self.fields)
        for number, row in enumerate(piece.rows, 1):
            self._write(number, row)
        self.faulty += piece.faulty
        self.waiting = piece.waiting if piece.waiting is not None else self.waiting
        self.cursor = piece.cursor

    def _asked(self) -> list[str]:
        """The fields that must be there. Of a source that omits what has no value, however many rows may lack a rare one."""
        if not self.omits:
            return self.fields
        return [named(column) for column in self.mapping if column["role"] in (Role.PATIENT, Role.TARGET)]

    def _write(self, number: int, row: Any) -> None:
        if self.patients is not None and self._is_erased(row):
            self.erased += 1
            return
        values = ["" if (value := row.get(name)) is None else str(value).replace("\x00", "") for name in self.fields]
        if any(len(value) > LONGEST for value in values):
            reason = _("a value has more than %(most)s characters") % {"most": f"{LONGEST:,}"}
            self.faulty.append(Faulty(_("row %(number)s of its piece") % {"number": number}, reason))
            return
        self.writer.writerow(values)
        self.count += 1

    def _is_erased(self, row: Any) -> bool:
        field, keys, erased = self.patients
        raw = row.get(field)
        try:
            key = (keys[raw] or "")[:100] if raw is not None else ""
        except ValueError:  # the import refuses it, with the reason
            return False
        return bool(key) and key in erased

    def close(self) -> None:
        """All is in the file, which stays open."""
        self.text.flush()
        self.text.detach()

    @property
    def options(self) -> dict[str, Any]:
        columns = [{**column, "place": place} for place, column in enumerate(self.mapping)]
        telling = [{"place": len(columns) + i, "source_name": name} for i, name in enumerate(self.telling)]
        width = len(columns) + len(telling)
        return {**READ_AS, "width": width, "settings": {}, "columns": columns, "telling": telling}


def sample(path: Path, fields: Sequence[str], rows: Sequence[Any]) -> None:
    """The first rows of a source as a table, for its preview."""
    with path.open("w", encoding="utf-8", errors="replace", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(fields)
        for row in rows:
            writer.writerow(["" if row.get(name) is None else str(row[name]).replace("\x00", "") for name in fields])
