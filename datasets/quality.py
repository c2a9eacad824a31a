"""What the records are like and what that means for training: a bounded look, at training records only.

A sample of at most SAMPLE records, the ones of the smallest row hash (random, stable, and read through an index).
The locked test split is left out of everything, so that nothing seen here can steer a choice by it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from django.core.cache import cache
from django.db.models import Count
from django.utils.translation import get_language
from numpy.typing import NDArray

from datasets import patient_names
from datasets.models import Column, Dataset, Kind, Record, Role, Split
from datasets.versions import state_of

SAMPLE = 10_000
PATIENTS = 2_000
BINS = 20
TOP = 12
GIVES_AWAY = 0.98
KEEP_SECONDS = 3600


def quality(dataset: Dataset) -> dict[str, Any]:
    """The report, JSON-able; kept until the data set changes.

    {records, sampled, rows_with_missing, duplicates, columns: [...], target: {...}|None, patients: {...}|None,
    two_names: whether patients are named in two ways, both_sides: how many are both in training and in the locked test}
    """
    key = f"quality:{dataset.pk}:{state_of(dataset)}:{get_language()}"
    report = cache.get(key)
    if report is None:
        report = look(dataset)
        cache.set(key, report, KEEP_SECONDS)
    return report  # type: ignore[no-any-return]


def sample(dataset: Dataset, columns: Sequence[Column], size: int = SAMPLE) -> pd.DataFrame:
    """Training records as a frame: number columns float64, others object; `aimass` columns are not added."""
    rows = Record.objects.filter(dataset=dataset).order_by("row_hash").values_list("values", "split")
    # Hash order mixes the splits evenly: a little more than asked for is read, and the locked test left out.
    wanted = int(size / (1 - dataset.test_fraction))
    values = [v for v, split in rows[:wanted] if split == Split.TRAIN]
    return pd.DataFrame(
        {
            c.name: pd.Series(
                [v.get(c.name) for v in values], dtype="float64" if c.kind == Kind.NUMBER else object
            )
            for c in columns
        }
    )


def look(dataset: Dataset) -> dict[str, Any]:
    """The report, worked out anew."""
    columns = list(dataset.columns.all())
    frame = sample(dataset, columns)
    used = [c for c in columns if c.role in (Role.FEATURE, Role.TARGET)]
    target = next((c for c in columns if c.role == Role.TARGET), None)
    labels = frame[target.name] if target is not None else None
    features = [c.name for c in used if c.role == Role.FEATURE]
    return {
        "records": dataset.record_count - dataset.test_count,
        "sampled": len(frame),
        "rows_with_missing": int(frame[[c.name for c in used]].isna().any(axis=1).sum()) if used else 0,
        "duplicates": duplicates(frame[[c.name for c in used]]) if used else 0,
        "columns": [describe(c, frame[c.name], labels) for c in columns],
        "target": balance(target, frame[target.name]) if target is not None else None,
        "patients": patients(dataset, target) if any(c.role == Role.PATIENT for c in columns) else None,
        "features": len(features),
        "two_names": patient_names.both_ways(dataset),
        "both_sides": patient_names.on_both_sides(dataset),
    }


def duplicates(frame: pd.DataFrame) -> int:
    """Rows that are, in every feature and the target, equal to an earlier row of the sample."""
    return int(frame.duplicated().sum()) if len(frame) else 0


def describe(column: Column, values: pd.Series, labels: pd.Series | None) -> dict[str, Any]:
    """One column: missing, distinct values, outliers, distribution, and the findings that matter for training."""
    known = values.dropna()
    distinct = int(known.nunique())
    out: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "role": column.role,
        "n": len(values),
        "missing": int(values.isna().sum()),
        "distinct": distinct,
        "outliers": None,
        "gives_away": None,
        "distribution": None,
    }
    if column.role == Role.PATIENT:
        return out | {"findings": []}
    if column.kind == Kind.NUMBER:
        out["outliers"] = outliers(known.to_numpy(dtype=float))
        out["distribution"] = histogram(known.to_numpy(dtype=float))
    elif column.kind == Kind.CATEGORY:
        out["distribution"] = top(known)
    if column.role == Role.FEATURE and labels is not None:
        out["gives_away"] = gives_away(values, labels, column.kind == Kind.NUMBER)
    return out | {"findings": findings(out, known)}


def findings(out: dict[str, Any], known: pd.Series) -> list[str]:
    """Codes of what is remarkable: empty, constant, identifier, mostly_missing, outliers, gives_away."""
    found = []
    if out["n"] and not len(known):
        found.append("empty")
    elif len(known) and out["distinct"] == 1:
        found.append("constant")
    if out["role"] == Role.FEATURE and is_identifier(out["kind"], known, out["distinct"]):
        found.append("identifier")
    if out["n"] and len(known) and out["missing"] / out["n"] > 0.5:
        found.append("mostly_missing")
    if out["outliers"] and out["outliers"]["robust_z"] > 0.01 * out["outliers"]["n"]:
        found.append("outliers")
    if out["gives_away"] is not None and out["gives_away"] >= GIVES_AWAY:
        found.append("gives_away")
    return found


def is_identifier(kind: str, known: pd.Series, distinct: int) -> bool:
    """A different value in every row: categories, or whole numbers that run on without large gaps."""
    if len(known) < 20 or distinct < len(known):
        return False
    if kind == Kind.CATEGORY:
        return True
    if kind != Kind.NUMBER:
        return False
    numbers = known.to_numpy(dtype=float)
    return bool((numbers == np.floor(numbers)).all() and len(str(int(abs(numbers).max()))) >= 4)


def outliers(numbers: NDArray[np.float64]) -> dict[str, Any] | None:
    """How many lie outside Tukey's fences (quartiles ∓ 1.5 IQR), and how many have |robust z| > 3.5.

    Robust z is 0.6745 (x - median) / MAD: Iglewicz & Hoaglin, How to Detect and Handle Outliers (1993).
    """
    if len(numbers) < 10:
        return None
    low, middle, high = np.quantile(numbers, [0.25, 0.5, 0.75])
    fence = 1.5 * (high - low)
    mad = float(np.median(np.abs(numbers - middle)))
    z = 0.6745 * np.abs(numbers - middle) / mad if mad else np.zeros(len(numbers))
    return {
        "n": len(numbers),
        "iqr": int(((numbers < low - fence) | (numbers > high + fence)).sum()),
        "robust_z": int((z > 3.5).sum()),
        "low": float(low - fence),
        "high": float(high + fence),
    }


def histogram(numbers: NDArray[np.float64]) -> dict[str, Any] | None:
    """{"labels", "counts"} of at most BINS equal bins from the 0.5th to the 99.5th percentile; the ends take the rest."""
    if not len(numbers):
        return None
    low, high = np.quantile(numbers, [0.005, 0.995])
    bins = min(BINS, max(1, len(np.unique(numbers[: SAMPLE // 4]))))
    counts, edges = np.histogram(
        np.clip(numbers, low, high), bins=bins, range=(low, high if high > low else low + 1)
    )
    return {"labels": [f"{a:.4g}" for a in edges[:-1]], "counts": counts.tolist()}


def top(known: pd.Series) -> dict[str, Any] | None:
    """{"labels", "counts", "others"} of the TOP most frequent categories."""
    if not len(known):
        return None
    counts = known.astype(str).value_counts()
    shown = counts.head(TOP)
    return {
        "labels": shown.index.tolist(),
        "counts": [int(n) for n in shown],
        "others": int(counts.sum() - shown.sum()),
    }


def balance(target: Column, labels: pd.Series) -> dict[str, Any]:
    """The classes with their counts (or a number's histogram), how many labels are missing, the rarest class."""
    known = labels.dropna()
    numeric = target.kind == Kind.NUMBER and known.nunique() > 10
    shown = histogram(known.to_numpy(dtype=float)) if numeric else top(known.map(_plain))
    counts = known.value_counts()
    return {
        "name": target.name,
        "missing": int(labels.isna().sum()),
        "numeric": numeric,
        "classes": int(known.nunique()),
        "rarest": None
        if numeric or not len(counts)
        else {"label": str(_plain(counts.index[-1])), "count": int(counts.iloc[-1])},
        "rarest_share": None if numeric or not len(counts) else float(counts.iloc[-1] / counts.sum()),
        "distribution": shown,
    }


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def gives_away(values: pd.Series, labels: pd.Series, numeric: bool) -> float | None:
    """How well this column alone tells the label, on rows that it has not seen: 0 nothing, 1 everything.

    Half of the rows fill bins (quantiles or categories) with the most frequent label, the other half is told by them:
    balanced accuracy, rescaled so that guessing is 0; R² for a numeric target of more than 10 values. None: too few rows.
    """
    both = pd.DataFrame({"x": values, "y": labels})
    both = both[both["y"].notna()]
    if len(both) < 40 or both["y"].nunique() < 2 or both["x"].notna().sum() < 40:
        return None
    bins = _bins(both["x"], numeric)
    if pd.api.types.is_float_dtype(both["y"]) and both["y"].nunique() > 10:
        return _told_number(bins, both["y"].to_numpy(dtype=float))
    return _told_class(bins, pd.factorize(both["y"].astype(str))[0])


def _bins(x: pd.Series, numeric: bool) -> NDArray[np.intp]:
    if not numeric or x.nunique() <= 64:
        return pd.factorize(x)[0] + 1
    ranks = x.rank(method="average", pct=True).fillna(0).to_numpy()
    return np.ceil(ranks * min(64, max(4, len(x) // 20))).astype(np.intp)


def _told_class(bins: NDArray[np.intp], y: NDArray[np.intp]) -> float | None:
    learn, told = slice(0, None, 2), slice(1, None, 2)
    table = np.zeros((bins.max() + 1, y.max() + 1))
    np.add.at(table, (bins[learn], y[learn]), 1)
    share = table / np.maximum(table.sum(axis=0), 1)  # by class, so that rare classes count as much
    guess = share.argmax(axis=1)[bins[told]]
    guess[table.sum(axis=1)[bins[told]] == 0] = -1
    recalls = [float((guess[y[told] == c] == c).mean()) for c in np.unique(y[told])]
    chance = 1 / len(recalls)
    return max(0.0, (float(np.mean(recalls)) - chance) / (1 - chance)) if len(recalls) > 1 else None


def _told_number(bins: NDArray[np.intp], y: NDArray[np.float64]) -> float | None:
    learn, told = slice(0, None, 2), slice(1, None, 2)
    sums = np.bincount(bins[learn], weights=y[learn], minlength=bins.max() + 1)
    counts = np.bincount(bins[learn], minlength=bins.max() + 1)
    guess = np.where(counts > 0, sums / np.maximum(counts, 1), y[learn].mean())[bins[told]]
    spread = float(((y[told] - y[told].mean()) ** 2).sum())
    return max(0.0, 1 - float(((y[told] - guess) ** 2).sum()) / spread) if spread else None


def patients(dataset: Dataset, target: Column | None) -> dict[str, Any]:
    """Of at most PATIENTS sampled training patients, all records: how many have several, or labels that contradict."""
    rows = Record.objects.filter(dataset=dataset).order_by("row_hash").values_list("patient_key", "split")
    wanted = int(PATIENTS / (1 - dataset.test_fraction))
    keys = sorted({key for key, split in rows[:wanted] if split == Split.TRAIN and key})
    found = Record.objects.filter(dataset=dataset, patient_key__in=keys, split=Split.TRAIN).order_by()
    counts: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for key, label, count in found.values_list("patient_key", "target").annotate(n=Count("pk")):
        counts[key] += count
        labels[key] += label is not None
    return {
        "sampled": len(keys),
        "several": sum(n > 1 for n in counts.values()),
        "most": max(counts.values(), default=0),
        "contradicting": sum(n > 1 for n in labels.values()) if target is not None else 0,
    }
