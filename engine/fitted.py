"""A fitted model: everything that turns a record into a decision with its uncertainty and its warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.calibration import Calibrator, logit
from engine.candidates.base import Model, sigmoid
from engine.cautions import Warning_, warnings_of
from engine.combining import Stack
from engine.decisions import decide_by, refers
from engine.encoding import Encoded, Encoder
from engine.files import Files, Folder
from engine.metrics import Floats, Ints
from engine.novelty import Novelty
from engine.preprocessing.pipeline import Preprocessor
from engine.recipe import Recipe
from engine.schema import Schema
from engine.tasks import special


@dataclass(frozen=True)
class Prediction:
    """n rows. `value` (n,): decided class or number. `probabilities` (n, k) in the order of `classes_`, or None.

    `interval` (n, 2): of the probability of the positive (two classes) or the decided class, 95%; for regression the
    conformal interval of the number. `sets`: classes that the prediction set holds, or None for regression; sets and
    regression intervals hold the truth of `Recipe.coverage` (95%) of patients. `ood_score` above 1 is
    `out_of_distribution`. `refer` (n,): to be decided by a specialist, see `Recipe.abstain`.
    """

    value: NDArray[Any]
    probabilities: Floats | None
    interval: Floats
    sets: list[list[str]] | None
    out_of_distribution: NDArray[np.bool_]
    ood_score: Floats
    warnings: list[list[Warning_]]
    refer: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))  # not given: nobody

    def __post_init__(self) -> None:
        if not len(self.refer):
            object.__setattr__(self, "refer", np.zeros(len(self.value), dtype=bool))


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
    `reach`: conformal limit of all classes, `reaches` (k,) of each when they have their own. `decision` (several
    classes): the rule when it is not the largest probability, and its price. `referral`: the limit of abstention.
    `details`: what the tasks of `engine.tasks` have decided and learned beyond that, as JSON.
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
    stack: Stack | None = None
    reaches: Floats | None = None
    decision: dict[str, Any] | None = None
    referral: dict[str, Any] | None = None
    details: dict[str, Any] = field(default_factory=dict)
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

    def predict(self, frame: pd.DataFrame, *, files: Folder = None) -> Prediction:
        """Predict a table. Unknown categories, missing columns and odd cells become warnings, never errors.

        `files`: the folder below which texts in columns of files name them (see engine.files).
        """
        return self.predict_encoded(self.encoder.from_frame(frame, Files.of(files)))

    def predict_records(self, records: Sequence[Mapping[str, Any]], *, files: Folder = None) -> Prediction:
        """Predict dictionaries, one per record; a missing key is a missing value. The quick way for few records."""
        return self.predict_encoded(self.encoder.from_records(records, Files.of(files)))

    def raw(self, encoded: Encoded) -> Floats:
        """Uncalibrated probabilities (n, k) or numbers (n,), the weighted mean of the members or what the stack makes of them."""
        if len(self.members) == 1:
            return self.members[0].raw(encoded)
        if self.stack is not None:
            return self.stack.apply([member.raw(encoded) for member in self.members])
        total: Floats = sum(member.weight * member.raw(encoded) for member in self.members)  # type: ignore[assignment]
        return total

    def predict_encoded(self, encoded: Encoded) -> Prediction:
        """The one way through for tables and records."""
        raw = self.raw(encoded)
        ood = self.novelty.score(encoded)
        strange = ood > 1.0
        warnings = warnings_of(self.encoder, encoded, strange)
        own = special(self.task)
        if own is not None:
            about = {"out_of_distribution": strange, "ood_score": ood, "warnings": warnings}
            made = own.predict(self, raw, about)
            return replace(made, refer=refers(self, made.probabilities, ood))
        if not self.classify:
            interval = np.column_stack([raw - self.reach, raw + self.reach])
            refer = refers(self, None, ood)
            return Prediction(raw, None, interval, None, strange, ood, warnings, refer)
        p = self.calibrator.apply(raw)
        codes = self.decide(p)
        interval = self._interval(raw, p, codes)
        sets, refer = self._sets(p, codes), refers(self, p, ood)
        return Prediction(self.classes_[codes], p, interval, sets, strange, ood, warnings, refer)

    def decide(self, probabilities: Floats) -> Ints:
        """Class codes: two classes by the operating point, several by the largest probability (over the prior, when
        `decision` says so)."""
        if self.operating_point is None:
            weights = None if self.decision is None else np.array(self.decision["weights"])
            return decide_by(probabilities, weights)
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
        inside = p >= 1.0 - (self.reach if self.reaches is None else self.reaches) - 1e-12
        inside[np.arange(len(p)), codes] = True
        names = self.classes_.tolist()
        return [[names[code] for code in np.flatnonzero(row)] for row in inside]
