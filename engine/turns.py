"""A candidate's turn in the search: tuned within its share of the time, fitted on all records, calibrated and measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.assembly import Assembler, Contender
from engine.candidates.base import Curve
from engine.clock import Clock, Deadline, OutOfTime
from engine.errors import Stopped
from engine.findings import CandidateResult, Watch
from engine.fitted import Fitted, Member
from engine.metrics import METRICS
from engine.plan import Plan
from engine.tuning import Found, Stop, Tuner, plain
from engine.validation import Validator


class Turns:
    """What all turns share: the trials so far, how far the search is, and how long a report takes (`report_seconds`).

    `must`: the next candidate may not be skipped for want of time, as there would be no model at all.
    """

    def __init__(self, validator: Validator, assembler: Assembler, watch: Watch, clock: Clock, report_seconds: float) -> None:
        self.validator, self.assembler, self.watch, self.clock = validator, assembler, watch, clock
        self.metric, self.report_seconds = validator.metric, report_seconds
        self.trials: list[dict[str, Any]] = []
        self.done, self.total, self.ceiling = 0.0, 1.0, 1.0
        self.must = False

    def take(self, plan: Plan, deadline: float, tail: float) -> tuple[CandidateResult, Contender | None]:
        result = CandidateResult(plan.candidate.name, plan.candidate.label, metric=self.metric)
        if plan.reason:
            result.reason = plan.reason
            return result, None
        began, first = time.monotonic(), len(self.trials)
        try:
            contender = self._try(plan, deadline, tail, result)
        except Stopped:
            raise
        except OutOfTime:
            result.reason = "the time budget was used up"
            self.clock.cut(f"{plan.candidate.name}: {result.reason}")
            return result, None
        except (ArithmeticError, ValueError, RuntimeError, MemoryError, np.linalg.LinAlgError) as error:
            result.status, result.reason = "failed", f"{type(error).__name__}: {error}"
            return result, None
        result.trials = self.trials[first:]
        self.report(result, contender)
        result.fit_seconds = time.monotonic() - began
        return result, contender

    def _try(self, plan: Plan, deadline: float, tail: float, result: CandidateResult) -> Contender:
        """Raises OutOfTime when there was no time for even one trial."""
        count, done = plan.runs + 1, [0]

        def told(estimated: float, best: Found | None, curve: Curve) -> None:
            done[0] += 1
            number = min(done[0], plan.runs)
            self.done = min(self.done + plan.seconds / count, self.ceiling)
            self.watch.say(
                self.done / self.total, "trial", f"{plan.candidate.label}: trial {number} of {plan.runs}",
                plan.candidate.name, trial=number, trials=plan.runs,
                score=None if best is None else self._plain(best.result.mean), curve=curve,
            )  # fmt: skip

        self.ceiling = self.done + plan.seconds * plan.runs / count
        ask = self._tick(plan, plan.runs)
        tuner = Tuner(self.validator, plan, self.clock, deadline, tail, ask, self.trials, told, must=self.must)
        found = tuner.tune()
        result.reason = tuner.ended
        member = self._member(plan, found, ask, tail)
        self.done = self.ceiling + plan.seconds / count
        self.watch.say(
            self.done / self.total, "fit", f"{plan.candidate.label}: fitted on all records", plan.candidate.name
        )
        kept = self.validator.kept(found.result)
        return Contender(plan.candidate.name, [member], [(1.0, kept)], kept.rows, kept.raw)

    def _member(self, plan: Plan, found: Found, ask: Callable[[Curve], None], tail: float) -> Member:
        """Fitted on all records; where there is no time left for that, the first fold's model, which saw most of them."""
        name, estimated = plan.candidate.name, plan.cost(found.hyperparameters)
        began = time.monotonic()
        if self.clock.seconds_for(name, estimated) + tail <= self.clock.left():
            try:
                stop = Stop(ask, Deadline(self.clock.limit - tail))
                return self.assembler.member(plan.candidate, found.hyperparameters, found.choices, stop)
            except OutOfTime:
                pass
            finally:
                self.clock.note(name, estimated, time.monotonic() - began)
        self.clock.cut(f"{name}: the model of the first validation split was kept, as there was no time for a last fit")
        preprocessor, model = found.result.pairs[0]
        hyperparameters = {**plan.candidate.defaults(), **found.hyperparameters}
        return Member(name, hyperparameters, preprocessor, model)

    def _tick(self, plan: Plan, number: int) -> Callable[[Curve], None]:
        base, share = self.done, plan.seconds / (len(plan.trials) + 1)

        def tick(curve: Curve) -> None:
            self.watch.ask()
            if curve.get("epoch"):
                part = 0.5 * share * min(curve["epoch"][-1] / 60.0, 1.0)
                message = f"{plan.candidate.label}: epoch {int(curve['epoch'][-1])}"
                self.watch.say(
                    (base + part) / self.total,
                    "epoch",
                    message,
                    plan.candidate.name,
                    trial=number + 1,
                    trials=len(plan.trials),
                    curve=curve,
                )

        return tick

    def _plain(self, gained: float) -> float | None:
        return plain(gained, METRICS[self.metric].better)

    def report(self, result: CandidateResult, contender: Contender) -> Fitted:
        began = time.monotonic()
        fitted = self.assembler.assemble(contender, self.metric)
        self.report_seconds = max(self.report_seconds, 1.2 * (time.monotonic() - began))
        own = fitted.validation
        result.hyperparameters, result.preprocessing = fitted.hyperparameters, fitted.preprocessing
        result.validation_score = own["value"]
        result.validation_interval = (own["low"], own["high"])
        result.status, result.fitted = "done", fitted
        if len(contender.members) == 1:
            result.curve = contender.members[0].model.curve
        return fitted
