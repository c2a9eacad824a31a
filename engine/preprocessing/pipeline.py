"""The preprocessing of one fitted model: each kind's transformer, then feature selection, as one matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy import sparse

from engine.candidates.base import Matrix
from engine.encoding import Encoded, Encoder
from engine.metrics import Floats, Ints
from engine.preprocessing.selection import select_features
from engine.preprocessing.steps import Arrays
from engine.schema import FILE_KINDS, Kind
from engine.transformers import Transformer


class Preprocessor:
    """`choices` names the method of each step, whether text is "dense" or "sparse", and whether "tensors" go along."""

    def __init__(self, encoder: Encoder, choices: Mapping[str, str], seed: int = 0) -> None:
        self.encoder = encoder
        self.choices = dict(choices)
        self.seed = seed
        self.transformers: dict[Kind, Transformer] = {}
        self.kept: Ints | None = None

    def fit(self, encoded: Encoded, y: Floats, patients: Ints, classify: bool) -> Preprocessor:
        """Learn from training records only."""
        codes = np.unique(patients, return_inverse=True)[1]
        for kind, block in encoded.blocks.items():
            self.transformers[kind] = self.encoder.fresh(kind).fit(block, y, self.choices, codes, classify)
        self.kept = None
        if self.choices["feature_selection"] != "none":
            X = self._table(encoded)
            self.kept = select_features(X, y, classify, self.choices["feature_selection"], self.seed)
        return self

    def transform(self, encoded: Encoded) -> Matrix:
        """(n, features): a float64 array, or CSR when there is sparse text. With the choice "tensors": a Bundle."""
        X = self._table(encoded)
        if not self.choices.get("tensors"):
            return X
        from engine.bundle import Bundle

        files = {kind: block for kind, block in encoded.blocks.items() if kind in FILE_KINDS}
        return Bundle(X, {kind: (block.tensors, block.present) for kind, block in files.items()})

    def _table(self, encoded: Encoded) -> Matrix:
        parts = [self.transformers[kind].transform(block) for kind, block in encoded.blocks.items()]
        if not parts:
            return np.zeros((encoded.n, 1))
        if any(sparse.issparse(part) for part in parts):
            X: Matrix = sparse.hstack([sparse.csr_matrix(part) for part in parts], format="csr")
        else:
            X = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        return X if self.kept is None else X[:, self.kept]

    @property
    def origins(self) -> Ints:
        """For each feature the position in `encoder.names` of the column it comes from."""
        parts, start = [np.zeros(0, dtype=np.int64)], 0
        for kind, specs in self.encoder.specs.items():
            parts.append(self.transformers[kind].origins + start)
            start += len(specs)
        origins: Ints = np.concatenate(parts).astype(np.int64)
        return origins if self.kept is None else origins[self.kept]

    def arrays(self) -> Arrays:
        """The learned state of all transformers and of the selection."""
        state = {
            f"{k.value}/{name}": a for k, t in self.transformers.items() for name, a in t.arrays().items()
        }
        return state if self.kept is None else {**state, "kept": self.kept}

    def restore(self, arrays: Mapping[str, Any], kinds: Iterable[Kind] | None = None) -> Preprocessor:
        """The inverse of `arrays`; `kinds` when it was fitted on some kinds only."""
        self.kept = arrays.get("kept")
        for kind in self.encoder.specs if kinds is None else kinds:
            own = {n.split("/", 1)[1]: a for n, a in arrays.items() if n.startswith(f"{kind.value}/")}
            self.transformers[kind] = self.encoder.fresh(kind).restore(own, self.choices)
        return self
