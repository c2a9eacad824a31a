"""Parts that the whole relies on, each asked by itself: the guard's one exception, shares, ratios, questions of yes or no."""

import numpy as np
import pandas as pd
import pytest

from engine import artefact_guard, suspicion
from engine.candidates.linear import LinearModel
from engine.errors import EngineError
from engine.pipelines import measuring
from engine.promises import share_of
from engine.tasks.reductions import Several


@pytest.mark.parametrize(
    ("code", "passed_over"), [("weights_missing", True), ("weights_invalid", False), ("schema_invalid", False)]
)
def test_only_missing_weights_excuse_a_model_from_being_tried_out(
    code: str, passed_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fitted: object) -> None:
        raise EngineError(code, "no")

    monkeypatch.setattr(artefact_guard, "_try_out", refuse)
    if passed_over:
        artefact_guard.try_out(object())
        return
    with pytest.raises(EngineError) as found:
        artefact_guard.try_out(object())
    assert found.value.code == code


def test_the_interval_of_a_share_resamples_patients_and_not_their_records() -> None:
    hits = np.repeat([1.0, 0.0], 200)
    alone = share_of(hits, np.arange(400), 500, 0)
    two = share_of(hits, np.repeat([0, 1], 200), 500, 0)
    assert alone["value"] == two["value"] == 0.5 and alone["n"] == 400
    assert alone["low"] == pytest.approx(0.45, abs=0.02) and alone["high"] == pytest.approx(0.55, abs=0.02)
    assert (two["low"], two["high"]) == (0.0, 1.0)  # two patients, alike in all that they have
    assert share_of(hits, np.arange(400), 0, 0)["low"] is None


def test_ratios_are_not_defined_where_there_is_nothing_to_divide_by() -> None:
    found = measuring.ratio(np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 0.0]))
    assert found[0] == 0.5 and np.isnan(found[1:]).all()


def test_groups_cover_every_row_once_and_name_the_column_that_is_missing() -> None:
    frame = pd.DataFrame({"site": ["a", "b", None, "a"]})
    found = measuring.grouped(frame, ["site"], lambda rows: {"rows": rows.tolist()})
    assert found == {"site": {"": {"rows": [2]}, "a": {"rows": [0, 3]}, "b": {"rows": [1]}}}
    with pytest.raises(EngineError) as refused:
        measuring.grouped(frame, ["ward"], lambda rows: {})
    assert refused.value.params == {"column": "ward"}


def test_a_question_learns_from_the_records_that_were_asked_and_one_answer_is_smoothed() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = np.column_stack([X[:, 0] > 0, np.ones(60)]).astype(float)
    y[40:, 0] = np.nan
    many = Several(base=LinearModel, hyperparameters={"C": 0.5}).fit(X, y)
    alone = LinearModel(C=0.5).fit(X[:40], y[:40, 0].astype(np.int64))
    assert np.array_equal(many.raw(X)[:, 0], alone.raw(X)[:, 1])
    assert np.allclose(many.raw(X)[:, 1], 61 / 62)  # Laplace: 60 of 60, and one more on either side


def test_suspicions_of_a_harmless_table_are_none() -> None:
    from engine.recipe import Recipe
    from engine.training_data import prepare

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200), "y": rng.choice(["s", "w"], 200)})
    recipe = Recipe(target="y")
    assert list(suspicion.suspicions(prepare(frame, recipe), recipe)) == []
    frame["copy"] = frame["y"]
    assert [s.column for s in suspicion.suspicions(prepare(frame, recipe), recipe)] == ["copy"]
