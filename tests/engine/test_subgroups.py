"""Subgroups: found by themselves, with their own figures, small ones kept silent, the widest gap said."""

import json

import numpy as np
import pandas as pd
import pytest

import engine
from engine import Recipe
from engine.subgroups import OTHERS, columns_for, is_site, values_of, without_rare


def ward(n: int = 700, seed: int = 0) -> pd.DataFrame:
    """At site C the measurement is broken, so the model is worse there."""
    rng = np.random.default_rng(seed)
    site = rng.choice(["A", "B", "C"], n)
    sick = rng.random(n) < 0.4
    lab = np.where(site == "C", rng.normal(size=n), 2.0 * sick + rng.normal(size=n))
    frame = pd.DataFrame({
        "sex": rng.choice(["f", "m"], n), "age": rng.integers(1, 95, n).astype(float), "hospital": site, "lab": lab,
        "flag": rng.integers(0, 2, n),
        "birth_date": pd.Timestamp("1950-01-01") + pd.to_timedelta(rng.integers(0, 20_000, n), "D"),
        "y": np.where(sick, "yes", "no"),
    })  # fmt: skip
    frame.loc[:2, "hospital"] = "D"  # three patients
    frame.loc[3:14, "hospital"] = "E"  # twelve
    return frame


@pytest.fixture(scope="module")
def model() -> engine.Fitted:
    return engine.fit(
        ward(), Recipe(target="y", candidates=("linear",), time_budget=0.3, ignore=("hospital",))
    )


def test_sex_age_site_and_small_categories_are_found(model) -> None:
    assert columns_for(model.schema, ward()) == ["sex", "age", "birth_date", "hospital", "flag"]


def test_each_group_has_figures_and_small_ones_do_not(model) -> None:
    report = engine.evaluate(model, ward(seed=1), bootstrap=60)
    hospital = report.groups["hospital"]
    assert set(hospital) == {"A", "B", "C", "E", OTHERS}  # D's three patients are not named
    assert (hospital["E"]["too_few"], hospital["E"]["metrics"]) == (20, {})
    assert "too_few" in hospital[OTHERS]
    area = hospital["A"]["metrics"]["roc_auc"]
    assert area["low"] <= area["value"] <= area["high"] and area["n"] == hospital["A"]["n"]
    assert sum(part["n"] for part in hospital.values()) == 700
    assert list(report.groups["age"]) == ["0–17", "18–39", "40–59", "60–79", "80+"]
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_widest_gap_is_the_planted_one_with_its_interval(model) -> None:
    report = engine.evaluate(model, ward(seed=1), bootstrap=200)
    gap = report.gaps[0]
    assert (gap["column"], gap["worst"], gap["metric"]) == ("hospital", "C", "roc_auc")
    assert 0.15 < gap["low"] <= gap["difference"] <= gap["high"]
    sex = next(each for each in report.gaps if each["column"] == "sex")
    assert sex["low"] < 0.05
    scores = {g: report.groups["hospital"][g]["metrics"]["roc_auc"]["value"] for g in "ABC"}
    assert gap["difference"] == pytest.approx(max(scores.values()) - scores["C"])


def test_none_means_no_groups_and_numbers_have_gaps_too(model, amounts) -> None:
    assert engine.evaluate(model, ward(), bootstrap=0, groups=None).groups == {}
    frame, models = amounts
    table = frame.iloc[300:].assign(sex=np.where(frame["sex"].iloc[300:] > 0, "a", "b"))
    report = engine.evaluate(models["linear"], table, bootstrap=20, groups="sex")
    assert report.gaps[0]["metric"] == "rmse" and report.gaps[0]["difference"] >= 0


def test_a_date_of_birth_becomes_age_where_the_visit_is_known() -> None:
    frame = pd.DataFrame(
        {"dob": ["2000-01-01", "1950-06-01", None], "seen": ["2010-01-01", "2030-01-01", "2020-01-01"]}
    )
    schema = engine.infer_schema(pd.concat([frame] * 20))
    assert values_of(frame, "dob", schema, "seen").tolist() == ["0–17", "60–79", ""]
    assert values_of(frame, "dob", schema, None).tolist() == ["2000–2009", "1950–1959", ""]


@pytest.mark.parametrize("name", ["hospital_id", "Site", "treating clinic", "医院", "scanner", "所在科室"])
def test_sites_are_known_by_name(name: str) -> None:
    assert is_site(name)


@pytest.mark.parametrize("name", ["opposite", "website_clicks_x", "parasite", "age", "centred"])
def test_other_names_are_no_sites(name: str) -> None:
    assert not is_site(name)


def test_standardised_ages_are_not_cut_into_years(amounts) -> None:
    frame, models = amounts
    assert "age" not in columns_for(models["linear"].schema, frame)


def test_a_gap_is_not_told_by_a_loss(three) -> None:
    frame, models = three
    table = frame.assign(site=np.where(np.arange(len(frame)) % 2, "A", "B"))
    (gap,) = engine.evaluate(models["linear"], table, bootstrap=10, groups="site").gaps
    assert models["linear"].metric == "log_loss" and gap["metric"] == "roc_auc"


def test_rare_values_count_patients_not_records() -> None:
    values = np.array(["a"] * 10 + ["b"] * 10, dtype=object)
    patients = np.array([0] * 10 + list(range(1, 11)))
    assert set(without_rare(values, patients).tolist()) == {OTHERS, "b"}
