"""Odd but legal tables: everything still trains, predicts, explains, is stored and is loaded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import engine

N = 120
RNG = np.random.default_rng(0)
NOTES = [
    f"pain in the {part} day {i % 7}" if i % 5 else None
    for i, part in enumerate(RNG.choice(["hip", "knee"], N))
]
NOISE, LABELS = RNG.normal(size=N), RNG.choice(["a", "b"], N)
TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "numbers as column names": lambda: pd.DataFrame({0: NOISE, "y": LABELS}),
    "only a category": lambda: pd.DataFrame({"c": RNG.choice(list("pqr"), N), "y": LABELS}),
    "only a date": lambda: pd.DataFrame({"d": pd.date_range("2020-01-01", periods=N), "y": LABELS}),
    "a constant and an empty column": lambda: pd.DataFrame({"x": NOISE, "k": 1.0, "e": None, "y": LABELS}),
    "text beside a number and an image": lambda: pd.DataFrame(
        {"note": NOTES, "a": NOISE, "img": [f"{i}.png" for i in range(N)], "y": LABELS}
    ),
    "text with a number to predict": lambda: pd.DataFrame({"note": NOTES, "y": RNG.normal(size=N)}),
    "a class of two": lambda: pd.DataFrame({"x": NOISE, "y": ["r"] * 2 + ["s"] * 60 + ["t"] * 58}),
    "true and false": lambda: pd.DataFrame({"x": NOISE, "y": RNG.random(N) < 0.5}),
    "huge and infinite numbers": lambda: pd.DataFrame(
        {"x": NOISE * 1e300, "z": np.where(NOISE > 1, np.inf, NOISE), "y": NOISE * 1e6 + RNG.normal(size=N)}
    ),
    "twenty-two records": lambda: pd.DataFrame({"x": NOISE[:22], "y": ["a", "b"] * 11}),
}


@pytest.mark.parametrize("name", TABLES)
def test_an_odd_table_goes_the_whole_way(name: str, tmp_path: Path) -> None:
    frame = TABLES[name]()
    columns = {"note": "text"} if "note" in frame else {}
    recipe = engine.Recipe(
        target="y", columns=columns, time_budget=0.5, candidates=("linear",), allow_leaks=True,
        ignore=tuple({"img"} & set(frame)),  # there is no folder in which the pictures lie
    )  # fmt: skip
    fitted = engine.fit(frame, recipe)
    records = [
        {str(key): value for key, value in record.items()} for record in frame.head(3).to_dict("records")
    ]
    result = fitted.predict_records([*records, {}])
    assert np.isfinite(result.ood_score).all()
    if result.probabilities is not None:
        assert np.isfinite(result.probabilities).all()
    assert engine.evaluate(fitted, frame, bootstrap=10).n == len(frame)
    assert len(engine.explain(fitted, records)) == 3
    again = engine.load(engine.save(fitted, tmp_path / "m"))
    assert np.array_equal(again.predict_records(records).interval, result.interval[:3])


def test_words_that_look_missing_can_be_classes_and_categories(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    severity = rng.permutation(["none", "mild", "severe"] * 40)
    table = pd.DataFrame({
        "severity": severity,
        "allergy": np.where(severity == "none", "NA", rng.permutation(["nuts", "NA", "pollen"] * 40)),
        "crp": np.where(severity == "severe", 2.0, 0.0) + rng.normal(size=120),
    })  # fmt: skip
    recipe = {"target": "severity", "candidates": ("linear",), "time_budget": 1.0}
    usual = engine.fit_candidates(table, engine.Recipe(**recipe))
    assert usual.best.classes_.tolist() == ["mild", "severe"] and usual.unlabelled == 40
    kept = engine.fit_candidates(table, engine.Recipe(**recipe, keep_words=True))
    assert kept.best.classes_.tolist() == ["mild", "none", "severe"] and kept.unlabelled == 0
    assert kept.best.schema["allergy"].categories == ("NA", "nuts", "pollen")
    engine.save(kept.best, tmp_path / "model")
    loaded = engine.load(tmp_path / "model")
    found = loaded.predict_records([{"allergy": "NA", "crp": 0.0}])
    assert found.value.tolist() == ["none"] and found.warnings == [[]]
    assert engine.evaluate(loaded, table, bootstrap=0).n == 120
