"""The task “forecast” from a table of visits to a model, its problems, its report and its reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from engine import registry
from engine.assembly import Contender
from engine.calibration import conformal_quantile
from engine.checks import FEW_PATIENTS, FEWEST_PATIENTS, FEWEST_RECORDS
from engine.errors import EngineError
from engine.evaluation import MOST_POINTS, Report
from engine.explanation import Reasons, explain
from engine.findings import CandidateResult, OnProgress, Search, ShouldStop
from engine.fitted import Fitted
from engine.forecast.fitted import PAST_SIZES, ForecastFitted, reaches_of, size_of
from engine.forecast.series import Examples, Layout, Series, examples, is_dated, past, read, table
from engine.leaks import leaking_columns
from engine.metrics import METRICS, Floats, Ints, Metric
from engine.pipelines.base import Pipeline, Setting, adopt
from engine.pipelines.measuring import Sheet, grouped, measure, plain, ratio
from engine.preprocessing.steps import Arrays
from engine.problems import Problem, make_problem, refuse
from engine.recipe import Recipe
from engine.schema import Kind, Role, Schema, infer_schema
from engine.search import fit_candidates
from engine.split import folds
from engine.training_data import prepare
from engine.validation import RESAMPLES, Validator

CHANGE = "[change to the forecast]"
LATE = 0.8  # the last fifth of the times judges whether what was learned before still holds
LATER_FOLDS = 3
WHY_UNDEFINED = "there is no forecast that this can be said of"
_TASKS = ("forecast",)
FORECAST_METRICS = {
    metric.name: metric
    for metric in (
        replace(METRICS["mae"], tasks=_TASKS),
        replace(METRICS["rmse"], tasks=_TASKS),
        Metric("mase", "Mean absolute scaled error", "lower", 0.0, None, _TASKS,
               "Mean absolute error over that of saying “as the last time” in the training data: below 1 is better.",
               "Hyndman & Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001 (scale pooled over the patients)"),
        Metric("coverage", "Coverage of the interval", "higher", 0.0, 1.0, _TASKS,
               "Share of the values that lie in the 95% interval, each patient counted once.",
               "Vovk et al. 2005, Algorithmic learning in a random world"),
        Metric("width", "Width of the interval", "lower", 0.0, None, _TASKS,
               "Mean width of the 95% interval, in the target's unit.",
               "Gneiting & Raftery 2007, doi:10.1198/016214506000001437"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Everything read from one table of visits. `derived` has one row per example, `owner` its patient code."""

    frame: pd.DataFrame
    layout: Layout
    covariates: tuple[str, ...]
    series: Series
    examples: Examples
    derived: pd.DataFrame
    last: Floats
    count: Ints
    owner: Ints


class Forecast(Pipeline):
    """Settings: which column is the time, and how far ahead to look."""

    name = "forecast"
    auto = "rmse"
    metrics = FORECAST_METRICS
    settings = (
        Setting("time", "column", None, "The column of the visit's date or time; needed."),
        Setting("unit", "choice", "visits", "What the horizon counts.", choices=("visits", "days")),
        Setting("horizon", "float", 1.0, "How many visits or days ahead.", low=1e-6, high=1e6),
    )

    def layout(self, frame: pd.DataFrame, recipe: Recipe) -> Layout:
        """Raises EngineError when there is no patient or no time column, or half a visit is asked for."""
        self.check_columns(frame, recipe)
        time, patient = self.setting(recipe, "time"), recipe.patient
        if patient is None:
            schema = infer_schema(frame, target=recipe.target)
            patient = next((column.name for column in schema.with_role(Role.PATIENT)), None)
        if patient is None:
            raise EngineError("forecast_no_patient", "A forecast needs the column that says whose visit a row is.")
        if time is None:
            raise EngineError("forecast_no_time", "A forecast needs the setting “time”: the column of the visit's date.")
        unit, horizon = self.setting(recipe, "unit"), float(self.setting(recipe, "horizon"))
        if unit == "visits" and (horizon < 1 or not horizon.is_integer()):
            raise EngineError("setting_invalid", "The setting “horizon” must be a whole number of visits.",
                              {"setting": "horizon", "task": self.name, "value": horizon,
                               "limits": "a whole number"})  # fmt: skip
        return Layout(recipe.target, patient, time, is_dated(frame[time].tolist()), unit, horizon)

    def read(self, frame: pd.DataFrame, recipe: Recipe) -> Data:
        """Raises EngineError when a column is missing or no value follows another."""
        frame = frame.rename(columns=str)
        layout = self.layout(frame, recipe)
        special = {layout.target, layout.patient, layout.time, *recipe.ignore}
        return gather(frame, layout, tuple(name for name in frame.columns if name not in special))

    def check(self, frame: pd.DataFrame, recipe: Recipe) -> list[Problem]:
        """All problems, errors first."""
        data = self.read(frame, recipe)
        found = [*_labels(data), *_rows(data)]
        found += [
            make_problem("candidate_wrong_task", "error", None, "The candidate “{candidate}” cannot do {task}.",
                     candidate=name, task=self.name)
            for name in recipe.candidates if "regression" not in registry.get(name).tasks
        ]  # fmt: skip
        if self.metric(recipe) in ("coverage", "width"):
            found.append(make_problem("metric_wrong_task", "error", None, "“{metric}” can't choose between forecasts.",
                                  metric=recipe.metric, task=self.name))  # fmt: skip
        if not any(problem.severity == "error" for problem in found):
            found += list(_future(data, recipe))
        return sorted(found, key=lambda problem: problem.severity != "error")

    def fit_candidates(
        self, frame: pd.DataFrame, recipe: Recipe, *, on_progress: OnProgress | None, should_stop: ShouldStop | None
    ) -> Search:
        """The regression candidates learn the change from the last value; patients are kept apart in validation."""
        problems = self.check(frame.rename(columns=str), recipe)
        refuse(problems)
        data = self.read(frame, recipe)
        inner = inner_recipe(data, recipe, self.metric(recipe))
        search = fit_candidates(data.derived, inner, on_progress=on_progress, should_stop=should_stop)
        metric = self.metric(recipe)
        baseline = self._baseline(data, metric)
        for result in search.candidates:
            if result.fitted is not None:
                result.fitted = self._wrap(result.fitted, data, recipe, metric)
                own = result.fitted.validation
                result.metric, result.validation_score = metric, own["value"]
                result.validation_interval = (own["low"], own["high"])
        best = next(r.fitted for r in search.candidates if r.name == search.best.candidate)
        assert isinstance(best, ForecastFitted)
        best.validation["later"] = later(search.best, best, data, inner, self.scores)
        best.training["baseline"] = {"metric": metric, "value": baseline.validation_score}
        told = ("column", "values", "kind")
        problems += [p for p in search.problems if p.column in data.covariates and p.code.startswith(told)]
        reached, simple = best.validation["value"], baseline.validation_score
        if reached is not None and simple is not None and reached >= simple:
            problems.append(make_problem("forecast_no_better", "warning", data.layout.target,
                                     "No candidate forecasts “{column}” better than its last value does."))  # fmt: skip
        return Search(best, search.candidates, baseline, problems, len(frame) - len(data.derived))

    def _wrap(self, fitted: Fitted, data: Data, recipe: Recipe, metric: str) -> ForecastFitted:
        assert fitted.out_of_fold is not None
        rows, change = fitted.out_of_fold
        model = adopt(ForecastFitted, fitted, layout=data.layout, covariates=data.covariates)
        truth = data.examples.value
        model.recipe, model.task, model.metric = recipe, self.name, metric
        model.schema = visit_schema(data, recipe)
        errors = np.abs(truth[rows] - data.last[rows] - change)
        model.reaches = reaches_of(errors, data.count[rows], data.owner[rows], recipe.coverage)
        model.scale = max(float(np.mean(np.abs(truth - data.last))), 1e-12)
        model.usual = usual(data, recipe.coverage)
        value, interval = model.finish(data.last[rows], data.count[rows], change)
        sheet = sheet_of(data, rows, value, interval, model.scale)
        patients = np.unique(data.owner[rows], return_inverse=True)[1]
        measured = measure(self.scores, self.metrics, sheet, patients, RESAMPLES, recipe.seed, WHY_UNDEFINED)
        model.validation = {**fitted.validation, "metric": metric, **measured[metric], "metrics": measured}
        model.training = {**fitted.training, "prior": [model.usual[0]], "unlabelled": len(data.frame) - len(data.derived)}
        return model

    def _baseline(self, data: Data, metric: str) -> CandidateResult:
        everything = np.arange(len(data.derived))
        scale = max(float(np.mean(np.abs(data.examples.value - data.last))), 1e-12)
        sheet = sheet_of(data, everything, data.last, np.full((len(everything), 2), np.nan), scale)
        value = float(self.scores(sheet, np.ones((1, len(everything))))[metric][0])
        return CandidateResult("baseline", "The last value", metric=metric, status="done", validation_score=plain(value))

    def scores(self, predictions: Mapping[str, Any], weights: Floats) -> dict[str, Floats]:
        """mae, rmse, mase, coverage and width for each row of `weights` (B, n)."""
        truth, decided = np.array(predictions["true"], dtype=float), np.array(predictions["decided"], dtype=float)
        low = np.array([-np.inf if v is None else v for v in predictions["low"]], dtype=float)
        high = np.array([np.inf if v is None else v for v in predictions["high"]], dtype=float)
        error, total = truth - decided, weights.sum(axis=1)
        mae = ratio(weights @ np.abs(error), total)
        codes = np.unique(np.array(predictions["patient"]), return_inverse=True)[1]
        once = weights / np.bincount(codes)[codes] if len(codes) else weights
        bounded = np.isfinite(high - low)
        inside = ((truth >= low) & (truth <= high)).astype(float)
        defined = not np.isnan(low).any()
        nothing = np.full(len(weights), np.nan)
        return {
            "mae": mae, "rmse": np.sqrt(ratio(weights @ (error * error), total)),
            "mase": mae / float(predictions["scale"]),
            "coverage": ratio(once @ inside, once.sum(axis=1)) if defined else nothing,
            "width": ratio(weights @ (high - low), total) if bounded.all() else nothing,
        }  # fmt: skip

    def evaluate(
        self, fitted: ForecastFitted, frame: pd.DataFrame, groups: Sequence[str], bootstrap: int, seed: int
    ) -> Report:
        """Every visit from which a later value is known is judged, from what was known at it."""
        assert fitted.layout is not None
        if fitted.layout.target not in frame.columns:
            column = fitted.layout.target
            raise EngineError("column_missing", f"There is no column “{column}”.", {"column": column})
        data = gather(frame, fitted.layout, fitted.covariates)
        change = fitted.inner().predict(data.derived).value
        rows = np.arange(len(data.derived))
        value, interval = fitted.finish(data.last, data.count, change)
        sheet = sheet_of(data, rows, value, interval, fitted.scale)
        patients = np.array(sheet["patient"], dtype=np.int64)
        shown = data.frame.iloc[data.series.row[data.examples.visits]].reset_index(drop=True)

        def part(own: Ints) -> dict[str, Any]:
            codes = np.unique(patients[own], return_inverse=True)[1]
            measured = measure(self.scores, self.metrics, taken(sheet, own), codes, bootstrap, seed, WHY_UNDEFINED)
            return {"n": len(own), "patients": int(codes.max()) + 1, "metrics": measured}

        simple = {"last": data.last, "mean": data.derived[fitted.layout.named("mean")].to_numpy(dtype=float)}
        baselines = {name: self._simple(data, rows, guess, fitted.scale) for name, guess in simple.items()}
        return Report(
            task=self.name, n=len(rows), patients=int(patients.max()) + 1,
            metrics=measure(self.scores, self.metrics, sheet, patients, bootstrap, seed, WHY_UNDEFINED),
            baseline=baselines["last"], classes=[], curves=_curves(self, data, sheet, baselines), confusion=None,
            per_class=[], groups=grouped(shown, groups, part), predictions=sheet,
            left_out={"unlabelled": len(frame) - len(rows), "unknown_class": 0}, validation=fitted.validation,
        )  # fmt: skip

    def _simple(self, data: Data, rows: Ints, guess: Floats, scale: float) -> dict[str, float | None]:
        sheet = sheet_of(data, rows, guess, np.full((len(rows), 2), np.nan), scale)
        return {name: plain(values[0]) for name, values in self.scores(sheet, np.ones((1, len(rows)))).items()}

    def explain(self, fitted: ForecastFitted, records: Sequence[Mapping[str, Any]]) -> list[Reasons]:
        """The reasons for the change, on top of the last value; a record's past is the other records of its patient."""
        assert fitted.layout is not None
        frame = pd.DataFrame.from_records([dict(record) for record in records])
        series, features, derived = fitted.derive(frame)
        last = features[fitted.layout.named("last")][series.visit]
        found = []
        for reasons, value in zip(explain(fitted.inner(), derived), last.tolist(), strict=True):
            start = value if np.isfinite(value) else fitted.usual[0]
            found.append(replace(reasons, base=reasons.base + start, score=reasons.score + start))
        return found

    def restore(self, fitted: Fitted, state: Mapping[str, Any], arrays: Arrays) -> Fitted:
        """From the layout, the schema and the half widths."""
        return adopt(ForecastFitted, fitted).adopt_state(dict(state), arrays)


def gather(frame: pd.DataFrame, layout: Layout, covariates: tuple[str, ...]) -> Data:
    """Series, examples and the derived table. Raises EngineError ("no_labels") when no value follows another."""
    series = read(frame, layout)
    found = examples(series, layout)
    if not len(found.visits):
        raise EngineError("no_labels", f"No value of “{layout.target}” follows another.", {"column": layout.target})
    ahead = np.full(len(series.owner), layout.horizon)
    ahead[found.visits] = found.ahead
    features = past(series, layout, ahead)
    derived = table(frame, series.row[found.visits], features, found.visits, list(covariates))
    last, owner = features[layout.named("last")][found.visits], series.owner[found.visits]
    derived[layout.patient], derived[CHANGE] = owner, found.value - last
    return Data(frame, layout, covariates, series, found, derived, last, series.count[found.visits], owner)


def inner_recipe(data: Data, recipe: Recipe, metric: str) -> Recipe:
    """The regression of the change. Leaks were sought already, by what is known before the horizon alone."""
    kinds = {name: kind for name, kind in recipe.columns.items() if name in data.covariates}
    return replace(
        recipe, target=CHANGE, patient=data.layout.patient, task="regression", settings={}, ignore=(), positive=None,
        split_by=None, rates={},
        columns={**dict.fromkeys(data.layout.features, Kind.NUMBER.value), **kinds},
        metric="rmse" if metric == "rmse" else "mae", allow_leaks=True,
    )  # fmt: skip


def visit_schema(data: Data, recipe: Recipe) -> Schema:
    """The schema of the table of visits: what `predict` is given."""
    spec = replace(recipe, task="regression", settings={}, metric="auto", patient=data.layout.patient)
    columns = []
    for column in prepare(data.frame, spec).schema.columns:
        if column.name == data.layout.time:  # needed, though nothing is learned from the date itself
            kind = Kind.DATE if data.layout.dated else Kind.NUMBER
            column = replace(column, kind=kind, role=Role.FEATURE, categories=None)
        columns.append(column)
    return Schema(tuple(columns))


def usual(data: Data, coverage: float) -> tuple[float, float]:
    """The mean value and the half width around it for a patient of whom nothing is known; each patient counts once."""
    series = data.series
    owner = np.repeat(np.arange(len(series.starts) - 1), np.diff(series.starts))
    codes = np.unique(owner, return_inverse=True)[1]
    mean = float(np.average(series.values, weights=1.0 / np.bincount(codes)[codes]))
    return mean, conformal_quantile(np.abs(series.values - mean), codes, coverage)


def sheet_of(data: Data, rows: Ints, value: Floats, interval: Floats, scale: float) -> Sheet:
    """What a report stores of the examples `rows`."""
    patients = np.unique(data.owner[rows], return_inverse=True)[1]
    low, high = ([None if np.isinf(v) else v for v in side] for side in interval.T.tolist())  # JSON has no infinity
    return {
        "task": "forecast", "true": data.examples.value[rows].tolist(), "decided": value.tolist(),
        "low": low, "high": high, "patient": patients.tolist(), "scale": scale,
    }  # fmt: skip


def taken(sheet: Sheet, rows: Ints) -> Sheet:
    """Some of its records."""
    return {key: [kept[i] for i in rows] if isinstance(kept, list) else kept for key, kept in sheet.items()}


def later(fitted: Fitted, model: ForecastFitted, data: Data, recipe: Recipe, scores: Any) -> dict[str, Any] | None:
    """Does it hold for other patients at a later time? Learned before LATE of the times, judged after it, on others.

    The winning settings are fitted anew on each fold's earlier visits; None where there are too few on either side.
    """
    prepared = prepare(data.derived, recipe)
    cut = float(np.quantile(data.examples.time, LATE))
    origin = data.series.time[data.examples.visits]
    early, late = np.flatnonzero(data.examples.time <= cut), np.flatnonzero(origin >= cut)
    splits = [
        (np.intersect1d(train, early), np.intersect1d(held, late))
        for train, held in folds(prepared.y, "regression", prepared.patients, recipe.seed, LATER_FOLDS)
    ]
    splits = [(train, held) for train, held in splits if len(train) >= FEWEST_RECORDS and len(held)]
    if not splits or sum(len(held) for _, held in splits) < FEWEST_RECORDS:
        return None
    encoder, encoded = prepared.encode()
    validator = Validator(prepared, encoder, encoded, splits, "rmse", 1, recipe.seed)
    contenders = []
    for member in fitted.members:
        result = validator.run(registry.get(member.candidate), member.hyperparameters, member.preprocessor.choices, None)
        contenders.append(Contender(member.candidate, [member], [], result.rows, member.weight * result.raw))
    rows, change = contenders[0].rows, np.sum([c.raw for c in contenders], axis=0)
    value, interval = model.finish(data.last[rows], data.count[rows], change)
    sheet = sheet_of(data, rows, value, interval, model.scale)
    patients = np.array(sheet["patient"], dtype=np.int64)
    measured = measure(scores, FORECAST_METRICS, sheet, patients, RESAMPLES, recipe.seed, WHY_UNDEFINED)
    return {"n": len(rows), "patients": int(patients.max()) + 1, "metrics": measured}


def _labels(data: Data) -> Iterator[Problem]:
    n, patients = len(data.derived), len(np.unique(data.owner))
    column = data.layout.target
    if n < FEWEST_RECORDS:
        yield make_problem("too_few_records", "error", column, "Only {count} values of “{column}” follow another; at least "
                       "{least} are needed.", count=n, least=FEWEST_RECORDS)  # fmt: skip
    if patients < FEWEST_PATIENTS:
        yield make_problem("too_few_patients", "error", None, "Only {count} patients; at least {least} are needed.",
                       count=patients, least=FEWEST_PATIENTS)  # fmt: skip
    elif patients < FEW_PATIENTS:
        yield make_problem("few_patients", "warning", None, "Only {count} patients; with fewer than {least} every figure is "
                       "uncertain.", count=patients, least=FEW_PATIENTS)  # fmt: skip
    if float(np.ptp(data.examples.value)) == 0:
        yield make_problem("one_class", "error", column, "“{column}” has the same value in every row; there is nothing to learn.")


def _rows(data: Data) -> Iterator[Problem]:
    from engine.forecast.fitted import _without_time

    lost = len(_without_time(data.frame, data.layout))
    if lost:
        yield make_problem("forecast_rows_without_time", "warning", data.layout.time,
                       "{count} rows have no usable “{column}” and are left out.", count=lost)  # fmt: skip
    same = len(data.frame) - len(data.series.owner)
    if same:
        yield make_problem("forecast_same_time", "warning", data.layout.time,
                       "{count} rows have the same patient and “{column}” as another; they count as one visit, with the "
                       "mean of their values.", count=same)  # fmt: skip


def _future(data: Data, recipe: Recipe) -> Iterator[Problem]:
    """Columns that already hold what is to be forecast, as it is or as its change."""
    if not data.covariates:
        return
    names = dict(zip((f"{name} [change]" for name in data.covariates), data.covariates, strict=True))
    looked = data.derived[[*data.covariates, data.layout.patient, CHANGE]].copy()
    for changed, name in names.items():
        numbers = pd.to_numeric(looked[name], errors="coerce")
        if numbers.notna().any():
            looked[changed] = numbers.to_numpy(dtype=float) - data.last
    kinds = {name: kind for name, kind in recipe.columns.items() if name in data.covariates}
    kinds |= {name: Kind.NUMBER.value for name in names if name in looked.columns}
    spec = Recipe(target=CHANGE, patient=data.layout.patient, task="regression", columns=kinds)
    severity, told = "warning" if recipe.allow_leaks else "error", set()
    for name, score in leaking_columns(prepare(looked, spec), recipe.seed):
        column = names.get(name, name)
        if column not in told:
            told.add(column)
            yield make_problem("forecast_future", severity, column,
                           "“{column}” holds the value that is to be forecast (it explains {percent} % of its change). "
                           "Was it written down later? Leave it out, or allow it.", percent=round(100 * score))  # fmt: skip


def _curves(pipeline: Forecast, data: Data, sheet: Sheet, baselines: dict[str, Any]) -> dict[str, Any]:
    order = np.argsort(np.array(sheet["true"]), kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(MOST_POINTS, len(order))).astype(int))]
    sizes = size_of(data.count)
    coverage = []
    for k, least in enumerate(PAST_SIZES):
        own = np.flatnonzero(sizes == k)
        if len(own):
            values = pipeline.scores(taken(sheet, own), np.ones((1, len(own))))
            coverage.append({"values_from": least, "n": len(own), "coverage": plain(values["coverage"][0]),
                             "width": plain(values["width"][0])})  # fmt: skip
    return {
        "scatter": {"true": [sheet["true"][i] for i in chosen], "predicted": [sheet["decided"][i] for i in chosen]},
        "coverage": coverage, "baselines": baselines,
    }  # fmt: skip


PIPELINE = Forecast()
