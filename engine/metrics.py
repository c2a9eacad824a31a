"""The metrics: what each one is, and their values for many resamples of the same records at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CLASSIFICATION, REGRESSION = "classification", "regression"
ORDINAL, MULTILABEL, SURVIVAL = "ordinal", "multilabel", "survival"
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Metric:
    """What a metric measures. `lower` and `upper` are its bounds (None: unbounded)."""

    name: str
    label: str
    better: str
    lower: float | None
    upper: float | None
    tasks: tuple[str, ...]
    description: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """For forms and tables."""
        return {
            "name": self.name, "label": self.label, "better": self.better, "lower": self.lower, "upper": self.upper,
            "tasks": list(self.tasks), "description": self.description, "source": self.source,
        }  # fmt: skip


def _share(name: str, label: str, description: str, source: str) -> Metric:
    return Metric(name, label, "higher", 0.0, 1.0, (CLASSIFICATION,), description, source)


def _error(name: str, label: str, upper: float | None, task: str, description: str, source: str) -> Metric:
    return Metric(name, label, "lower", 0.0, upper, (task,), description, source)


def _labelled(name: str, label: str, description: str, source: str) -> Metric:
    return Metric(name, label, "higher", 0.0, 1.0, (MULTILABEL,), description, source)


def _timed(name: str, label: str, description: str, source: str) -> Metric:
    return Metric(name, label, "higher", 0.0, 1.0, (SURVIVAL,), description, source)


_MANY = "Tsoumakas & Katakis 2007, doi:10.4018/jdwm.2007070101"
_CONFUSION = "Fawcett 2006, An introduction to ROC analysis, doi:10.1016/j.patrec.2005.10.010"
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _share("roc_auc", "ROC AUC", "Chance that a patient with the finding is ranked above one without it "
               "(several classes: one against the rest, averaged).", "Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747"),
        _share("accuracy", "Accuracy", "Share of records decided correctly.", _CONFUSION),
        _share("balanced_accuracy", "Balanced accuracy", "Sensitivity of each class, averaged.",
               "Brodersen et al. 2010, doi:10.1109/ICPR.2010.764"),
        _share("sensitivity", "Sensitivity (recall)", "Share of those with the finding that are found "
               "(several classes: averaged over the classes).", "Altman & Bland 1994, doi:10.1136/bmj.308.6943.1552"),
        _share("specificity", "Specificity", "Share of those without the finding that are left alone "
               "(several classes: averaged over the classes).", "Altman & Bland 1994, doi:10.1136/bmj.308.6943.1552"),
        _share("precision", "Precision", "Share of those called positive that have the finding "
               "(several classes: averaged; a class that is never named counts as 0).", _CONFUSION),
        _share("f1", "F1", "Harmonic mean of precision and sensitivity (several classes: averaged).",
               "van Rijsbergen 1979, Information Retrieval"),
        _share("pr_auc", "PR AUC", "Average precision over all thresholds.",
               "Davis & Goadrich 2006, doi:10.1145/1143844.1143874 (step-wise average precision)"),
        _error("brier", "Brier score", 2.0, CLASSIFICATION, "Mean squared difference between probability and outcome "
               "(several classes: summed over the classes).", "Brier 1950, Monthly Weather Review 78(1)"),
        _error("calibration_error", "Calibration error", 1.0, CLASSIFICATION, "Mean distance between predicted probability "
               "and observed share over ten bins of equal mass (several classes: of the decided class).",
               "Naeini et al. 2015, Obtaining well calibrated probabilities using Bayesian binning, AAAI"),
        _error("log_loss", "Log loss", None, CLASSIFICATION, "Mean negative logarithm of the probability given to what was true.",
               "Good 1952, Rational decisions, JRSS B 14(1)"),
        _error("mae", "Mean absolute error", None, REGRESSION, "Mean absolute difference, in the target's unit.",
               "Willmott & Matsuura 2005, doi:10.3354/cr030079"),
        _error("rmse", "Root mean squared error", None, REGRESSION, "Root of the mean squared difference, in the target's unit.",
               "Willmott & Matsuura 2005, doi:10.3354/cr030079"),
        Metric("r2", "R²", "higher", None, 1.0, (REGRESSION,), "Share of the target's variance that is explained.",
               "Draper & Smith 1998, Applied Regression Analysis"),
        # ordinal grades, coded 0, 1, ... in their order
        _error("ranked_probability", "Ranked probability score", 1.0, ORDINAL, "Mean squared difference between the predicted "
               "and the observed cumulative probabilities of the grades.", "Epstein 1969, Journal of Applied Meteorology 8(6)"),
        Metric("quadratic_kappa", "Weighted kappa", "higher", -1.0, 1.0, (ORDINAL,), "Agreement beyond chance, where a miss "
               "counts by its square in grades.", "Cohen 1968, doi:10.1037/h0026256"),
        _error("grade_error", "Mean error in grades", None, ORDINAL, "How many grades the decision is off on average.",
               "Gaudette & Japkowicz 2009, doi:10.1007/978-3-642-01818-3_25"),
        _error("balanced_grade_error", "Balanced error in grades", None, ORDINAL, "The mean error in grades of each grade, "
               "averaged.", "Baccianella et al. 2009, doi:10.1109/ISDA.2009.230"),
        Metric("within_one", "Within one grade", "higher", 0.0, 1.0, (ORDINAL,), "Share of records decided at most one grade "
               "off.", "Gaudette & Japkowicz 2009, doi:10.1007/978-3-642-01818-3_25"),
        Metric("exact_grade", "Exact grade", "higher", 0.0, 1.0, (ORDINAL,), "Share of records decided exactly.", _CONFUSION),
        # several labels at once; a label counts where it is known
        _labelled("label_roc_auc", "ROC AUC of the labels", "ROC AUC of each label that occurs and is absent, averaged.",
                  "Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747"),
        _labelled("label_pr_auc", "PR AUC of the labels", "Average precision of each label, averaged.",
                  "Davis & Goadrich 2006, doi:10.1145/1143844.1143874 (step-wise average precision)"),
        _labelled("macro_f1", "F1 (macro)", "F1 of each label that occurs, averaged.", _MANY),
        _labelled("micro_f1", "F1 (micro)", "F1 of all labels taken together.", _MANY),
        _labelled("subset_accuracy", "All labels right", "Share of records, all of whose labels are known, that are decided "
                  "without a fault.", _MANY),
        _error("hamming_loss", "Hamming loss", 1.0, MULTILABEL, "Share of labels decided wrongly.", _MANY),
        _error("label_brier", "Brier score of the labels", 1.0, MULTILABEL, "Mean squared difference between probability and "
               "outcome of each label, averaged over the labels.", "Brier 1950, Monthly Weather Review 78(1)"),
        # risk over time
        _timed("concordance", "Concordance", "Chance that of two patients the one with the earlier event had the larger risk.",
               "Harrell et al. 1982, doi:10.1001/jama.1982.03320430047030"),
        _timed("uno_concordance", "Concordance (Uno)", "Concordance that does not depend on who was censored when.",
               "Uno et al. 2011, doi:10.1002/sim.4154"),
        _timed("horizon_auc", "ROC AUC at the horizon", "Chance that a patient with the event before the horizon had a larger "
               "risk than one without.", "Uno et al. 2007, doi:10.1198/016214507000000149"),
        _error("integrated_brier", "Integrated Brier score", 1.0, SURVIVAL, "Mean squared difference between predicted and "
               "observed freedom of the event, over time.",
               "Graf et al. 1999, doi:10.1002/(SICI)1097-0258(19990915/30)18:17/18<2529"),
        _error("horizon_brier", "Brier score at the horizon", 1.0, SURVIVAL, "Mean squared difference between predicted and "
               "observed freedom of the event at the horizon.",
               "Graf et al. 1999, doi:10.1002/(SICI)1097-0258(19990915/30)18:17/18<2529"),
        _error("horizon_calibration", "Calibration error at the horizon", 1.0, SURVIVAL, "Mean distance between predicted risk "
               "at the horizon and the observed (Kaplan-Meier), over bins of equal mass.",
               "Royston & Altman 2013, doi:10.1186/1471-2288-13-33"),
    )
}  # fmt: skip
AUTO = {"binary": "roc_auc", "multi": "log_loss", REGRESSION: "rmse", ORDINAL: "ranked_probability",
        MULTILABEL: "label_roc_auc", SURVIVAL: "concordance"}  # fmt: skip
NEEDS_DECISION = frozenset(["accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1"])


@dataclass(frozen=True)
class Outcomes:
    """Truth and prediction of n records. Classification: codes 0..k-1, probabilities (n, k), decided codes.

    Regression: `truth` and `decided` are numbers and `probabilities` is None. `positive` is a code (binary: 0 or 1).
    """

    truth: Floats | Ints
    decided: Floats | Ints
    probabilities: Floats | None = None
    positive: int = 1

    @property
    def n(self) -> int:
        """How many records."""
        return len(self.truth)

    @property
    def task(self) -> str:
        """The task whose metrics these are."""
        return REGRESSION if self.probabilities is None else CLASSIFICATION

    def scores(self, weights: Floats, wanted: frozenset[str]) -> dict[str, Floats]:
        """The wanted metrics (and perhaps others) for each row of `weights` (B, n)."""
        if self.probabilities is None:
            return _regression(self, weights)
        return _classification(self, weights, wanted)


def score_all(outcomes: Outcomes, weights: Floats, names: tuple[str, ...] | None = None) -> dict[str, Floats]:
    """Each metric for each row of `weights` (B, n); NaN where it is undefined (one class only, ...)."""
    scores = outcomes.scores(weights, frozenset(names or METRICS))
    return scores if names is None else {name: scores[name] for name in names}


def score(outcomes: Outcomes, name: str) -> float:
    """One metric on all records; NaN when undefined."""
    return float(score_all(outcomes, np.ones((1, outcomes.n)), (name,))[name][0])


def gain(name: str, value: float) -> float:
    """The value with its sign turned so that more is better; undefined is worst."""
    if not np.isfinite(value):
        return -np.inf
    return value if METRICS[name].better == "higher" else -value


def divide(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 1e-12)


def _regression(outcomes: Outcomes, weights: Floats) -> dict[str, Floats]:
    truth, residual = outcomes.truth.astype(float), outcomes.truth - outcomes.decided
    total = weights.sum(axis=1)
    squares = weights @ (residual * residual)
    mean = divide(weights @ truth, total)
    variance = weights @ (truth * truth) - total * mean * mean
    variance = np.where(variance > 1e-12 * np.maximum(weights @ (truth * truth), 1e-300), variance, 0.0)
    return {
        "mae": divide(weights @ np.abs(residual), total),
        "rmse": np.sqrt(divide(squares, total)),
        "r2": 1.0 - divide(squares, variance),
    }


def _classification(outcomes: Outcomes, weights: Floats, wanted: frozenset[str]) -> dict[str, Floats]:
    assert outcomes.probabilities is not None
    scores = _decisions(outcomes, weights)
    if wanted & {"brier", "log_loss"}:
        scores |= _proper(outcomes, weights)
    if "calibration_error" in wanted:
        scores["calibration_error"] = _calibration_error(outcomes, weights)
    if wanted & {"roc_auc", "pr_auc"}:
        scores |= _ranking(outcomes, weights, "pr_auc" in wanted)
    return scores


def _decisions(outcomes: Outcomes, weights: Floats) -> dict[str, Floats]:
    assert outcomes.probabilities is not None
    codes = np.arange(outcomes.probabilities.shape[1])
    true = (outcomes.truth[:, None] == codes).astype(float)
    called = (outcomes.decided[:, None] == codes).astype(float)
    total = weights.sum(axis=1, keepdims=True)
    hit, actual, named = weights @ (true * called), weights @ true, weights @ called
    recall = divide(hit, actual)
    specificity = divide(total - actual - named + hit, total - actual)
    precision = divide(hit, named)
    f1 = divide(2 * hit, actual + named)
    balanced = _mean(np.where(actual > 0, recall, np.nan))
    scores = {"accuracy": divide(hit.sum(axis=1), total[:, 0])}
    scores["balanced_accuracy"] = np.where((actual > 0).sum(axis=1) > 1, balanced, np.nan)
    if len(codes) == 2:
        p = outcomes.positive
        return scores | {
            "sensitivity": recall[:, p],
            "specificity": specificity[:, p],
            "precision": precision[:, p],
            "f1": np.where(actual[:, p] > 0, f1[:, p], np.nan),
        }
    seen = actual > 0
    precision = np.where(seen, np.nan_to_num(precision), np.nan)
    return scores | {"sensitivity": balanced, "specificity": _mean(np.where(seen, specificity, np.nan)),
                     "precision": _mean(precision), "f1": _mean(np.where(seen, f1, np.nan))}  # fmt: skip


def _mean(values: Floats) -> Floats:
    """Mean over the classes, leaving out undefined ones; NaN when none is defined."""
    defined = np.isfinite(values)
    return divide(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(float))


def _proper(outcomes: Outcomes, weights: Floats) -> dict[str, Floats]:
    assert outcomes.probabilities is not None
    p, total = outcomes.probabilities, weights.sum(axis=1)
    truth = outcomes.truth.astype(int)
    of_truth = np.clip(p[np.arange(len(p)), truth], 1e-15, 1.0)
    squares = ((p - np.eye(p.shape[1])[truth]) ** 2).sum(axis=1)
    if p.shape[1] == 2:
        squares = squares / 2.0  # two classes: of the positive one alone
    return {
        "brier": divide(weights @ squares, total),
        "log_loss": divide(weights @ -np.log(of_truth), total),
    }


def confidence_and_hit(outcomes: Outcomes) -> tuple[Floats, Floats]:
    """What calibration compares: binary the positive class's probability, else the decided class's."""
    assert outcomes.probabilities is not None
    p = outcomes.probabilities
    if p.shape[1] == 2:
        return p[:, outcomes.positive], (outcomes.truth == outcomes.positive).astype(float)
    top = p.argmax(axis=1)
    return p[np.arange(len(p)), top], (outcomes.truth == top).astype(float)


def equal_mass_bins(confidence: Floats) -> Ints:
    """The bin (0..9) of each record; ten bins with equally many records, ties kept in their order."""
    order = np.argsort(confidence, kind="stable")
    bins = np.empty(len(confidence), dtype=np.int64)
    bins[order] = np.arange(len(confidence)) * CALIBRATION_BINS // max(len(confidence), 1)
    return bins


def _calibration_error(outcomes: Outcomes, weights: Floats) -> Floats:
    confidence, hit = confidence_and_hit(outcomes)
    member = np.eye(CALIBRATION_BINS)[equal_mass_bins(confidence)]
    gap = np.abs(weights @ (member * (confidence - hit)[:, None])).sum(axis=1)
    return divide(gap, weights.sum(axis=1))


def _ranking(outcomes: Outcomes, weights: Floats, precision: bool) -> dict[str, Floats]:
    assert outcomes.probabilities is not None
    p, truth = outcomes.probabilities, outcomes.truth
    codes = [outcomes.positive] if p.shape[1] == 2 else [int(c) for c in np.unique(truth)]
    areas, averages = [], []
    for code in codes:
        area, average = rank_scores(truth == code, p[:, code], weights, precision)
        areas.append(area)
        averages.append(average)
    return {"roc_auc": _mean(np.stack(areas, 1)), "pr_auc": _mean(np.stack(averages, 1))}


def rank_scores(
    positive: NDArray[np.bool_], p: Floats, weights: Floats, precision: bool = True
) -> tuple[Floats, Floats]:
    """ROC AUC (Mann-Whitney, ties count half) and average precision for each row of `weights` (B, n)."""
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(
        np.append(np.diff(p[order]) != 0, True)
    )  # the last record of each run of equal scores
    ordered = weights[:, order]
    gained = ordered * positive[order]
    true = np.cumsum(gained, axis=1)[:, ends]
    false = np.cumsum(ordered - gained, axis=1)[:, ends]
    positives, negatives = true[:, -1], false[:, -1]
    steps = np.diff(false, axis=1, prepend=0.0)
    below = np.concatenate([np.zeros((len(weights), 1)), true[:, :-1]], axis=1)
    area = divide((steps * (true + below)).sum(axis=1) / 2.0, positives * negatives)
    if not precision:
        return area, np.full(len(weights), np.nan)
    exact = np.nan_to_num(divide(true, true + false))
    average = divide((np.diff(true, axis=1, prepend=0.0) * exact).sum(axis=1), positives)
    return area, np.where(negatives > 0, average, np.nan)
