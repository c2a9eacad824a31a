"""Categories: one feature for each known category, one for all others, one for missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.cells import is_missing
from engine.columns import categories_of
from engine.metrics import Floats, Ints
from engine.preprocessing.steps import Arrays
from engine.schema import Kind
from engine.transformers.base import Block, Issue, Transformer, transformer


@transformer(Kind.CATEGORY)
class CategoryTransformer(Transformer):
    """A block is (n, columns) codes: the position in `categories`, one past the end for others, NaN for missing.

    With `mode` as imputation a missing category becomes the most common one; otherwise missing is a category itself.
    """

    def __init__(self, specs: Sequence[Any], settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(specs, settings)
        self.codes = [{name: i for i, name in enumerate(spec.categories or ())} for spec in self.specs]
        self.folded = [{name.casefold(): i for name, i in codes.items()} for codes in self.codes]
        # words such as “none” that training took as values
        self.worded = [any(is_missing(name) for name in codes) for codes in self.codes]
        self.sizes = np.array([len(codes) for codes in self.codes], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.sizes + 2)]).astype(np.int64)

    def encode(self, columns: Sequence[Sequence[Any]]) -> tuple[Block, list[Issue]]:
        """A category that training did not know is reported and counted among the others."""
        issues: list[Issue] = []
        rows = len(columns[0]) if columns else 0
        block = np.empty((rows, len(columns)))
        for j, cells in enumerate(columns):
            codes: dict[str | None, float] = {None: np.nan}
            codes.update((name, float(code)) for name, code in self.codes[j].items())
            names = categories_of(cells)
            if self.worded[j]:
                names = [_as_known(cell, name, self.codes[j]) for cell, name in zip(cells, names, strict=True)]
            block[:, j] = [codes.get(name, -1) for name in names]
            for i in np.flatnonzero(block[:, j] == -1):
                block[i, j] = self._fallback(int(i), j, str(names[i]), issues)
        return block, issues

    def _fallback(self, row: int, column: int, name: str, issues: list[Issue]) -> float:
        code = self.folded[column].get(name.casefold())
        if code is not None:
            return float(code)
        issues.append(Issue(row, self.specs[column].name, "unseen_category", name))
        return float(self.sizes[column])

    def fit(
        self, block: Block, y: Floats, choices: Mapping[str, str], patients: Ints, classify: bool
    ) -> CategoryTransformer:
        """Where a missing value goes."""
        self.missing = self.sizes + 1
        if choices["imputation"] == "mode":
            self.missing = np.array(
                [_mode(column, size) for column, size in zip(block.T, self.sizes, strict=True)]
            )
        return self

    def transform(self, block: Block) -> Floats:
        """(n, features) zeros and ones."""
        codes = np.where(np.isnan(block), self.missing, block).astype(np.int64)
        X = np.zeros((len(block), int(self.offsets[-1])))
        X[np.arange(len(block))[:, None], codes + self.offsets[:-1]] = 1.0
        return X

    @property
    def origins(self) -> Ints:
        """Every column has its categories, others and missing."""
        return np.repeat(np.arange(len(self.specs)), self.sizes + 2)

    def arrays(self) -> Arrays:
        """Where a missing value goes."""
        return {"missing": self.missing}

    def restore(self, arrays: Arrays, choices: Mapping[str, str]) -> CategoryTransformer:
        """From where a missing value goes."""
        self.missing = arrays["missing"]
        return self


def _as_known(cell: Any, name: str | None, codes: Mapping[str, int]) -> str | None:
    known = name is None and isinstance(cell, str) and cell.strip() in codes
    return str(cell).strip() if known else name


def _mode(codes: Floats, size: np.int64) -> int:
    present = codes[~np.isnan(codes)].astype(np.int64)
    return int(np.bincount(present).argmax()) if len(present) else int(size) + 1
