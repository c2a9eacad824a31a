"""What a transformer of one column kind does: cells to a block, a block to features; and their registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.metrics import Floats, Ints
from engine.preprocessing.steps import Arrays
from engine.schema import ColumnSpec, Kind

Block = Any  # what a kind's cells become: (n, columns) numbers, or one sparse matrix per column


@dataclass(frozen=True)
class Issue:
    """Something odd about one cell, found while encoding; becomes a warning beside the prediction."""

    row: int
    column: str
    code: str
    value: Any = None


class Transformer:
    """All columns of one kind. `settings` are decided once per fit from the training cells, before any fold.

    To add a kind: one file here with a subclass decorated by @transformer, and its import in `__init__`.
    """

    kind: ClassVar[Kind]
    reads_files: ClassVar[bool] = False  # then `encode` also takes `files`

    def __init__(self, specs: Sequence[ColumnSpec], settings: Mapping[str, Any] | None = None) -> None:
        self.specs = tuple(specs)
        self.settings = dict(settings or {})

    @classmethod
    def settle(cls, specs: Sequence[ColumnSpec], columns: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """JSON-able settings that fit these training cells; must not look at the target."""
        return {}

    def encode(self, columns: Sequence[Sequence[Any]]) -> tuple[Block, list[Issue]]:
        """Cells, column by column, to a block; odd cells become missing and are reported."""
        raise NotImplementedError

    def take(self, block: Block, rows: Ints) -> Block:
        """Some rows of a block."""
        return block[rows]

    def mix(self, block: Block, rows: Ints) -> Block:
        """A new block whose column j is taken from the rows `rows[:, j]`; used to explain by masking."""
        return block[rows, np.arange(block.shape[1])]

    def background(self, block: Block, rows: Ints) -> Block:
        """Values to compare with, `rows` (n, columns) drawn for each column on its own: nobody's whole record."""
        return self.mix(block, rows)

    def join(self, first: Block, second: Block) -> Block:
        """The rows of both blocks."""
        return np.concatenate([first, second])

    def absent(self, block: Block) -> NDArray[np.bool_]:
        """(n, columns) whether a cell is missing."""
        empty: NDArray[np.bool_] = np.isnan(block)
        return empty

    def fit(
        self, block: Block, y: Floats, choices: Mapping[str, str], patients: Ints, classify: bool
    ) -> Transformer:
        """Learn from a training block."""
        raise NotImplementedError

    def transform(self, block: Block) -> Any:
        """(n, features), dense or CSR."""
        raise NotImplementedError

    @property
    def origins(self) -> Ints:
        """For each feature the position in `specs` of the column it comes from."""
        raise NotImplementedError

    def arrays(self) -> Arrays:
        """The learned state."""
        raise NotImplementedError

    def restore(self, arrays: Arrays, choices: Mapping[str, str]) -> Transformer:
        """The inverse of `arrays`."""
        raise NotImplementedError


TRANSFORMERS: dict[Kind, type[Transformer]] = {}
TransformerType = TypeVar("TransformerType", bound=type[Transformer])


def transformer(kind: Kind) -> Callable[[TransformerType], TransformerType]:
    """Class decorator: this class handles columns of that kind. Kinds without one are reported by `check`."""

    def register(cls: TransformerType) -> TransformerType:
        cls.kind = kind
        TRANSFORMERS[kind] = cls
        return cls

    return register


def stack(columns: list[NDArray[np.float64]], rows: int) -> Floats:
    """Columns side by side, also when there are none."""
    return np.column_stack(columns) if columns else np.zeros((rows, 0))
