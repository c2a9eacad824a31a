"""From cells to numbers: a table or a list of records becomes one block per column kind, with what looked odd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.files import Files
from engine.metrics import Ints
from engine.schema import ColumnSpec, Kind, Schema
from engine.transformers import TRANSFORMERS, Issue, Transformer
from engine.transformers.base import Block


@dataclass(frozen=True)
class Encoded:
    """n records as blocks by kind, and what was odd about their cells."""

    n: int
    blocks: dict[Kind, Block]
    issues: tuple[Issue, ...] = ()


class Encoder:
    """Fixed by the schema and the settings of each kind; knows nothing of targets and folds."""

    def __init__(self, schema: Schema, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self.schema = schema
        self.settings = {kind: dict(values) for kind, values in settings.items()}
        known = [kind for kind in TRANSFORMERS if not settings or kind.value in settings]
        usable = [spec for spec in schema.features if spec.kind in known]  # a stored model keeps to what it knew
        self.specs: dict[Kind, tuple[ColumnSpec, ...]] = {}
        for kind in known:
            of_kind = tuple(spec for spec in usable if spec.kind is kind)
            if of_kind:
                self.specs[kind] = of_kind
        self.transformers: dict[Kind, Transformer] = {kind: self.fresh(kind) for kind in self.specs}
        self.names: tuple[str, ...] = tuple(spec.name for specs in self.specs.values() for spec in specs)

    @classmethod
    def settled(cls, schema: Schema, frame: pd.DataFrame, files: Files | None = None) -> Encoder:
        """An encoder with settings that fit the training table."""
        draft = cls(schema, {})
        settings = {}
        for kind, specs in draft.specs.items():
            own: dict[str, Any] = {"files": files} if TRANSFORMERS[kind].reads_files else {}
            cells = [frame[spec.name].tolist() for spec in specs]
            settings[kind.value] = TRANSFORMERS[kind].settle(specs, cells, **own)
        return cls(schema, settings)

    def without_weights(self, kind: Kind) -> Encoder:
        """The same without the frozen networks for one kind."""
        own = {name: value for name, value in self.settings[kind.value].items() if name != "weights"}
        return Encoder(self.schema, {**self.settings, kind.value: own})

    def fresh(self, kind: Kind) -> Transformer:
        """A transformer of this kind that has learned nothing yet."""
        return TRANSFORMERS[kind](self.specs[kind], self.settings.get(kind.value))

    def from_frame(self, frame: pd.DataFrame, files: Files | None = None) -> Encoded:
        """A table; a missing column counts as missing cells. `files`: where the cells that name files may look."""
        n, frame = len(frame), frame.rename(columns=str)
        columns = {name: frame[name].tolist() if name in frame.columns else None for name in self.names}
        return self._encode(n, columns, files)

    def from_records(self, records: Sequence[Mapping[str, Any]], files: Files | None = None) -> Encoded:
        """A list of dictionaries; a missing key counts as a missing cell."""
        columns: dict[str, list[Any] | None] = {
            name: [record.get(name) for record in records] for name in self.names
        }
        return self._encode(len(records), columns, files)

    def _encode(
        self, n: int, columns: Mapping[str, list[Any] | None], files: Files | None = None
    ) -> Encoded:
        blocks: dict[Kind, Block] = {}
        issues: list[Issue] = []
        for name, cells in columns.items():
            if cells is None:
                issues.extend(Issue(row, name, "missing_column") for row in range(n))
        for kind, specs in self.specs.items():
            cells_of_kind = [columns[spec.name] or [None] * n for spec in specs]
            own: dict[str, Any] = {"files": files} if self.transformers[kind].reads_files else {}
            blocks[kind], found = self.transformers[kind].encode(cells_of_kind, **own)
            issues.extend(found)
        return Encoded(n, blocks, tuple(issues))

    def take(self, encoded: Encoded, rows: Ints) -> Encoded:
        """Some of the records."""
        blocks = {kind: self.transformers[kind].take(block, rows) for kind, block in encoded.blocks.items()}
        return Encoded(len(rows), blocks)

    def mix(self, encoded: Encoded, rows: Ints) -> Encoded:
        """New records: column j of record i is taken from record `rows[i, j]`; columns as in `names`."""
        blocks = {k: self.transformers[k].mix(encoded.blocks[k], part) for k, part in self._by_kind(rows)}
        return Encoded(len(rows), blocks)

    def background(self, encoded: Encoded, n: int, seed: int) -> Encoded:
        """n made-up records to compare with: every column is drawn on its own, so that nobody's record is kept."""
        rows = np.random.default_rng(seed).integers(0, encoded.n, size=(n, len(self.names)))
        blocks = {
            k: self.transformers[k].background(encoded.blocks[k], part) for k, part in self._by_kind(rows)
        }
        return Encoded(n, blocks)

    def _by_kind(self, rows: Ints) -> Iterator[tuple[Kind, Ints]]:
        start = 0
        for kind, specs in self.specs.items():
            yield kind, np.asarray(rows[:, start : start + len(specs)])
            start += len(specs)
