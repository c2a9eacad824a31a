"""Grades in an order: learned and decided as such, judged by how far off, with contiguous sets that keep their promise."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

import engine
from engine import EngineError, Recipe
from engine.metrics import score_all
from engine.tasks.ordinal import OrdinalOutcomes, cheapest, graded, mass_before
from engine.tasks.proportional_odds import ProportionalOdds

GRADES = ("none", "mild", "severe")


def make_grades(n: int = 360, seed: int = 0) -> pd.DataFrame:
    """Two records for each patient; pressure causes the grade, smoking raises it, the rest is noise."""
    rng = np.random.default_rng(seed)
    pressure, smoker = rng.normal(130, 15, n), rng.choice(["never", "current"], n)
    latent = (pressure - 130) / 8 + np.where(smoker == "current", 1.5, 0) + rng.logistic(size=n)
    frame = pd.DataFrame({
        "mrn": [f"P{i // 2}" for i in range(n)], "age": rng.integers(30, 85, n).astype(float), "pressure": pressure,
        "smoker": smoker, "sex": rng.choice(["f", "m"], n), "grade": np.array(GRADES)[np.digitize(latent, [-0.5, 2])],
    })  # fmt: skip
    frame.loc[rng.random(n) < 0.1, "pressure"] = np.nan
    return frame


@pytest.fixture(scope="module")
def grades() -> pd.DataFrame:
    return make_grades()


@pytest.fixture(scope="module")
def found(grades: pd.DataFrame) -> engine.Search:
    settings = {"boosting": {"max_iter": 40, "max_leaf_nodes": 4}, "network": {"epochs": 15}}
    recipe = Recipe(target="grade", patient="mrn", order=GRADES, time_budget=1.5, hyperparameters=settings,
                    candidates=("linear", "boosting", "network", "ensemble"))  # fmt: skip
    return engine.fit_candidates(grades, recipe)


@pytest.fixture(scope="module")
def models(found: engine.Search) -> dict[str, engine.Fitted]:
    return {result.name: result.fitted for result in found.candidates if result.fitted is not None}


def test_every_candidate_learns_the_grades_and_beats_the_baseline(found, models) -> None:
    assert {"linear", "boosting", "network"} <= set(models)
    for fitted in models.values():
        assert fitted.task == "ordinal"
        assert fitted.metric == "ranked_probability"
        assert fitted.classes_.tolist() == list(GRADES)
        assert fitted.validation["value"] < 0.8 * found.baseline.validation_score
        assert fitted.validation["low"] <= fitted.validation["value"] <= fitted.validation["high"]


def test_probabilities_sum_to_one_and_sets_are_contiguous_and_hold_the_decision(models, grades) -> None:
    for fitted in models.values():
        result = fitted.predict(grades)
        assert np.allclose(result.probabilities.sum(axis=1), 1)
        assert (result.probabilities >= 0).all()
        for value, members, (low, high) in zip(result.value, result.sets, result.interval, strict=True):
            assert value in members
            assert members == list(GRADES[int(low) : int(high) + 1])
        assert np.allclose(result.expected, result.probabilities @ [0, 1, 2])


def test_sets_hold_the_true_grade_of_new_patients_as_promised(models) -> None:
    new = make_grades(2000, seed=9)
    for name in ("linear", "boosting"):
        result = models[name].predict(new)
        covered = np.mean([true in members for true, members in zip(new["grade"], result.sets, strict=True)])
        assert covered > 0.92
        assert np.mean([len(members) for members in result.sets]) < 2.9


def test_calibrated_thresholds_say_what_happens(models) -> None:
    new = make_grades(4000, seed=5)
    report = engine.evaluate(models["linear"], new, bootstrap=0)
    for points in report.curves["calibration_above"].values():
        assert max(abs(point["predicted"] - point["observed"]) for point in points) < 0.13


def test_the_report_has_figures_with_intervals_groups_and_grades(models) -> None:
    new = make_grades(200, seed=2)
    new.loc[0, "grade"], new.loc[1, "grade"] = None, "dreadful"
    report = engine.evaluate(models["linear"], new, groups="sex", bootstrap=100)
    assert report.left_out == {"unlabelled": 1, "unknown_class": 1}
    assert set(report.metrics) == {"ranked_probability", "quadratic_kappa", "grade_error", "balanced_grade_error",
                                   "within_one", "exact_grade"}  # fmt: skip
    for entry in report.metrics.values():
        assert entry["low"] <= entry["value"] <= entry["high"]
        assert entry["n"] == 198
    assert report.metrics["quadratic_kappa"]["value"] > 0.4
    assert report.baseline["quadratic_kappa"] == pytest.approx(0.0, abs=1e-12)
    assert sum(map(sum, report.confusion["counts"])) == report.n == sum(row["n"] for row in report.per_class)
    assert sum(part["n"] for part in report.groups["sex"].values()) == 198
    assert report.coverage["promised"] == 0.95
    assert report.coverage["reached"]["value"] > 0.9
    assert [entry["class"] for entry in report.coverage["classes"]] == list(GRADES)
    same = engine.compare(report.predictions, report.predictions, "quadratic_kappa", resampled=50)
    assert same["difference"] == 0


def test_a_stored_model_predicts_the_same(models, grades, tmp_path) -> None:
    for name, fitted in models.items():
        again = engine.load(engine.save(fitted, tmp_path / name))
        before, after = fitted.predict(grades), again.predict(grades)
        assert np.array_equal(before.probabilities, after.probabilities)
        assert before.sets == after.sets
        assert again.details == fitted.details


def test_one_record_with_an_unseen_category_and_nothing_else(models) -> None:
    for fitted in models.values():
        result = fitted.predict_records([{"smoker": "pipe"}])
        assert result.value[0] in GRADES
        assert np.isfinite(result.probabilities).all()


def test_reasons_add_up_to_the_expected_grade_and_find_the_cause(models, grades) -> None:
    record = grades.dropna().nlargest(1, "pressure")
    for fitted in models.values():
        reasons = engine.explain(fitted, record)[0]
        assert reasons.unit == "grades"
        assert reasons.contributions[0]["column"] == "pressure"
        assert reasons.contributions[0]["contribution"] > 0
        total = reasons.base + sum(item["contribution"] for item in reasons.contributions)
        assert total == pytest.approx(fitted.predict(record).expected[0], abs=1e-6)


def test_a_patient_is_on_one_side_only() -> None:
    """Noise, each patient eight times: trees would remember the patients if they were on both sides."""
    rng = np.random.default_rng(0)
    one = pd.DataFrame({"mrn": [f"P{i}" for i in range(60)], "a": rng.normal(size=60), "b": rng.normal(size=60),
                        "grade": rng.integers(0, 3, 60)})  # fmt: skip
    frame = pd.concat([one] * 8, ignore_index=True)
    frame["a"] += rng.normal(scale=1e-6, size=len(frame))  # equal rows would be known as copies without any number
    # All that lets trees learn rows by heart is said: a small budget would try the smallest trees.
    settings = {"boosting": {"max_iter": 25, "learning_rate": 0.3, "min_samples_leaf": 3, "max_leaf_nodes": 31,
                             "max_features": 1.0, "l2_regularization": 0.0}}  # fmt: skip
    kappas = []
    for table in (frame, frame.drop(columns="mrn")):
        recipe = Recipe(target="grade", task="ordinal", candidates=("boosting",), time_budget=0.1, hyperparameters=settings)
        kappas.append(engine.fit(table, recipe).validation["metrics"]["quadratic_kappa"]["value"])
    assert kappas[0] < 0.35
    assert kappas[1] > 0.9


def test_numeric_grades_order_themselves_and_words_need_an_order(grades) -> None:
    frame = grades.assign(grade=grades["grade"].map({"none": 1, "mild": 2, "severe": 10}))
    fitted = engine.fit(frame, Recipe(target="grade", task="ordinal", candidates=("linear",), time_budget=0.1))
    assert fitted.classes_.tolist() == ["1", "2", "10"]
    with pytest.raises(EngineError) as refused:
        engine.fit(grades, Recipe(target="grade", task="ordinal"))
    assert refused.value.code == "order_missing"
    problems = engine.check(grades, Recipe(target="grade", order=("none", "mild")))
    assert [(p.code, p.params["value"]) for p in problems] == [("grade_unknown", "severe")]


def test_a_column_that_gives_the_grade_away_and_a_grade_nobody_has_are_said(grades) -> None:
    frame = grades.assign(stage=grades["grade"].map({"none": 3, "mild": 1, "severe": 2}))
    problems = engine.check(frame, Recipe(target="grade", order=(*GRADES, "fatal")))
    assert {("leak", "stage"), ("grade_empty", "grade")} <= {(p.code, p.column) for p in problems}


def test_the_unsure_are_referred_and_the_others_judged_better(grades) -> None:
    recipe = Recipe(target="grade", patient="mrn", order=GRADES, candidates=("linear",), time_budget=0.1, abstain=0.3)
    report = engine.evaluate(engine.fit(grades, recipe), make_grades(600, seed=3), groups=None, bootstrap=20)
    assert report.referral["share"]["value"] == pytest.approx(0.3, abs=0.08)
    kept, referred = (report.referral[part]["metrics"]["grade_error"]["value"] for part in ("kept", "referred"))
    assert kept < referred
    assert not report.groups


# -- against independent sources -------------------------------------------------------------------------------


def test_figures_equal_scikit_learns_and_the_textbooks() -> None:
    rng = np.random.default_rng(1)
    truth, decided = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    p = rng.dirichlet(np.ones(4), 200)
    weights = np.vstack([np.ones(200), rng.integers(0, 4, 200)]).astype(float)
    scores = score_all(OrdinalOutcomes(truth, decided, p), weights)
    for row, w in enumerate(weights):
        kappa = cohen_kappa_score(truth, decided, weights="quadratic", sample_weight=w)
        assert scores["quadratic_kappa"][row] == pytest.approx(kappa)
        steps = [sum(p[i, : k + 1]) - (truth[i] <= k) for i in range(200) for k in range(3)]
        rps = np.average(np.square(steps).reshape(200, 3).sum(axis=1) / 3, weights=w)
        assert scores["ranked_probability"][row] == pytest.approx(rps)
        off = abs(truth - decided)
        assert scores["grade_error"][row] == pytest.approx(np.average(off, weights=w))
        assert scores["within_one"][row] == pytest.approx(np.average(off < 2, weights=w))
        each = [np.average(off[truth == k], weights=w[truth == k]) for k in range(4)]
        assert scores["balanced_grade_error"][row] == pytest.approx(np.mean(each))


def example() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    y = np.digitize(X @ [1, -0.5, 0, 0.3] + rng.logistic(size=300), [-1, 0.3, 1.5])
    return X, y


def test_proportional_odds_equal_statsmodels() -> None:
    """Golden: statsmodels 0.15.0, OrderedModel(y, X, distr="logit").fit(method="bfgs", gtol=1e-8)."""
    model = ProportionalOdds(grades=4, C=1e7).fit(*example())
    assert model.coef_ == pytest.approx([0.79261077, -0.47646019, 0.17995738, 0.24605545], abs=2e-6)
    assert model.thresholds_ == pytest.approx([-0.78919976, 0.3307832, 1.22583604], abs=2e-6)


@pytest.mark.parametrize("settings", [{"C": 0.1}, {"C": 0.3, "l1_ratio": 1.0}, {"C": 1.0, "l1_ratio": 0.5}])
def test_with_two_grades_it_is_logistic_regression(settings) -> None:
    X, y = example()
    model = ProportionalOdds(grades=2, **settings).fit(X, (y > 1).astype(int))
    with np.errstate(all="ignore"):
        other = LogisticRegression(solver="saga", tol=1e-8, max_iter=20_000, l1_ratio=settings.get("l1_ratio", 0.0),
                                   C=settings["C"]).fit(X, y > 1)  # fmt: skip
    assert model.coef_ == pytest.approx(other.coef_[0], abs=2e-4)
    assert -model.thresholds_[0] == pytest.approx(other.intercept_[0], abs=2e-4)
    if settings.get("l1_ratio") == 1.0:
        assert ((model.coef_ == 0) == (other.coef_[0] == 0)).all()


def test_a_grade_that_a_fold_lacks_does_no_harm() -> None:
    X, y = example()
    model = ProportionalOdds(grades=4).fit(X[y != 2], y[y != 2])
    p = model.raw(X)
    assert np.allclose(p.sum(axis=1), 1)
    assert p[:, 2].max() < 0.01


def test_decisions_are_the_median_the_mean_or_the_mode() -> None:
    p = np.array([[0.4, 0.05, 0.05, 0.5], [0.45, 0.1, 0.2, 0.25]])
    assert cheapest(p, "exact").tolist() == [3, 0]
    assert cheapest(p, "absolute").tolist() == [2, 1]  # medians
    assert cheapest(p, "squared").tolist() == [2, 1]  # means 1.65 and 1.25
    brute = [[sum(p[i, j] * abs(j - k) for j in range(4)) for k in range(4)] for i in range(2)]
    assert cheapest(p, "absolute").tolist() == np.argmin(brute, axis=1).tolist()


def test_repair_leaves_falling_probabilities_alone_and_mends_others() -> None:
    assert graded(np.array([[0.9, 0.5, 0.2]]))[0] == pytest.approx([0.1, 0.4, 0.3, 0.2])
    mended = graded(np.array([[0.6, 0.8, 0.1]]))[0]
    assert mended == pytest.approx([0.3, 0.0, 0.6, 0.1])


def test_sets_grow_from_the_decision_to_the_likelier_neighbour() -> None:
    p = np.array([[0.1, 0.2, 0.4, 0.3]])
    assert mass_before(p, np.array([2]))[0] == pytest.approx([0.9, 0.7, 0.0, 0.4])
    assert mass_before(p, np.array([0]))[0] == pytest.approx([0.0, 0.1, 0.3, 0.7])
