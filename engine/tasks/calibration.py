"""The calibration of several probabilities of yes or no: one Calibrator for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.calibration import Calibrator
from engine.candidates.base import two_columns
from engine.metrics import Floats, Ints


class ManyCalibrators:
    """One calibrator of two classes per question; a question with one answer only is left as it is."""

    def __init__(self, method: str = "", state: dict[str, Any] | None = None) -> None:
        methods = method.split(",") if method else []
        own = state or {}
        self.parts = [
            Calibrator(name, {key.split("/", 1)[1]: a for key, a in own.items() if key.startswith(f"{j}/")})
            for j, name in enumerate(methods)
        ]

    @property
    def method(self) -> str:
        """The method of each, joined by commas."""
        return ",".join(part.method for part in self.parts)

    @property
    def state(self) -> dict[str, Any]:
        """The arrays of each, numbered."""
        return {f"{j}/{name}": a for j, part in enumerate(self.parts) for name, a in part.state.items()}

    @property
    def slopes(self) -> Floats:
        """(questions,) how much a step in the log odds counts after calibration."""
        return np.array([part.slope for part in self.parts])

    def fit(self, raw: Floats, truth: Floats, patients: Ints, seed: int) -> ManyCalibrators:
        """`raw` (n, questions) out of fold; `truth` 1, 0 or NaN."""
        self.parts = []
        for p, answers in zip(raw.T, truth.T, strict=True):
            rows = np.flatnonzero(np.isfinite(answers))
            own = answers[rows].astype(np.int64)
            part = Calibrator()
            if len(np.unique(own)) == 2:
                codes = np.unique(patients[rows], return_inverse=True)[1]
                part.fit(two_columns(p[rows]), own, codes, seed)
            self.parts.append(part)
        return self

    def apply(self, raw: Floats) -> Floats:
        """(n, questions) calibrated."""
        return np.column_stack(
            [part.apply(two_columns(p))[:, 1] for part, p in zip(self.parts, raw.T, strict=True)]
        )

    def deviation(self, raw: Floats) -> Floats:
        """(n, questions) standard errors of the calibrated log odds."""
        ones = np.ones(len(raw), dtype=np.int64)
        return np.column_stack(
            [part.deviation(two_columns(p), ones) for part, p in zip(self.parts, raw.T, strict=True)]
        )
