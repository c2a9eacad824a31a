"""How a probability becomes a decision, and when it should not: thresholds, the rule for rare classes, referral."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.calibration import conformal_quantile, logit, operating_point, wilson
from engine.metrics import Floats, Ints, Outcomes, score
from engine.tasks import special

if TYPE_CHECKING:
    from engine.fitted import Fitted

RARE_COUNTS = frozenset(["balanced_accuracy", "sensitivity"])  # several classes: each class counts alike
SURE = 50.0  # log odds; no margin counts for more


def choose_point(
    p: Floats, positive: NDArray[np.bool_], name: str, patients: Ints, wanted: Mapping[str, float]
) -> dict[str, Any]:
    """The threshold on the positive class's probability, with what it reaches on these out-of-fold predictions.

    `wanted` is empty (the largest Youden index), {"sensitivity": s}, {"specificity": s}, or {"cost_of_miss": c}, c false
    alarms being as bad as one miss. A promised share is one for new patients: the limit is the order statistic with the
    finite-sample correction of conformal prediction, each patient counting once (see `conformal_quantile`). With too few
    patients for the promise everybody, or nobody, is called, and `promised` is False. A cost fixes the threshold
    1 / (1 + c) on calibrated probabilities (Elkan 2001, The foundations of cost-sensitive learning, IJCAI); `cost` is
    what it costs per record, beside calling everybody or nobody.
    """
    if not wanted:
        return operating_point(p, positive, name)
    kind, value = next(iter(wanted.items()))
    found: dict[str, Any]
    if kind == "sensitivity":
        lowest = -conformal_quantile(-p[positive], _codes(patients[positive]), value)
        threshold = float(max(lowest, 0.0))
        found = {"promised": bool(np.isfinite(lowest))}
    elif kind == "specificity":
        highest = conformal_quantile(p[~positive], _codes(patients[~positive]), value)
        threshold = float(np.nextafter(min(highest, 1.0), 2.0))
        found = {"promised": bool(np.isfinite(highest))}
    else:
        threshold = 1.0 / (1.0 + value)
        missed, alarms = positive & (p < threshold), ~positive & (p >= threshold)
        found = {"cost": float(np.mean(value * missed + alarms)), "cost_of_all": float(np.mean(~positive)),
                 "cost_of_none": float(value * np.mean(positive))}  # fmt: skip
    return {**point_at(p, positive, name, threshold), "rule": kind, "asked": float(value), **found}


def _codes(patients: Ints) -> Ints:
    codes: Ints = np.unique(patients, return_inverse=True)[1]
    return codes


def point_at(p: Floats, positive: NDArray[np.bool_], name: str, threshold: float) -> dict[str, Any]:
    """What a given threshold reaches, with Wilson 95% intervals."""
    called = p >= threshold
    positives, negatives = int(positive.sum()), int((~positive).sum())
    found, left = int((called & positive).sum()), int((~called & ~positive).sum())
    return {
        "threshold": threshold, "positive": name, "n": len(p),
        "sensitivity": found / max(positives, 1), "sensitivity_interval": wilson(found, max(positives, 1)),
        "specificity": left / max(negatives, 1), "specificity_interval": wilson(left, max(negatives, 1)),
    }  # fmt: skip


def class_weights(y: Floats, classes: int, metric: str, decision: str) -> Floats | None:
    """What each of several classes' probability is multiplied by before the largest decides; None: nothing.

    Deciding by probability over prior makes the mean sensitivity of the classes largest (the Bayes rule when every
    class counts alike, whatever its frequency). It is used when the recipe says "prior", and by "auto" when the metric
    is that mean: its price is accuracy, as more of the common classes' patients are given to rare ones.
    """
    if classes < 3 or decision == "largest" or (decision == "auto" and metric not in RARE_COUNTS):
        return None
    share = np.bincount(y.astype(np.int64), minlength=classes) / len(y)
    weights: Floats = 1.0 / np.maximum(share * classes, 1e-9)
    return weights


def decide_by(p: Floats, weights: Floats | None) -> Ints:
    """The class whose (weighted) probability is largest."""
    codes: Ints = (p if weights is None else p * weights).argmax(axis=1)
    return codes


def price_of(p: Floats, truth: Ints, weights: Floats) -> dict[str, Any]:
    """The rule with what it gains and costs out of fold against deciding by the largest probability."""
    rules = {"": decide_by(p, weights), "_of_largest": decide_by(p, None)}
    measured = {
        f"{name}{ending}": float(score(Outcomes(truth, codes, p), name))
        for name in ("balanced_accuracy", "accuracy")
        for ending, codes in rules.items()
    }
    return {"rule": "prior", "weights": weights.tolist(), **measured}


def uncertainty(fitted: Fitted, probabilities: Floats | None, ood_score: Floats) -> Floats:
    """(n,) how unsure each decision is, larger is less sure; only the order matters.

    Classes: less the distance of the log odds from where the decision would turn (two classes: from the threshold;
    several: from the second class). Numbers: how unlike the training data the record is, as the conformal interval has
    the same width for all.
    """
    own = special(fitted.task)
    if own is not None:
        return own.unsure(fitted, probabilities, ood_score)
    if probabilities is None:
        return ood_score
    p = probabilities
    if p.shape[1] == 2 and fitted.operating_point is not None:
        limit = logit(np.array([fitted.operating_point["threshold"]]))[0]
        return -np.abs(np.clip(logit(p[:, fitted.positive]) - limit, -SURE, SURE))
    weights = 1.0 if fitted.decision is None else np.array(fitted.decision["weights"])
    top = np.sort(np.log(np.maximum(p * weights, 1e-12)), axis=1)
    return np.minimum(top[:, -2] - top[:, -1], 0.0) if p.shape[1] > 1 else np.zeros(len(p))


def referral_limit(unsure: Floats, ood_score: Floats, patients: Ints, rate: float) -> dict[str, Any]:
    """{rate, limit, reached}: above `limit` a record is referred to a specialist, so that `rate` of patients' records are.

    Records out of distribution are always referred and count towards the rate; `limit` is None when they use it up.
    """
    value = np.where(ood_score > 1.0, np.inf, unsure)
    weights = 1.0 / np.bincount(patients)[patients]
    order = np.argsort(value, kind="stable")
    kept = np.cumsum(weights[order]) / weights.sum()
    at = min(int(np.searchsorted(kept, 1.0 - rate - 1e-12)), len(order) - 1)
    limit = float(value[order][at])
    return {"rate": rate, "limit": limit if np.isfinite(limit) else None,
            "reached": float((weights * (value > limit)).sum() / weights.sum())}  # fmt: skip


def refers(fitted: Fitted, probabilities: Floats | None, ood_score: Floats) -> NDArray[np.bool_]:
    """(n,) whether each record is to be referred; nobody when the recipe asked for no abstention."""
    strange: NDArray[np.bool_] = ood_score > 1.0
    if fitted.referral is None:
        return np.zeros(len(ood_score), dtype=bool)
    if fitted.referral["limit"] is None:
        return strange
    return strange | (uncertainty(fitted, probabilities, ood_score) > fitted.referral["limit"])


def class_reaches(scores: Floats, truth: Ints, patients: Ints, classes: int, coverage: float) -> Floats:
    """(classes,) the conformal limit of each class from its own patients (Vovk et al. 2005, Mondrian prediction);
    infinite (the class is in every set) where it has too few patients for this coverage."""
    reaches = [
        conformal_quantile(scores[truth == c], _codes(patients[truth == c]), coverage)
        if np.any(truth == c)
        else np.inf
        for c in range(classes)
    ]
    return np.array(reaches, dtype=float)


def undercovered(scores: Floats, truth: Ints, patients: Ints, reach: float, coverage: float) -> list[int]:
    """The classes whose own patients are covered less often than promised, beyond chance (Wilson's upper end)."""
    found = []
    for c in np.unique(truth):
        own = truth == c
        codes = _codes(patients[own])
        weights = 1.0 / np.bincount(codes)[codes]
        n = int(codes.max()) + 1
        covered = float((weights * (scores[own] <= reach + 1e-12)).sum())
        if wilson(covered, n)[1] < coverage:
            found.append(int(c))
    return found
