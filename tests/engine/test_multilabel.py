"""Several labels at once: lists or columns, unknown labels, one calibration, threshold and set for each."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, hamming_loss, roc_auc_score

import engine
from engine import EngineError, Recipe
from engine.metrics import score_all
from engine.tasks.multilabel import UNKNOWN, MultilabelOutcomes, best_thresholds, labels_in, yes_or_no

LABELS = ("flu", "asthma", "anaemia")


def make_labels(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Two records for each patient; fever causes flu, wheeze asthma, and iron (missing at times) anaemia."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    has = 2 * x + rng.logistic(size=(n, 3)) > np.array([0.0, 1.0, 2.0])
    frame = pd.DataFrame({"mrn": [f"P{i // 2}" for i in range(n)], "fever": x[:, 0], "wheeze": x[:, 1],
                          "iron": x[:, 2], "sex": rng.choice(["f", "m"], n)})  # fmt: skip
    for j, name in enumerate(LABELS):
        frame[name] = np.where(has[:, j], "yes", "no")
    frame["findings"] = [[name for j, name in enumerate(LABELS) if row[j]] for row in has]
    frame.loc[rng.random(n) < 0.1, "iron"] = np.nan
    return frame


@pytest.fixture(scope="module")
def columns() -> pd.DataFrame:
    """Each label in a column of its own; flu is not known in a fifth of the rows."""
    frame = make_labels().drop(columns="findings")
    frame.loc[np.random.default_rng(3).random(len(frame)) < 0.2, "flu"] = None
    return frame


@pytest.fixture(scope="module")
def found(columns: pd.DataFrame) -> engine.Search:
    settings = {"boosting": {"max_iter": 30, "max_leaf_nodes": 4}, "network": {"epochs": 10, "batch_size": 32}}
    recipe = Recipe(target="flu", targets=LABELS, patient="mrn", time_budget=1.5, hyperparameters=settings,
                    candidates=("linear", "boosting", "network", "ensemble"))  # fmt: skip
    return engine.fit_candidates(columns, recipe)


@pytest.fixture(scope="module")
def models(found: engine.Search) -> dict[str, engine.Fitted]:
    return {result.name: result.fitted for result in found.candidates if result.fitted is not None}


@pytest.fixture(scope="module")
def lists() -> engine.Fitted:
    frame = make_labels().drop(columns=list(LABELS))
    recipe = Recipe(target="findings", task="multilabel", patient="mrn", candidates=("linear",), time_budget=0.1)
    return engine.fit(frame, recipe)


def test_every_candidate_learns_all_labels(found, models) -> None:
    assert {"linear", "boosting", "network"} <= set(models)
    assert found.baseline.validation_score == 0.5
    for fitted in models.values():
        assert (fitted.task, fitted.metric) == ("multilabel", "label_roc_auc")
        assert fitted.classes_.tolist() == list(LABELS)
        assert fitted.validation["value"] > 0.75


def test_labels_are_never_features(models) -> None:
    for fitted in models.values():
        assert not set(fitted.encoder.names) & {*LABELS, "mrn"}
        assert all(fitted.schema[name].categories is None for name in LABELS)


def test_a_prediction_has_a_probability_an_interval_and_a_decision_for_each_label(models, columns) -> None:
    for fitted in models.values():
        result = fitted.predict(columns)
        n = len(columns)
        assert result.probabilities.shape == result.decided.shape == (n, 3)
        assert result.interval.shape == (n, 3, 2)
        assert (result.interval[..., 0] <= result.probabilities).all()
        assert (result.probabilities <= result.interval[..., 1]).all()
        assert (result.decided == (result.probabilities >= fitted.details["thresholds"])).all()
        for value, members, row in zip(result.value, result.sets, result.decided, strict=True):
            assert value == [name for name, yes in zip(LABELS, row, strict=True) if yes]
            assert set(value) <= set(members)


def test_sets_hold_95_of_100_of_those_who_have_a_label(models) -> None:
    new = make_labels(3000, seed=7)
    result = models["linear"].predict(new)
    for name in LABELS:
        has = np.flatnonzero(new[name] == "yes")
        assert np.mean([name in result.sets[i] for i in has]) > 0.87  # promised 0.95, from some sixty patients
    assert np.mean([len(members) for members in result.sets]) < 2.6


def test_each_label_is_calibrated(models) -> None:
    new = make_labels(4000, seed=8)
    p = models["linear"].predict(new).probabilities
    for j, name in enumerate(LABELS):
        assert p[:, j].mean() == pytest.approx((new[name] == "yes").mean(), abs=0.06)
    curves = engine.evaluate(models["linear"], new, bootstrap=0).curves["calibration"]
    assert all(abs(q["predicted"] - q["observed"]) < 0.17 for points in curves.values() for q in points)


def test_the_report_counts_a_label_only_where_it_is_known(models) -> None:
    new = make_labels(200, seed=4)
    new.loc[:49, "flu"] = None
    new.loc[0, list(LABELS)] = None
    report = engine.evaluate(models["linear"], new, groups="sex", bootstrap=100)
    assert report.left_out == {"unlabelled": 1, "unknown_class": 0}
    assert report.n == 199
    rows = {row["class"]: row for row in report.per_class}
    assert (rows["flu"]["known"], rows["asthma"]["known"]) == (150, 199)
    assert rows["asthma"]["n"] == (new["asthma"] == "yes").sum()
    assert all(row["roc_auc"] > 0.7 for row in rows.values())
    for entry in report.metrics.values():
        assert entry["low"] <= entry["value"] <= entry["high"]
    assert report.metrics["label_roc_auc"]["value"] > 0.75 > report.baseline["label_roc_auc"]
    assert [entry["class"] for entry in report.coverage["classes"]] == list(LABELS)
    assert all(entry["value"] > 0.85 for entry in report.coverage["classes"])
    same = engine.compare(report.predictions, report.predictions, "macro_f1", resampled=50)
    assert same["difference"] == 0


def test_a_stored_model_predicts_the_same(models, columns, tmp_path) -> None:
    for name, fitted in models.items():
        again = engine.load(engine.save(fitted, tmp_path / name))
        before, after = fitted.predict(columns), again.predict(columns)
        assert np.array_equal(before.probabilities, after.probabilities)
        assert np.array_equal(before.interval, after.interval)
        assert before.sets == after.sets
        assert again.details == fitted.details


def test_reasons_for_each_label_find_its_own_cause(models) -> None:
    record = {"fever": 2.0, "wheeze": 2.0, "iron": 2.0, "sex": "f"}
    for fitted in models.values():
        reasons = engine.explain(fitted, [record])[0]
        assert reasons.explained in LABELS
        assert reasons.by_label[reasons.explained] == reasons.contributions
        for label, cause in zip(LABELS, ("fever", "wheeze", "iron"), strict=True):
            assert reasons.by_label[label][0]["column"] == cause
            assert reasons.by_label[label][0]["direction"] == "for"
        total = reasons.base + sum(item["contribution"] for item in reasons.contributions)
        assert total == pytest.approx(reasons.score)
        assert set(reasons.to_dict()["by_label"]) == set(LABELS)


def test_lists_are_read_and_labels_of_few_patients_are_not_kept(lists, tmp_path) -> None:
    assert lists.classes_.tolist() == sorted(LABELS)
    frame = make_labels().drop(columns=list(LABELS))
    frame["findings"] = [" ; ".join(labels) for labels in frame["findings"]]
    frame.loc[0, "findings"] = "Smith's own disease; flu"
    recipe = Recipe(target="findings", task="multilabel", patient="mrn", candidates=("linear",), time_budget=0.1)
    said = {p.code: p.params for p in engine.check(frame, recipe)}
    assert said["labels_rare"]["count"] == 1
    assert said["labels_missing"]["count"] == (frame["findings"] == "").sum()  # an empty text is missing
    engine.save(engine.fit(frame, recipe), tmp_path / "m")
    assert b"Smith" not in b"".join(path.read_bytes() for path in (tmp_path / "m").iterdir())
    unknown = engine.evaluate(lists, frame, bootstrap=0).left_out
    assert unknown["unknown_labels"] == 1


def test_what_a_list_is() -> None:
    recipe = Recipe(target="a", task="multilabel")
    assert labels_in("flu; asthma", recipe) == ["flu", "asthma"]
    assert labels_in("流感；哮喘、贫血|flu\nflu", recipe) == ["流感", "哮喘", "贫血", "flu"]
    assert labels_in("anaemia, iron deficiency", recipe) == ["anaemia, iron deficiency"]
    assert labels_in("a+b", Recipe(target="a", task="multilabel", separator="+")) == ["a", "b"]
    assert labels_in([], recipe) == labels_in(";", recipe) == []
    assert labels_in(None, recipe) is labels_in(" ", recipe) is None


def test_what_yes_and_no_are() -> None:
    cells = ["Yes", "否", 1, 0.0, True, False, "阳性", "none", None, "", "NA"]
    expected = [1, 0, 1, 0, 1, 0, 1, 0, np.nan, np.nan, np.nan]
    assert np.array_equal(yes_or_no(cells, "c"), expected, equal_nan=True)
    with pytest.raises(EngineError) as refused:
        yes_or_no([2], "c")
    assert refused.value.code == "label_not_binary"


def test_a_label_without_enough_patients_and_a_leak_are_said(columns) -> None:
    frame = columns.assign(rare="no", code=(columns["asthma"] == "yes").astype(int))
    frame.loc[0, "rare"] = "yes"
    problems = engine.check(frame, Recipe(target="flu", targets=(*LABELS, "rare"), patient="mrn"))
    assert ("label_too_small", "rare", "error") in {(p.code, p.column, p.severity) for p in problems}
    problems = engine.check(frame, Recipe(target="flu", targets=LABELS, ignore=("rare",), patient="mrn"))
    assert ("leak", "code", "warning") in {(p.code, p.column, p.severity) for p in problems}
    assert ("label_unknown", "flu") in {(p.code, p.column) for p in problems}


def test_recipes_of_several_labels() -> None:
    recipe = Recipe(target="a", targets=["a", "b"])
    assert recipe.task == "multilabel"
    assert recipe.answers == ("a", "b")
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(EngineError):
        Recipe(target="a", targets=("a", "b"), task="classification")
    with pytest.raises(EngineError):
        Recipe(target="a", targets=("a", "b"), event="c")


# -- against scikit-learn --------------------------------------------------------------------------------------


def test_figures_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth, decided = rng.integers(0, 2, (150, 4)), rng.integers(0, 2, (150, 4))
    p = np.round(rng.random((150, 4)), 2)
    scores = score_all(MultilabelOutcomes(truth, decided, p), np.ones((1, 150)))
    assert scores["macro_f1"][0] == pytest.approx(f1_score(truth, decided, average="macro"))
    assert scores["micro_f1"][0] == pytest.approx(f1_score(truth, decided, average="micro"))
    assert scores["hamming_loss"][0] == pytest.approx(hamming_loss(truth, decided))
    assert scores["subset_accuracy"][0] == pytest.approx((truth == decided).all(axis=1).mean())
    assert scores["label_roc_auc"][0] == pytest.approx(roc_auc_score(truth, p, average="macro"))
    assert scores["label_pr_auc"][0] == pytest.approx(average_precision_score(truth, p, average="macro"))
    assert scores["label_brier"][0] == pytest.approx(((p - truth) ** 2).mean())


def test_unknown_labels_are_passed_over_and_weights_are_repetitions() -> None:
    rng = np.random.default_rng(1)
    truth, decided, p = rng.integers(0, 2, (80, 3)), rng.integers(0, 2, (80, 3)), rng.random((80, 3))
    truth[:30, 0] = UNKNOWN
    weights = rng.integers(0, 4, (1, 80)).astype(float)
    again = np.repeat(np.arange(80), weights[0].astype(int))
    once = score_all(MultilabelOutcomes(truth, decided, p), weights)
    repeated = score_all(MultilabelOutcomes(truth[again], decided[again], p[again]), np.ones((1, len(again))))
    for name, value in once.items():
        assert value[0] == pytest.approx(repeated[name][0]), name
    known = again[truth[again, 0] != UNKNOWN]
    areas = [roc_auc_score(truth[known, 0], p[known, 0])] + [roc_auc_score(truth[again, j], p[again, j]) for j in (1, 2)]
    assert once["label_roc_auc"][0] == pytest.approx(np.mean(areas))


def test_thresholds_are_those_with_the_best_f1() -> None:
    rng = np.random.default_rng(2)
    truth = (rng.random((200, 2)) < 0.3).astype(float)
    p = np.round(np.clip(0.3 * truth + 0.6 * rng.random((200, 2)), 0, 1), 2)
    for j, threshold in enumerate(best_thresholds(p, truth)):
        best = max(f1_score(truth[:, j], p[:, j] >= limit) for limit in np.unique(p[:, j]))
        assert f1_score(truth[:, j], p[:, j] >= threshold) == pytest.approx(best)
