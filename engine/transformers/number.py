"""Numbers: outliers, missing values, normalisation and scaling, as chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.cells import to_number
from engine.columns import numbers_of
from engine.metrics import Floats, Ints
from engine.preprocessing.imputation import Imputation
from engine.preprocessing.normalisation import Normalisation, unit_rows
from engine.preprocessing.outliers import Outliers
from engine.preprocessing.scaling import Scaling
from engine.preprocessing.steps import Arrays, Step
from engine.schema import Kind
from engine.transformers.base import Block, Issue, Transformer, stack, transformer


@transformer(Kind.NUMBER)
class NumberTransformer(Transformer):
    """A block is (n, columns) floats with NaN for missing."""

    parse = staticmethod(to_number)
    per_column = 1

    def encode(self, columns: Sequence[Sequence[Any]]) -> tuple[Block, list[Issue]]:
        """What is not a number, and infinity, becomes missing."""
        issues: list[Issue] = []
        rows = len(columns[0]) if columns else 0
        block = np.empty((rows, len(columns)))
        for j, cells in enumerate(columns):
            block[:, j], odd = numbers_of(cells, self.parse)
            issues.extend(
                Issue(i, self.specs[j].name, problem, None if problem == "not_a_number" else cells[i])
                for i, problem in odd
            )
        return block, issues

    def expand(self, block: Block) -> Floats:
        """The numbers that the steps work on; (n, per_column * columns)."""
        numbers: Floats = block
        return numbers

    def _steps(self, choices: Mapping[str, str]) -> tuple[Outliers, Imputation, Normalisation, Scaling]:
        return (
            Outliers(choices["outliers"]),
            Imputation(choices["imputation"]),
            Normalisation(choices["normalisation"]),
            Scaling(choices["scaling"]),
        )

    def fit(
        self, block: Block, y: Floats, choices: Mapping[str, str], patients: Ints, classify: bool
    ) -> NumberTransformer:
        """Each step learns from what the one before it gives."""
        self.steps = self._steps(choices)
        self.unit = choices["normalisation"] == "l2"
        X = self.expand(block)
        for step in self.steps:
            step.fit(X, y, classify)
            X = step.transform(X)
        return self

    def transform(self, block: Block) -> Floats:
        """Filled and scaled numbers, then the markers of what was missing."""
        X = self.expand(block)
        markers = self.steps[1].markers(X)
        for step in self.steps:
            X = step.transform(X)
        if self.unit:
            X = unit_rows(X)
        return np.concatenate([X, markers], axis=1) if markers.shape[1] else X

    @property
    def origins(self) -> Ints:
        """Markers come from their own column."""
        expanded = np.tile(np.arange(len(self.specs)), self.per_column)
        marked = getattr(self.steps[1], "marked", np.zeros(0, dtype=np.int64))
        return np.concatenate([expanded, expanded[marked]])

    def arrays(self) -> Arrays:
        """The state of all steps."""
        return {
            f"{i}.{name}": value for i, step in enumerate(self.steps) for name, value in step.arrays().items()
        }

    def restore(self, arrays: Arrays, choices: Mapping[str, str]) -> NumberTransformer:
        """From the state of all steps."""
        self.steps = self._steps(choices)
        self.unit = choices["normalisation"] == "l2"
        for i, step in enumerate(self.steps):
            _restore(step, f"{i}.", arrays)
        return self


def _restore(step: Step, prefix: str, arrays: Arrays) -> None:
    step.restore(
        {
            n.removeprefix(prefix): a
            for n, a in arrays.items()
            if n.startswith(prefix) and n.removeprefix(prefix) in step.learned
        }
    )


__all__ = ["NumberTransformer", "stack"]
