"""Texts to tokens (words; single characters of scripts without spaces) and tokens to hashed features."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import murmurhash3_32

from engine.cells import is_missing
from engine.metrics import Ints
from engine.transformers.text import WIDE_SCRIPTS

_WIDE = WIDE_SCRIPTS.pattern
TOKEN = re.compile(rf"{_WIDE}|(?:(?!{_WIDE})\w)+|[^\w\s]")
MARK = re.compile(r"<(/?)([^\W\d][\w -]{0,40})>")
BITS = 20  # of a bucket's number
ATTRIBUTES = ("word", "shape", "beginning", "ending", "gap")
TEMPLATES: tuple[tuple[tuple[str, int], ...], ...] = (
    *((("word", d),) for d in (-2, -1, 0, 1, 2)), *((("shape", d),) for d in (-1, 0, 1)),
    (("beginning", 0),), *((("ending", d),) for d in (-1, 0, 1)), *((("gap", d),) for d in (0, 1)),
    (("word", -1), ("word", 0)), (("word", 0), ("word", 1)), (("word", -2), ("word", -1)), (("word", 1), ("word", 2)),
    (("word", -1), ("word", 0), ("word", 1)), (("shape", -1), ("shape", 0)), (("shape", 0), ("shape", 1)),
    (("gap", 0), ("word", 0)), (("gap", 0), ("shape", 0), ("shape", 1)),
)  # fmt: skip
REACH = 2
Words64 = NDArray[np.uint64]


@dataclass(frozen=True)
class Span:
    """Characters `start` to before `end` of a text; the probability is calibrated, with its 95% interval."""

    start: int
    end: int
    label: str
    probability: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Tokens:
    """All tokens of n texts after each other: text i has those from `starts[i]` to `starts[i + 1]`; `begin` and `end`
    are their places in its characters, `hashes` (5, tokens) their ATTRIBUTES."""

    starts: Ints
    begin: Ints
    end: Ints
    hashes: Words64

    @property
    def texts(self) -> int:
        """How many texts."""
        return len(self.starts) - 1


def tokenise(texts: Sequence[str]) -> Tokens:
    """Every attribute of every distinct token is hashed once; no token is kept."""
    starts, begin, end = [0], [], []
    known: dict[str, int] = {}
    kinds: list[int] = []
    gaps: list[int] = []
    for text in texts:
        before = -1
        for match in TOKEN.finditer(text):
            token = match.group()
            kinds.append(known.setdefault(token, len(known)))
            gaps.append(_gap(text, before, match.start()))
            begin.append(match.start())
            end.append(match.end())
            before = match.end()
        starts.append(len(begin))
    of_kind = np.array([_attributes(token) for token in known], dtype=np.uint64).reshape(-1, 4)
    hashes = np.concatenate([of_kind[np.array(kinds, dtype=np.int64)].T, np.array([gaps], dtype=np.uint64)])
    return Tokens(np.array(starts, dtype=np.int64), np.array(begin, dtype=np.int64), np.array(end, dtype=np.int64), hashes)


def _gap(text: str, before: int, start: int) -> int:
    """What lies before a token: the text's beginning (1), nothing (2), a blank (3), a new line (4)."""
    if before < 0:
        return 1
    between = text[before:start]
    return 2 if not between else 4 if "\n" in between else 3


def _attributes(token: str) -> list[int]:
    lower = token.lower()
    return [_hash(part) for part in ("w" + lower, "s" + _shape(token), "b" + lower[:3], "e" + lower[-3:])]


def _hash(text: str) -> int:
    return int(murmurhash3_32(text, positive=True))


def _shape(token: str) -> str:
    """Capital, small, digit, wide script or itself, repeated ones joined: “Mg2” is “Aa0”."""
    letters = ["A" if c.isupper() else "w" if WIDE_SCRIPTS.match(c) else "a" if c.isalpha() else "0" if c.isdigit() else c
               for c in token[:20]]  # fmt: skip
    return "".join(c for i, c in enumerate(letters) if i == 0 or c != letters[i - 1])


def buckets(tokens: Tokens) -> Ints:
    """(tokens, templates) the bucket of each template at each token; a place outside of its text counts as empty."""
    n, texts = len(tokens.begin), tokens.texts
    owner = np.repeat(np.arange(texts), np.diff(tokens.starts))
    place = np.arange(n) + REACH * (owner + 1)  # texts are kept apart by REACH empty places
    padded = np.zeros((len(ATTRIBUTES), n + REACH * (texts + 1)), dtype=np.uint64)
    padded[:, place] = tokens.hashes
    found = np.empty((n, len(TEMPLATES)), dtype=np.int64)
    for k, template in enumerate(TEMPLATES):
        mixed = np.full(n, _hash(f"template {k}"), dtype=np.uint64)
        for attribute, offset in template:
            mixed = _mix(mixed ^ padded[ATTRIBUTES.index(attribute), place + offset])
        found[:, k] = (mixed >> np.uint64(64 - BITS)).astype(np.int64)
    return found


def _mix(x: Words64) -> Words64:
    """One round of splitmix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def known_of(found: Ints, tokens: Tokens, patients: Ints) -> Ints:
    """The buckets that occur with at least two patients, sorted: what only one has (a name) is forgotten."""
    owner = patients[np.repeat(np.arange(tokens.texts), np.diff(tokens.starts))]
    pairs = np.unique(found + (np.int64(1) << BITS) * owner[:, None])  # each bucket once for each patient
    buckets_, counts = np.unique(pairs & ((1 << BITS) - 1), return_counts=True)
    return np.asarray(buckets_[counts >= 2], dtype=np.int64)


def design(found: Ints, kept: Ints) -> Any:
    """CSR (tokens, kept) of ones; buckets that are not kept have no column."""
    place = np.full(1 << BITS, -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    columns = place[found]
    inside = columns >= 0
    ends = np.concatenate([[0], np.cumsum(inside.sum(axis=1))])
    return sparse.csr_matrix((np.ones(int(ends[-1])), columns[inside], ends), shape=(len(found), len(kept)))


def parse_spans(cell: Any) -> list[Span] | None:
    """The spans in a cell: a list or JSON of [start, end, label] or {"start", "end", "label"}; None when missing.

    Raises ValueError for anything else.
    """
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, str) and cell.strip().startswith("["):
        cell = json.loads(cell)
    if not isinstance(cell, (list, tuple)):
        if is_missing(cell):
            return None
        raise ValueError("neither a list nor JSON")
    found = []
    for item in cell:
        start, end, label = (item["start"], item["end"], item["label"]) if isinstance(item, dict) else item
        if isinstance(start, bool) or int(start) != start or int(end) != end or not 0 <= start < end or not str(label).strip():
            raise ValueError("a span needs 0 <= start < end and a label")
        found.append(Span(int(start), int(end), str(label).strip()))
    return sorted(found, key=lambda span: (span.start, -span.end))


def parse_marks(text: str) -> tuple[str, list[Span]]:
    """A text with marks such as “<symptom>chest pain</symptom>” as the plain text and its spans.

    Raises ValueError when a mark is not closed or closes another.
    """
    plain: list[str] = []
    spans: list[Span] = []
    opened: tuple[str, int] | None = None
    length = last = 0
    for match in MARK.finditer(text):
        plain.append(text[last : match.start()])
        length += match.start() - last
        last = match.end()
        closing, label = match.group(1) == "/", match.group(2).strip()
        if closing != (opened is not None) or (opened is not None and opened[0] != label):
            raise ValueError(f"the mark “{match.group()}” does not fit")
        if opened is not None:
            if length > opened[1]:
                spans.append(Span(opened[1], length, label))
            opened = None
        else:
            opened = (label, length)
    if opened is not None:
        raise ValueError(f"“{opened[0]}” is not closed")
    return "".join([*plain, text[last:]]), spans


def tags_of(tokens: Tokens, spans: Sequence[Sequence[Span]], labels: Sequence[str]) -> tuple[Ints, int]:
    """((tokens,) tags, how many spans were lost): 0 outside, 1 + 2j the first token of a span of label j, 2 + 2j others.

    A token belongs to a span that it overlaps; of overlapping spans the first (the longest, if they begin together) stays.
    """
    code = {label: j for j, label in enumerate(labels)}
    tags, lost = np.zeros(len(tokens.begin), dtype=np.int64), 0
    for i, own in enumerate(spans):
        low, high = int(tokens.starts[i]), int(tokens.starts[i + 1])
        begin, end = tokens.begin[low:high], tokens.end[low:high]
        for span in own:
            a, b = low + int(np.searchsorted(end, span.start, side="right")), low + int(np.searchsorted(begin, span.end))
            if a >= b or tags[a:b].any() or span.label not in code:
                lost += 1
                continue
            tags[a:b] = 2 + 2 * code[span.label]
            tags[a] -= 1
    return tags, lost


def runs_of(tags: Ints) -> list[tuple[int, int, int]]:
    """(first token, behind the last token, label code) of the spans in valid tags of one text."""
    found: list[tuple[int, int, int]] = []
    for t, tag in enumerate(tags.tolist()):
        if tag % 2 == 1:
            found.append((t, t + 1, (tag - 1) // 2))
        elif tag and found and found[-1][1] == t and found[-1][2] == (tag - 2) // 2:
            found[-1] = (found[-1][0], t + 1, found[-1][2])
    return found
