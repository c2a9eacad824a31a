"""Is a record unlike anything seen in training? A distance, and the limit that 99 of 100 training patients keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.covariance import ledoit_wolf

from engine.encoding import Encoded, Encoder
from engine.metrics import Floats, Ints
from engine.preprocessing.pipeline import Preprocessor
from engine.preprocessing.steps import Arrays
from engine.schema import Kind
from engine.split import deal
from engine.transformers.text import TextTransformer

CHOICES = {"outliers": "none", "imputation": "median", "normalisation": "none", "scaling": "zscore",
           "feature_selection": "none"}  # fmt: skip
KEPT = 0.99
WIDEST = 300  # above this many features only their own variances are used
MOST = 20_000


class Novelty:
    """Mahalanobis distance of the table's columns with a shrunk covariance (Ledoit & Wolf 2004,
    doi:10.1016/S0047-259X(03)00096-4), plus how much is missing, plus how many of a text's n-grams are new.

    `score` above 1 is out of distribution; every part is measured by what 99% of held-out training records keep.
    """

    def __init__(self, encoder: Encoder) -> None:
        table = {kind: specs for kind, specs in encoder.specs.items() if kind is not Kind.TEXT}
        self.kinds = tuple(table)
        self.has_text = Kind.TEXT in encoder.specs
        self.encoder = encoder
        self.table = Preprocessor(encoder, CHOICES)
        self.text: TextTransformer | None = None

    def fit(self, encoded: Encoded, patients: Ints, seed: int) -> Novelty:
        """Limits come from five-fold held-out distances by patient."""
        if encoded.n > MOST:
            rows = np.random.default_rng(seed).choice(encoded.n, MOST, replace=False)
            encoded, patients = (
                self.encoder.take(encoded, rows),
                np.unique(patients[rows], return_inverse=True)[1],
            )
        nothing = np.zeros(encoded.n)
        parts = max(2, min(5, int(patients.max()) + 1))
        part = deal(patients, np.zeros(encoded.n, dtype=np.int64), parts, seed)
        held = np.zeros((encoded.n, 2))
        for k in range(parts):
            train, test = np.flatnonzero(part != k), np.flatnonzero(part == k)
            self._learn(self.encoder.take(encoded, train), nothing[train], patients[train])
            held[test] = self._parts(self.encoder.take(encoded, test))
        self._learn(encoded, nothing, patients)
        limits = np.quantile(held, min(KEPT * (encoded.n + 1) / encoded.n, 1.0), axis=0)
        self.limits = np.maximum(limits, [1e-9, 0.05])
        return self

    def _only_table(self, encoded: Encoded) -> Encoded:
        return Encoded(encoded.n, {kind: encoded.blocks[kind] for kind in self.kinds})

    def _learn(self, encoded: Encoded, y: Floats, patients: Ints) -> None:
        codes = np.unique(patients, return_inverse=True)[1]
        self.table.fit(self._only_table(encoded), y, codes, False)
        X = self.table.transform(self._only_table(encoded))
        self.centre = X.mean(axis=0)
        if X.shape[1] <= WIDEST:
            covariance = ledoit_wolf(X)[0]
            self.precision = np.linalg.pinv(covariance + 1e-3 * np.eye(len(covariance)))
        else:
            self.precision = 1.0 / (X.var(axis=0) + 1e-3)
        share = self._missing(encoded)
        self.usual = np.array([share.mean(), max(float(share.std()), 0.1)])
        if self.has_text:
            text = self.encoder.fresh(Kind.TEXT)
            assert isinstance(text, TextTransformer)
            self.text = text.fit(encoded.blocks[Kind.TEXT], y, {"text": "sparse"}, codes, False)

    def _missing(self, encoded: Encoded) -> Floats:
        blocks = [self.encoder.transformers[kind].absent(encoded.blocks[kind]) for kind in self.kinds]
        return np.concatenate(blocks, axis=1).mean(axis=1) if blocks else np.zeros(encoded.n)

    def _parts(self, encoded: Encoded) -> Floats:
        """(n, 2): squared distance of the table part, share of new n-grams."""
        X = self.table.transform(self._only_table(encoded)) - self.centre
        distance = (
            ((X @ self.precision) * X).sum(axis=1) if self.precision.ndim == 2 else X * X @ self.precision
        )
        excess = (self._missing(encoded) - self.usual[0]) / self.usual[1]
        new = np.zeros(encoded.n)
        if self.text is not None:
            new = 1.0 - np.nan_to_num(self.text.known(encoded.blocks[Kind.TEXT]), nan=1.0)
        return np.column_stack([distance + np.maximum(excess, 0.0) ** 2, new])

    def score(self, encoded: Encoded) -> Floats:
        """(n,) distance relative to the limit."""
        scores: Floats = (self._parts(encoded) / self.limits).max(axis=1)
        return scores

    def arrays(self) -> Arrays:
        """The learned state."""
        state: Arrays = {
            "centre": self.centre,
            "precision": self.precision,
            "usual": self.usual,
            "limits": self.limits,
        }
        state |= {f"table/{name}": array for name, array in self.table.arrays().items()}
        if self.text is not None:
            state |= {f"text/{name}": array for name, array in self.text.arrays().items()}
        return state

    def restore(self, arrays: Mapping[str, Any]) -> Novelty:
        """The inverse of `arrays`."""
        self.centre, self.precision = arrays["centre"], arrays["precision"]
        self.usual, self.limits = arrays["usual"], arrays["limits"]
        self.table.restore(
            {n.split("/", 1)[1]: a for n, a in arrays.items() if n.startswith("table/")}, self.kinds
        )
        if self.has_text:
            text = self.encoder.fresh(Kind.TEXT)
            assert isinstance(text, TextTransformer)
            own = {n.split("/", 1)[1]: a for n, a in arrays.items() if n.startswith("text/")}
            self.text = text.restore(own, {"text": "sparse"})
        return self
