"""A diagnosis prepared for a template: everything a page shows, already in words and numbers."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Count
from django.urls import reverse

from datasets.cells import notes
from datasets.cells.showing import LOOKED_THROUGH
from datasets.models import Kind
from inference import places, wording
from inference.errors import DiagnosisRefused
from inference.models import Batch, Diagnosis, Review
from inference.reasons import reasons_for
from inference.validation import FILE_KINDS

MOST_REASONS = 12
MOST_WORDS = 10
VERDICT_LEVELS = {"confirmed": "success", "corrected": "warning", "rejected": "danger"}
MOST_BARS, MOST_FOLDED = 5, 50  # classes that are seen at once (sixteen fill a phone), and when asked for
BAR_WIDTH = 100


def percent(share: Any) -> str:
    """A probability as a percentage; never 0 or 100, which a model cannot know."""
    if share is None:
        return "–"
    if share > 0.995:
        return "> 99 %" if share < 0.9995 else "> 99.9 %"
    if share < 0.005:
        return "< 1 %" if share > 0.0005 else "< 0.1 %"
    return f"{100 * share:.0f} %"


def value_text(row: Diagnosis) -> str:
    """The decided value as it is read."""
    if row.model.task == "regression" and row.value:
        try:
            return wording.number(float(row.value))
        except ValueError:
            return row.value
    return row.value


def _interval(row: Diagnosis) -> str:
    pair = (row.output or {}).get("interval")
    if not pair or pair[0] is None or pair[1] is None:
        return ""
    show = wording.number if row.model.task == "regression" else percent
    return f"{show(pair[0])} – {show(pair[1])}"


def line(row: Diagnosis) -> dict[str, Any]:
    """One line of a list."""
    output: Mapping[str, Any] = row.output or {}
    return {
        "row": row,
        "value": value_text(row),
        "probability": percent(row.probability) if row.probability is not None else "",
        "interval": _interval(row),
        "ambiguous": len(output.get("set") or []) > 1,
        "strange": bool(output.get("out_of_distribution")),
        "warnings": len(output.get("warnings") or []),
        "verdict": Review.Verdict(row.verdict).label if row.verdict else "",
        "verdict_level": VERDICT_LEVELS.get(row.verdict, "secondary"),
    }


def diagnosis(row: Diagnosis) -> dict[str, Any]:
    """The whole page of one diagnosis."""
    output: Mapping[str, Any] = row.output or {}
    probabilities = output.get("probabilities") or {}
    attached = _files(row)
    return {
        **line(row),
        "groups": wording.warnings_by_weight(output.get("warnings") or []),
        "ambiguity": wording.ambiguity(output.get("set") or []),
        "against_the_odds": wording.against_the_odds(row.model_version, row.value, probabilities),
        **_bars(probabilities, row.value),
        "sentences": wording.operating_sentences(row.model_version),
        "threshold": wording.threshold_sentence(row.model_version),
        "inputs": _inputs(row, attached),
        "reasons": _reasons(row, attached),
    }


def _bars(probabilities: Mapping[str, float | None], decided: str) -> dict[str, Any]:
    """The likeliest few classes and the decided one; the others, folded; and how many are not shown at all."""
    bars = [
        {"label": name, "text": percent(p), "width": round(BAR_WIDTH * (p or 0.0), 1)}
        for name, p in sorted(probabilities.items(), key=lambda item: -(item[1] or 0.0))
    ]
    seen = [bar for place, bar in enumerate(bars) if place < MOST_BARS or bar["label"] == decided]
    others = [bar for bar in bars if bar not in seen]
    if len(others) < 2:  # one more is not hidden behind a line of its own
        seen, others = bars, []
    return {"probabilities": seen, "others": others[:MOST_FOLDED], "unseen": max(0, len(others) - MOST_FOLDED)}


def _inputs(row: Diagnosis, attached: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What was given, in the order of the model's columns; what was not given is said."""
    named = {w.get("column"): wording.warning_text(w) for w in (row.output or {}).get("warnings", []) if w.get("column")}
    columns = [
        c["name"] for c in row.model_version.schema.get("columns", []) if c.get("role", "feature") == "feature"
    ]
    return [
        {"column": name, "value": row.inputs.get(name), "given": name in row.inputs, "warning": named.get(name, ""),
         "file": attached.get(name)}
        for name in columns
    ]  # fmt: skip


def _files(row: Diagnosis) -> dict[str, dict[str, Any]]:
    """Column → what a page needs to show its file; no query where the version has no such column."""
    kinds = {c["name"]: c["kind"] for c in row.model_version.schema.get("columns", []) if c["kind"] in FILE_KINDS}
    if not kinds:
        return {}
    return {
        file.column: {
            "name": file.name, "notes": notes.texts(file.file.cell.notes),
            "kind": kinds.get(file.column, ""), "kind_label": Kind(kinds[file.column]).label,
            "picture": reverse("inference:picture", args=[row.pk, file.pk, "page"]),
            "look": reverse("inference:look", args=[row.pk, file.pk]) if kinds.get(file.column) in LOOKED_THROUGH else "",
            "reasons": reverse("inference:picture", args=[row.pk, file.pk, "reasons"]),
        }
        for file in row.files.select_related("file__cell")
        if file.column in kinds
    }  # fmt: skip


def _drawn(
    row: Diagnosis, attached: Mapping[str, dict[str, Any]], found: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The files on which reasons are drawn, with the same in words."""
    value = "" if row.model.task == "regression" else value_text(row)
    return [
        {**file, "column": name, "sentences": places.sentences(found["regions"][name], value),
         "network": found["regions"][name]["method"] == "grad-cam" and _warm(found["regions"][name])}
        for name, file in attached.items()
        if name in found.get("regions", {})
    ]  # fmt: skip


def _warm(regions: Mapping[str, Any]) -> bool:
    """Whether the map tells of the decided class: a network's map of the other one is turned, and is cold all over."""
    return any(region["contribution"] > 0 for region in regions["regions"])


def _reasons(row: Diagnosis, attached: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The bars for and against, scaled to the strongest; or why there are none."""
    try:
        found = reasons_for(row)
    except DiagnosisRefused as refusal:
        return {"refused": refusal.message}
    shown = [c for c in found["contributions"] if c["contribution"]]
    largest = max((abs(c["contribution"]) for c in shown), default=1.0) or 1.0
    bars = [
        {**c, **_bar(c["contribution"] / largest), "size": wording.number(c["contribution"], 2),
         "words": [{"term": term, "for": weight > 0} for term, weight in c["words"][:MOST_WORDS]]}
        for c in shown[:MOST_REASONS]
    ]  # fmt: skip
    drawn = _drawn(row, attached, found)
    shown_below = {file["column"] for file in drawn}
    for bar in bars:
        bar["drawn"] = bar["column"] in shown_below
    return {"drawn": drawn, "bars": bars, "left_out": max(0, len(shown) - MOST_REASONS), "units": row.model.task == "regression"}


def _bar(share: float) -> dict[str, float]:
    """A bar that grows from the middle of 0 to 2 * BAR_WIDTH: to the right for (share > 0), to the left against."""
    width = round(BAR_WIDTH * abs(share), 1)
    return {"width": width, "x": BAR_WIDTH if share > 0 else round(BAR_WIDTH - width, 1)}


def batch_counts(batch: Batch) -> list[dict[str, Any]]:
    """How many of a batch got which class; the most frequent first (not for numbers)."""
    if batch.model_version.model.task == "regression":
        return []
    counted = Diagnosis.objects.filter(batch=batch).values("value").annotate(count=Count("pk")).order_by("-count")
    return [{"value": c["value"], "count": c["count"]} for c in counted[:20]]
