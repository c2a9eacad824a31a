"""The metrics as people read them: names and meanings in their language, and which direction is better."""

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

LABELS: dict[str, Promise] = {
    "roc_auc": gettext_lazy("ROC AUC"),
    "accuracy": gettext_lazy("Accuracy"),
    "balanced_accuracy": gettext_lazy("Balanced accuracy"),
    "sensitivity": gettext_lazy("Sensitivity (recall)"),
    "specificity": gettext_lazy("Specificity"),
    "precision": gettext_lazy("Precision"),
    "f1": gettext_lazy("F1"),
    "pr_auc": gettext_lazy("PR AUC"),
    "brier": gettext_lazy("Brier score"),
    "calibration_error": gettext_lazy("Calibration error"),
    "log_loss": gettext_lazy("Log loss"),
    "mae": gettext_lazy("Mean absolute error"),
    "rmse": gettext_lazy("Root mean squared error"),
    "r2": gettext_lazy("R²"),
}
MEANINGS: dict[str, Promise] = {
    "roc_auc": gettext_lazy(
        "How often a patient with the finding is ranked above one without it: 0.5 is chance, 1 is always."
    ),
    "accuracy": gettext_lazy("The share of records that were decided correctly."),
    "balanced_accuracy": gettext_lazy(
        "The share decided correctly within each class, averaged, so that rare classes count as much."
    ),
    "sensitivity": gettext_lazy("Of those who have the finding, the share that the model finds."),
    "specificity": gettext_lazy(
        "Of those who do not have the finding, the share that the model leaves alone."
    ),
    "precision": gettext_lazy("Of those whom the model calls positive, the share that has the finding."),
    "f1": gettext_lazy("One number for precision and sensitivity together: their harmonic mean."),
    "pr_auc": gettext_lazy("The precision averaged over all sensitivities: telling for rare findings."),
    "brier": gettext_lazy(
        "The mean squared distance between the probability and what was true: 0 is perfect."
    ),
    "calibration_error": gettext_lazy(
        "How far the stated probabilities are from the observed shares: 0 is perfect."
    ),
    "log_loss": gettext_lazy(
        "How surprised the model was by the truth: 0 is perfect; sure and wrong costs most."
    ),
    "mae": gettext_lazy("How far the prediction is off on average, in the target's unit."),
    "rmse": gettext_lazy("How far the prediction is off, in the target's unit; large misses count more."),
    "r2": gettext_lazy("The share of the target's variation that the model explains: 1 is all, 0 is none."),
}


OFFERED = frozenset(["classification", "regression"])


def known() -> dict[str, Any]:
    """The engine's metrics by name, of the tasks that the portal offers."""
    from engine import METRICS

    return {name: metric for name, metric in METRICS.items() if set(metric.tasks) & OFFERED}


def label(name: str) -> str:
    """The metric's name in the person's language."""
    return str(LABELS.get(name, name))


def meaning(name: str) -> str:
    """What the metric says, in one sentence."""
    return str(MEANINGS.get(name, ""))


def higher_is_better(name: str) -> bool:
    """False for errors; False too for a metric that nobody knows any more."""
    metric = known().get(name)
    return metric is not None and metric.better == "higher"


def names_of(task: str) -> list[str]:
    """The metrics of a task, the most useful first."""
    return [m.name for m in known().values() if task in m.tasks]


def default_for(task: str, classes: int) -> str:
    """The metric that a leaderboard starts with."""
    from engine.metrics import AUTO

    if task == "regression":
        return str(AUTO["regression"])
    return str(AUTO["binary"]) if classes <= 2 else "balanced_accuracy"


def pessimistic(name: str, metric: dict[str, Any] | None) -> float | None:
    """The worse end of the interval: the lower one, for errors the upper one; the value where there is no interval."""
    if not metric or metric.get("value") is None:
        return None
    end = metric.get("low" if higher_is_better(name) else "high")
    return float(metric["value"] if end is None else end)


def reaches(name: str, value: float | None, floor: float) -> bool:
    """Whether a value is at least the floor; for errors, at most."""
    if value is None:
        return False
    return value >= floor if higher_is_better(name) else value <= floor


def floor_text(name: str, floor: float) -> str:
    """The floor in words."""
    text = _("%(metric)s at least %(floor)g") if higher_is_better(name) else _("%(metric)s at most %(floor)g")
    return text % {"metric": label(name), "floor": floor}


def check_floors(floors: dict[str, Any]) -> dict[str, str]:
    """What is wrong with each floor: {metric: message}; empty when nothing is."""
    wrong = {}
    for name, floor in floors.items():
        metric = known().get(name)
        if metric is None:
            wrong[str(name)[:50]] = _("There is no such metric.")
        elif (
            isinstance(floor, bool)
            or not isinstance(floor, int | float)
            or abs(floor) > 1e12
            or floor != floor
        ):
            wrong[name] = _("Give a number.")
        elif metric.lower is not None and floor < metric.lower:
            wrong[name] = _("Must be at least %(limit)g.") % {"limit": metric.lower}
        elif metric.upper is not None and floor > metric.upper:
            wrong[name] = _("Must be at most %(limit)g.") % {"limit": metric.upper}
    return wrong
