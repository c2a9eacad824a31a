"""A report's subgroups as rows of a table, and the widest gap among them as a sentence."""

from typing import Any

from django.utils.translation import gettext as _

from training import metrics


def table(report: dict[str, Any]) -> dict[str, Any] | None:
    """{metric, rows: [{column, value, patients, metric, too_few}], gap}; None when the report has no subgroups."""
    groups, gaps = report.get("groups") or {}, report.get("gaps") or []
    if not groups or not gaps:
        return None
    name = gaps[0]["metric"]
    rows = [
        {"column": column, "value": value or _("(missing)"), "patients": part["patients"],
         "metric": part["metrics"].get(name), "too_few": "too_few" in part}
        for column, parts in groups.items()
        for value, part in parts.items()
    ]  # fmt: skip
    return {"metric": metrics.label(name), "rows": rows, "gap": gap_text(gaps[0])}


def gap_text(gap: dict[str, Any]) -> str:
    """The two groups furthest apart, and how sure that is."""
    if gap["low"] is None:
        return ""
    return _(
        "The widest gap is in “%(column)s”: %(metric)s differs by %(difference).2f [%(low).2f, %(high).2f] between "
        "“%(best)s” (better) and “%(worst)s”. Of many groups, two are somewhat apart by chance alone."
    ) % {
        "column": gap["column"], "metric": metrics.label(gap["metric"]), "difference": gap["difference"],
        "low": gap["low"], "high": gap["high"], "best": gap["best"], "worst": gap["worst"],
    }  # fmt: skip
