"""Risk over time with censoring: a curve of being free of the event at fixed times, and the risk at a horizon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.calibration import by_patient
from engine.candidates.base import Model
from engine.cells import to_number
from engine.errors import EngineError
from engine.fitted import Fitted, Prediction
from engine.metrics import SURVIVAL, Floats, Ints, Outcomes
from engine.problems import Problem, make_problem
from engine.recipe import Recipe
from engine.registry import Candidate
from engine.tasks import survival_metrics as figures
from engine.tasks.base import Details, Task, Truth, as_plain, column, jackknife
from engine.tasks.cox import Cox
from engine.tasks.hazards import Hazards, free_of_event, intervals
from engine.tasks.multilabel import yes_or_no
from engine.tasks.reductions import ManyOutputs, Reduced

if TYPE_CHECKING:
    from engine.assembly import Contender
    from engine.training_data import TrainingData
    from engine.validation import Validator

EVENTS_PER_INTERVAL = 10
MOST_INTERVALS, FEWEST_INTERVALS = 20, 4
FEWEST_AT_RISK = 5  # records: no fixed time, apart from the horizon, at which fewer are followed
LEAST_AT_HORIZON = 0.1  # of the records are still followed at the horizon that is chosen for want of one
FEWEST_EVENTS, FEW_EVENTS = 10, 50  # about ten events per column are wanted (Peduzzi et al. 1995)
TINY = 1e-12
MOST_CELLS = 1_000_000  # resamples times records, scored at once


@dataclass(frozen=True)
class SurvivalPrediction(Prediction):
    """`value` (n,): the risk of the event by `horizon`, with its 95% `interval` (n, 2). `survival` (n, len(times)):
    the probability of being free of the event at `times`; `median` (n,): the time at which it falls to one half, NaN
    where it does not within `times`. `probabilities` and `sets` are None."""

    horizon: float = 0.0
    times: Floats | None = None
    survival: Floats | None = None
    median: Floats | None = None


@dataclass(frozen=True)
class SurvivalOutcomes(Outcomes):
    """`truth` (n,) times, `decided` (n,) risks at the horizon, `event` (n,), `free` (n, len(times)) predicted."""

    event: NDArray[np.bool_] | None = None
    free: Floats | None = None
    times: Floats | None = None
    horizon: float = 0.0

    @property
    def task(self) -> str:
        """Its metrics."""
        return SURVIVAL

    def scores(self, weights: Floats, wanted: frozenset[str]) -> dict[str, Floats]:
        """The metrics of risk over time for each row of `weights` (B, n), a few rows at once: they take much memory."""
        rows = max(1, MOST_CELLS // max(self.n, 1))
        if len(weights) <= rows:
            return self._scores(weights, wanted)
        parts = [self._scores(weights[i : i + rows], wanted) for i in range(0, len(weights), rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _scores(self, weights: Floats, wanted: frozenset[str]) -> dict[str, Floats]:
        assert self.event is not None and self.free is not None and self.times is not None
        time, event, risk = np.asarray(self.truth, dtype=float), self.event, np.asarray(self.decided, dtype=float)
        nothing = np.full(len(weights), np.nan)
        scores: dict[str, Floats] = {}
        if "concordance" in wanted:
            scores["concordance"] = figures.concordance(time, event, risk, weights)
        reached = self.times < time.max()  # beyond the last record nothing is known of anybody
        times = self.times[reached]
        own, fixed = figures.inverse_of_censoring(time, event, weights, times)
        if "uno_concordance" in wanted:
            early = (time < self.times[-1]).astype(float)
            scores["uno_concordance"] = figures.concordance(time, event, risk, weights, own**2 * early)
        known = self.horizon < time.max()
        if "horizon_auc" in wanted:
            scores["horizon_auc"] = (
                figures.auc_at(time, event, risk, self.horizon, weights, own) if known else nothing
            )
        if "horizon_calibration" in wanted:
            scores["horizon_calibration"] = (
                figures.calibration_at(time, event, risk, self.horizon, weights) if known else nothing
            )
        if wanted & {"integrated_brier", "horizon_brier"}:
            scores |= {"integrated_brier": nothing, "horizon_brier": nothing}
            if len(times):
                each = figures.brier(time, event, self.free[:, reached], times, weights, own, fixed)
                scores["integrated_brier"] = figures.integrated(each, times)
                if known:
                    scores["horizon_brier"] = each[:, int(np.searchsorted(times, self.horizon))]
        return scores


class SurvivalCalibrator:
    """Two numbers: how many events there are beside those expected, and how far risks are spread beside how far they
    should be. H(t) becomes exp(a) Hm(t) (H(t) / Hm(t))^b, where H = -log of being free of the event and Hm is its
    geometric mean over the calibrating records. By Poisson regression of events on expected events (Crowson, Atkinson &
    Therneau 2016, doi:10.1177/0962280213497434); b is the calibration slope of van Houwelingen 2000.
    """

    def __init__(self, method: str = "poisson", state: dict[str, NDArray[Any]] | None = None) -> None:
        self.method = method
        self.state: dict[str, NDArray[Any]] = state or {}

    @property
    def slope(self) -> float:
        """How much a step in the log risk counts after calibration."""
        return float(self.state["theta"][1])

    def fit(self, free: Floats, truth: Floats, times: Floats, patients: Ints) -> SurvivalCalibrator:
        """`free` (n, times) out of fold, `truth` (n, 2); patients cluster the uncertainty."""
        logs = log_hazard(free)
        middle = logs.mean(axis=0)
        end = np.minimum(truth[:, 0], times[-1])
        event = ((truth[:, 1] > 0) & (truth[:, 0] <= times[-1])).astype(float)
        expected = np.maximum(_interpolated(np.exp(middle)[None, :].repeat(len(end), 0), times, end), TINY)
        offset = np.log(expected)
        spread = np.log(np.maximum(_interpolated(np.exp(logs), times, end), TINY)) - offset
        design = np.column_stack([np.ones(len(end)), spread])
        theta = np.array([0.0, 1.0])
        for _ in range(50):
            rate = np.exp(np.clip(design @ theta + offset, -30.0, 30.0))
            hessian = (design * rate[:, None]).T @ design + 1e-6 * np.eye(2)
            step = np.linalg.solve(hessian, design.T @ (rate - event))
            theta = theta - np.clip(step, -1.0, 1.0)
            if np.abs(step).max() < 1e-9:
                break
        theta[1] = max(theta[1], 1e-3)  # a model worse than chance is flattened, never turned around
        rate = np.exp(np.clip(design @ theta + offset, -30.0, 30.0))
        inverse = np.linalg.inv((design * rate[:, None]).T @ design + 1e-6 * np.eye(2))
        gradient = by_patient(design * (rate - event)[:, None], patients)
        self.state = {"theta": theta, "covariance": inverse @ gradient.T @ gradient @ inverse, "middle": middle}
        return self

    def apply(self, free: Floats) -> Floats:
        """(n, times) calibrated, falling."""
        a, b = self.state["theta"]
        middle = self.state["middle"]
        calibrated: Floats = np.exp(-np.exp(np.clip(a + middle + b * (log_hazard(free) - middle), -30.0, 5.0)))
        return np.minimum.accumulate(calibrated, axis=1)

    def deviation(self, free: Floats, at: int) -> Floats:
        """(n,) standard error of the calibrated log hazard at one of the times."""
        spread, c = log_hazard(free)[:, at] - self.state["middle"][at], self.state["covariance"]
        return np.sqrt(np.maximum(c[0, 0] + 2 * c[0, 1] * spread + c[1, 1] * spread**2, 0.0))


def log_hazard(free: Floats) -> Floats:
    """Logarithm of the cumulative hazard, from the probability of being free of the event."""
    result: Floats = np.log(np.clip(-np.log(np.clip(free, 1e-60, 1.0)), TINY, None))
    return result


def _interpolated(values: Floats, times: Floats, at: Floats) -> Floats:
    """(n,) each row of `values` (n, times), which rise from 0 at time 0, at its own time: straight in between."""
    knots = np.concatenate([[0.0], times])
    padded = np.concatenate([np.zeros((len(values), 1)), values], axis=1)
    right = np.clip(np.searchsorted(knots, at, side="left"), 1, len(times))
    rows = np.arange(len(at))
    share = (at - knots[right - 1]) / (knots[right] - knots[right - 1])
    result: Floats = padded[rows, right - 1] + share * (padded[rows, right] - padded[rows, right - 1])
    return result


def chosen_horizon(time: Floats, event: NDArray[np.bool_]) -> float:
    """The time by which three quarters of the events have happened, or earlier: a tenth of the records must still be
    followed then. Three significant digits."""
    wanted = float(np.quantile(time[event], 0.75))
    latest = float(np.quantile(time, 1.0 - LEAST_AT_HORIZON))
    rounded = float(f"{min(wanted, latest):.3g}")
    return rounded if time[event].min() <= rounded < time.max() else min(wanted, latest)


def fixed_times(time: Floats, event: NDArray[np.bool_], horizon: float) -> Floats:
    """The times at which curves are told: quantiles of the times of events, and the horizon."""
    events = time[event]
    count = int(np.clip(len(events) // EVENTS_PER_INTERVAL, FEWEST_INTERVALS, MOST_INTERVALS))
    times = np.unique(np.quantile(events, np.linspace(0, 1, count + 1)[1:]))
    followed = np.array([(time >= t).sum() for t in times])
    apart = np.abs(times - horizon) > 0.02 * horizon
    times = times[(followed >= FEWEST_AT_RISK) & (times > 0) & apart]
    return np.unique(np.append(times, horizon))


class Survival(Task):
    """Truth is (n, 2): the time, and 1 where the event was seen then, 0 where the record was only followed so long.

    Candidates give (n, times): the probability of being free of the event.
    """

    name = SURVIVAL
    unit = "log risk"

    def read(self, frame: pd.DataFrame, recipe: Recipe) -> tuple[Ints, Truth, list[str], Details]:
        """Raises EngineError where times and events allow no curve at all."""
        rows, truth = _times_and_events(frame, recipe)
        if not len(rows):
            return rows, truth, [], {}
        time, event = truth[:, 0], truth[:, 1] > 0
        params: dict[str, Any] = {"column": recipe.target, "event": recipe.event}
        if float(time.min()) < 0:
            count = int((time < 0).sum())
            message = f"{count} times in “{recipe.target}” are below 0."
            raise EngineError("time_negative", message, {**params, "count": count})
        if not event.any():
            raise EngineError("no_events", f"No record has the event in “{recipe.event}”; there is nothing to learn.", params)
        if float(time.max()) <= 0 or len(np.unique(time)) < 2:
            raise EngineError("one_time", f"“{recipe.target}” has the same time in every row.", params)
        horizon = chosen_horizon(time, event) if recipe.horizon is None else float(recipe.horizon)
        params |= {"horizon": horizon}
        if horizon >= float(time.max()):
            raise EngineError(
                "horizon_beyond", f"Nobody was followed beyond the horizon of {horizon:g}; choose an earlier one.", params
            )
        if not (event & (time <= horizon)).any():
            raise EngineError("horizon_no_events", f"No event happened by the horizon of {horizon:g}.", params)
        times = fixed_times(time, event, horizon)
        details = {"times": times.tolist(), "horizon": horizon, "at": int(np.searchsorted(times, horizon))}
        return rows, truth, [], details

    def reread(self, fitted: Fitted, frame: pd.DataFrame) -> tuple[Ints, Truth, dict[str, int]]:
        """Records with a time of 0 or more and an event."""
        rows, truth = _times_and_events(frame, fitted.recipe)
        fine = truth[:, 0] >= 0
        left = {"unlabelled": len(frame) - len(rows), "unknown_class": 0, "time_negative": int((~fine).sum())}
        return rows[fine], truth[fine], left

    def guide(self, truth: Truth, patients: Ints, details: Details) -> Floats:
        """Martingale residuals of a model without columns: the event less the hazard that was lived through
        (Therneau, Grambsch & Fleming 1990, doi:10.1093/biomet/77.1.147)."""
        time, event = truth[:, 0], truth[:, 1] > 0
        free = figures.kaplan_meier(time, event, np.ones((1, len(time)))).at(time)[0]
        result: Floats = event - np.minimum(-np.log(np.maximum(free, 1e-9)), 5.0)
        return result

    def problems(self, frame: pd.DataFrame, data: TrainingData, recipe: Recipe) -> Iterator[Problem]:
        """How many events there are, and how far they reach."""
        time, event, horizon = data.answers[:, 0], data.answers[:, 1] > 0, data.details["horizon"]
        if data.unlabelled:
            yield make_problem(
                "labels_missing", "warning", recipe.target,
                "{count} of {total} rows have no value in “{column}” and are left out.",
                count=data.unlabelled, total=len(frame),
            )  # fmt: skip
        events = len(set(data.patients[event].tolist()))
        if events < FEW_EVENTS:
            yield make_problem(
                "few_events", "error" if events < FEWEST_EVENTS else "warning", recipe.event,
                "Only {count} patients have the event; with fewer than {least} every figure is uncertain, and at least "
                "{fewest} are needed.", count=events, least=FEW_EVENTS, fewest=FEWEST_EVENTS,
            )  # fmt: skip
        if recipe.horizon is None:
            yield make_problem(
                "horizon_chosen", "warning", recipe.target,
                "No horizon was given; risk is told by {horizon:g}, in the unit of “{column}”.", horizon=horizon,
            )  # fmt: skip
        followed = int((time > horizon).sum())
        if followed < max(FEWEST_AT_RISK, 0.05 * len(time)):
            yield make_problem(
                "horizon_late", "warning", recipe.target,
                "Only {count} of {total} records were followed beyond the horizon of {horizon:g}; risk by then is "
                "uncertain.", count=followed, total=len(time), horizon=horizon,
            )  # fmt: skip

    def plain(self, data: TrainingData) -> list[TrainingData]:
        """Whether the event was seen; when; and whether by the horizon, where that is known."""
        time, event, horizon = data.answers[:, 0], data.answers[:, 1], data.details["horizon"]
        found = [as_plain(data, "regression", time)]
        if 0 < event.sum() < len(event):
            found.append(as_plain(data, "classification", event))
        rows = np.flatnonzero((time > horizon) | (event > 0))
        by_then = ((time <= horizon) & (event > 0)).astype(float)
        if len(np.unique(by_then[rows])) == 2:
            found.append(as_plain(data, "classification", by_then, rows))
        return found

    def rows(self, data: TrainingData, candidate: str) -> int:
        """The rows of the person-period table for candidates that learn from it."""
        if candidate in ("linear", "network"):
            return len(data.y)
        times = np.asarray(data.details["times"])
        return int(np.isfinite(intervals(data.answers[:, 0], data.answers[:, 1], times)).sum())

    def build(self, candidate: Candidate, seed: int, hyperparameters: Mapping[str, Any], details: Details) -> Model:
        """Cox's model for the linear candidate, hazards by interval for the network and for any other."""
        times = np.asarray(details["times"], dtype=float)
        if candidate.name == "linear":
            return Cox(times=details["times"], horizon=details["at"], seed=seed, **hyperparameters)
        if candidate.name == "network":
            inner = ManyOutputs(task="many", seed=seed, **hyperparameters)
            return Reduced(inner=inner, ask=partial(_asked, times=times), answer=free_of_event)
        return Hazards(base=candidate.model, hyperparameters=hyperparameters, times=details["times"], seed=seed)

    def baseline(self, data: TrainingData, n: int) -> Floats:
        """Kaplan-Meier."""
        curve = figures.kaplan_meier(data.answers[:, 0], data.answers[:, 1] > 0, np.ones((1, len(data.y))))
        return np.tile(curve.at(np.asarray(data.details["times"])), (n, 1))

    def outcomes(self, data: TrainingData, rows: Ints, raw: Floats, metric: str) -> Outcomes:
        """Uncalibrated."""
        return _outcomes(data.answers[rows], raw, data.details)

    def finish(self, fitted: Fitted, validator: Validator, contender: Contender) -> Outcomes:
        """Calibration, and the jackknife's spread of the log hazard at the horizon."""
        data, rows, at = validator.data, contender.rows, int(fitted.details["at"])
        truth, patients = data.answers[rows], np.unique(data.patients[rows], return_inverse=True)[1]
        times = np.asarray(fitted.details["times"])
        fitted.calibrator = SurvivalCalibrator().fit(contender.raw, truth, times, patients)  # type: ignore[assignment]  # only this task asks it
        spread = jackknife(validator, contender.results, lambda raw: log_hazard(raw)[:, at : at + 1])
        fitted.details["spread"] = float(spread[0])
        return self.judged(fitted, truth, contender.raw)

    def calibrator(self, method: str, state: dict[str, Any]) -> Any:
        """The one for curves."""
        return SurvivalCalibrator(method, state)

    def predict(self, fitted: Fitted, raw: Floats, about: Mapping[str, Any]) -> Prediction:
        """A curve, the risk at the horizon with its interval, and the median time where the curve reaches it."""
        details, calibrator = fitted.details, fitted.calibrator
        assert isinstance(calibrator, SurvivalCalibrator)
        at, times, free = int(details["at"]), np.asarray(details["times"]), calibrator.apply(raw)
        z = log_hazard(free)[:, at]
        deviation = np.hypot(calibrator.deviation(raw, at), calibrator.slope * details["spread"])
        reach, risk = 1.959964 * np.minimum(deviation, 10.0), 1.0 - free[:, at]
        low, high = (-np.expm1(-np.exp(np.clip(z + sign * reach, -30.0, 30.0))) for sign in (-1, 1))
        interval = np.column_stack([np.minimum(low, risk), np.maximum(high, risk)])
        return SurvivalPrediction(
            risk, None, interval, None, horizon=float(details["horizon"]), times=times, survival=free,
            median=median_time(free, times), **about,
        )  # fmt: skip

    def judged(self, fitted: Fitted, truth: Truth, raw: Floats) -> Outcomes:
        """Calibrated."""
        return _outcomes(truth, fitted.calibrator.apply(raw), fitted.details)

    def reference(self, fitted: Fitted, truth: Truth, raw: Floats) -> Outcomes:
        """As it is."""
        return _outcomes(truth, raw, fitted.details)

    def stored(self, fitted: Fitted, outcomes: Outcomes) -> dict[str, Any]:
        """Times, events, risks and curves."""
        assert isinstance(outcomes, SurvivalOutcomes) and outcomes.event is not None and outcomes.free is not None
        return {"true": outcomes.truth.tolist(), "event": outcomes.event.astype(int).tolist(),
                "decided": np.round(outcomes.decided, 9).tolist(), "survival": np.round(outcomes.free, 9).tolist(),
                "times": fitted.details["times"], "horizon": fitted.details["horizon"], "at": fitted.details["at"]}  # fmt: skip

    def restored(self, predictions: Mapping[str, Any]) -> Outcomes:
        """From times, events and curves."""
        truth = np.column_stack([predictions["true"], predictions["event"]]).astype(float)
        return _outcomes(truth, np.array(predictions["survival"], dtype=float), predictions)

    def curves(self, fitted: Fitted, outcomes: Outcomes) -> dict[str, Any]:
        """Predicted and observed (Kaplan-Meier) risk at the horizon by bins of predicted risk, and the mean curves."""
        assert isinstance(outcomes, SurvivalOutcomes) and outcomes.event is not None
        assert outcomes.free is not None and outcomes.times is not None
        time, event = np.asarray(outcomes.truth, dtype=float), outcomes.event
        risk = np.asarray(outcomes.decided, dtype=float)
        bins, points, horizon = figures.bins_of(risk), [], np.array([outcomes.horizon])
        for k in np.unique(bins):
            rows = np.flatnonzero(bins == k)
            observed = 1.0 - figures.kaplan_meier(time[rows], event[rows], np.ones((1, len(rows)))).at(horizon)[0, 0]
            points.append({"predicted": float(risk[rows].mean()), "observed": float(observed), "n": len(rows)})
        whole = figures.kaplan_meier(time, event, np.ones((1, outcomes.n))).at(outcomes.times)[0]
        return {"calibration": points,
                "survival": {"times": outcomes.times.tolist(), "predicted": outcomes.free.mean(axis=0).tolist(),
                             "observed": whole.tolist()}}  # fmt: skip

    def score(self, fitted: Fitted, raw: Floats) -> Floats:
        """(n, 1) the log cumulative hazard at the horizon, before calibration."""
        at = int(fitted.details["at"])
        return log_hazard(raw)[:, at : at + 1]


def _asked(y: Floats, times: Floats) -> Floats:
    return intervals(y[:, 0], y[:, 1], times)


def _times_and_events(frame: pd.DataFrame, recipe: Recipe) -> tuple[Ints, Floats]:
    """(rows where both are known, (rows, 2) time and event). Raises EngineError ("label_not_binary")."""
    assert recipe.event is not None
    time = np.array([to_number(cell)[0] for cell in column(frame, recipe.target)], dtype=float)
    event = yes_or_no(column(frame, recipe.event), recipe.event)
    rows = np.flatnonzero(np.isfinite(time) & np.isfinite(event))
    return rows, np.column_stack([time[rows], event[rows]])


def _outcomes(truth: Truth, free: Floats, details: Mapping[str, Any]) -> SurvivalOutcomes:
    at, times = int(details["at"]), np.asarray(details["times"], dtype=float)
    return SurvivalOutcomes(
        truth[:, 0], 1.0 - free[:, at], event=truth[:, 1] > 0, free=free, times=times, horizon=float(details["horizon"])
    )


def median_time(free: Floats, times: Floats) -> Floats:
    """(n,) when each curve falls to one half, straight between the times; NaN where it does not."""
    knots = np.concatenate([[0.0], times])
    curves = np.concatenate([np.ones((len(free), 1)), free], axis=1)
    below = curves <= 0.5
    first = np.where(below.any(axis=1), below.argmax(axis=1), 1)
    rows = np.arange(len(free))
    upper, lower = curves[rows, first - 1], curves[rows, first]
    share = np.divide(upper - 0.5, upper - lower, out=np.zeros(len(free)), where=upper > lower)
    median = knots[first - 1] + share * (knots[first] - knots[first - 1])
    return np.where(below.any(axis=1), median, np.nan)


TASK = Survival()
