"""A fitted forecast: the model of the change from the last value, and intervals by how much of the past is known."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

from engine.calibration import conformal_quantile
from engine.files import Folder
from engine.fitted import Fitted, Prediction
from engine.forecast.series import Layout, Series, past, read, table
from engine.metrics import Floats, Ints
from engine.pipelines.base import PipelineFitted
from engine.preprocessing.steps import Arrays
from engine.schema import Schema

PAST_SIZES = (1, 2, 4)  # intervals differ for one value, two or three, and four or more
FEWEST_PATIENTS = 40  # of one size for an interval of its own
_MESSAGES = {
    "no_history": "No value of “{column}” is known for this patient yet; the forecast is the usual value.",
    "one_value": "Only one value of “{column}” is known for this patient; the interval is that of such patients.",
    "no_time": "“{column}” is missing; the row is taken alone, without the patient's other visits.",
}


@dataclass
class ForecastFitted(PipelineFitted):
    """`predict` gives one forecast per row: the value at the horizon after that row's visit, from what was known then.

    The schema is that of the table of visits; the encoder's is that of the derived table. `reaches` (3,): half widths
    of the 95% intervals by PAST_SIZES. `usual`: mean of the target and the half width where no value is known.
    `scale`: mean absolute change over the horizon in training, for MASE.
    """

    layout: Layout | None = None
    covariates: tuple[str, ...] = ()
    reaches: Floats = field(default_factory=lambda: np.full(len(PAST_SIZES), np.inf))
    usual: tuple[float, float] = (0.0, float("inf"))
    scale: float = 1.0

    def inner(self) -> Fitted:
        """The regression of the change on the derived table."""
        values = {f.name: getattr(self, f.name) for f in fields(Fitted)}
        return Fitted(**{**values, "task": "regression", "schema": self.encoder.schema})

    def derive(self, frame: pd.DataFrame) -> tuple[Series, dict[str, Floats], pd.DataFrame]:
        """The series, the past (v,) of its visits, and the derived table of all n rows."""
        assert self.layout is not None
        frame = frame.rename(columns=str)
        series = read(frame, self.layout)
        features = past(series, self.layout)
        rows = np.arange(len(frame))
        return series, features, table(frame, rows, features, series.visit, list(self.covariates))

    def predict(self, frame: pd.DataFrame, *, files: Folder = None) -> Prediction:
        """n rows of visits in, n forecasts out. A row's forecast does not depend on the patient's later rows."""
        assert self.layout is not None
        series, features, derived = self.derive(frame)
        change = self.inner().predict(derived, files=files)
        last, count = features[self.layout.named("last")][series.visit], series.count[series.visit]
        value, interval = self.finish(last, count, change.value)
        warnings = [
            [w for w in own if not (w["code"] == "missing_value" and w["column"] in self.layout.features)]
            for own in change.warnings
        ]
        for row, known in enumerate(count.tolist()):
            if known < 2:
                warnings[row].append(_warning("one_value" if known else "no_history", self.layout.target))
        for row in _without_time(frame.rename(columns=str), self.layout):
            warnings[row].append(_warning("no_time", self.layout.time))
        return Prediction(value, None, interval, None, change.out_of_distribution, change.ood_score, warnings)

    def finish(self, last: Floats, count: Ints, change: Floats) -> tuple[Floats, Floats]:
        """Forecasts (n,) and their intervals (n, 2) from the last value, how many are known, and the modelled change."""
        known = count > 0
        value = np.where(known, last + change, self.usual[0])
        reach = np.where(known, self.reaches[size_of(count)], self.usual[1])
        return value, np.column_stack([value - reach, value + reach])

    def try_out(self) -> None:
        """The regression is tried like any other; then a visit of which nothing is known. Raises ValueError."""
        from engine.artefact_guard import try_out

        try_out(self.inner())
        super().try_out()

    def state(self) -> dict[str, Any]:
        """The layout and the schema of the table of visits."""
        assert self.layout is not None
        return {"layout": asdict(self.layout), "covariates": list(self.covariates), "schema": self.schema.to_dict()}

    def own_arrays(self) -> Arrays:
        """Half widths, the usual value and the scale."""
        return {"reaches": self.reaches, "usual": np.array(self.usual), "scale": np.array([self.scale])}

    def adopt_state(self, state: dict[str, Any], arrays: Arrays) -> ForecastFitted:
        """The inverse of both."""
        self.layout, self.covariates = Layout(**state["layout"]), tuple(state["covariates"])
        self.schema = Schema.from_dict(state["schema"])
        self.reaches, self.scale = arrays["reaches"], float(arrays["scale"][0])
        mean, reach = (float(value) for value in arrays["usual"])
        self.usual = (mean, reach)
        return self


def size_of(count: Ints) -> Ints:
    """The position in PAST_SIZES of each number of known values."""
    return np.maximum(np.searchsorted(PAST_SIZES, count, side="right") - 1, 0)


def reaches_of(errors: Floats, count: Ints, patients: Ints, coverage: float = 0.95) -> Floats:
    """(3,) half widths that cover this share of the patients, from out-of-fold errors.

    Conformal within groups of equal history (Mondrian conformal prediction, Vovk et al. 2005, chapter 4.5), since a
    patient with one value is far less certain than one with ten; a group of too few patients gets the width of all.
    """
    whole = conformal_quantile(errors, np.unique(patients, return_inverse=True)[1], coverage)
    found = np.full(len(PAST_SIZES), whole)
    for k in range(len(PAST_SIZES)):
        own = np.flatnonzero(size_of(count) == k)
        codes = np.unique(patients[own], return_inverse=True)[1]
        if len(own) and codes.max() + 1 >= FEWEST_PATIENTS:
            found[k] = conformal_quantile(errors[own], codes, coverage)
    return found


def _warning(code: str, column: str) -> dict[str, Any]:
    return {"code": code, "column": column, "value": None, "low": None, "high": None,
            "message": _MESSAGES[code].format(column=column)}  # fmt: skip


def _without_time(frame: pd.DataFrame, layout: Layout) -> list[int]:
    from engine.cells import to_days, to_number

    if layout.time not in frame.columns:
        return list(range(len(frame)))
    parse = to_days if layout.dated else to_number
    return [row for row, cell in enumerate(frame[layout.time].tolist()) if not np.isfinite(parse(cell)[0])]
