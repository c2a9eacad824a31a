"""A fitted matcher: references as hashed vectors, what a pair's likeness is worth, and the answer to a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from engine.calibration import logit
from engine.candidates.base import sigmoid, two_columns
from engine.errors import ArtefactError
from engine.files import Folder
from engine.fitted import Prediction
from engine.matching.index import FEATURES, Grams, Index, flat
from engine.metrics import Floats, Ints
from engine.pipelines.base import PipelineFitted
from engine.preprocessing.steps import Arrays
from engine.schema import Kind
from engine.transformers.text import WIDTH, TextTransformer

SHOWN = 10  # matches beside a prediction
_MESSAGES = {
    "missing_text": "There is no text in “{column}”; nothing can be looked for.",
    "nothing_alike": "Nothing like the text in “{column}” is among the references.",
}


@dataclass(frozen=True)
class Match:
    """One reference: its name (an identifier or text where those may be kept, else its row in the training table),
    `row` its number, `score` by which they are ordered, and the calibrated probability that the
    two belong together; None where training had no pairs to learn that from."""

    reference: str
    row: int
    score: float
    probability: float | None


@dataclass(frozen=True)
class MatchPrediction(Prediction):
    """`value` (n,): the best reference's name, "" where there is none; `interval` (n, 2): of its probability.

    `sets`: the references among which a true one is with 95% (conformal); None where the search misses more than that
    in validation, so that nothing can be promised. `matches`: up to SHOWN, the best first. `probability` (n,): of the
    best, NaN where it is not known.
    """

    matches: list[list[Match]] = field(default_factory=list)
    probability: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass
class Ranked:
    """n queries with their references in the order of likeness: `found[i]` reference numbers, `scores[i]` theirs."""

    found: list[Ints]
    scores: list[Floats]
    features: list[Floats]
    log_odds: list[Floats]  # of each pair, before calibration


class Scorer:
    """What likeness is worth: a plain cosine ("words", "mixed"), or what was learned of FEATURES ("learned", "aligned").

    `terms` (6,) put the references of one query in order. `pair` (13,) say of a pair on its own how probable it is: for
    each feature, for its square, and a constant. `context` (4,) joins that with how a reference stands among the others
    of its query: for the log odds of its share of exp(score), for those of the pair, a constant, and what a score is worth.
    """

    def __init__(self, method: str, terms: Floats, pair: Floats | None = None, context: Floats | None = None) -> None:
        self.method, self.terms = method, terms
        self.pair = np.zeros(2 * len(FEATURES) + 1) if pair is None else pair
        self.context = np.array([0.0, 1.0, 0.0, 1.0]) if context is None else context

    def in_context(self, features: Floats) -> Floats:
        """(m,) log odds of the retrieved references of one query, before calibration."""
        shares = share_odds(self.score(features) * self.context[3])
        return np.asarray(self.context[0] * shares + self.context[1] * self.log_odds(features) + self.context[2])

    @classmethod
    def plain(cls, method: str) -> Scorer:
        """Without supervision."""
        used = np.array([1.0, 0, 0, 0, 0, 0]) if method == "words" else np.array([0.5, 0.5, 0, 0, 0, 0])
        return cls(method, used)

    @property
    def words_only(self) -> bool:
        """Whether characters are left out of the search too."""
        return self.method == "words"

    def score(self, features: Floats) -> Floats:
        """(m,) by which the references of one query are ordered."""
        return np.asarray(features @ self.terms)

    def log_odds(self, features: Floats) -> Floats:
        """(m,) of the pair, before calibration; the order's score where no pairs were learned from."""
        if not self.pair.any():
            return self.score(features)
        return np.asarray(np.column_stack([features, features * features]) @ self.pair[:-1] + self.pair[-1])

    @property
    def used(self) -> Any:
        """(6,) which features count."""
        n = len(FEATURES)
        return (self.terms != 0) | (self.pair[:n] != 0) | (self.pair[n:-1] != 0)

    def rank(self, index: Index, queries: Grams, excluded: Ints | None = None) -> Ranked:
        """The references that were retrieved, the likest first; ties by number."""
        found = index.candidates(queries, excluded, words_only=self.words_only)
        rows, ids = flat(found)
        features = index.features(queries, rows, ids, self.used)
        scores = self.score(features)
        ends = np.cumsum([len(own) for own in found])[:-1]
        ranked = Ranked([], [], [], [])
        for own, values, each in zip(found, np.split(scores, ends), np.split(features, ends), strict=True):
            order = np.lexsort((own, -values))
            ranked.found.append(own[order])
            ranked.scores.append(values[order])
            ranked.features.append(each[order])
            ranked.log_odds.append(self.in_context(each[order]))
        return ranked


@dataclass
class MatchFitted(PipelineFitted):
    """`names`: of the references, kept only where the recipe says that they may be. `groups` (references,): codes, -1
    where there is none; `known_groups`: names of the groups that may be kept, by code."""

    text: str = ""
    index: Index | None = None
    scorer: Scorer | None = None
    calibrated: bool = False
    names: list[str] | None = None
    groups: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    known_groups: dict[str, int] = field(default_factory=dict)

    def read(self, cell: Any) -> str:
        """What of a text counts (see TextTransformer.read)."""
        reader: Any = self.encoder.transformers[Kind.TEXT]
        text: str = reader.read(cell)
        return text

    def grams(self, texts: Sequence[Any]) -> Grams:
        """Cells to weighted n-grams; missing text has none."""
        assert self.index is not None
        return grams_of(self.encoder.transformers[Kind.TEXT], self.index.weights, texts)

    def name_of(self, reference: int) -> str:
        """The reference's name, or its row in the training table."""
        return str(reference) if self.names is None else self.names[reference]

    def probability(self, features: Floats) -> Floats:
        """(m,) calibrated, of pairs with these features; NaN where nothing could be learned."""
        assert self.scorer is not None
        return self.calibrate(self.scorer.log_odds(features))

    def calibrate(self, log_odds: Floats) -> Floats:
        """(m,) the probabilities of pairs with these log odds; NaN where nothing could be learned."""
        if not self.calibrated:
            return np.full(len(log_odds), np.nan)
        return self.calibrator.apply(two_columns(sigmoid(log_odds)))[:, 1]

    def predict(self, frame: pd.DataFrame, *, files: Folder = None) -> MatchPrediction:
        """n texts in, for each the likest references."""
        assert self.index is not None and self.scorer is not None
        frame = frame.rename(columns=str)
        cells = frame[self.text].tolist() if self.text in frame.columns else [None] * len(frame)
        ranked = self.scorer.rank(self.index, self.grams(cells))
        encoded = self.encoder.from_frame(frame)
        ood = self.novelty.score(encoded)
        matches, sets, best, interval = [], [], np.full(len(cells), np.nan), np.full((len(cells), 2), np.nan)
        warnings: list[list[dict[str, Any]]] = [[] for _ in cells]
        for i, (ids, scores) in enumerate(zip(ranked.found, ranked.scores, strict=True)):
            p = self.calibrate(ranked.log_odds[i])
            matches.append([self._match(ids[k], scores[k], p[k]) for k in range(min(SHOWN, len(ids)))])
            inside = p >= 1.0 - self.reach - 1e-12
            sets.append([self.name_of(int(reference)) for reference in ids[inside]])
            if len(ids) and self.calibrated:
                best[i], interval[i] = p[0], self._certainty(ranked.log_odds[i][:1], p[:1])
            if not len(ids):
                code = "nothing_alike" if self.read(cells[i]).strip() else "missing_text"
                warnings[i].append({"code": code, "column": self.text, "value": None, "low": None, "high": None,
                                    "message": _MESSAGES[code].format(column=self.text)})  # fmt: skip
        value = np.array([own[0].reference if own else "" for own in matches], dtype=object)
        promised = sets if self.calibrated and np.isfinite(self.reach) else None
        return MatchPrediction(value, None, interval, promised, ood > 1.0, ood, warnings, matches=matches, probability=best)

    def _match(self, reference: int, score: float, p: float) -> Match:
        return Match(self.name_of(int(reference)), int(reference), float(score), float(p) if np.isfinite(p) else None)

    def _certainty(self, log_odds: Floats, p: Floats) -> Floats:
        """The 95% interval of one calibrated probability."""
        raw = two_columns(sigmoid(log_odds))
        reach = 1.959964 * np.minimum(self.calibrator.deviation(raw, np.ones(len(p), dtype=np.int64)), 10.0)
        z = logit(p)
        return np.column_stack([np.minimum(sigmoid(z - reach), p), np.maximum(sigmoid(z + reach), p)])[0]

    def pair_probability(self, texts: Sequence[str], others: Sequence[str]) -> Floats:
        """(n,) how probable it is that texts[i] and others[i] belong together; neither need be a reference.

        Nothing is known here of what else there is, so this is less sure than beside a match. Calibrated on pairs that the
        search shows; NaN where training had no pairs.
        """
        assert self.index is not None and self.scorer is not None
        pairs = Index(self.index.weights, self.grams(others), self.index.meaning)
        rows = np.arange(len(texts))
        return self.probability(pairs.features(self.grams(texts), rows, rows))

    def state(self) -> dict[str, Any]:
        """The method and what may be named."""
        assert self.scorer is not None
        return {"text": self.text, "method": self.scorer.method, "calibrated": self.calibrated,
                "named": self.names is not None, "known_groups": self.known_groups, "schema": self.schema.to_dict()}  # fmt: skip

    def own_arrays(self) -> Arrays:
        """The hashed references, the scorer, and the names where they may be kept."""
        assert self.index is not None and self.scorer is not None
        arrays: Arrays = {f"index/{name}": array for name, array in self.index.arrays().items()}
        arrays |= {"terms": self.scorer.terms, "pair": self.scorer.pair, "context": self.scorer.context, "groups": self.groups}
        if self.names is not None:
            text = json.dumps(self.names, ensure_ascii=False).encode()
            arrays["names"] = np.frombuffer(text, dtype=np.uint8)
        return arrays

    def adopt_state(self, state: dict[str, Any], arrays: Arrays) -> MatchFitted:
        """The inverse of both. Raises ArtefactError when the parts do not belong together."""
        self.index = Index.restored({n.split("/", 1)[1]: a for n, a in arrays.items() if n.startswith("index/")})
        self.scorer = Scorer(state["method"], arrays["terms"], arrays["pair"], arrays["context"])
        self.text, self.calibrated, self.groups = state["text"], bool(state["calibrated"]), arrays["groups"]
        self.known_groups = {str(name): int(code) for name, code in state["known_groups"].items()}
        if state["named"]:
            self.names = [str(name) for name in json.loads(arrays["names"].tobytes())]
        if len(self.groups) != self.index.size or (self.names is not None and len(self.names) != self.index.size):
            raise ArtefactError("artefact_invalid", "The model's references and their names do not belong together.")
        shapes = (self.scorer.terms.shape, self.scorer.pair.shape, self.scorer.context.shape)
        if shapes != ((len(FEATURES),), (2 * len(FEATURES) + 1,), (4,)):
            raise ArtefactError("artefact_invalid", "The model's scorer is none.")
        return self


def share_odds(scores: Floats) -> Floats:
    """(m,) log odds of each share of exp(score); within 15, so that a lone reference has some too."""
    if not len(scores):
        return scores
    raised = np.exp(scores - scores.max())
    others = np.maximum(raised.sum() - raised, 1e-12)
    return np.asarray(np.clip(np.log(np.maximum(raised, 1e-300)) - np.log(others), -15.0, 15.0))


def counts_of(transformer: Any, texts: Sequence[Any]) -> Any:
    """(n, WIDTH) counts of hashed n-grams."""
    assert isinstance(transformer, TextTransformer)
    if not len(texts):
        return sparse.csr_matrix((0, WIDTH))
    return transformer.count(0, [transformer.read(cell) for cell in texts])


def grams_of(transformer: Any, index_weights: Any, texts: Sequence[Any]) -> Grams:
    """Weighted n-grams of cells."""
    found: Grams = index_weights.grams(counts_of(transformer, texts))
    return found


