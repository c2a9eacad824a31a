"""The reasons for a prediction: how much each column, and each word, spoke for or against it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from engine import pipelines
from engine.calibration import logit
from engine.cells import is_missing, to_text
from engine.encoding import Encoded
from engine.fitted import Fitted, Member
from engine.metrics import Floats, Ints
from engine.schema import Kind
from engine.transformers.text import WIDE_SCRIPTS

PAIRS = 1  # random orders of the columns per background record, each also walked backwards
MOST_WORDS = 40
SHOWN_WORDS = 10


@dataclass(frozen=True)
class Reasons:
    """`base` + the sum of all contributions = `score`: the log odds of `explained` before calibration, or the number.

    Two classes explain the positive one, several the decided one. `words`: column -> [(term, contribution)].
    """

    explained: str | None
    base: float
    score: float
    unit: str
    contributions: list[dict[str, Any]]
    words: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        words = {column: [list(pair) for pair in pairs] for column, pairs in self.words.items()}
        return {"explained": self.explained, "base": self.base, "score": self.score, "unit": self.unit,
                "contributions": self.contributions, "words": words}  # fmt: skip


def explain(fitted: Fitted, data: pd.DataFrame | Sequence[Mapping[str, Any]]) -> list[Reasons]:
    """One Reasons per row; the same seed gives the same numbers.

    A single linear member is exact: coefficient x (feature - its mean over the background records). Anything else
    gets Shapley values by masking columns with background records, sampled over orders walked both ways
    (Strumbelj & Kononenko 2014, doi:10.1007/s10115-013-0679-x; Mitchell et al. 2022, arXiv:2104.12199).
    """
    records: list[Any] = data.to_dict("records") if isinstance(data, pd.DataFrame) else list(data)
    own = pipelines.of(fitted.task)
    if own is not None:
        return own.explain(fitted, records)
    return [_explain_one(fitted, record) for record in records]


def _explain_one(fitted: Fitted, record: Mapping[str, Any]) -> Reasons:
    encoded = fitted.encoder.from_records([record])
    code = _explained_code(fitted, encoded)
    names = fitted.encoder.names
    member = fitted.members[0]
    terms = member.model.linear_terms() if len(fitted.members) == 1 else None
    if terms is not None and (not fitted.classify or len(fitted.classes_) == 2):
        base, values = _linear(fitted, member, encoded, terms, code)
    else:
        base, values = _shapley(fitted, encoded, code)
    contributions = [
        {"column": name, "value": _shown(fitted, name, record), "contribution": float(value),
         "direction": "for" if value >= 0 else "against"}
        for name, value in zip(names, values, strict=True)
    ]  # fmt: skip
    contributions.sort(key=lambda item: -abs(item["contribution"]))
    explained = str(fitted.classes_[code]) if fitted.classify else None
    unit = "log odds" if fitted.classify else "target"
    return Reasons(
        explained, float(base), float(base + values.sum()), unit, contributions, _words(fitted, record, code)
    )


def _explained_code(fitted: Fitted, encoded: Encoded) -> int:
    if not fitted.classify:
        return 0
    if len(fitted.classes_) == 2:
        return fitted.positive
    return int(fitted.decide(fitted.calibrator.apply(fitted.raw(encoded)))[0])


def _shown(fitted: Fitted, name: str, record: Mapping[str, Any]) -> Any:
    value = record.get(name)
    if is_missing(value) or fitted.schema[name].kind is Kind.TEXT:
        return None
    return value.item() if isinstance(value, np.generic) else value


def score_of(fitted: Fitted, encoded: Encoded, code: int) -> Floats:
    """(n,) log odds of the class before calibration, or the predicted numbers."""
    raw = fitted.raw(encoded)
    return logit(raw[:, code]) if fitted.classify else raw


def _linear(
    fitted: Fitted, member: Member, encoded: Encoded, terms: Floats, code: int
) -> tuple[float, Floats]:
    """Exact; the base is the score of the mean background record."""
    assert fitted.background is not None
    sign = -1.0 if fitted.classify and code == 0 else 1.0
    x = member.preprocessor.transform(encoded)
    known = member.preprocessor.transform(fitted.background)
    mean = np.asarray(known.mean(axis=0)).ravel()
    difference = np.asarray(x.todense()).ravel() - mean if hasattr(x, "todense") else x[0] - mean
    parts = sign * terms[0] * difference
    values: Any = np.bincount(member.preprocessor.origins, weights=parts, minlength=len(fitted.encoder.names))
    return sign * float((terms[0] * mean).sum() + member.model.intercepts()[0]), values


def _shapley(fitted: Fitted, encoded: Encoded, code: int) -> tuple[float, Floats]:
    """Walks from background records to this one, one column at a time; what each step changes is its column's."""
    assert fitted.background is not None
    columns = len(fitted.encoder.names)
    background = fitted.background.n
    joined = _join(fitted, encoded)
    walks = _orders(columns, background, fitted.recipe.seed)
    start = 1 + np.arange(len(walks)) // 2 % background  # an order and its reverse begin at the same record
    rows = np.repeat(start, columns + 1).reshape(len(walks), columns + 1)
    sources = np.repeat(rows[:, :, None], columns, axis=2)
    for step in range(1, columns + 1):
        sources[np.arange(len(walks)), step:, walks[:, step - 1]] = 0
    flat: Ints = sources.reshape(-1, columns)
    scores = score_of(fitted, fitted.encoder.mix(joined, flat), code).reshape(len(walks), columns + 1)
    values = np.zeros(columns)
    np.add.at(values, walks.ravel(), np.diff(scores, axis=1).ravel())
    return float(scores[:, 0].mean()), values / len(walks)


def _orders(columns: int, background: int, seed: int) -> Ints:
    """(walks, columns): every background record is used equally often, so that the base is the same for all rows."""
    rng = np.random.default_rng(seed)
    orders = np.array([rng.permutation(columns) for _ in range(PAIRS * background)], dtype=np.int64)
    orders = orders.reshape(-1, columns)
    walks: Ints = np.empty((2 * len(orders), columns), dtype=np.int64)
    walks[0::2], walks[1::2] = orders, orders[:, ::-1]
    return walks


def _join(fitted: Fitted, encoded: Encoded) -> Encoded:
    """The record as row 0, the background records after it."""
    from scipy import sparse

    assert fitted.background is not None
    blocks: dict[Kind, Any] = {}
    for kind, block in encoded.blocks.items():
        other = fitted.background.blocks[kind]
        if kind is Kind.TEXT:
            blocks[kind] = [sparse.vstack([a, b], format="csr") for a, b in zip(block, other, strict=True)]
        else:
            blocks[kind] = np.concatenate([block, other])
    return Encoded(1 + fitted.background.n, blocks)


def _words(fitted: Fitted, record: Mapping[str, Any], code: int) -> dict[str, list[tuple[str, float]]]:
    """How much the score falls when a word is taken out of the text (Li et al. 2016, arXiv:1612.08220)."""
    found: dict[str, list[tuple[str, float]]] = {}
    for spec in fitted.encoder.specs.get(Kind.TEXT, ()):
        text = to_text(record.get(spec.name)) or ""
        words = _split(text)
        if not words:
            continue
        without = [{**record, spec.name: _remove(text, word)} for word in words]
        scores = score_of(fitted, fitted.encoder.from_records([record, *without]), code)
        pairs = [(word, float(scores[0] - score)) for word, score in zip(words, scores[1:], strict=True)]
        found[spec.name] = sorted(pairs, key=lambda pair: -abs(pair[1]))[:SHOWN_WORDS]
    return found


def _split(text: str) -> list[str]:
    """Distinct words; of scripts without spaces, pairs of characters. The first MOST_WORDS of three letters or more."""
    if len(WIDE_SCRIPTS.findall(text)) > 0.3 * len(text.strip() or " "):
        runs = re.findall(r"\w+", text)
        words = [run[i : i + 2] for run in runs for i in range(max(1, len(run) - 1))]
    else:
        words = [word for word in re.findall(r"\w+", text) if len(word) > 2]
    return list(dict.fromkeys(words))[:MOST_WORDS]


def _remove(text: str, word: str) -> str:
    if WIDE_SCRIPTS.search(word):
        return text.replace(word, " ")
    return re.sub(rf"\b{re.escape(word)}\b", " ", text)
