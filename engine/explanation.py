"""The reasons for a prediction: how much each column, and each word, spoke for or against it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Any

import numpy as np
import pandas as pd

from engine import exact_reasons, pipelines
from engine.calibration import logit
from engine.cells import is_missing
from engine.encoding import Encoded
from engine.files import Files, Folder
from engine.fitted import Fitted
from engine.metrics import Floats, Ints
from engine.regions import Regions, regions_of
from engine.schema import FILE_KINDS, Kind
from engine.tasks import special
from engine.transformers.text import WIDE_SCRIPTS

PAIRS = 1  # random orders of the columns per background record, each also walked backwards
MOST_COUNTED = 6  # columns up to which all subsets are gone through: not many more rows than sampling takes
MOST_WORDS = 40
SHOWN_WORDS = 10


@dataclass(frozen=True)
class Reasons:
    """`base` + the sum of all contributions = `score`: the log odds of `explained` before calibration, or the number.

    Two classes explain the positive one, several the decided one. `words`: column -> [(term, contribution)];
    `regions`: column of files -> where in the file (engine.regions).
    Grades explain the expected grade (0, 1, ...), survival the log risk at the horizon, several labels the likeliest
    of them, with the contributions to all labels in `by_label`.
    """

    explained: str | None
    base: float
    score: float
    unit: str
    contributions: list[dict[str, Any]]
    words: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    regions: dict[str, Regions] = field(default_factory=dict)
    by_label: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        words = {column: [list(pair) for pair in pairs] for column, pairs in self.words.items()}
        regions = {column: found.to_dict() for column, found in self.regions.items()}
        known = {"explained": self.explained, "base": self.base, "score": self.score, "unit": self.unit,
                 "contributions": self.contributions, "words": words, "regions": regions}  # fmt: skip
        return known | ({"by_label": self.by_label} if self.by_label else {})


def explain(
    fitted: Fitted, data: pd.DataFrame | Sequence[Mapping[str, Any]], *, files: Folder = None
) -> list[Reasons]:
    """One Reasons per row; the same seed gives the same numbers. `files`: the folder below which cells name files.

    Linear models and boosted trees are exact for two classes and for numbers (an ensemble of them for numbers):
    coefficient x (feature - its mean over the background records), and engine.tree_reasons. Anything else gets
    Shapley values by masking columns with background records: over all subsets of up to MOST_COUNTED columns, beyond
    that sampled over orders walked both ways (Strumbelj & Kononenko 2014, doi:10.1007/s10115-013-0679-x; Mitchell et
    al. 2022, arXiv:2104.12199).
    """
    records: list[Any] = data.to_dict("records") if isinstance(data, pd.DataFrame) else list(data)
    own = pipelines.of(fitted.task)
    if own is not None:
        return own.explain(fitted, records)
    exact = exact_reasons.of(fitted)
    return [_explain_one(fitted, record, exact, Files.of(files)) for record in records]


def _explain_one(
    fitted: Fitted, record: Mapping[str, Any], exact: exact_reasons.Exact | None, files: Files
) -> Reasons:
    encoded = fitted.encoder.from_records([record], files)
    code = _explained_code(fitted, encoded)
    names = fitted.encoder.names
    if exact is not None:
        base, values = exact(encoded, code)
    elif len(names) <= MOST_COUNTED:
        base, values = _counted(fitted, encoded, code)
    else:
        base, values = _shapley(fitted, encoded, code)
    contributions, own = _listed(fitted, record, values), special(fitted.task)
    explained = str(fitted.classes_[code]) if fitted.classify else None
    unit = "log odds" if fitted.classify else "target"
    by_label: dict[str, list[dict[str, Any]]] = {}
    if own is not None:
        unit, labels = own.unit, own.scored(fitted)
        if labels is not None:
            explained, by_label = labels[code], _by_label(fitted, encoded, record, labels, code, contributions)
    return Reasons(
        explained, float(base), float(base + values.sum()), unit, contributions, _words(fitted, record, code, files),
        regions_of(fitted, record, code, files, score_of), by_label,
    )


def _by_label(
    fitted: Fitted, encoded: Encoded, record: Mapping[str, Any], labels: list[str], code: int,
    contributions: list[dict[str, Any]],
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """The contributions to each label's score; those of label `code` are known already."""
    found = {}
    for other, label in enumerate(labels):
        masked = _counted if len(fitted.encoder.names) <= MOST_COUNTED else _shapley
        values = None if other == code else masked(fitted, encoded, other)[1]
        found[label] = contributions if values is None else _listed(fitted, record, values)
    return found


def _listed(fitted: Fitted, record: Mapping[str, Any], values: Floats) -> list[dict[str, Any]]:
    """A dictionary per column, the largest contribution first."""
    listed = [
        {"column": name, "value": _shown(fitted, name, record), "contribution": float(value),
         "direction": "for" if value >= 0 else "against"}
        for name, value in zip(fitted.encoder.names, values, strict=True)
    ]  # fmt: skip
    listed.sort(key=lambda item: -abs(item["contribution"]))
    return listed


def _explained_code(fitted: Fitted, encoded: Encoded) -> int:
    own = special(fitted.task)
    if own is not None:
        return own.explained(fitted, fitted.raw(encoded))
    if not fitted.classify:
        return 0
    if len(fitted.classes_) == 2:
        return fitted.positive
    return int(fitted.decide(fitted.calibrator.apply(fitted.raw(encoded)))[0])


def _shown(fitted: Fitted, name: str, record: Mapping[str, Any]) -> Any:
    value = record.get(name)
    if is_missing(value) or fitted.schema[name].kind in (Kind.TEXT, *FILE_KINDS):
        return None
    return value.item() if isinstance(value, np.generic) else value


def score_of(fitted: Fitted, encoded: Encoded, code: int) -> Floats:
    """(n,) log odds of the class before calibration, or the predicted numbers."""
    raw, own = fitted.raw(encoded), special(fitted.task)
    if own is not None:
        return own.score(fitted, raw)[:, code]
    return logit(raw[:, code]) if fitted.classify else raw


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


def _counted(fitted: Fitted, encoded: Encoded, code: int) -> tuple[float, Floats]:
    """Shapley's own formula over all subsets of the columns, for the mean over the background records."""
    assert fitted.background is not None
    columns, background = len(fitted.encoder.names), fitted.background.n
    subsets = np.arange(2**columns)
    inside = (subsets[:, None] >> np.arange(columns)) & 1 == 1
    sources: Ints = np.where(inside[:, None, :], 0, 1 + np.arange(background)[None, :, None])
    mixed = fitted.encoder.mix(_join(fitted, encoded), sources.reshape(-1, columns))
    worth = score_of(fitted, mixed, code).reshape(len(subsets), background).mean(axis=1)
    size = inside.sum(axis=1)
    values = np.zeros(columns)
    for j in range(columns):
        without = subsets[~inside[:, j]]
        share = np.array([1.0 / (columns * comb(columns - 1, int(size[s]))) for s in without])
        values[j] = (share * (worth[without | (1 << j)] - worth[without])).sum()
    return float(worth[0]), values


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
    assert fitted.background is not None
    blocks: dict[Kind, Any] = {}
    for kind, block in encoded.blocks.items():
        blocks[kind] = fitted.encoder.transformers[kind].join(block, fitted.background.blocks[kind])
    return Encoded(1 + fitted.background.n, blocks)


def _words(
    fitted: Fitted, record: Mapping[str, Any], code: int, files: Files
) -> dict[str, list[tuple[str, float]]]:
    """How much the score falls when a word is taken out of the text (Li et al. 2016, arXiv:1612.08220)."""
    found: dict[str, list[tuple[str, float]]] = {}
    reader: Any = fitted.encoder.transformers.get(Kind.TEXT)
    for spec in fitted.encoder.specs.get(Kind.TEXT, ()):
        text = reader.read(record.get(spec.name))
        words = _split(text)
        if not words:
            continue
        without = [{**record, spec.name: _remove(text, word)} for word in words]
        scores = score_of(fitted, fitted.encoder.from_records([record, *without], files), code)
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
