"""A linear-chain conditional random field (Lafferty, McCallum & Pereira 2001, ICML) with numpy and L-BFGS.

Tags: 0 outside, 1 + 2j begins a span of label j, 2 + 2j goes on in it. What can't follow (going on in what has not begun)
has no probability, in training and in decoding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from engine.metrics import Floats, Ints

NEVER = -1e4  # log weight of what can't follow; finite, so that differences stay numbers
LONG = 60  # tokens after which a training text is cut, where neither side is in a span


def allowed(labels: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """((k, k) which tag may follow which, (k,) which may begin a text)."""
    k = 1 + 2 * labels
    follow = np.ones((k, k), dtype=bool)
    for j in range(labels):
        inside = 2 + 2 * j
        follow[:, inside] = False
        follow[[inside - 1, inside], inside] = True
    return follow, np.arange(k) % 2 * 1 + (np.arange(k) == 0) > 0


@dataclass(frozen=True)
class Chains:
    """Texts of different length as chains, the longest first: `rows(t)` are the tokens at place t of those that reach it."""

    first: Ints
    length: Ints

    @classmethod
    def of(cls, starts: Ints) -> Chains:
        """From the first token of each text and behind the last; empty texts are no chains."""
        length = np.diff(starts)
        order = np.argsort(-length, kind="stable")
        order = order[length[order] > 0]
        return cls(starts[:-1][order], length[order])

    @property
    def longest(self) -> int:
        """How many tokens the longest has."""
        return int(self.length[0]) if len(self.length) else 0

    def rows(self, t: int) -> Ints:
        """Tokens at place t."""
        return self.first[: int(np.searchsorted(-self.length, -t, side="left"))] + t


def forward(chains: Chains, emission: Floats, trans: Floats, begin: Floats) -> tuple[Floats, Floats]:
    """((tokens, k) log weight of all beginnings that end in a tag, (chains,) log of the whole)."""
    alpha = np.empty_like(emission)
    whole = np.empty(len(chains.first))
    for t in range(chains.longest):
        rows = chains.rows(t)
        if t == 0:
            alpha[rows] = begin + emission[rows]
        else:
            alpha[rows] = _log_sum(alpha[rows - 1][:, :, None] + trans) + emission[rows]
        ended = np.flatnonzero(chains.length[: len(rows)] == t + 1)
        whole[ended] = _log_sum(alpha[rows[ended]][:, :, None])[:, 0]
    return alpha, whole


def backward(chains: Chains, emission: Floats, trans: Floats) -> Floats:
    """(tokens, k) log weight of all continuations after a tag."""
    beta = np.zeros_like(emission)
    for t in range(chains.longest - 1, 0, -1):
        rows = chains.rows(t)
        after = emission[rows] + beta[rows]
        beta[rows - 1] = _log_sum((trans + after[:, None, :]).transpose(0, 2, 1))
    return beta


def _log_sum(x: Floats) -> Floats:
    """log of the sum of exp over axis 1 of (n, k, j)."""
    top = x.max(axis=1)
    return np.asarray(top + np.log(np.exp(x - top[:, None, :]).sum(axis=1)))


def best_tags(chains: Chains, emission: Floats, trans: Floats, begin: Floats) -> Ints:
    """(tokens,) the most probable tags of each text (Viterbi 1967)."""
    score, came = np.empty_like(emission), np.zeros(emission.shape, dtype=np.int64)
    tags = np.zeros(len(emission), dtype=np.int64)
    for t in range(chains.longest):
        rows = chains.rows(t)
        if t == 0:
            score[rows] = begin + emission[rows]
        else:
            steps = score[rows - 1][:, :, None] + trans
            came[rows] = steps.argmax(axis=1)
            score[rows] = steps.max(axis=1) + emission[rows]
    last = chains.first + chains.length - 1
    tags[last] = score[last].argmax(axis=1)
    for t in range(chains.longest - 1, 0, -1):
        rows = chains.rows(t)
        tags[rows - 1] = came[rows, tags[rows]]
    return tags


class Crf:
    """Weights (features, k) of tags, and (k, k) of what follows what; `penalty` is that of their squares."""

    def __init__(self, labels: int, weights: Floats, trans: Floats) -> None:
        self.labels = labels
        self.weights, self.trans = weights, trans
        self.follow, self.start = allowed(labels)

    @property
    def steps(self) -> tuple[Floats, Floats]:
        """((k, k), (k,)) log weights of what follows and what begins."""
        return np.where(self.follow, self.trans, NEVER), np.where(self.start, 0.0, NEVER)

    @classmethod
    def fit(
        cls, X: Any, tags: Ints, starts: Ints, labels: int, penalty: float, stop: Callable[[], None], steps: int = 60
    ) -> Crf:
        """Maximum penalised likelihood; X is CSR (tokens, features). Deterministic."""
        k, features = 1 + 2 * labels, X.shape[1]
        follow, _ = allowed(labels)
        starts = cut(tags, starts)
        chains, transposed = Chains.of(starts), X.T.tocsr()
        begins = np.zeros(len(tags), dtype=bool)
        begins[starts[:-1][np.diff(starts) > 0]] = True
        later = np.flatnonzero(~begins)
        gold = np.zeros((len(tags), k))
        gold[np.arange(len(tags)), tags] = 1.0
        pairs = np.bincount(tags[later - 1] * k + tags[later], minlength=k * k).reshape(k, k)

        def loss(theta: Floats) -> tuple[float, Floats]:
            stop()
            model = cls(labels, theta[: features * k].reshape(features, k), theta[features * k :].reshape(k, k))
            trans, begin = model.steps
            emission = np.asarray(X @ model.weights)
            alpha, whole = forward(chains, emission, trans, begin)
            beta = backward(chains, emission, trans)
            of_token = np.repeat(whole, chains.length)[np.argsort(_order(chains), kind="stable")]
            p = np.exp(alpha + beta - of_token[:, None])
            joint = _joint(alpha, beta, emission, trans, of_token, later)
            reached = float((emission * gold).sum() + (trans * pairs)[follow].sum())
            gradient = np.concatenate([
                np.asarray(transposed @ (p - gold)).ravel(), np.where(follow, joint - pairs, 0.0).ravel()
            ]) + penalty * theta  # fmt: skip
            return float(whole.sum()) - reached + 0.5 * penalty * float(theta @ theta), gradient

        options = {"maxiter": steps, "ftol": 1e-5}
        found = minimize(loss, np.zeros(features * k + k * k), jac=True, method="L-BFGS-B", options=options)
        theta = found.x.astype(np.float32).astype(float)  # stored in single precision: the same numbers after loading
        return cls(labels, theta[: features * k].reshape(features, k), theta[features * k :].reshape(k, k))

    def tag(self, X: Any, starts: Ints) -> Ints:
        """(tokens,) the most probable tags."""
        trans, begin = self.steps
        return best_tags(Chains.of(starts), np.asarray(X @ self.weights), trans, begin)

    def span_probabilities(self, X: Any, starts: Ints, spans: list[list[tuple[int, int, int]]]) -> list[Floats]:
        """For the spans (first token, behind the last, label code) of each text how probable exactly each one is."""
        trans, begin = self.steps
        emission, chains = np.asarray(X @ self.weights), Chains.of(starts)
        alpha, whole = forward(chains, emission, trans, begin)
        beta = backward(chains, emission, trans)
        of_text = dict(zip(chains.first.tolist(), whole.tolist(), strict=True))
        found = []
        for i, own in enumerate(spans):
            low, high = int(starts[i]), int(starts[i + 1])
            logs = [_span(alpha, beta, emission, trans, (low + a, low + b, label), high) - of_text[low] for a, b, label in own]
            found.append(np.exp(np.minimum(np.array(logs, dtype=float), 0.0)))
        return found


def _span(alpha: Floats, beta: Floats, emission: Floats, trans: Floats, span: tuple[int, int, int], high: int) -> float:
    """Log weight of all ways in which a span begins at its first token, goes on to its last, and does not go on behind."""
    first, behind, label = span
    start, inside = 1 + 2 * label, 2 + 2 * label
    total, last = float(alpha[first, start]), start
    for t in range(first + 1, behind):
        total += float(trans[last, inside] + emission[t, inside])
        last = inside
    if behind >= high:
        return total
    ways = trans[last] + emission[behind] + beta[behind]
    ways = np.delete(ways, inside)
    top = float(ways.max())
    return total + top + float(np.log(np.exp(ways - top).sum()))


def _order(chains: Chains) -> Ints:
    """The tokens in the order of the chains."""
    return np.concatenate([np.arange(a, a + n) for a, n in zip(chains.first, chains.length, strict=True)])


def _joint(alpha: Floats, beta: Floats, emission: Floats, trans: Floats, whole: Floats, later: Ints) -> Floats:
    """(k, k) how often each tag is expected to follow each, over all tokens but the first of each text."""
    k = alpha.shape[1]
    total = np.zeros((k, k))
    for start in range(0, len(later), 50_000):
        rows = later[start : start + 50_000]
        left = alpha[rows - 1][:, :, None] + trans
        total += np.exp(left + (emission[rows] + beta[rows] - whole[rows][:, None])[:, None, :]).sum(axis=0)
    return total


def cut(tags: Ints, starts: Ints) -> Ints:
    """Long texts are cut between two tokens outside of spans: learning is quicker, and hardly anything is lost."""
    found = [0]
    for low, high in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        at = low
        for t in np.flatnonzero((tags[low + 1 : high] == 0) & (tags[low : high - 1] == 0)) + low + 1:
            if t - at >= LONG:
                found.append(int(t))
                at = int(t)
        if high > found[-1]:
            found.append(high)
    return np.array(found, dtype=np.int64)
