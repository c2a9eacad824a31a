"""A fitted labeller of spans: hashed features, a conditional random field, and what its probabilities are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from engine.calibration import Calibrator, logit
from engine.candidates.base import sigmoid, two_columns
from engine.cells import to_text
from engine.errors import ArtefactError
from engine.files import Folder
from engine.fitted import Prediction
from engine.metrics import Floats, Ints
from engine.pipelines.base import PipelineFitted
from engine.preprocessing.steps import Arrays
from engine.schema import Schema
from engine.spans.crf import Crf
from engine.spans.tokens import BITS, Span, Tokens, buckets, design, parse_marks, runs_of, tokenise

MOST_AT_ONCE = 64  # texts that are labelled together: what they need in memory stays small


@dataclass(frozen=True)
class SpansPrediction(Prediction):
    """`value` (n,): a list of Span for each text, in their order, each with its own probability and interval.

    `interval` (n, 2) is NaN: a text has no one probability.
    """


@dataclass
class SpansFitted(PipelineFitted):
    """`classes_` are the labels. `text`: the column of the text; `marked`: its cells may hold inline marks, which are
    taken out before."""

    text: str = ""
    marked: bool = False
    kept: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    crf: Crf | None = None

    def texts(self, frame: pd.DataFrame) -> list[str]:
        """The plain texts of a table; missing ones are empty."""
        cells = frame[self.text].tolist() if self.text in frame.columns else [None] * len(frame)
        return [self._plain(to_text(cell) or "") for cell in cells]

    def _plain(self, text: str) -> str:
        if not self.marked:
            return text
        try:
            return parse_marks(text)[0]
        except ValueError:
            return text

    def predict(self, frame: pd.DataFrame, *, files: Folder = None) -> SpansPrediction:
        """n texts in, their labelled spans out."""
        frame = frame.rename(columns=str)
        texts = self.texts(frame)
        found: list[list[Span]] = []
        for start in range(0, len(texts), MOST_AT_ONCE):
            found += self.label(texts[start : start + MOST_AT_ONCE])
        encoded = self.encoder.from_frame(pd.DataFrame({self.text: texts}))
        ood = self.novelty.score(encoded)
        value = np.empty(len(texts), dtype=object)
        value[:] = found
        warnings: list[list[dict[str, Any]]] = [
            [] if text.strip() else [{"code": "missing_text", "column": self.text, "value": None, "low": None, "high": None,
                                      "message": f"There is no text in “{self.text}”; nothing can be labelled."}]
            for text in texts
        ]  # fmt: skip
        return SpansPrediction(value, None, np.full((len(texts), 2), np.nan), None, ood > 1.0, ood, warnings)

    def label(self, texts: Sequence[str]) -> list[list[Span]]:
        """The most probable spans of each text, with calibrated probabilities."""
        assert self.crf is not None
        tokens = tokenise(texts)
        spans, raw = decode(self.crf, design(buckets(tokens), self.kept), tokens)
        names, result = self.classes_.tolist(), []
        for i, (own, p) in enumerate(zip(spans, raw, strict=True)):
            at = int(tokens.starts[i])
            plain = [Span(int(tokens.begin[at + a]), int(tokens.end[at + b - 1]), names[label]) for a, b, label in own]
            result.append(calibrated(self.calibrator, plain, p))
        return result

    def state(self) -> dict[str, Any]:
        """The column and its schema."""
        return {"text": self.text, "marked": self.marked, "schema": self.schema.to_dict()}

    def own_arrays(self) -> Arrays:
        """Bucket numbers and weights: no word can be read from them."""
        assert self.crf is not None
        return {"kept": self.kept, "weights": self.crf.weights.astype(np.float32), "trans": self.crf.trans.astype(np.float32)}

    def adopt_state(self, state: dict[str, Any], arrays: Arrays) -> SpansFitted:
        """The inverse of both. Raises ArtefactError when the arrays do not belong together."""
        self.text, self.marked, self.schema = state["text"], bool(state["marked"]), Schema.from_dict(state["schema"])
        kept, weights, trans = arrays["kept"], arrays["weights"].astype(float), arrays["trans"].astype(float)
        k = 1 + 2 * len(self.classes_)
        fits = weights.shape == (len(kept), k) and trans.shape == (k, k)
        if not fits or (len(kept) and not 0 <= kept.min() <= kept.max() < 1 << BITS):
            raise ArtefactError("artefact_invalid", "The model's weights and labels do not belong together.")
        self.kept, self.crf = kept, Crf(len(self.classes_), weights, trans)
        return self


def decode(crf: Crf, X: Any, tokens: Tokens) -> tuple[list[list[tuple[int, int, int]]], list[Floats]]:
    """For each text its spans (first token, behind the last, label code; counted within it) and raw probabilities."""
    if not len(tokens.begin):
        return [[] for _ in range(tokens.texts)], [np.zeros(0)] * tokens.texts
    tags = crf.tag(X, tokens.starts)
    spans = [runs_of(tags[a:b]) for a, b in zip(tokens.starts[:-1], tokens.starts[1:], strict=True)]
    return spans, crf.span_probabilities(X, tokens.starts, spans)


def calibrated(calibrator: Calibrator, spans: list[Span], raw: Floats) -> list[Span]:
    """The spans with their probabilities and intervals; as they are where nothing could be calibrated."""
    if not spans:
        return []
    both = two_columns(raw)
    p = calibrator.apply(both)[:, 1]
    reach = 1.959964 * np.minimum(calibrator.deviation(both, np.ones(len(raw), dtype=np.int64)), 10.0)
    z = logit(p)
    low, high = np.minimum(sigmoid(z - reach), p), np.maximum(sigmoid(z + reach), p)
    return [replace(span, probability=float(p[i]), low=float(low[i]), high=float(high[i])) for i, span in enumerate(spans)]
