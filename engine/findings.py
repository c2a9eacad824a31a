"""What a search says while it runs, and what it has found when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.candidates.base import Curve
from engine.errors import Stopped
from engine.fitted import Fitted
from engine.problems import Problem

EMPTY_CURVE: Curve = {"epoch": [], "train_loss": [], "validation_loss": []}


@dataclass(frozen=True)
class Progress:
    """How far a search is. `fraction` runs from 0 to 1; `step` is check, trial, fit, ensemble or done."""

    fraction: float
    step: str
    message: str
    candidate: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    eta_seconds: float | None = None


@dataclass
class CandidateResult:
    """What became of one candidate. `status` is done, failed, skipped or stopped; `reason` says why or with what limit."""

    name: str
    label: str
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    metric: str = ""
    validation_score: float | None = None
    validation_interval: tuple[float | None, float | None] = (None, None)
    fit_seconds: float = 0.0
    status: str = "skipped"
    reason: str = ""
    curve: Curve = field(default_factory=lambda: {name: [] for name in EMPTY_CURVE})
    fitted: Fitted | None = None
    trials: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Search:
    """All candidates, the best of them, the reference to compare with, and what was noticed in the data.

    `trials`: everything tried, in order: candidate, hyperparameters, preprocessing, folds, share of the training patients,
    score, seconds, and `stopped` ("" finished, "weak" given up early, "time"). `cuts`: what the budget in seconds left out;
    where there is any, the numbers depend on how quick the machine was.
    `left_out`: [{column, code, why, params}] of the suspicious columns that nothing was learned from.
    """

    best: Fitted
    candidates: list[CandidateResult]
    baseline: CandidateResult
    problems: list[Problem]
    unlabelled: int
    modalities: dict[str, Any] | None = None  # what each adds: see engine.modalities
    trials: list[dict[str, Any]] = field(default_factory=list)
    cuts: list[str] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)


OnProgress = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


class Watch:
    """Tells progress, and asks whether to stop."""

    def __init__(self, on_progress: OnProgress | None, should_stop: ShouldStop | None) -> None:
        self.on_progress, self.should_stop = on_progress, should_stop
        self.started = time.monotonic()
        self.fraction = 0.0

    def ask(self) -> None:
        """Raises Stopped when the caller says so."""
        if self.should_stop is not None and self.should_stop():
            raise Stopped

    def say(
        self, fraction: float, step: str, message: str, candidate: str | None = None, **detail: Any
    ) -> None:
        """One progress report; the fraction never goes back."""
        self.ask()
        self.fraction = max(self.fraction, min(fraction, 1.0))
        if self.on_progress is not None:
            gone = time.monotonic() - self.started
            eta = gone * (1.0 - self.fraction) / self.fraction if self.fraction > 0.02 else None
            self.on_progress(Progress(self.fraction, step, message, candidate, detail, eta))
