"""Scores of stored predictions and the paired comparison over splits; the same code for all peers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import log_loss, r2_score, roc_auc_score, root_mean_squared_error


def scores(task: str, truth: Sequence[Any], predicted: Any, classes: Sequence[str]) -> dict[str, float]:
    """`score` (ROC AUC, macro one against the rest; or R2) and `loss` (log loss; or RMSE)."""
    if task == "regression":
        y = np.asarray(truth, dtype=float)
        return {"score": float(r2_score(y, predicted)), "loss": float(root_mean_squared_error(y, predicted))}
    names = sorted({str(label) for label in truth})
    place = {name: i for i, name in enumerate(classes)}
    p = np.column_stack([
        predicted[:, place[name]] if name in place else np.zeros(len(predicted)) for name in names
    ])  # fmt: skip
    total = p.sum(axis=1, keepdims=True)
    p = np.where(total > 0, p / np.where(total > 0, total, 1.0), 1.0 / len(names))
    y = np.array([names.index(str(label)) for label in truth])
    if len(names) == 2:
        score = roc_auc_score(y, p[:, 1])
    else:
        score = np.mean([roc_auc_score(y == code, p[:, code]) for code in range(len(names))])
    return {"score": float(score), "loss": float(log_loss(y, np.clip(p, 1e-15, 1), labels=range(len(names))))}


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> tuple[float, float, int]:
    """Mean difference ours − theirs over the common seeds, half of its 95% interval (Student's t), and their number.

    The splits overlap, so the interval is somewhat too narrow; it is the same for all.
    """
    seeds = sorted(set(ours) & set(theirs))
    difference = np.array([ours[s] - theirs[s] for s in seeds])
    if len(difference) < 2:
        return (float(difference.mean()) if len(difference) else float("nan")), float("nan"), len(difference)
    half = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean()), float(half), len(difference)
