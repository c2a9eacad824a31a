"""Free text: hashed word and character n-grams, weighted by how telling they are; no vocabulary is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer

from engine.cells import to_text
from engine.files import Files, folder_of
from engine.identifiers import without_identifiers
from engine.metrics import Floats, Ints
from engine.preprocessing.steps import Arrays
from engine.schema import ColumnSpec, Kind
from engine.transformers.base import Block, Issue, Transformer, transformer
from engine.transformers.files import LEARNED, frozen_for, learn, outputs, standard

BUCKETS = 2**17  # of each of the two n-gram kinds
WIDTH = 2 * BUCKETS
MOST_BUCKETS = 40_000
MOST_CHARACTERS = 20_000
COMPONENTS = 64
SMALL = 2000  # rows
AT_ONCE = 64  # texts that a sentence encoder reads between two looks at the time
FEW = 8  # times that the n-grams of some rows are fewer than the components
WORD = r"(?u)\b\w+\b"
WIDE_SCRIPTS = re.compile(r"[぀-ヿ㐀-䶿一-鿿가-힯]")

OTHER_SCRIPTS = re.compile(r"[\u0400-\u1dff\u2e80-\ud7ff\uf900-\ufaff]")  # from Cyrillic on; a Greek letter is at home in English
MOST_OTHERS = 0.05  # of texts, for an encoder of English to be of use


@transformer(Kind.TEXT)
class TextTransformer(Transformer):
    """A block is one CSR matrix of counts (n, WIDTH) per column.

    Hashing keeps no word: a bucket's number can't be turned back into a name, and a bucket that occurs in one
    patient only (as a name does) is dropped. Characters serve scripts without spaces (Chinese) and misspellings.
    Where a pretrained sentence encoder is found (engine.weights), its vectors are further columns of the matrix.
    """

    reads_files = True  # not cells: the folder of weights

    @classmethod
    def settle(
        cls, specs: Sequence[ColumnSpec], columns: Sequence[Sequence[Any]], files: Files | None = None
    ) -> dict[str, Any]:
        """Which character n-grams suit each column, and the sentence encoders that there is the time for."""
        columns = [[without_identifiers(to_text(cell) or "") for cell in cells] for cells in columns]
        settings: dict[str, Any] = {"columns": [_characters_for(cells) for cells in columns], "identifiers": "out"}
        files = files or Files()
        if folder_of(files.weights) is not None:
            from engine import weights

            texts = [text for cells in columns for text in cells if text.strip()]
            others = sum(OTHER_SCRIPTS.search(text[:500]) is not None for text in texts)
            english = others <= MOST_OTHERS * len(texts)
            chosen = frozen_for(Kind.TEXT, Kind.TEXT, weights.effort(texts), files, english)
            settings |= {"weights": chosen} if chosen else {}
        return settings

    def __init__(self, specs: Sequence[ColumnSpec], settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(specs, settings)
        own = self.settings.get("columns") or [{"analyzer": "none"} for _ in self.specs]
        self.counters = [_counters(each) for each in own]
        self.extra = sum(int(entry["width"]) for entry in self.settings.get("weights", ()))

    def read(self, cell: Any) -> str:
        """What of a cell counts: all but masked identifiers. A model from before this setting has learned their tokens."""
        text = to_text(cell) or ""
        return (without_identifiers(text) if self.settings.get("identifiers") == "out" else text)[:MOST_CHARACTERS]

    def count(self, column: int, texts: Sequence[str]) -> Any:
        """(n, WIDTH) counts of the n-grams of each text."""
        if not texts:  # scikit-learn's vectoriser asks the first one for its type
            return sparse.csr_matrix((0, WIDTH))
        words, characters = self.counters[column]
        counts = words.transform(texts)
        if characters is None:
            return sparse.csr_matrix((counts.data, counts.indices, counts.indptr), shape=(len(texts), WIDTH))
        return sparse.hstack([counts, characters.transform(texts)], format="csr")

    def encode(
        self, columns: Sequence[Sequence[Any]], files: Files | None = None
    ) -> tuple[Block, list[Issue]]:
        """Missing text has no n-grams, and vectors of zeros. Raises EngineError ("weights_missing"), and TooSlow where the
        sentence encoders would take longer than the search allows."""
        texts = [[self.read(cell) for cell in cells] for cells in columns]
        counts = [self.count(j, column) for j, column in enumerate(texts)]
        if not self.extra:
            return counts, []
        from engine import weights

        files = files or Files()
        frozen = weights.required_all(folder_of(files.weights), self.settings["weights"])
        vectors = self._vectors_of(texts, frozen, files)
        return [sparse.hstack([c, sparse.csr_matrix(v)], format="csr") for c, v in zip(counts, vectors, strict=True)], []

    def _vectors_of(self, texts: list[list[str]], frozen: list[Any], files: Files) -> list[Floats]:
        """For each column (n, width) of all encoders, a few texts at a time, so that it can be left."""
        meter = None
        if files.allowance is not None:
            meter = files.allowance.meter(Kind.TEXT, sum(len(column) for column in texts), 1)
        found = []
        for column in texts:
            parts = [np.zeros((0, self.extra))]
            for start in range(0, len(column), AT_ONCE):
                some = column[start : start + AT_ONCE]
                began = 0.0 if meter is None else meter.now()
                parts.append(np.concatenate([each.embed_texts(some) for each in frozen], axis=1))
                if meter is not None:
                    meter.note(len(some), meter.now() - began)
            found.append(np.concatenate(parts))
        return found

    def _counts(self, column: Any) -> Any:
        return column[:, :WIDTH] if self.extra else column

    def _vectors(self, block: Block) -> list[Floats]:
        return [np.asarray(column[:, WIDTH:].todense(), dtype=float) for column in block] if self.extra else []

    def take(self, block: Block, rows: Ints) -> Block:
        """Some rows of every column."""
        return [column[rows] for column in block]

    def mix(self, block: Block, rows: Ints) -> Block:
        """Column j from the rows `rows[:, j]`."""
        return [column[rows[:, j]] for j, column in enumerate(block)]

    def background(self, block: Block, rows: Ints) -> Block:
        """Empty texts: nobody's words are kept."""
        return [sparse.csr_matrix((len(rows), WIDTH + self.extra)) for _ in self.specs]

    def join(self, first: Block, second: Block) -> Block:
        """The rows of both, column by column."""
        return [sparse.vstack([a, b], format="csr") for a, b in zip(first, second, strict=True)]

    def fit(
        self, block: Block, y: Floats, choices: Mapping[str, str], patients: Ints, classify: bool
    ) -> TextTransformer:
        """Buckets of at least two patients, their inverse frequencies, and for dense models their components."""
        self.dense = choices.get("text") == "dense"
        frequency = np.concatenate([_patients_with(self._counts(column), patients) for column in block])
        n = int(patients.max()) + 1
        enough = np.flatnonzero(frequency >= 2)
        common = enough[np.argsort(-frequency[enough], kind="stable")[:MOST_BUCKETS]]
        self._adopt(np.sort(common), np.log((1.0 + n) / (1.0 + frequency[np.sort(common)])) + 1.0)
        self.components = np.zeros((0, 0), dtype=np.float32)
        if self.dense and len(self.kept) > 1:
            self._reduce(self._weighted(block))
        self.learned = [learn(vectors[np.any(vectors != 0, axis=1)], 0) for vectors in self._vectors(block)]
        return self

    def _reduce(self, X: Any) -> None:
        size = max(1, min(COMPONENTS, X.shape[1] - 1, X.shape[0] - 1))
        if (
            X.shape[0] <= SMALL
        ):  # few rows: the exact decomposition through the (n, n) matrix of products is quicker
            values, vectors = np.linalg.eigh(np.asarray((X @ X.T).todense()))
            length = np.sqrt(np.maximum(values[-size:], 1e-12))
            components = np.asarray(X.T @ (vectors[:, -size:] / length))
            spread = length / np.sqrt(X.shape[0])
        else:
            reduced = TruncatedSVD(size, n_iter=3, random_state=0).fit(X)
            components, spread = reduced.components_.T, reduced.singular_values_ / np.sqrt(X.shape[0])
        # kept as stored, in single precision: a loaded model computes with the very same numbers, and the five folds of
        # each candidate hold 10 MB instead of 20 MB of them
        self.components = (components / np.maximum(spread, 1e-6)).astype(np.float32)

    def _adopt(self, kept: Ints, idf: Floats) -> None:
        self.kept, self.idf = kept, idf
        self.place = np.full(WIDTH * len(self.specs), -1, dtype=np.int64)
        self.place[kept] = np.arange(len(kept))

    def known(self, block: Block) -> Floats:
        """(n,) share of each row's n-grams that training knew; NaN when there is no text."""
        joined = self._join(block)
        known = np.add.reduceat(
            np.append(self.place[joined.indices] >= 0, False).astype(float), joined.indptr[:-1]
        )
        total = np.diff(joined.indptr)
        return np.divide(known, total, out=np.full(len(total), np.nan), where=total > 0)

    def _join(self, block: Block) -> Any:
        counts = [self._counts(column) for column in block]
        return counts[0] if len(counts) == 1 else sparse.hstack(counts, format="csr")

    def _weighted(self, block: Block) -> Any:
        counts = self._join(block)
        place = self.place[counts.indices]
        inside = place >= 0
        ends = np.concatenate([[0], np.cumsum(inside)])[counts.indptr]
        columns = place[inside]
        data = (1.0 + np.log(counts.data[inside])) * self.idf[columns]
        X = sparse.csr_matrix((data, columns, ends), shape=(counts.shape[0], len(self.kept)))
        length = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
        X.data /= np.repeat(np.where(length > 0, length, 1.0), np.diff(ends))
        return X

    def transform(self, block: Block) -> Any:
        """Rows of unit length: CSR, or dense components. Term weight: (1 + ln count) * idf (Manning et al. 2008, 6.4)."""
        X = self._weighted(block)
        extra = [self._projected(v, learned) for v, learned in zip(self._vectors(block), self.learned, strict=True)]
        if not self.dense:
            return sparse.hstack([X, *map(sparse.csr_matrix, extra)], format="csr") if extra else X
        reduced = self._reduced(X) if len(self.components) else np.zeros((X.shape[0], 0))
        return np.concatenate([reduced, *extra], axis=1) if extra else reduced

    def _reduced(self, X: Any) -> Floats:
        """X @ components in double precision. A few rows take only the components that they have; the sums are the same."""
        if X.nnz * FEW >= len(self.components):
            return np.asarray(X @ self.components.astype(float))
        seen, place = np.unique(X.indices, return_inverse=True)
        narrow = sparse.csr_matrix((X.data, place, X.indptr), shape=(X.shape[0], len(seen)))
        return np.asarray(narrow @ self.components[seen].astype(float))

    @staticmethod
    def _projected(vectors: Floats, learned: Mapping[str, Any]) -> Floats:
        """Standardised, then components; 0 (the mean) where there is no text."""
        there = np.any(vectors != 0, axis=1)
        Z = standard(vectors, learned) * there.reshape(-1, 1)
        return Z @ learned["components"].astype(float) if learned["components"].size else Z

    @property
    def origins(self) -> Ints:
        """Components of several text columns are counted to the first."""
        own = np.zeros(self.components.shape[1]) if self.dense else self.kept // WIDTH
        counts = np.array([outputs(learned) for learned in self.learned], dtype=np.int64)
        extra = np.repeat(np.arange(len(counts)), counts)
        return np.concatenate([own, extra]).astype(np.int64)

    def arrays(self) -> Arrays:
        """Bucket numbers, their weights and the components."""
        state: Arrays = {"kept": self.kept, "idf": self.idf, "components": self.components}
        return state | {f"vectors.{j}.{n}": a for j, each in enumerate(self.learned) for n, a in each.items()}

    def restore(self, arrays: Arrays, choices: Mapping[str, str]) -> TextTransformer:
        """From bucket numbers, weights and components."""
        self.dense = choices.get("text") == "dense"
        self.components = arrays["components"].astype(np.float32)
        self._adopt(arrays["kept"], arrays["idf"])
        count = len(self.specs) if self.extra else 0
        self.learned = [{n: arrays[f"vectors.{j}.{n}"] for n in LEARNED} for j in range(count)]
        return self


def _characters_for(cells: Sequence[Any]) -> dict[str, Any]:
    """1 to 3 characters for scripts without spaces, 3 to 5 inside words for short texts, none for long ones."""
    texts = [text for text in (to_text(cell) for cell in cells[:2000]) if text]
    joined = "".join(text[:500] for text in texts)
    if len(WIDE_SCRIPTS.findall(joined)) > 0.1 * max(len(joined), 1):
        return {"analyzer": "char", "chars": [1, 3]}
    if texts and float(np.median([len(text) for text in texts])) > 400:
        return {"analyzer": "none", "chars": [0, 0]}
    return {"analyzer": "char_wb", "chars": [3, 5]}


def _counters(settings: Mapping[str, Any]) -> tuple[HashingVectorizer, HashingVectorizer | None]:
    common: dict[str, Any] = {"n_features": BUCKETS, "alternate_sign": False, "norm": None}
    words = HashingVectorizer(token_pattern=WORD, ngram_range=(1, 2), **common)
    if settings["analyzer"] == "none":
        return words, None
    low, high = settings["chars"]
    return words, HashingVectorizer(analyzer=settings["analyzer"], ngram_range=(low, high), **common)


def _patients_with(counts: Any, patients: Ints) -> Ints:
    """(WIDTH,) in how many patients each bucket occurs."""
    n = int(patients.max()) + 1
    if n == len(patients):
        return np.bincount(counts.indices, minlength=WIDTH)
    member = sparse.csr_matrix(
        (np.ones(len(patients)), (patients, np.arange(len(patients)))), shape=(n, len(patients))
    )
    seen = (member @ counts).tocsr()
    return np.bincount(seen.indices, minlength=WIDTH)
