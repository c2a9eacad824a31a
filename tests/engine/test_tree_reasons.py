"""Exact Shapley values of trees: equal to the definition over all subsets, additive, quick, and they find the cause."""

import time
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

import engine
from engine import exact_reasons
from engine.candidates.trees import FlatTrees
from engine.explanation import _counted, _shapley
from engine.tree_reasons import paths_of, tree_shapley


def by_definition(score, x, background, origins, columns) -> np.ndarray:
    """Shapley 1953, subset by subset, with the estimator's own predictions."""

    def worth(inside: tuple[int, ...]) -> np.ndarray:
        mixed = background.copy()
        mixed[:, np.isin(origins, inside)] = x[np.isin(origins, inside)]
        return score(mixed).mean(axis=0)

    values = []
    for j in range(columns):
        others = [i for i in range(columns) if i != j]
        total = 0.0
        for size in range(columns):
            for subset in combinations(others, size):
                share = 1.0 / (columns * comb(columns - 1, size))
                total = total + share * (worth((*subset, j)) - worth(subset))
        values.append(total)
    return np.array(values)


def made(features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, features))
    y = X[:, 0] * X[:, 1] + np.sin(3 * X[:, 2]) + 0.5 * X[:, -1] + rng.normal(0, 0.2, 300)
    X[rng.random(X.shape) < 0.1] = np.nan
    return X, y


@pytest.mark.parametrize("origins", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 2, 3]])
def test_equal_to_the_definition_for_numbers(origins: list[int]) -> None:
    X, y = made(6, 0)
    model = HistGradientBoostingRegressor(max_iter=15, max_leaf_nodes=12, min_samples_leaf=5).fit(X, y)
    trees, places = FlatTrees(model), np.array(origins)
    columns, background = max(origins) + 1, X[100:120]
    for x in X[:5]:
        base, values = tree_shapley(trees, paths_of(trees, places), x, background, columns)
        expected = by_definition(lambda Z: model.predict(Z)[:, None], x, background, places, columns)
        assert values == pytest.approx(expected, abs=1e-10)
        assert base[0] == pytest.approx(model.predict(background).mean(), abs=1e-10)
        assert base[0] + values.sum() == pytest.approx(model.predict(x[None])[0], abs=1e-10)


@pytest.mark.parametrize("classes", [2, 3])
def test_equal_to_the_definition_for_classes(classes: int) -> None:
    X, y = made(5, 1)
    codes = np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))
    model = HistGradientBoostingClassifier(max_iter=8, max_leaf_nodes=8).fit(X, codes)
    trees, places, background = FlatTrees(model), np.arange(5), X[50:66]

    def raw(Z: np.ndarray) -> np.ndarray:
        return model.decision_function(Z).reshape(len(Z), -1)

    base, values = tree_shapley(trees, paths_of(trees, places), X[3], background, 5)
    assert values == pytest.approx(by_definition(raw, X[3], background, places, 5), abs=1e-10)
    assert base + values.sum(axis=0) == pytest.approx(raw(X[3:4])[0], abs=1e-10)


def test_trees_that_never_split_give_nothing() -> None:
    X, y = np.zeros((30, 2)), np.arange(30.0)
    trees = FlatTrees(HistGradientBoostingRegressor(max_iter=3).fit(X, y))
    base, values = tree_shapley(trees, paths_of(trees, np.arange(2)), X[0], X[:4], 2)
    assert (base[0], np.abs(values).max()) == (pytest.approx(14.5), 0.0)


def test_a_column_that_changes_nothing_gets_nothing_and_equal_columns_share() -> None:
    X, y = made(4, 2)
    trees = FlatTrees(HistGradientBoostingRegressor(max_iter=10).fit(X, y))
    background = X[:10].copy()
    background[:, 3] = X[20, 3]
    _, values = tree_shapley(trees, paths_of(trees, np.arange(4)), X[20], background, 4)
    assert values[3] == 0.0
    assert np.abs(values[:3]).min() > 0.0


@pytest.fixture(scope="module")
def wide() -> tuple[pd.DataFrame, dict[str, engine.Fitted]]:
    """Ten columns, of which one number and one category matter."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({f"n{i}": rng.normal(size=400) for i in range(8)})
    frame["site"] = rng.choice(list("abcd"), 400)
    frame["flag"] = rng.choice(["u", "v"], 400)
    frame.loc[rng.random(400) < 0.1, "n3"] = np.nan
    odds = 2.5 * np.nan_to_num(frame["n3"]) + np.where(frame["site"] == "b", 2.0, -0.5)
    frame["y"] = np.where(rng.random(400) < 1 / (1 + np.exp(-odds)), "yes", "no")
    found = {}
    for task, target in (("classification", "y"), ("regression", "amount")):
        table = frame.assign(amount=odds + rng.normal(0, 0.3, 400)).drop(
            columns="y" if task == "regression" else "amount"
        )
        recipe = engine.Recipe(target=target, candidates=("boosting",), time_budget=1.0)
        found[task] = engine.fit(table, recipe)
    return frame, found


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_fitted_model_is_explained_exactly_and_the_cause_is_found(wide, task: str) -> None:
    frame, models = wide
    model = models[task]
    record = {**frame.iloc[0].to_dict(), "n3": 1.8, "site": "b"}
    (reasons,) = engine.explain(model, [record])
    raw = model.raw(model.encoder.from_records([record]))
    score = np.log(raw[0, 1] / raw[0, 0]) if task == "classification" else raw[0]
    assert reasons.base + sum(c["contribution"] for c in reasons.contributions) == pytest.approx(
        score, abs=1e-9
    )
    assert [c["column"] for c in reasons.contributions[:2]] == ["n3", "site"]
    assert {c["direction"] for c in reasons.contributions[:2]} == {"for"}


def test_sampling_comes_close_to_the_exact_values_and_counting_equals_them(wide) -> None:
    frame, models = wide
    model = models["classification"]
    encoded = model.encoder.from_records([frame.iloc[7].to_dict()])
    exact = exact_reasons.of(model)
    assert exact is not None
    base, values = exact(encoded, 1)
    sampled_base, sampled = _shapley(model, encoded, 1)
    assert sampled_base == pytest.approx(base, abs=1e-9)
    assert np.abs(sampled - values).max() < 0.5 * np.abs(values).max()


def test_counting_all_subsets_equals_the_exact_values(fitted, patients) -> None:
    model = fitted["boosting"]
    exact = exact_reasons.of(model)
    assert exact is not None
    for row in (0, 5):
        encoded = model.encoder.from_records([patients.iloc[row].to_dict()])
        base, values = exact(encoded, 1)
        counted_base, counted = _counted(model, encoded, 1)
        assert counted == pytest.approx(values, abs=1e-8)
        assert counted_base == pytest.approx(base, abs=1e-8)


def test_an_ensemble_for_numbers_is_exact_through_its_members(amounts) -> None:
    from dataclasses import replace

    frame, models = amounts
    linear, boosted = models["linear"].members[0], models["boosting"].members[0]
    both = replace(models["linear"], members=[replace(linear, weight=0.3), replace(boosted, weight=0.7)])
    encoded = both.encoder.from_frame(frame.tail(1))
    exact = exact_reasons.of(both)
    assert exact is not None
    base, values = exact(encoded, 0)
    counted_base, counted = _counted(both, encoded, 0)
    assert base + values.sum() == pytest.approx(both.raw(encoded)[0], abs=1e-8)
    assert counted == pytest.approx(values, abs=1e-7)
    assert counted_base == pytest.approx(base, abs=1e-7)


def test_the_first_class_is_explained_with_the_sign_turned(fitted, patients) -> None:
    exact = exact_reasons.of(fitted["boosting"])
    assert exact is not None
    encoded = fitted["boosting"].encoder.from_records([patients.iloc[0].to_dict()])
    assert exact(encoded, 0)[1] == pytest.approx(-exact(encoded, 1)[1])


def test_three_hundred_trees_are_explained_quickly() -> None:
    X, y = made(8, 4)
    trees = FlatTrees(HistGradientBoostingRegressor(max_iter=300, max_leaf_nodes=15).fit(X, y))
    began = time.process_time()
    paths = paths_of(trees, np.arange(8))
    for x in X[:5]:
        tree_shapley(trees, paths, x, X[:32], 8)
    assert time.process_time() - began < 4.0


@pytest.mark.parametrize(
    ("word", "texts"),
    [
        ("pneumothorax", ["the film shows pneumothorax on the left side", "the lungs are clear and well aerated"]),
        ("气胸", ["胸片见左侧气胸改变", "双肺纹理清晰未见异常"]),
    ],
)  # fmt: skip
def test_a_planted_word_is_found_in_english_and_chinese(word: str, texts: list[str]) -> None:
    rng = np.random.default_rng(0)
    noise = (
        ["age noted", "seen today", "routine visit"]
        if word.isascii()
        else ["今日复查", "常规就诊", "患者平稳"]
    )
    sick = rng.random(120) < 0.5
    join = " " if word.isascii() else "，"
    frame = pd.DataFrame({
        "report": [join.join([rng.choice(noise), texts[0] if s else texts[1], rng.choice(noise)]) for s in sick],
        "y": np.where(sick, "yes", "no"),
    })  # fmt: skip
    # Only the planted word differs: the rest of the sick reports' sentence occurs in the healthy ones, too.
    frame["report"] = [
        text if s else text.replace(texts[1], texts[0].replace(word, texts[1]))
        for text, s in zip(frame["report"], sick, strict=True)
    ]
    recipe = engine.Recipe(target="y", candidates=("linear",), time_budget=1.0, columns={"report": "text"},
                           allow_leaks=True)  # fmt: skip
    model = engine.fit(frame, recipe)
    (reasons,) = engine.explain(model, [{"report": join.join([noise[0], texts[0]])}])
    found, contribution = reasons.words["report"][0]
    assert found == word
    assert contribution > 0
