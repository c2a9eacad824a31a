"""What spans are judged by and explained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.candidates.base import two_columns
from engine.evaluation import calibration_curve
from engine.explanation import SHOWN_WORDS, Reasons
from engine.metrics import Floats, Ints, Outcomes
from engine.pipelines.measuring import Sheet, measure, plain
from engine.spans.crf import Crf
from engine.spans.data import WHY_UNDEFINED, Data
from engine.spans.fitted import SpansFitted, decode
from engine.spans.tokens import TEMPLATES, Tokens, buckets, design, runs_of, tokenise

if TYPE_CHECKING:
    from engine.spans.pipeline import Spans

COUNTS = ("exact", "found", "true", "found_over", "true_over", "token_hit", "token_found", "token_true")


def sheet_of(data: Data, runs: Sequence[Sequence[tuple[int, int, int]]], p: Sequence[Floats]) -> Sheet:
    """What a report stores: by text the COUNTS, and every found span's probability and whether it is exactly right."""
    sheet: Sheet = {"task": "spans", **{name: [] for name in COUNTS}, "patient": data.patients.tolist()}
    spans: dict[str, list[Any]] = {"text": [], "p": [], "hit": []}
    for i, own in enumerate(runs):
        low, high = data.tokens.starts[i], data.tokens.starts[i + 1]
        true = runs_of(data.tags[low:high])
        hits = [run in set(true) for run in own]
        counts = (sum(hits), len(own), len(true), overlapped(own, true), overlapped(true, own), *token_counts(own, true))
        for name, count in zip(COUNTS, counts, strict=True):
            sheet[name].append(int(count))
        spans["text"] += [i] * len(own)
        spans["p"] += [float(value) for value in p[i]]
        spans["hit"] += [int(hit) for hit in hits]
    return {**sheet, "spans": spans}


def overlapped(one: Sequence[tuple[int, int, int]], other: Sequence[tuple[int, int, int]]) -> int:
    """How many of `one` overlap any of `other` of the same label."""
    return sum(any(a < d and c < b and label == own for c, d, own in other) for a, b, label in one)


def token_counts(found: Sequence[tuple[int, int, int]], true: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    """(tokens labelled rightly, found to be labelled, truly labelled)."""
    one = {(t, label) for a, b, label in found for t in range(a, b)}
    other = {(t, label) for a, b, label in true for t in range(a, b)}
    return len(one & other), len(one), len(other)


def taken(sheet: Sheet, rows: Ints) -> Sheet:
    """Some of its texts."""
    place = {int(row): i for i, row in enumerate(rows)}
    kept = [k for k, text in enumerate(sheet["spans"]["text"]) if text in place]
    spans = {name: [values[k] for k in kept] for name, values in sheet["spans"].items()}
    spans["text"] = [place[text] for text in spans["text"]]
    by_text = {name: [sheet[name][i] for i in rows] for name in (*COUNTS, "patient")}
    return {"task": sheet["task"], **by_text, "spans": spans}


def per_label(
    pipeline: Spans, data: Data, runs: Sequence[Sequence[tuple[int, int, int]]], p: Sequence[Floats], labels: Sequence[str],
    bootstrap: int, seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """For each label n and its metrics with intervals."""
    table = []
    for code, label in enumerate(labels):
        tags = np.where((data.tags + 1) // 2 == code + 1, data.tags, 0)
        own = [[run for run in each if run[2] == code] for each in runs]
        probabilities = [np.array([v for v, run in zip(q, each, strict=True) if run[2] == code])
                         for q, each in zip(p, runs, strict=True)]  # fmt: skip
        sheet = sheet_of(replace(data, tags=tags), own, probabilities)
        measured = measure(pipeline.scores, pipeline.metrics, sheet, data.patients, min(bootstrap, 200), seed, WHY_UNDEFINED)
        table.append({"class": label, "n": int(sum(sheet["true"])), "metrics": measured,
                      "precision": measured["span_precision"]["value"], "sensitivity": measured["span_sensitivity"]["value"],
                      "f1": measured["span_f1"]["value"]})  # fmt: skip
    return table


def baseline_of(pipeline: Spans, data: Data, fitted: SpansFitted) -> dict[str, float | None]:
    """Finding nothing has no F1 but 0; the remembered words' figure of validation stands for the chosen metric."""
    empty = sheet_of(data, [[] for _ in data.texts], [np.zeros(0) for _ in data.texts])
    scores = pipeline.scores(empty, np.ones((1, len(data.texts))))
    found = {name: plain(values[0]) for name, values in scores.items()}
    known = fitted.training.get("baseline")
    return {**found, known["metric"]: known["value"]} if known else found


def curves_of(sheet: Sheet) -> dict[str, Any]:
    own = sheet["spans"]
    if not own["p"]:
        return {}
    p, hit = np.array(own["p"]), np.array(own["hit"], dtype=np.int64)
    return {"calibration": calibration_curve(Outcomes(hit, (p >= 0.5).astype(np.int64), two_columns(p), 1))}


def explained(fitted: SpansFitted, text: str) -> Reasons:
    assert fitted.crf is not None
    tokens = tokenise([text])
    found = buckets(tokens)
    spans, raw = decode(fitted.crf, design(found, fitted.kept), tokens)
    if not spans[0]:
        return Reasons(None, 0.0, 0.0, "log odds", [])
    a, b, label = spans[0][int(np.argmax(raw[0]))]
    parts = _parts(fitted, found, a, b, label)  # (tokens of the span, templates)
    transitions = _steps(fitted.crf, a, b, label)
    named = [" and ".join(f"{attribute}{_where(offset)}" for attribute, offset in template) for template in TEMPLATES]
    contributions: list[dict[str, Any]] = [
        {"column": name, "value": None, "contribution": float(value), "direction": "for" if value >= 0 else "against"}
        for name, value in zip([*named, "what follows what"], [*parts.sum(axis=0), transitions], strict=True)
    ]  # fmt: skip
    contributions.sort(key=lambda item: -abs(item["contribution"]))
    score = float(parts.sum() + transitions)
    return Reasons(str(fitted.classes_[label]), 0.0, score, "log odds", contributions,
                   {fitted.text: _words(text, tokens, parts, a)})  # fmt: skip


def _parts(fitted: SpansFitted, found: Ints, a: int, b: int, label: int) -> Floats:
    """(tokens of the span, templates) how much each speaks for the span's tags against “outside”."""
    assert fitted.crf is not None
    place = np.searchsorted(fitted.kept, found[a:b])
    inside = np.minimum(place, max(len(fitted.kept) - 1, 0))
    known = (place < len(fitted.kept)) & (fitted.kept[inside] == found[a:b]) if len(fitted.kept) else np.zeros(place.shape, bool)
    tag = np.full(b - a, 2 + 2 * label)
    tag[0] = 1 + 2 * label
    weights = fitted.crf.weights[inside, tag[:, None]] - fitted.crf.weights[inside, 0]
    return np.where(known, weights, 0.0)


def _steps(crf: Crf, a: int, b: int, label: int) -> float:
    """What the transitions within the span add, against those of “outside”."""
    start, inside = 1 + 2 * label, 2 + 2 * label
    path = [start, *[inside] * (b - a - 1)]
    return float(sum(crf.trans[x, y] - crf.trans[0, 0] for x, y in pairwise(path)))


def _where(offset: int) -> str:
    return "" if offset == 0 else f" {-offset} before" if offset < 0 else f" {offset} after"


def _words(text: str, tokens: Tokens, parts: Floats, a: int) -> list[tuple[str, float]]:
    """What each word at and around the span adds; a template that looks at several counts to each alike."""
    total: dict[str, float] = {}
    for t in range(len(parts)):
        for k, template in enumerate(TEMPLATES):
            for _, offset in template:
                place = a + t + offset
                if 0 <= place < len(tokens.begin):
                    word = text[tokens.begin[place] : tokens.end[place]]
                    total[word] = total.get(word, 0.0) + float(parts[t, k]) / len(template)
    return sorted(total.items(), key=lambda pair: -abs(pair[1]))[:SHOWN_WORDS]
