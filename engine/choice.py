"""Which of the candidates is given back: the best alone, the plainest within its noise, or several combined (ADR 17)."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from engine import registry
from engine.assembly import Assembler, Contender
from engine.combining import Combination, parts_of, stacked, weighted
from engine.findings import CandidateResult
from engine.fitted import Fitted
from engine.metrics import METRICS, Floats, Ints, gain, score
from engine.recipe import Recipe
from engine.schema import Kind
from engine.tasks import special
from engine.tuning import plain
from engine.validation import Validator

PLAINEST = "linear"  # its answers can be read off its coefficients, and it forgets best what is chance
PLAINER = "as good as the ensemble within chance: ask for it alone to have a plainer model"
SWIFT = frozenset([Kind.NUMBER, Kind.CATEGORY, Kind.DATE])  # a combination answers a row of these in 1 to 5 ms


class Choice:
    """Among candidates that have been fitted. `report` calibrates and measures what is to be given back."""

    def __init__(
        self, validator: Validator, assembler: Assembler, recipe: Recipe, report: Callable[[CandidateResult, Contender], Fitted]
    ) -> None:
        self.validator, self.assembler, self.recipe, self.report = validator, assembler, recipe, report

    def single(self, contenders: list[Contender], results: list[CandidateResult]) -> Fitted:
        """The one with the best score, unless the plainest is within its noise (ADR 17)."""
        named, winner = {result.name: result for result in results}, self._leader(contenders)
        for plainest in [c for c in contenders if c.name == PLAINEST and c is not winner]:
            if not self.assembler.clearly_better(winner, plainest):
                named[winner.name].reason = "not better than the linear model beyond chance"
                winner = plainest
        fitted = named[winner.name].fitted
        assert fitted is not None
        return fitted

    def _leader(self, contenders: list[Contender]) -> Contender:
        return max(contenders, key=lambda c: self.validator.gain(c.raw, c.rows))

    def ensemble(
        self, contenders: list[Contender], results: list[CandidateResult], single: Fitted
    ) -> Fitted:
        """Several combined, or `single` where that is preferred (ADR 17).

        Of plain tables `single` is preferred where it is better beyond chance; where there are texts or files, which are slow
        to read for each member, already where the combination is not better beyond chance. A weighted mean of models has no
        larger loss than they have on average, be it squared error (Krogh & Vedelsby 1995, Neural network ensembles, cross
        validation, and active learning) or log loss (Jensen's inequality); a stack is taken only where it was better than
        that on records left out.
        """
        spec = registry.get("ensemble")
        result = CandidateResult("ensemble", spec.label, metric=self.validator.metric)
        results.append(result)
        given = registry.validate("ensemble", self.recipe.hyperparameters.get("ensemble", {}))
        rounds = given.get("rounds", spec.defaults()["rounds"])
        began = time.monotonic()
        found = self._combination(contenders, rounds)
        combined = self.assembler.combine(contenders, found)
        if combined is None:
            result.reason = "one candidate alone does as well"
            return single
        fitted = self.report(result, combined)
        result.fit_seconds = time.monotonic() - began
        better, leader = self.assembler.clearly_better, self._leader(contenders)
        alone = next(c for c in contenders if c.name == single.candidate)
        rivals = [alone] if alone is leader else [alone, leader]
        if self._swift() and not better(alone, combined):
            as_good = {c.name for c in rivals if not better(combined, c)}
            for other in results:
                if other.name in as_good:
                    other.reason = PLAINER if other.name == PLAINEST else "not better than the ensemble beyond chance"
            return fitted
        if self.recipe.candidates == ("ensemble",) or all(better(combined, c) for c in rivals):
            return fitted
        result.reason = "not better than the best single candidate beyond chance"
        return single

    def _swift(self) -> bool:
        """Whether a combination answers quickly enough that it is not asked for proof."""
        data = self.validator.data
        return special(data.task) is None and all(spec.kind in SWIFT for spec in data.schema.features)

    def _combination(self, contenders: list[Contender], rounds: int) -> Combination:
        """The weighted mean, or the stack where it is better on records that had no part in its weights."""
        rows, data = contenders[0].rows, self.validator.data
        held = [held for _, held in self.validator.folds[: self.validator.own]]
        parts = parts_of(rows, held, data.y, data.patients, data.task, self.recipe.seed)
        raws = [contender.raw for contender in contenders]

        def gained(raw: Floats, positions: Ints) -> float:
            return self.validator.gain(raw, rows[positions])

        mean = weighted(raws, parts, gained, rounds)
        if special(data.task) is not None:  # their rows are not probabilities that sum to 1
            return mean
        stack = stacked(raws, data.y[rows], parts, gained)
        return stack if stack is not None and stack.gain > mean.gain else mean


def baseline_of(validator: Validator) -> CandidateResult:
    """The answer of who knows nothing but how common each class is, or the mean."""
    spec, data, metric = registry.get("baseline"), validator.data, validator.metric
    rows = np.concatenate([held for _, held in validator.folds[: validator.own]])
    y, own = data.y, special(data.task)
    raw = np.full(len(rows), y.mean())
    if data.classify:
        shares = np.bincount(y.astype(np.int64), minlength=len(data.classes)) / len(y)
        raw = np.tile(shares, (len(rows), 1))
    if own is not None:
        raw = own.baseline(data, len(rows))
    outcomes = validator.outcomes(raw, rows)
    value = score(outcomes, metric)
    return CandidateResult(
        "baseline",
        spec.label,
        metric=metric,
        status="done",
        validation_score=plain(gain(metric, value), METRICS[metric].better),
    )
