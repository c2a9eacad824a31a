"""A report's curves as data for components/chart.html."""

from typing import Any

from django.utils.translation import gettext as _

from training import words

DIAGONAL = [[0.0, 0.0], [1.0, 1.0]]


def share(series: list[dict[str, Any]], x: str, y: str, kind: str = "line") -> dict[str, Any]:
    """A chart of shares, both axes from 0 to 1."""
    return {"type": kind, "x": x, "y": y, "x_min": 0, "x_max": 1, "y_min": 0, "y_max": 1, "series": series}


def charts_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """[{id, title, data, description}]: ROC, precision and recall, calibration; for numbers predicted against true."""
    curves = report.get("curves") or {}
    if curves.get("scatter"):
        return [scatter(curves["scatter"]), residuals(curves["scatter"])]
    made = []
    if curves.get("roc"):
        made.append(roc(curves["roc"]))
    if curves.get("pr"):
        made.append(precision_recall(curves["pr"]))
    if curves.get("calibration"):
        made.append(calibration(curves["calibration"]))
    return made


def roc(curves: dict[str, Any]) -> dict[str, Any]:
    """One line for each class, and chance."""
    series: list[dict[str, Any]] = [
        {
            "label": name,
            "points": [list(p) for p in zip(c["false_positive_rate"], c["true_positive_rate"], strict=True)],
        }
        for name, c in curves.items()
    ]
    series.append({"label": _("chance"), "points": DIAGONAL, "dashed": True})
    text = _(
        "How many are found (up) for how many false alarms (right), as the threshold moves. Nearer the upper left is better."
    )
    return {
        "id": "roc",
        "title": _("ROC curve"),
        "data": share(series, _("false alarms"), _("found")),
        "description": text,
    }


def precision_recall(curves: dict[str, Any]) -> dict[str, Any]:
    """One line for each class."""
    series = [
        {"label": n, "points": [list(p) for p in zip(c["recall"], c["precision"], strict=True)]}
        for n, c in curves.items()
    ]
    text = _("Of those called positive, how many are right (up), for how many are found (right).")
    data = share(series, _("found (recall)"), _("right (precision)"))
    return {"id": "pr", "title": _("Precision and recall"), "data": data, "description": text}


def calibration(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Observed shares against stated probabilities."""
    series: list[dict[str, Any]] = [
        {"label": _("this version"), "points": [[p["predicted"], p["observed"]] for p in points]},
        {"label": _("perfect"), "points": DIAGONAL, "dashed": True},
    ]
    text = _(
        "When the model says 70%, is it right for 70 of 100? The nearer to the diagonal, the more they can be trusted."
    )
    data = share(series, _("stated probability"), _("observed share"))
    return {"id": "calibration", "title": _("Calibration"), "data": data, "description": text}


def scatter(points: dict[str, Any]) -> dict[str, Any]:
    """Predicted against true numbers."""
    pairs = [list(p) for p in zip(points["true"], points["predicted"], strict=True)]
    low, high = min(points["true"]), max(points["true"])
    series = [
        {"label": _("test records"), "points": pairs},
        {"label": _("perfect"), "points": [[low, low], [high, high]], "dashed": True},
    ]
    data = {"type": "scatter", "x": _("true"), "y": _("predicted"), "series": series}
    return {
        "id": "scatter",
        "title": _("Predicted against true"),
        "data": data,
        "description": _("On the line, the prediction is exact."),
    }


def residuals(points: dict[str, Any]) -> dict[str, Any]:
    """What is left over against the prediction."""
    pairs = [[p, t - p] for t, p in zip(points["true"], points["predicted"], strict=True)]
    data = {
        "type": "scatter",
        "x": _("predicted"),
        "y": _("true minus predicted"),
        "series": [{"label": _("test records"), "points": pairs}],
    }
    text = _(
        "A cloud without a shape around zero is good; a slope or a funnel says that something was not learned."
    )
    return {"id": "residuals", "title": _("Errors"), "data": data, "description": text}


def learning(name: str, curve: dict[str, Any]) -> dict[str, Any] | None:
    """A candidate's losses by epoch; None when it has no epochs."""
    epochs = curve.get("epoch") or []
    if not epochs:
        return None
    labels = {"train_loss": _("training loss"), "validation_loss": _("validation loss")}
    series = [
        {"label": label, "points": [list(p) for p in zip(epochs, curve[key], strict=False)]}
        for key, label in labels.items()
        if curve.get(key)
    ]
    data = {"type": "line", "x": _("epoch"), "y": _("loss"), "series": series}
    return {
        "id": f"curve-{name}",
        "title": _("Learning of %(name)s") % {"name": words.candidate(name)},
        "data": data,
        "description": "",
    }


def operating_point_text(point: dict[str, Any]) -> str:
    """What the threshold means for a hundred patients."""
    if not point or point.get("sensitivity") is None or point.get("specificity") is None:
        return ""
    return _(
        "Called “%(positive)s” from a probability of %(threshold).0f%% on. On %(n)s validation records this found "
        "%(found)d of 100 with "
        "“%(positive)s” and left alone %(spared)d of 100 without."
    ) % {
        "positive": point["positive"],
        "threshold": 100 * point["threshold"],
        "n": point.get("n", "?"),
        "found": round(100 * point["sensitivity"]),
        "spared": round(100 * point["specificity"]),
    }
