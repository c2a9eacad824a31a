"""Texts as hashed n-gram vectors, and the quick search for the nearest of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from engine.metrics import Floats, Ints
from engine.preprocessing.steps import Arrays
from engine.transformers.text import BUCKETS, WIDTH

CHUNK = 128  # queries whose products with all references are in memory at once
RETRIEVED = 50  # references per query that are looked at more closely
DIMENSIONS, LATENT_BUCKETS, FEWEST_GROUPS = 256, 30_000, 100
WEAKEST = 0.15  # of the second direction's strength (the first is what all texts share)
FEATURES = ("same words", "same characters", "text found in record", "record found in text", "other length", "learned meaning")


@dataclass(frozen=True)
class Grams:
    """n texts: rows of weighted n-grams over the kept buckets, words and characters each of length sqrt(1/2) (CSR,
    single precision, as they are stored); `length` (n,) how many n-grams they have, also unknown ones."""

    X: Any
    length: Floats

    def take(self, rows: Ints) -> Grams:
        """Some of the texts."""
        return Grams(self.X[rows], self.length[rows])


class Weights:
    """Which buckets are kept and how telling they are: idf over the references (Manning et al. 2008, 6.2.1)."""

    def __init__(self, kept: Ints, idf: Floats) -> None:
        self.kept, self.idf = kept, idf
        self.place = np.full(WIDTH, -1, dtype=np.int64)
        self.place[kept] = np.arange(len(kept))
        self.words = int(np.searchsorted(kept, BUCKETS))  # kept buckets before this one are words

    @classmethod
    def learned(cls, references: tuple[Any, Ints], least: int, queries: tuple[Any, Ints] | None = None) -> Weights:
        """From (counts (n, WIDTH), patients (n,)). A bucket of fewer than `least` patients of references, and of fewer
        than two of queries, is forgotten; those of queries alone serve only to learn what they mean."""
        frequency, n = _patients_with(*references)
        kept = frequency >= least
        if queries is not None and len(queries[1]):
            other, more = _patients_with(*queries)
            kept |= other >= 2
            frequency, n = frequency + np.where(frequency > 0, 0, other * n / more), n  # as if in as many references
        found = np.flatnonzero(kept)
        return cls(found, np.log((1.0 + n) / (1.0 + frequency[found])) + 1.0)

    def grams(self, counts: Any) -> Grams:
        """Weighted and normalised rows; (1 + ln count) * idf (Manning et al. 2008, 6.4)."""
        length = np.asarray(counts.sum(axis=1), dtype=float).ravel()
        place = self.place[counts.indices]
        inside = place >= 0
        ends = np.concatenate([[0], np.cumsum(inside)])[counts.indptr]
        columns = place[inside]
        data = (1.0 + np.log(counts.data[inside])) * self.idf[columns]
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(ends))
        part = rows * 2 + (columns >= self.words)
        norm = np.sqrt(2.0 * np.bincount(part, weights=data * data, minlength=2 * counts.shape[0]))
        X = sparse.csr_matrix(((data / norm[part]).astype(np.float32), columns, ends), shape=(counts.shape[0], len(self.kept)))
        X.sort_indices()
        return Grams(X, length)

    def words_of(self, X: Any) -> Any:
        """The columns of words."""
        return X[:, : self.words]


class Meaning:
    """A space in which texts of one group lie close although they share no n-gram, as two languages do.

    Cross-language latent semantic indexing (Dumais et al. 1997, AAAI Spring Symposium on Cross-Language Text
    Retrieval): the singular vectors of documents that join all texts of a group.
    """

    def __init__(self, kept: Ints, vectors: Floats) -> None:
        self.kept, self.vectors = kept, vectors

    @classmethod
    def learned(cls, X: Any, groups: Ints, seed: int) -> Meaning | None:
        """From rows (n, kept) and their groups; None when fewer than FEWEST_GROUPS groups have two texts."""
        sizes = np.bincount(groups)
        of_many = np.flatnonzero(sizes[groups] > 1)
        codes = np.unique(groups[of_many], return_inverse=True)[1]
        if not len(of_many) or codes.max() + 1 < FEWEST_GROUPS:
            return None
        member = sparse.csr_matrix((np.ones(len(codes), dtype=np.float32), (codes, np.arange(len(codes)))))
        joined = (member @ X[of_many]).tocsr()
        frequency = np.bincount(joined.indices, minlength=X.shape[1])
        common = np.argsort(-frequency, kind="stable")[:LATENT_BUCKETS]
        kept = np.sort(common[frequency[common] >= 2])
        size = min(DIMENSIONS, len(kept) - 1, joined.shape[0] - 1)
        if size < 2:
            return None
        _, values, vectors = randomized_svd(joined[:, kept], size, n_iter=3, random_state=seed)
        # Each direction counts by the root of its strength, between plain projection and full whitening. Weak ones are left
        # out: along them the halves of a group cancel each other, so that they would drive apart what belongs together.
        strong = values > WEAKEST * values[1]
        return cls(kept, (vectors[strong] / np.sqrt(values[strong])[:, None]).T.astype(np.float32))

    def place(self, X: Any) -> Floats:
        """(n, d) unit vectors in single precision; zero where nothing is known."""
        Z = np.asarray(X[:, self.kept] @ self.vectors)
        norm = np.sqrt((Z * Z).sum(axis=1, keepdims=True))
        return np.asarray(Z / np.where(norm > 0, norm, 1.0), dtype=np.float32)


def nearest(queries: Any, references_t: Any, k: int, excluded: Ints | None = None) -> list[Ints]:
    """For each row of `queries` the up to k references of the largest product, the largest first; ties by number.

    `references_t` is transposed: (features, references), CSR or a dense array. References without anything in common
    are not among them. `excluded` (n,): one reference per query that is left out (the text itself), or -1.
    """
    found: list[Ints] = []
    for start in range(0, queries.shape[0], CHUNK):
        scores = queries[start : start + CHUNK] @ references_t
        for i in range(scores.shape[0]):
            if sparse.issparse(scores):
                ids = scores.indices[scores.indptr[i] : scores.indptr[i + 1]].astype(np.int64)
                values = scores.data[scores.indptr[i] : scores.indptr[i + 1]]
            else:
                ids = np.flatnonzero(scores[i] > 0)
                values = scores[i][ids]
            if excluded is not None and excluded[start + i] >= 0:
                other = ids != excluded[start + i]
                ids, values = ids[other], values[other]
            if len(ids) > k:
                top = np.argpartition(-values, k - 1)[:k]
                ids, values = ids[top], values[top]
            found.append(ids[np.lexsort((ids, -values))])
    return found


class Index:
    """The references, searchable."""

    def __init__(self, weights: Weights, grams: Grams, meaning: Meaning | None = None) -> None:
        self.weights, self.grams = weights, grams
        self.transposed = grams.X.T.tocsr()
        self.use(meaning)

    def use(self, meaning: Meaning | None) -> Index:
        """With this learned meaning, or none."""
        self.meaning = meaning
        self.placed = None if meaning is None else meaning.place(self.grams.X)
        return self

    @property
    def size(self) -> int:
        """How many references there are."""
        return int(self.grams.X.shape[0])

    def candidates(self, queries: Grams, excluded: Ints | None = None, *, words_only: bool = False) -> list[Ints]:
        """Up to RETRIEVED references by n-grams, and as many by meaning where there is one."""
        if words_only:
            at = self.weights.words
            return nearest(self.weights.words_of(queries.X), self.transposed[:at], RETRIEVED, excluded)
        found = nearest(queries.X, self.transposed, RETRIEVED, excluded)
        if self.meaning is None or self.placed is None:
            return found
        more = nearest(self.meaning.place(queries.X), self.placed.T, RETRIEVED, excluded)
        return [np.concatenate([a, b[~np.isin(b, a)]]) for a, b in zip(found, more, strict=True)]

    def features(self, queries: Grams, rows: Ints, ids: Ints, used: NDArray[np.bool_] | None = None) -> Floats:
        """(m, 6) FEATURES of the pairs of query `rows[i]` and reference `ids[i]`; all from 0 to 1 (meaning from -1).

        Those that are not `used` (6,) are 0 where that saves time.
        """
        used = np.ones(len(FEATURES), dtype=bool) if used is None else used
        out = np.zeros((len(rows), len(FEATURES)))
        placed = None if self.meaning is None or not used[5] else self.meaning.place(queries.X)
        for start in range(0, len(rows), 20_000):
            part = slice(start, start + 20_000)
            a, b = queries.X[rows[part]], self.grams.X[ids[part]]
            both = a.multiply(b).tocsr()
            out[part, 0] = 2.0 * _sums(self.weights.words_of(both))
            out[part, 1] = 2.0 * _sums(both) - out[part, 0]
            if not used[2:4].any():
                continue
            out[part, 2] = _sums(a.multiply(a).multiply(_present(b))) / np.maximum(_sums(a.multiply(a)), 1e-9)
            out[part, 3] = _sums(b.multiply(b).multiply(_present(a))) / np.maximum(_sums(b.multiply(b)), 1e-9)
        if placed is not None and self.placed is not None:
            for start in range(0, len(rows), 20_000):
                part = slice(start, start + 20_000)
                out[part, 5] = (placed[rows[part]] * self.placed[ids[part]]).sum(axis=1)
        ratio = np.abs(np.log((1.0 + queries.length[rows]) / (1.0 + self.grams.length[ids])))
        out[:, 4] = ratio / (1.0 + ratio)
        return out

    def arrays(self) -> Arrays:
        """Buckets, their weights, and the references' hashed vectors."""
        X = self.grams.X
        state = {"kept": self.weights.kept, "idf": self.weights.idf, "data": X.data, "indices": X.indices.astype(np.int32),
                 "indptr": X.indptr.astype(np.int64), "length": self.grams.length}  # fmt: skip
        if self.meaning is not None:
            state |= {"meaning_kept": self.meaning.kept, "meaning": self.meaning.vectors}
        return state

    @classmethod
    def restored(cls, arrays: Mapping[str, Any]) -> Index:
        """The inverse of `arrays`."""
        weights = Weights(arrays["kept"], arrays["idf"])
        shape = (len(arrays["indptr"]) - 1, len(arrays["kept"]))
        X = sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        X.check_format(full_check=True)  # indices of a forged artefact would read outside of memory
        meaning = Meaning(arrays["meaning_kept"], arrays["meaning"]) if "meaning" in arrays else None
        return cls(weights, Grams(X, arrays["length"]), meaning)


def _patients_with(counts: Any, patients: Ints) -> tuple[Floats, int]:
    """(WIDTH,) in how many patients each bucket occurs, and how many patients there are."""
    codes = np.unique(patients, return_inverse=True)[1]
    member = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))))
    return np.bincount((member @ counts).tocsr().indices, minlength=WIDTH).astype(float), int(member.shape[0])


def _sums(X: Any) -> Floats:
    return np.asarray(X.sum(axis=1), dtype=float).ravel()


def _present(X: Any) -> Any:
    return sparse.csr_matrix((np.ones_like(X.data), X.indices, X.indptr), shape=X.shape)


def flat(found: Sequence[Ints]) -> tuple[Ints, Ints]:
    """(query of each pair, reference of each pair)."""
    rows = np.repeat(np.arange(len(found)), [len(ids) for ids in found])
    return rows, (np.concatenate(found) if len(rows) else np.zeros(0, dtype=np.int64)).astype(np.int64)
