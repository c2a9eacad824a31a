"""What a network that looks at the files themselves receives: the table's features and each kind's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from engine.schema import Kind
from engine.transformers.files import Tensors


@dataclass(frozen=True)
class Bundle:
    """n rows. `table` (n, features): what classical candidates see, the files' cheap features included.

    `tensors`: kind -> (tensors (n, columns, ...), present (n, columns)). `bundle[rows]` gives some rows.
    """

    table: Any
    tensors: Mapping[Kind, tuple[Tensors, NDArray[np.bool_]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.table.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """That of the table, as if it were a matrix."""
        return (int(self.table.shape[0]), int(self.table.shape[1]))

    def __getitem__(self, rows: Any) -> Bundle:
        rows = np.arange(len(self))[rows]
        parts = {kind: (tensors.take(rows), present[rows]) for kind, (tensors, present) in self.tensors.items()}
        return Bundle(self.table[rows], parts)

    def dense(self) -> NDArray[np.float64]:
        """The table as an array."""
        return np.asarray(self.table.todense() if sparse.issparse(self.table) else self.table, dtype=float)
