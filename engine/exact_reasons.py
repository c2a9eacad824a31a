"""Shapley values that need no sampling: of linear models, of boosted trees, and of what adds them up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.combining import EDGE
from engine.encoding import Encoded
from engine.fitted import Fitted, Member
from engine.metrics import Floats
from engine.schema import Kind
from engine.tasks import special
from engine.tree_reasons import paths_of, tree_shapley

ON_THEIR_OWN = frozenset([Kind.NUMBER, Kind.CATEGORY, Kind.DATE])  # kinds whose columns are transformed one by one
Exact = Callable[[Encoded, int], tuple[float, Floats] | None]
ExactMember = Callable[[Encoded, int], tuple[float, Floats]]


def of(fitted: Fitted) -> Exact | None:
    """What gives of one encoded record and the class's code the base and each column's contribution; None where no model of
    this kind has exact ones. The answer is None for a record that a stack takes for another (see `_cut_off`).

    The log odds of a mean of probabilities, or of one class among several, are no sum of the members' own; those of a stack
    of two classes are.
    """
    several = len(fitted.members) > 1
    if fitted.classify and (len(fitted.classes_) > 2 or (several and fitted.stack is None)):
        return None
    if special(fitted.task) is not None and several:
        return None
    weights = [1.0 if fitted.classify else member.weight for member in fitted.members]
    if fitted.stack is not None:
        weights = fitted.stack.weights.tolist()
    found = [_exact_member(fitted, *each) for each in zip(fitted.members, weights, strict=True)]
    members = [each for each in found if each is not None]
    if len(members) < len(found):
        return None

    def exact(encoded: Encoded, code: int) -> tuple[float, Floats] | None:
        if _cut_off(fitted, encoded):
            return None
        parts = [member(encoded, code) for member in members]
        values: Floats = np.sum([own for _, own in parts], axis=0)
        return _constant(fitted, code) + sum(base for base, _ in parts), values

    return exact


def _cut_off(fitted: Fitted, encoded: Encoded) -> bool:
    """Whether a stack takes a member's probability for another, as it lies too near to 0 or 1: then nothing adds up."""
    if fitted.stack is None or not fitted.classify:
        return False
    return any(float(member.raw(encoded).min()) < EDGE for member in fitted.members)


def _constant(fitted: Fitted, code: int) -> float:
    """What a stack adds to the sum of its members."""
    if fitted.stack is None:
        return 0.0
    bias = fitted.stack.bias
    return float(bias[code] - bias[1 - code]) if fitted.classify else float(bias[0])


def _exact_member(fitted: Fitted, member: Member, weight: float) -> ExactMember | None:
    terms, trees = member.model.linear_terms(), member.model.flat_trees()
    if terms is not None:

        def linear(encoded: Encoded, code: int) -> tuple[float, Floats]:
            base, values = _linear(fitted, member, encoded, terms, code)
            return weight * base, weight * values

        return linear
    if trees is None or fitted.background is None or not _separable(member):
        return None
    paths = paths_of(trees, member.preprocessor.origins)
    background = member.preprocessor.transform(fitted.background)

    def boosted(encoded: Encoded, code: int) -> tuple[float, Floats]:
        x = member.preprocessor.transform(encoded)[0]
        base, values = tree_shapley(trees, paths, x, background, len(fitted.encoder.names))
        sign = -weight if fitted.classify and code == 0 else weight
        return sign * float(base[0]), sign * values[:, 0]

    return boosted


def _separable(member: Member) -> bool:
    """Whether masking a column changes that column's features only: not so when rows are brought to unit length, or
    several texts are reduced together."""
    specs = member.preprocessor.encoder.specs
    alone = all(kind in ON_THEIR_OWN or len(own) == 1 for kind, own in specs.items())
    return alone and member.preprocessor.choices["normalisation"] != "l2"


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
