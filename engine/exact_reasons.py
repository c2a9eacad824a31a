"""Shapley values that need no sampling: of linear models, of boosted trees, and of what adds them up for numbers.

A linear model is explained by its features. That is Shapley's value of masking a column where the column's features depend on
it alone; where rows are brought to unit length the two differ a little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.encoding import Encoded
from engine.fitted import Fitted, Member
from engine.metrics import Floats
from engine.schema import Kind
from engine.tasks import special
from engine.tree_reasons import paths_of, tree_shapley

ON_THEIR_OWN = frozenset([Kind.NUMBER, Kind.CATEGORY, Kind.DATE])  # kinds whose columns are transformed one by one
Exact = Callable[[Encoded, int], tuple[float, Floats]]


def of(fitted: Fitted) -> Exact | None:
    """What gives the base and each column's contribution (c,) for one encoded record and the class's code; None where they
    can't be had.

    The log odds of a combination of classes, or of one class among several, are no sum of the members' own: a mean is one of
    probabilities, and a stack cuts them off near 0 and 1.
    """
    several = len(fitted.members) > 1
    if fitted.classify and (several or len(fitted.classes_) > 2):
        return None
    if special(fitted.task) is not None and several:
        return None
    stack = fitted.stack
    weights = [1.0 if fitted.classify else m.weight for m in fitted.members] if stack is None else stack.weights.tolist()
    constant = 0.0 if stack is None else float(stack.bias[0])
    found = [_exact_member(fitted, *each) for each in zip(fitted.members, weights, strict=True)]
    members = [each for each in found if each is not None]
    if len(members) < len(found):
        return None

    def exact(encoded: Encoded, code: int) -> tuple[float, Floats]:
        parts = [member(encoded, code) for member in members]
        values: Floats = np.sum([own for _, own in parts], axis=0)
        return constant + sum(base for base, _ in parts), values

    return exact


def _exact_member(fitted: Fitted, member: Member, weight: float) -> Exact | None:
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
    """Each feature's part, summed by column; the base is the score of the mean background record."""
    assert fitted.background is not None
    sign = -1.0 if fitted.classify and code == 0 else 1.0
    x = member.preprocessor.transform(encoded)
    known = member.preprocessor.transform(fitted.background)
    mean = np.asarray(known.mean(axis=0)).ravel()
    difference = np.asarray(x.todense()).ravel() - mean if hasattr(x, "todense") else x[0] - mean
    parts = sign * terms[0] * difference
    values: Any = np.bincount(member.preprocessor.origins, weights=parts, minlength=len(fitted.encoder.names))
    return sign * float((terms[0] * mean).sum() + member.model.intercepts()[0]), values
