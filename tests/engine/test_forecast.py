"""Forecasts of patients' series: what is known of the past, of known processes, without looking ahead."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import engine
from engine.forecast.fitted import reaches_of
from engine.forecast.pipeline import FORECAST_METRICS, PIPELINE
from engine.forecast.series import Layout, examples, past, read

NOISE = 5.0


def visits(patients: int, seed: int, phi: float = 0.7, slope: float = 0.0) -> pd.DataFrame:
    """AR(1) around each patient's own mean, with irregular times and one value in ten missing."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(patients):
        mean, day = 130 + rng.normal(0, 8), 0
        value = mean + rng.normal(0, NOISE / np.sqrt(1 - phi**2))
        for step in range(int(rng.integers(1, 10))):
            seen = pd.Timestamp("2022-01-01") + pd.Timedelta(days=day)
            rows.append((f"P{number}", seen, value + slope * step, rng.choice(["a", "b"])))
            value = mean + phi * (value - mean) + rng.normal(0, NOISE)
            day += int(rng.integers(20, 40))
    frame = pd.DataFrame(rows, columns=["mrn", "seen", "pressure", "ward"])
    frame.loc[rng.random(len(frame)) < 0.1, "pressure"] = np.nan
    return frame.sample(frac=1.0, random_state=seed).reset_index(drop=True)


RECIPE = engine.Recipe(
    target="pressure", patient="mrn", task="forecast", settings={"time": "seen"}, candidates=("linear",), time_budget=1.0
)


@pytest.fixture(scope="module")
def search() -> engine.Search:
    return engine.fit_candidates(visits(150, seed=1), RECIPE)


@pytest.fixture(scope="module")
def report(search: engine.Search) -> engine.Report:
    return engine.evaluate(search.best, visits(200, seed=2), groups="ward", bootstrap=200)


def layout(unit: str = "visits", horizon: float = 1.0) -> Layout:
    return Layout("y", "p", "t", False, unit, horizon)


def table(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["p", "t", "y"])


def test_the_past_is_what_numpy_says_of_the_earlier_values() -> None:
    rng = np.random.default_rng(0)
    frame = table(*[("a", t, v) for t, v in zip(np.cumsum(rng.uniform(1, 9, 12)), rng.normal(1000, 3, 12), strict=True)],
                  *[("b", t, v) for t, v in zip(range(5), rng.normal(-5, 1, 5), strict=True)])  # fmt: skip
    known = past(read(frame, layout()), layout())
    for end in range(1, 12):
        t, y = frame.t[: end + 1].to_numpy(), frame.y[: end + 1].to_numpy()
        got = {name: known[f"y [{name}]"][end] for name in ("last", "change", "mean", "spread", "slope", "values", "gap")}
        wanted = {"last": y[-1], "change": y[-1] - y[-2], "mean": y.mean(), "spread": y.std(ddof=1),
                  "slope": np.polyfit(t - t[0], y, 1)[0], "values": len(y), "gap": t[-1] - t[-2]}  # fmt: skip
        assert got == pytest.approx(wanted, rel=1e-7)
    assert known["y [last]"][12] == frame.y[12] and np.isnan(known["y [change]"][12])


def test_an_example_is_the_next_measured_value_or_the_one_nearest_to_the_horizon() -> None:
    frame = table(("a", 0, 1.0), ("a", 10, None), ("a", 21, 3.0), ("a", 28, 4.0), ("a", 70, 9.0), ("b", 5, 7.0))
    found = examples(read(frame, layout()), layout())
    assert found.visits.tolist() == [0, 1, 2, 3] and found.value.tolist() == [3.0, 3.0, 4.0, 9.0]
    two = examples(read(frame, layout(horizon=2)), layout(horizon=2))
    assert two.value.tolist() == [4.0, 4.0, 9.0]
    days = layout("days", 20.0)  # 0 -> 20: day 21; 10 -> 30: day 28; 21 -> 41 and 28 -> 48: nothing near
    found = examples(read(frame, days), days)
    assert found.value.tolist() == [3.0, 4.0] and found.ahead.tolist() == [21.0, 18.0]


def test_rows_of_one_time_are_one_visit_and_never_each_others_future() -> None:
    frame = table(("a", 0, 1.0), ("a", 5, 2.0), ("a", 5, 4.0), ("a", 9, 6.0))
    series = read(frame, layout())
    assert series.value.tolist() == [1.0, 3.0, 6.0] and series.visit.tolist() == [0, 1, 1, 2]
    assert examples(series, layout()).value.tolist() == [3.0, 6.0]


def test_a_forecast_does_not_depend_on_anything_later(search: engine.Search) -> None:
    frame = visits(30, seed=3)
    whole = search.best.predict(frame)
    cut = frame.seen.quantile(0.5)
    early = frame[frame.seen <= cut]
    alone = search.best.predict(early)
    assert len(early) < len(frame) and np.allclose(alone.value, whole.value[early.index], rtol=1e-12, atol=0)
    assert np.allclose(alone.interval, whole.interval[early.index], rtol=1e-12, atol=0)


def test_ar1_is_forecast_nearly_as_well_as_can_be(report: engine.Report) -> None:
    """The noise of one step is 5; a value missed in between adds to it, so the least possible is a little more."""
    rmse, last = report.metrics["rmse"]["value"], report.baseline["rmse"]
    assert last is not None and NOISE * 0.95 < rmse < min(NOISE * 1.12, last - 0.1)
    assert report.metrics["mase"]["value"] < 1.0


def test_the_interval_keeps_its_promise_for_new_patients_also_with_one_value(report: engine.Report) -> None:
    coverage = report.metrics["coverage"]
    assert coverage["low"] <= 0.95 <= coverage["high"] and coverage["value"] > 0.92
    by_size = {part["values_from"]: part for part in report.curves["coverage"]}
    assert by_size[1]["coverage"] > 0.9 and by_size[1]["width"] > by_size[4]["width"]


def test_the_report_has_intervals_groups_and_can_be_stored(report: engine.Report, search: engine.Search) -> None:
    assert set(report.metrics) == set(FORECAST_METRICS)
    for entry in report.metrics.values():
        assert entry["low"] <= entry["value"] <= entry["high"] and entry["n"] == report.n
    assert set(report.groups["ward"]) == {"a", "b"}
    assert sum(part["n"] for part in report.groups["ward"].values()) == report.n
    json.dumps(report.to_dict(), allow_nan=False)
    assert search.best.validation["later"]["metrics"]["coverage"]["value"] > 0.85
    assert engine.compare(report.predictions, report.predictions, "mae")["difference"] == 0.0


def test_metrics_are_those_of_scikit_learn_and_of_hyndman_and_koehler() -> None:
    """Their example of MASE: errors over the mean absolute step of the training series."""
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    truth, decided = [3.0, 5.0, 4.0, 8.0], [2.0, 5.5, 4.0, 6.0]
    steps = np.abs(np.diff([1.0, 3.0, 2.0, 6.0])).mean()
    sheet = {"true": truth, "decided": decided, "low": [1.0, 5.2, 3.0, None], "high": [3.0, 6.0, 5.0, None],
             "patient": [0, 0, 0, 1], "scale": float(steps)}  # fmt: skip
    got = PIPELINE.scores(sheet, np.ones((1, 4)))
    assert got["mae"][0] == pytest.approx(mean_absolute_error(truth, decided))
    assert got["rmse"][0] == pytest.approx(root_mean_squared_error(truth, decided))
    assert got["mase"][0] == pytest.approx(mean_absolute_error(truth, decided) / steps)
    assert got["coverage"][0] == pytest.approx((2 / 3 + 1) / 2)  # the first patient's three values count as one
    assert np.isnan(got["width"][0])  # an unbounded interval has no width
    weighted = PIPELINE.scores(sheet, np.array([[0.0, 2.0, 1.0, 0.0]]))
    assert weighted["mae"][0] == pytest.approx((2 * 0.5 + 0.0) / 3)


def test_intervals_are_those_of_the_groups_history_where_it_has_patients_enough() -> None:
    rng = np.random.default_rng(0)
    count = np.repeat([1, 2, 5], [100, 100, 10])
    errors = np.abs(rng.normal(0, np.where(count == 1, 10.0, 1.0)))
    few = reaches_of(errors, count, np.arange(210))
    assert few[0] > 15 and few[1] < 3
    assert np.sort(errors).searchsorted(few[2]) >= 0.95 * 210 - 1  # ten patients: the width of all


def test_a_trend_is_followed_beyond_what_training_saw() -> None:
    frame = visits(120, seed=4, phi=0.0, slope=6.0)
    found = engine.fit_candidates(frame, RECIPE)
    report = engine.evaluate(found.best, visits(100, seed=5, phi=0.0, slope=6.0), bootstrap=20)
    assert report.metrics["mae"]["value"] < 0.85 * report.baseline["mae"]


def test_a_horizon_in_days_sees_how_far_ahead_it_is() -> None:
    spec = engine.Recipe(**{**RECIPE.to_dict(), "settings": {"time": "seen", "unit": "days", "horizon": 60.0}})
    found = engine.fit_candidates(visits(150, seed=6), spec)
    assert "pressure [ahead]" in found.best.encoder.names
    assert found.best.predict(visits(3, seed=7)).value.shape == (len(visits(3, seed=7)),)


def test_a_new_patient_with_one_value_or_none_works(search: engine.Search) -> None:
    one = search.best.predict_records([{"mrn": "new", "seen": "2024-05-01", "pressure": 150.0, "ward": "a"}])
    assert 130 < one.value[0] < 152 and "one_value" in {w["code"] for w in one.warnings[0]}
    none = search.best.predict_records([{"mrn": "new", "seen": "2024-05-01"}])
    assert 125 < none.value[0] < 135 and "no_history" in {w["code"] for w in none.warnings[0]}
    assert np.ptp(none.interval[0]) > np.ptp(one.interval[0])
    timeless = search.best.predict_records([{"mrn": "new", "pressure": 150.0}])
    assert np.isfinite(timeless.value[0]) and "no_time" in {w["code"] for w in timeless.warnings[0]}


def test_reasons_add_up_to_the_forecast(search: engine.Search) -> None:
    frame = visits(4, seed=8)
    for reasons, value in zip(engine.explain(search.best, frame), search.best.predict(frame).value, strict=True):
        total = reasons.base + sum(part["contribution"] for part in reasons.contributions)
        if not np.isfinite(frame.pressure).all():
            continue
        assert reasons.score == pytest.approx(total) and reasons.score == pytest.approx(value)


@pytest.mark.parametrize("how", ["next value", "next change"])
def test_a_column_that_holds_the_future_is_refused(how: str) -> None:
    frame = visits(80, seed=9).dropna().sort_values(["mrn", "seen"]).reset_index(drop=True)
    following = frame.groupby("mrn").pressure.shift(-1)
    frame["leak"] = following if how == "next value" else following - frame.pressure
    assert [(p.code, p.column) for p in engine.check(frame, RECIPE) if p.severity == "error"] == [("forecast_future", "leak")]
    with pytest.raises(engine.EngineError, match="leak"):
        engine.fit(frame, RECIPE)
    honest = frame.assign(leak=frame.groupby("mrn").pressure.shift(1))
    assert not [p for p in engine.check(honest, RECIPE) if p.severity == "error"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"settings": {}}, "forecast_no_time"),
        ({"patient": None, "target": "ward"}, "no_labels"),
        ({"settings": {"time": "gone"}}, "column_missing"),
        ({"settings": {"time": "seen", "horizon": 1.5}}, "setting_invalid"),
        ({"metric": "coverage"}, "metric_wrong_task"),
    ],
)
def test_what_cannot_be_forecast_is_said(change: dict, code: str) -> None:
    found = engine.check(visits(60, seed=10), engine.Recipe(**{**RECIPE.to_dict(), **change}))
    assert found[0].severity == "error" and found[0].code == code


def test_a_pure_walk_is_not_sold_as_foreseeable() -> None:
    rng = np.random.default_rng(11)
    rows = [(f"P{i}", t, v) for i in range(60) for t, v in enumerate(np.cumsum(rng.normal(0, 1, 6)) + 50)]
    frame = pd.DataFrame(rows, columns=["mrn", "seen", "pressure"])
    found = engine.fit_candidates(frame, RECIPE)
    assert found.best.validation["metrics"]["mase"]["value"] > 0.97


@pytest.mark.slow  # a fresh process imports the engine
def test_a_stored_forecast_gives_the_same_numbers_in_another_process(search: engine.Search, tmp_path: Path) -> None:
    frame = visits(20, seed=12)
    engine.save(search.best, tmp_path / "model")
    frame.to_pickle(tmp_path / "frame")
    code = (
        "import sys, json, pandas as pd, engine\n"
        "fitted = engine.load(sys.argv[1])\n"
        "p = fitted.predict(pd.read_pickle(sys.argv[2]))\n"
        "assert 'torch' not in sys.modules\n"
        "print(json.dumps([p.value.tolist(), p.interval.tolist(), fitted.recipe.settings, fitted.schema.to_dict()]))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "frame")],
                         capture_output=True, text=True, check=True, timeout=120).stdout  # fmt: skip
    value, interval, settings, schema = json.loads(out)
    own = search.best.predict(frame)
    assert value == own.value.tolist() and interval == own.interval.tolist()
    assert settings == {"time": "seen"} and schema == search.best.schema.to_dict()
