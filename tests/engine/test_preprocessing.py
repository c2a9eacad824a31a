"""Preprocessing: each choice does what it says, on training data only, and survives storing."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import PowerTransformer

from engine import Kind, Recipe
from engine.encoding import Encoder
from engine.preprocessing.imputation import Imputation
from engine.preprocessing.normalisation import Normalisation
from engine.preprocessing.outliers import Outliers
from engine.preprocessing.pipeline import Preprocessor
from engine.preprocessing.scaling import Scaling
from engine.preprocessing.selection import select_features
from engine.recipe import CHOICES
from engine.training_data import prepare
from engine.transformers.text import TextTransformer
from tests.engine.conftest import make_patients

RNG = np.random.default_rng(0)
Y = np.array([0.0, 0, 0, 1, 1, 1, 1, 1])
PLAIN = {
    "outliers": "none",
    "imputation": "median",
    "normalisation": "none",
    "scaling": "none",
    "feature_selection": "none",
}


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


@pytest.mark.parametrize(("method", "low", "high"), [("minmax", 0.0, 1.0), ("symmetric", -1.0, 1.0)])
def test_scaling_to_an_interval(method: str, low: float, high: float) -> None:
    X = RNG.normal(5, 3, (40, 3))
    scaled = Scaling(method).fit(X, Y, True).transform(X)
    assert np.allclose([scaled.min(axis=0), scaled.max(axis=0)], [[low] * 3, [high] * 3])


def test_zscore_leaves_a_constant_column_at_zero() -> None:
    X = np.column_stack([RNG.normal(5, 3, 40), np.full(40, 7.0)])
    scaled = Scaling("zscore").fit(X, Y, True).transform(X)
    assert np.allclose(scaled.mean(axis=0), 0)
    assert np.allclose(scaled.std(axis=0), [1, 0])


@pytest.mark.parametrize(
    ("method", "expected"),
    [("mean", 4.0), ("median", 3.0), ("mode", 1.0), ("label_mean", (1.0 * 3 + 6.0 * 5) / 8)],
)
def test_imputation_fills(method: str, expected: float) -> None:
    nan = np.nan  # label 0: 1, 1, missing; label 1: 3, 7, 8, missing, missing
    X = column(1, 1, nan, 3, 7, 8, nan, nan)
    step = Imputation(method).fit(X, Y, True)
    filled = step.transform(X)
    assert filled[2, 0] == filled[6, 0] == pytest.approx(expected)
    assert step.markers(X).ravel().tolist() == [0, 0, 1, 0, 0, 0, 1, 1]


def test_label_mean_never_looks_at_the_label_of_the_row() -> None:
    X = column(1, 1, np.nan, 3, 7, 8, np.nan, np.nan)
    filled = Imputation("label_mean").fit(X, Y, True).transform(X)
    assert filled[2, 0] == filled[7, 0]  # rows of different labels get the same number


def test_outliers_are_clipped_or_replaced() -> None:
    X = column(*range(20), 1000.0, np.nan)
    clipped = Outliers("clip").fit(X, Y, True).transform(X)
    assert 19 < clipped[20, 0] < 100
    assert np.isnan(clipped[21, 0])
    assert Outliers("median").fit(X, Y, True).transform(X)[20, 0] == 9.5
    assert Outliers("mean").fit(X, Y, True).transform(X)[20, 0] == 9.5
    assert Outliers("none").fit(X, Y, True).transform(X)[20, 0] == 1000.0


def test_yeo_johnson_equals_scikit_learn() -> None:
    X = RNG.lognormal(0, 1, (200, 2))
    step = Normalisation("yeo-johnson").fit(X, Y, True)
    standard = np.clip((X - step.centre) / step.spread, -8, 8)
    assert np.allclose(
        step.transform(X), PowerTransformer(standardize=False).fit_transform(standard), atol=1e-9
    )


def test_quantile_makes_a_skewed_column_normal() -> None:
    X = RNG.lognormal(0, 1.5, (500, 1))
    Z = Normalisation("quantile").fit(X, Y, True).transform(X)
    assert abs(np.mean(Z)) < 0.02
    assert abs(np.std(Z) - 1) < 0.05
    assert np.all(np.diff(Z[np.argsort(X[:, 0]), 0]) >= 0)


@pytest.mark.parametrize("method", ["variance", "univariate", "model"])
def test_feature_selection_keeps_the_cause_and_drops_the_constant(method: str) -> None:
    y = RNG.integers(0, 2, 200).astype(float)
    X = np.column_stack([np.full(200, 3.0), y * 2 + RNG.normal(0, 1, 200), RNG.normal(0, 1, 200)])
    kept = select_features(X, y, True, method, 0)
    assert kept is not None
    assert 1 in kept
    assert 0 not in kept


@pytest.mark.parametrize(
    ("step", "choice"),
    [
        (step, choice)
        for step, choices in CHOICES.items()
        if step != "task"
        for choice in choices
        if choice != "search"
    ]
    + [("imputation", "native")],
)
def test_every_choice_gives_numbers_and_survives_storing(step: str, choice: str) -> None:
    data = prepare(make_patients(80), Recipe(target="diagnosis", patient="mrn"))
    encoder, encoded = data.encode()
    choices = {**PLAIN, step: choice}
    made = Preprocessor(encoder, choices).fit(encoded, data.y, data.patients, True)
    X = made.transform(encoded)
    assert np.isfinite(X).all() or choice == "native"
    assert X.shape[1] == len(made.origins)
    again = Preprocessor(encoder, choices).restore(made.arrays())
    assert np.array_equal(X, again.transform(encoded), equal_nan=True)


def test_the_row_alone_gets_the_same_features_as_in_the_table() -> None:
    data = prepare(make_patients(80), Recipe(target="diagnosis", patient="mrn"))
    encoder, encoded = data.encode()
    made = Preprocessor(encoder, {**PLAIN, "normalisation": "quantile"}).fit(
        encoded, data.y, data.patients, True
    )
    one = encoder.from_records([data.frame.iloc[7].to_dict()])
    assert np.array_equal(made.transform(one)[0], made.transform(encoded)[7])


def test_a_category_of_few_patients_is_folded_to_other() -> None:
    frame = make_patients(80)
    frame["ward"] = ["common"] * 76 + ["rare"] * 4
    data = prepare(frame, Recipe(target="diagnosis", columns={"ward": "category"}))
    assert data.schema["ward"].categories == ("common",)


def test_dates_become_day_season_and_weekday() -> None:
    frame = pd.DataFrame({"day": pd.to_datetime(["2024-01-01", "2024-07-01"] * 15), "y": ["a", "b"] * 15})
    data = prepare(frame, Recipe(target="y"))
    encoder, encoded = data.encode()
    X = encoder.transformers[Kind.DATE].expand(encoded.blocks[Kind.DATE])  # type: ignore[attr-defined]
    assert X[0].tolist()[0] == 19723.0
    assert X[:2, 3].tolist() == [0.0, 0.0]  # both were Mondays
    assert X[0, 2] > 0.99 > 0 > X[1, 2]  # winter and summer


def test_text_drops_what_only_one_patient_has_and_keeps_no_word() -> None:
    frame = pd.DataFrame(
        {"note": [f"chest pain again {word}" for word in ("zanzibar", "fever", "fever", "cough")] * 1}
    )
    schema = Encoder(
        prepare(frame.assign(y=["a", "b"] * 2), Recipe(target="y", columns={"note": "text"})).schema, {}
    )
    text = TextTransformer(schema.specs[Kind.TEXT], {"columns": [{"analyzer": "none"}]})
    block, _ = text.encode([frame["note"].tolist()])
    text.fit(block, np.zeros(4), {"text": "sparse"}, np.arange(4), True)
    alone, _ = text.encode([["zanzibar"]])
    shared, _ = text.encode([["fever"]])
    assert text.known(alone)[0] == 0.0
    assert text.known(shared)[0] == 1.0
    assert all(array.dtype.kind in "if" for array in text.arrays().values())


def test_a_text_has_the_same_features_alone_and_among_others() -> None:
    """A few rows take a short cut through the components (see `_reduced`): the numbers are the very same."""
    cells = [f"word{j} word{j + 1} word{7 * j % 400} pain" for j in range(400)]
    frame = pd.DataFrame({"note": cells, "y": ["a", "b"] * 200})
    data = prepare(frame, Recipe(target="y", columns={"note": "text"}))
    encoder, encoded = data.encode()
    text = Preprocessor(encoder, {**PLAIN, "text": "dense"}).fit(encoded, data.y, data.patients, True)
    together = text.transform(encoded)
    assert together.shape[1] > 10 and np.any(together != 0.0)
    for row in (0, 1, 399):
        alone = text.transform(encoder.take(encoded, np.array([row])))
        assert np.array_equal(alone[0], together[row])


@pytest.mark.parametrize("dense", ["sparse", "dense"])
def test_chinese_text_has_features(dense: str) -> None:
    cells = ["急性心肌梗死", "陈旧性心肌梗死", "肺炎", "支原体肺炎"] * 5
    frame = pd.DataFrame({"name": cells, "y": ["heart", "heart", "lung", "lung"] * 5})
    data = prepare(frame, Recipe(target="y", columns={"name": "text"}))
    encoder, encoded = data.encode()
    expected = {"columns": [{"analyzer": "char", "chars": [1, 3]}], "identifiers": "out"}
    assert encoder.settings["text"] == expected
    X = (
        Preprocessor(encoder, {**PLAIN, "text": dense})
        .fit(encoded, data.y, data.patients, True)
        .transform(encoded)
    )
    X = X if dense == "dense" else X.toarray()
    assert X[0] @ X[1] > X[0] @ X[2]  # the two infarctions are more alike
