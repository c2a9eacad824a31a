"""The search: honest by patient, repeatable, stoppable, and told as it goes."""

import io
import subprocess
import sys
from contextlib import redirect_stdout

import numpy as np
import pandas as pd
import pytest

import engine
import engine.assembly
from engine import EngineError, Recipe, Stopped
from engine.candidates.ensemble import greedy_weights
from engine.plan import make_plans
from engine.training_data import prepare
from tests.engine.conftest import make_patients


def test_every_candidate_is_tried_and_the_planted_cause_is_learned(search) -> None:
    names = {result.name: result for result in search.candidates}
    assert set(names) == {"additive", "linear", "boosting", "forest", "network", "ensemble"}
    for name in ("linear", "boosting", "network"):
        result = names[name]
        assert result.status == "done", result.reason
        low, high = result.validation_interval
        assert low < result.validation_score < high
        assert result.validation_score > 0.75
        assert set(result.preprocessing) == {
            "scaling",
            "normalisation",
            "imputation",
            "outliers",
            "feature_selection",
        }
    assert search.baseline.validation_score == 0.5
    assert search.best.metric == "roc_auc"


def test_the_network_has_a_curve(search) -> None:
    curve = next(result.curve for result in search.candidates if result.name == "network")
    assert len(curve["epoch"]) == len(curve["train_loss"]) == len(curve["validation_loss"]) > 1
    assert curve["train_loss"][-1] < curve["train_loss"][0]


def test_progress_only_rises_and_ends_at_one(patients) -> None:
    told: list[engine.Progress] = []
    engine.fit_candidates(
        patients, Recipe(target="diagnosis", patient="mrn", time_budget=1.0), on_progress=told.append
    )
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert {"check", "trial", "fit", "done"} <= {progress.step for progress in told}
    assert any(progress.eta_seconds is not None and progress.candidate for progress in told)


@pytest.mark.parametrize("after", [0, 3, 30])
def test_it_stops_when_told(patients, after: int) -> None:
    asked = iter(range(10_000))
    with pytest.raises(Stopped):
        engine.fit(
            patients, Recipe(target="diagnosis", time_budget=4.0), should_stop=lambda: next(asked) >= after
        )


PROGRAM = """
import engine, engine.clock, hashlib
engine.clock.STRETCH = 1000.0
from tests.engine.conftest import make_patients
fitted = engine.fit(make_patients(150), engine.Recipe(target="diagnosis", patient="mrn", time_budget=2, seed=5,
                    candidates=("linear", "boosting", "network", "ensemble")))
print(hashlib.sha256(fitted.predict(make_patients(50, 1)).interval.tobytes()).hexdigest())
"""


def test_the_same_seed_gives_the_same_numbers_in_another_process() -> None:
    there = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    with redirect_stdout(io.StringIO()) as here:
        exec(compile(PROGRAM, "PROGRAM", "exec"), {})
    assert here.getvalue() == there.stdout != ""


def test_the_plan_follows_from_data_and_budget_not_from_the_clock(patients) -> None:
    data = prepare(patients, Recipe(target="diagnosis"))
    small, large = (
        make_plans(data, Recipe(target="diagnosis", time_budget=budget), (10, 10), 5)
        for budget in (3.0, 300.0)
    )
    assert sum(len(plan.trials) for plan in small) < sum(len(plan.trials) for plan in large)
    assert [plan.trials for plan in large] == [
        plan.trials for plan in make_plans(data, Recipe(target="diagnosis", time_budget=300.0), (10, 10), 5)
    ]


def test_what_the_user_sets_is_what_is_fitted(patients) -> None:
    recipe = Recipe(
        target="diagnosis", patient="mrn", candidates=("network",), scaling="minmax", imputation="label_mean",
        outliers="median", normalisation="l2", feature_selection="variance", time_budget=1.0, positive="no",
        hyperparameters={"network": {"hidden_layers": 3, "nodes": 7, "activation": "tanh", "epochs": 4, "dropout": 0.0}},
    )  # fmt: skip
    fitted = engine.fit(patients, recipe)
    assert fitted.hyperparameters["nodes"] == 7
    assert [weight.shape[0] for weight, _ in fitted.members[0].model.layers_] == [7, 7, 7, 2]
    assert fitted.preprocessing == {"scaling": "minmax", "imputation": "label_mean", "outliers": "median",
                                    "normalisation": "l2", "feature_selection": "variance"}  # fmt: skip
    assert fitted.operating_point["positive"] == "no"


def test_rows_without_a_label_are_left_out_and_counted(patients) -> None:
    frame = patients.copy()
    frame.loc[:9, "diagnosis"] = None
    found = engine.fit_candidates(frame, Recipe(target="diagnosis", candidates=("linear",), time_budget=1.0))
    assert found.unlabelled == 10
    assert found.best.training["n"] == len(frame) - 10


def test_copies_of_a_patient_do_not_flatter_the_validation() -> None:
    """Pure noise, each patient ten times: without grouping a tree would remember them and look perfect."""
    rng = np.random.default_rng(0)
    one = pd.DataFrame({"mrn": [f"P{i}" for i in range(60)], "a": rng.normal(size=60), "b": rng.normal(size=60),
                        "y": rng.choice(["s", "h"], 60)})  # fmt: skip
    frame = pd.concat([one] * 10, ignore_index=True)
    frame["a"] += rng.normal(scale=1e-6, size=len(frame))  # equal rows would be known as copies without any number
    recipe = Recipe(target="y", patient="mrn", candidates=("boosting",), time_budget=1.0)
    honest = engine.fit(frame, recipe).validation["value"]
    fooled = engine.fit(
        frame.drop(columns="mrn"), Recipe(target="y", candidates=("boosting",), time_budget=1.0)
    )
    assert fooled.validation["value"] > 0.95
    assert honest < 0.75


def test_noise_is_not_mistaken_for_signal() -> None:
    frame = make_patients(200)
    frame["diagnosis"] = np.random.default_rng(1).permutation(frame["diagnosis"])
    fitted = engine.fit(frame, Recipe(target="diagnosis", candidates=("linear",), time_budget=1.0))
    assert fitted.validation["low"] < 0.5 < fitted.validation["high"] + 0.1


def test_greedy_weights_choose_complementary_members_and_leave_out_the_useless() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    members = [truth + rng.normal(size=400), truth + rng.normal(size=400), rng.normal(size=400) * 5]
    weights = greedy_weights(members, lambda guess: -float(np.mean((guess - truth) ** 2)), 20)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[2] == 0
    assert min(weights[:2]) > 0.3


def test_an_ensemble_alone_can_be_asked_for(patients) -> None:
    recipe = Recipe(
        target="diagnosis", patient="mrn", candidates=("linear", "boosting", "ensemble"), time_budget=1.0
    )
    found = engine.fit_candidates(patients, recipe)
    assert [result.name for result in found.candidates] == ["linear", "boosting", "ensemble"]


def test_a_candidate_that_is_not_meant_to_stand_alone_is_refused(patients) -> None:
    with pytest.raises(EngineError):
        engine.fit(patients, Recipe(target="diagnosis", metric="r2"))


def one_step(seed: int) -> pd.DataFrame:
    """120 records with a step in one number, which a line follows nearly as well as a tree does; nine numbers of noise."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(120, 10))
    sick = random.random(len(X)) < 1.0 / (1.0 + np.exp(-1.6 * np.sign(X[:, 0])))
    return pd.DataFrame(X, columns=[f"x{i}" for i in range(10)]).assign(diagnosis=np.where(sick, "sick", "well"))


@pytest.mark.parametrize(("seed", "taken"), [(4, "linear"), (5, "linear"), (8, "boosting")])
def test_plainest_is_taken_unless_another_is_clearly_better(seed: int, taken: str) -> None:
    recipe = Recipe(target="diagnosis", candidates=("linear", "boosting"), seed=seed, time_budget=6.0)
    found = engine.fit_candidates(one_step(seed), recipe)
    linear, boosting = (next(r for r in found.candidates if r.name == name) for name in ("linear", "boosting"))
    assert boosting.validation_score > linear.validation_score, "else the rule has nothing to do"
    assert found.best.candidate == taken
    assert (boosting.reason == "not better than the linear model beyond chance") is (taken == "linear")


NAMES = ("linear", "forest", "ensemble")


def together(frame: pd.DataFrame, time_budget: float = 8.0, **more: object) -> engine.Search:
    return engine.fit_candidates(
        frame, Recipe(target="diagnosis", candidates=NAMES, time_budget=time_budget, **more)
    )


def test_of_a_plain_table_several_are_combined_and_who_does_as_well_alone_is_told() -> None:
    found = together(one_step(0), time_budget=20.0)  # long enough for folds that are dealt three times
    assert found.best.candidate == "ensemble"
    assert {member.candidate for member in found.best.members} == {"linear", "forest"}
    told = {result.name: result.reason for result in found.candidates}
    assert told["forest"] == "not better than the ensemble beyond chance"
    row = one_step(1).drop(columns="diagnosis").head(1).to_dict("records")
    assert found.best.predict_records(row).probabilities.shape == (1, 2)


def test_one_alone_that_is_better_beyond_chance_is_preferred(monkeypatch) -> None:
    monkeypatch.setattr(
        "engine.assembly.Assembler.clearly_better", lambda self, one, other: one.name == "forest"
    )
    found = together(one_step(0))
    assert found.best.candidate == "forest"
    assert found.candidates[-1].reason == "not better than the best single candidate beyond chance"


def test_the_combination_is_held_against_the_one_that_would_be_given_back_alone(monkeypatch) -> None:
    # The forest is not better than the linear model beyond chance, so it would not be given back whatever it does.
    monkeypatch.setattr(
        "engine.assembly.Assembler.clearly_better",
        lambda self, one, other: (one.name, other.name) == ("forest", "ensemble"),
    )
    found = together(one_step(0))
    assert found.best.candidate == "ensemble"
    told = {result.name: result.reason for result in found.candidates}
    assert told["linear"].startswith("as good as the ensemble within chance")


def test_each_comparison_is_made_once(monkeypatch) -> None:
    made: list[tuple[str, str]] = []
    real = engine.assembly.Assembler.clearly_better

    def counted(self, one, other) -> bool:
        made.append((one.name, other.name))
        return real(self, one, other)

    monkeypatch.setattr("engine.assembly.Assembler.clearly_better", counted)
    together(one_step(0))
    assert len(made) == len(set(made))


def test_numbers_are_combined_too_and_grades_still_need_proof(monkeypatch) -> None:
    monkeypatch.setattr("engine.assembly.Assembler.clearly_better", lambda self, one, other: False)
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(120, 4)), columns=list("abcd"))
    stay = X["a"] + np.abs(X["b"]) + random.normal(size=120)
    found = engine.fit_candidates(X.assign(days=stay), Recipe(target="days", candidates=NAMES, time_budget=8.0))
    assert found.best.candidate == "ensemble"
    grades = X.assign(grade=pd.qcut(stay, 3, labels=["1", "2", "3"]).astype(str))
    recipe = Recipe(target="grade", task="ordinal", candidates=NAMES, time_budget=8.0)
    assert engine.fit_candidates(grades, recipe).best.candidate != "ensemble"


def test_where_there_is_text_a_combination_needs_proof() -> None:
    notes = [f"came {'walking' if k % 3 else 'by car'} on day {k * 7919 % 997} with a cough" for k in range(120)]
    found = together(one_step(3).assign(note=notes), columns={"note": "text"})
    assert found.best.candidate == "linear"
    assert found.candidates[-1].reason == "not better than the best single candidate beyond chance"
