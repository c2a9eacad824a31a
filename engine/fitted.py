"""A fitted model: everything that turns a record into a decision with its uncertainty and its warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.calibration import Calibrator, logit
from engine.candidates.base import Model, sigmoid
from engine.cautions import Warning_, warnings_of
from engine.encoding import Encoded, Encoder
from engine.metrics import Floats, Ints
from engine.novelty import Novelty
from engine.preprocessing.pipeline import Preprocessor
from engine.recipe import Recipe
from engine.schema import Schema

COVERAGE = 0.95


@dataclass(frozen=True)
class Prediction:
    """n rows. `value` (n,): decided class or number. `probabilities` (n, k) in the order of `classes_`, or None.

    `interval` (n, 2), 95%: of the probability of the positive (two classes) or the decided class; for regression the
    conformal interval of the number. `sets`: classes that a 95% prediction set holds, or None for regression.
    `ood_score` above 1 is `out_of_distribution`.
    """

    value: NDArray[Any]
    probabilities: Floats | None
    interval: Floats
    sets: list[list[str]] | None
    out_of_distribution: NDArray[np.bool_]
    ood_score: Floats
    warnings: list[list[Warning_]]


@dataclass
class Member:
    """One preprocessing with its model, and how much it counts."""

    candidate: str
    hyperparameters: dict[str, Any]
    preprocessor: Preprocessor
    model: Model
    weight: float = 1.0

    def raw(self, encoded: Encoded) -> Floats:
        """Uncalibrated probabilities (n, k) or numbers (n,)."""
        return self.model.raw(self.preprocessor.transform(encoded))


@dataclass
class Fitted:
    """The result of `fit`. Classes are texts ("0", "1", "yes"); `classes_` gives their order.

    `operating_point` (two classes): threshold on the positive class's calibrated probability, chosen on validation
    data, with the sensitivity and specificity it reached there. `validation`: metrics on out-of-fold predictions.
    """

    recipe: Recipe
    schema: Schema
    task: str
    classes_: NDArray[Any]
    metric: str
    candidate: str
    hyperparameters: dict[str, Any]
    preprocessing: dict[str, Any]
    encoder: Encoder
    members: list[Member]
    calibrator: Calibrator
    novelty: Novelty
    reach: float
    spread: float
    operating_point: dict[str, Any] | None = None
    validation: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    background: Encoded | None = None
    out_of_fold: tuple[Ints, Floats] | None = None  # labelled rows and their raw predictions; never stored

    @property
    def classify(self) -> bool:
        """Whether this is classification."""
        return self.task == "classification"

    @property
    def positive(self) -> int:
        """The code of the positive class (two classes)."""
        if self.operating_point is None:
            return 1
        return int(np.flatnonzero(self.classes_ == self.operating_point["positive"])[0])

    def predict(self, frame: pd.DataFrame) -> Prediction:
        """Predict a table. Unknown categories, missing columns and odd cells become warnings, never errors."""
        return self.predict_encoded(self.encoder.from_frame(frame))

    def predict_records(self, records: Sequence[Mapping[str, Any]]) -> Prediction:
        """Predict dictionaries, one per record; a missing key is a missing value. The quick way for few records."""
        return self.predict_encoded(self.encoder.from_records(records))

    def raw(self, encoded: Encoded) -> Floats:
        """Uncalibrated probabilities (n, k) or numbers (n,), the weighted mean of the members."""
        if len(self.members) == 1:
            return self.members[0].raw(encoded)
        total: Floats = sum(member.weight * member.raw(encoded) for member in self.members)  # type: ignore[assignment]
        return total

    def predict_encoded(self, encoded: Encoded) -> Prediction:
        """The one way through for tables and records."""
        raw = self.raw(encoded)
        ood = self.novelty.score(encoded)
        strange = ood > 1.0
        warnings = warnings_of(self.encoder, encoded, strange)
        if not self.classify:
            interval = np.column_stack([raw - self.reach, raw + self.reach])
            return Prediction(raw, None, interval, None, strange, ood, warnings)
        p = self.calibrator.apply(raw)
        codes = self.decide(p)
        interval = self._interval(raw, p, codes)
        return Prediction(self.classes_[codes], p, interval, self._sets(p, codes), strange, ood, warnings)

    def decide(self, probabilities: Floats) -> Ints:
        """Class codes: two classes by the operating point, several by the largest probability."""
        if self.operating_point is None:
            return probabilities.argmax(axis=1)
        positive = self.positive
        called = probabilities[:, positive] >= self.operating_point["threshold"]
        return np.where(called, positive, 1 - positive)

    def _interval(self, raw: Floats, p: Floats, codes: Ints) -> Floats:
        shown = np.full(len(p), self.positive) if p.shape[1] == 2 else codes
        probability = p[np.arange(len(p)), shown]
        z = logit(probability)
        deviation = np.hypot(self.calibrator.deviation(raw, shown), self.calibrator.slope * self.spread)
        reach = 1.959964 * np.minimum(deviation, 10.0)
        low, high = np.minimum(sigmoid(z - reach), probability), np.maximum(sigmoid(z + reach), probability)
        return np.column_stack([low, high])  # at the very ends `logit` is cut off, the probability is not

    def _sets(self, p: Floats, codes: Ints) -> list[list[str]]:
        inside = p >= 1.0 - self.reach - 1e-12
        inside[np.arange(len(p)), codes] = True
        names = self.classes_.tolist()
        return [[names[code] for code in np.flatnonzero(row)] for row in inside]
