"""One candidate's trials: successive halving over its settings, then one change of the preprocessing after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.candidates.base import Curve
from engine.clock import Clock, Deadline, OutOfTime
from engine.metrics import METRICS
from engine.plan import Plan, Trial
from engine.recipe import STEPS
from engine.validation import TrialResult, Validator

MOST_RECORDED = 500  # trials of one search that are written down
SAMPLE = 0.25  # share of the training patients that large data's trials see first
KEPT = 0.5  # of the settings go on to the next rung


@dataclass
class Stop:
    """What fits ask between steps: whether the person or the clock says stop; `deadline` goes to other processes."""

    ask: Callable[[Curve], None]
    deadline: Deadline

    def __call__(self, curve: Curve) -> None:
        self.ask(curve)
        self.deadline(curve)


@dataclass
class Found:
    """The best settings of one candidate so far."""

    hyperparameters: dict[str, Any]
    choices: dict[str, str]
    result: TrialResult


@dataclass
class Tuner:
    """`trials` is the search's list of everything tried; `must`: without this candidate there would be no model at all."""

    validator: Validator
    plan: Plan
    clock: Clock
    deadline: float
    tail: float
    ask: Callable[[Curve], None]
    trials: list[dict[str, Any]]
    done: Callable[[float, Found | None, Curve], None]
    best: Found | None = None
    must: bool = False
    ended: str = ""
    tried: int = 0
    finished: int = 0

    def tune(self) -> Found:
        """Raises OutOfTime when not even the first trial could be finished."""
        settings = [trial for trial in self.plan.trials if trial.plain]
        self._halve(settings)
        for trial in self.plan.trials:
            if not trial.plain and self.best is not None and not self.ended:
                self._move(trial)
        if self.best is None:
            raise OutOfTime
        if self.ended:
            self.clock.cut(f"{self.plan.candidate.name}: {self.ended}")
        return self.best

    # -- rungs ---------------------------------------------------------------------------------------------------

    @property
    def rung(self) -> tuple[tuple[int, ...], float]:
        """What every setting gets first: two folds of five, one of three, a quarter of the patients of one."""
        folds = self.validator.every
        if len(folds) == 1:
            return folds, SAMPLE
        return folds[: 2 if len(folds) > 3 else 1], 1.0

    def _halve(self, settings: Sequence[Trial]) -> None:
        """The first setting, which is the default, is tried whole; of the others the weaker half stops after the first rung."""
        folds, share = self.rung
        for trial in settings[:1] if len(settings) > 2 else settings:
            self._whole(trial, None)
        first: list[tuple[Trial, TrialResult]] = []
        for trial in settings[1:] if len(settings) > 2 else ():
            result = self._run(trial, folds, share)
            if result is not None:
                first.append((trial, result))
        kept = max(1, round(KEPT * len(first)))
        survivors = sorted(range(len(first)), key=lambda i: (-first[i][1].mean, i))[:kept]
        for position, (trial, result) in enumerate(first):
            if position in survivors:
                self._whole(trial, result if share == 1.0 else None)
            else:
                self.finished += 1
                self._write(trial, result, "weak")

    def _whole(self, trial: Trial, begun: TrialResult | None) -> None:
        left = [fold for fold in self.validator.every if begun is None or fold not in begun.folds]
        rest = self._run(trial, left, 1.0) if left else None
        if rest is None:
            return
        result = rest if begun is None else begun.joined(rest)
        self._consider(trial, result)

    def _move(self, trial: Trial) -> None:
        """A change to the best: left at once when it is not better on the first folds."""
        assert self.best is not None
        folds, share = self.rung
        if share < 1.0 or len(folds) == len(self.validator.every):
            self._whole(trial, None)
            return
        result = self._run(trial, folds, 1.0)
        if result is None:
            return
        if result.mean <= self.best.result.on(folds):
            self.finished += 1
            self._write(trial, result, "weak")
            return
        self._whole(trial, result)

    # -- one step ------------------------------------------------------------------------------------------------

    def settings_of(self, trial: Trial) -> tuple[dict[str, Any], dict[str, str]]:
        """The hyperparameters and preprocessing that a trial stands for, changes applied to the best so far."""
        choices = dict(self.plan.first) if self.best is None else self.best.choices
        if trial.plain or self.best is None:
            return {**trial.hyperparameters, **self.plan.given}, choices
        moved = choices if trial.move is None else {**choices, trial.move[0]: trial.move[1]}
        return {**self.best.hyperparameters, **trial.hyperparameters, **self.plan.given}, moved

    def _run(self, trial: Trial, folds: Sequence[int], share: float) -> TrialResult | None:
        """None when the clock forbids it; a candidate's very first run only has the search's own limit to keep."""
        if self.ended:
            return None
        name = self.plan.candidate.name
        hyperparameters, choices = self.settings_of(trial)
        estimated = self.plan.cost(hyperparameters) * len(folds) * share
        after = self.clock.seconds_for(name, self.plan.cost(hyperparameters)) + self.tail
        began = time.monotonic()
        end = began + self.clock.seconds_for(name, estimated)
        end += self.plan.candidate.model.startup() * self.clock.slowness
        must = self.must and not self.tried
        late = end + self.tail > self.clock.limit and not must
        if late or (self.tried and (end > self.deadline or end + after > self.clock.limit)):
            self._out_of_time(trial)
            return None
        stop = Stop(self.ask, Deadline(float("inf") if must else self._latest(began)))
        try:
            result = self.validator.run(self.plan.candidate, hyperparameters, choices, stop, folds, share)
        except OutOfTime:
            self._out_of_time(trial)
            return None
        took = time.monotonic() - began
        self.clock.note(name, estimated, took)
        result.seconds = took
        self.tried += 1
        self.done(estimated, self.best, result.curve)
        return result

    def _latest(self, now: float) -> float:
        """When a fit is given up: a candidate's first run may take half of what is left, so that others have some too."""
        last = self.clock.limit - self.tail
        return last if self.tried else max(self.deadline, now + 0.5 * (last - now))

    def _out_of_time(self, trial: Trial) -> None:
        self.ended = f"stopped after {self.finished} of {self.plan.runs} trials: the time budget was used up"
        self._write(trial, None, "time")

    def _consider(self, trial: Trial, result: TrialResult) -> None:
        self.finished += 1
        hyperparameters, choices = self.settings_of(trial)
        self._write(trial, result, "")
        self._keep(Found(hyperparameters, choices, result))
        for change, shortened in self._shorter(result):
            if not set(change) & set(self.plan.given):
                self._write(trial, shortened, "", {**hyperparameters, **change})
                self._keep(Found({**hyperparameters, **change}, choices, shortened))

    def _keep(self, found: Found) -> None:
        if self.best is None or found.result.beats(self.best.result):
            self.best = found

    def _shorter(self, result: TrialResult) -> list[tuple[dict[str, Any], TrialResult]]:
        """What the models of this trial were on their way (fewer rounds of boosting)."""
        each = [model.shorter() for _, model in result.pairs]
        matrices = [
            (preprocessor, None, held)
            for (preprocessor, _), (_, _, held) in zip(result.pairs, self.validator.matrices(self._choices(result)), strict=True)
        ] if each[0] else []  # fmt: skip
        return [
            (each[0][k][0], self.validator.judged(result.folds, matrices, [models[k][1] for models in each]))
            for k in range(len(each[0]))
        ]

    @staticmethod
    def _choices(result: TrialResult) -> dict[str, str]:
        return result.pairs[0][0].choices

    def _write(
        self, trial: Trial, result: TrialResult | None, stopped: str,
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """One line of what was tried: `stopped` is "" (finished), weak or time."""
        if len(self.trials) >= MOST_RECORDED:
            return
        settings, choices = self.settings_of(trial)
        better = METRICS[self.validator.metric].better
        self.trials.append({
            "candidate": self.plan.candidate.name, "hyperparameters": dict(hyperparameters or settings),
            "preprocessing": {step: choices[step] for step in STEPS},
            "folds": 0 if result is None else len(result.folds), "share": 0.0 if result is None else result.share,
            "score": None if result is None else plain(result.mean, better),
            "seconds": 0.0 if result is None else round(result.seconds, 3), "stopped": stopped,
        })  # fmt: skip


def plain(gained: float, better: str) -> float | None:
    """A gain as the metric itself; None where it is undefined."""
    if not gained > float("-inf") or gained != gained:
        return None
    return gained if better == "higher" else -gained
