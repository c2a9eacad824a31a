"""The task “spans” from a table of annotated texts to a model, its problems, its report and its reasons."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from engine.calibration import Calibrator
from engine.candidates.base import two_columns
from engine.cells import to_text
from engine.checks import FEW_PATIENTS, FEWEST_PATIENTS, Problem, _problem, refuse
from engine.encoding import Encoder
from engine.errors import EngineError
from engine.evaluation import Report, calibration_curve
from engine.explanation import SHOWN_WORDS, Reasons
from engine.fitted import Fitted
from engine.metrics import METRICS, Floats, Ints, Metric, Outcomes, score_all
from engine.novelty import Novelty
from engine.pipelines.base import Pipeline, Setting, adopt, schema_of
from engine.pipelines.measuring import Sheet, grouped, measure, plain, ratio
from engine.preprocessing.steps import Arrays
from engine.recipe import Recipe
from engine.schema import Kind, Role, Schema
from engine.search import CandidateResult, OnProgress, Search, ShouldStop, Watch
from engine.spans.crf import Crf
from engine.spans.fitted import SpansFitted, decode
from engine.spans.tokens import (
    TEMPLATES,
    Span,
    Tokens,
    buckets,
    design,
    known_of,
    parse_marks,
    parse_spans,
    runs_of,
    tags_of,
    tokenise,
)
from engine.split import folds
from engine.training_data import patients_of
from engine.validation import RESAMPLES

FEWEST_SPANS = 10
FOLDS = 3
PENALTIES = (1.0, 0.1)
SECONDS = 1e-4  # of one fit per token and label on one core, from fits of up to 300,000 tokens
WHY_UNDEFINED = "there is no span in these texts, or none was found"
_TASKS = ("spans",)
_MUC = "Chinchor & Sundheim 1993, MUC-5 evaluation metrics, doi:10.3115/1072017.1072026"
_CONLL = "Tjong Kim Sang & De Meulder 2003, doi:10.3115/1119176.1119195"


def _share(name: str, label: str, description: str, source: str) -> Metric:
    return Metric(name, label, "higher", 0.0, 1.0, _TASKS, description, source)


SPAN_METRICS = {
    metric.name: metric
    for metric in (
        _share("span_f1", "F1 of exact spans", "Harmonic mean of precision and sensitivity, where a span counts if its place "
               "and label are exactly right.", _CONLL),
        _share("span_precision", "Precision of exact spans", "Share of the found spans that are exactly right.", _CONLL),
        _share("span_sensitivity", "Sensitivity of exact spans", "Share of the true spans that are found exactly.", _CONLL),
        _share("overlap_f1", "F1 of overlapping spans", "As F1, where a span counts if it overlaps one of its label.", _MUC),
        _share("token_f1", "F1 of tokens", "As F1, for each word (character) that is labelled.", _CONLL),
        replace(METRICS["brier"], name="span_brier", label="Brier score of found spans", upper=1.0, tasks=_TASKS),
        replace(METRICS["calibration_error"], name="span_calibration_error", label="Calibration error of found spans",
                tasks=_TASKS),
    )
}  # fmt: skip
COUNTS = ("exact", "found", "true", "found_over", "true_over", "token_hit", "token_found", "token_true")


@dataclass(frozen=True)
class Data:
    """n annotated texts, their spans, labels and patients; `lost` annotations overlap others or hold no token."""

    texts: list[str]
    spans: list[list[Span]]
    labels: list[str]
    patients: Ints
    tokens: Tokens
    tags: Ints
    lost: int
    rows: Ints
    total: int


class Spans(Pipeline):
    """Settings: where the text is, if not in the target with its marks."""

    name = "spans"
    auto = "span_f1"
    metrics = SPAN_METRICS
    settings = (
        Setting("text", "column", None, "The column of the text; without it the target holds the text with inline marks."),
        Setting("penalty", "float", 0.0, "Penalty on large weights; 0: validation decides.", low=0.0, high=1e4),
    )

    def read(self, frame: pd.DataFrame, recipe: Recipe, labels: Sequence[str] | None = None) -> Data:
        """Annotated texts only. Raises EngineError for a cell that holds no spans ("spans_invalid"), or when there are none."""
        frame = frame.rename(columns=str)
        self.check_columns(frame, recipe)
        column, text_column = recipe.target, self.setting(recipe, "text")
        texts: list[str] = []
        spans: list[list[Span]] = []
        rows: list[int] = []
        cells = frame[column].tolist()
        sources = frame[text_column].tolist() if text_column else cells
        for row, (cell, source) in enumerate(zip(cells, sources, strict=True)):
            text = to_text(source)
            if text is None:
                continue
            try:
                text, own = (text, parse_spans(cell)) if text_column else parse_marks(text)
                if own is not None and any(span.end > len(text) for span in own):
                    raise ValueError("a span ends behind the text")
            except (ValueError, KeyError, TypeError) as error:
                raise EngineError("spans_invalid", f"Row {row + 1} of “{column}” holds no list of spans: {error}.",
                                  {"column": column, "row": row + 1, "why": str(error)}) from None  # fmt: skip
            if own is not None:
                texts.append(text)
                spans.append(own)
                rows.append(row)
        if not rows:
            raise EngineError("no_labels", f"No row has a value in “{column}”.", {"column": column})
        names = sorted({span.label for own in spans for span in own}) if labels is None else list(labels)
        tokens = tokenise(texts)
        tags, lost = tags_of(tokens, spans, names)
        patients = patients_of(frame.iloc[rows].reset_index(drop=True), recipe.patient)
        return Data(texts, spans, names, patients, tokens, tags, lost, np.array(rows, dtype=np.int64), len(frame))

    def check(self, frame: pd.DataFrame, recipe: Recipe) -> list[Problem]:
        """All problems, errors first."""
        return sorted(_problems(self.read(frame, recipe), recipe), key=lambda problem: problem.severity != "error")

    def fit_candidates(
        self, frame: pd.DataFrame, recipe: Recipe, *, on_progress: OnProgress | None, should_stop: ShouldStop | None
    ) -> Search:
        """The conditional random field with one or two penalties, judged on patients that it did not learn from."""
        watch = Watch(on_progress, should_stop)
        watch.say(0.0, "check", "Checking the data")
        problems = self.check(frame, recipe)
        refuse(problems)
        data = self.read(frame, recipe)
        return _Run(self, data, frame, recipe, watch).search(problems)

    def scores(self, predictions: Mapping[str, Any], weights: Floats) -> dict[str, Floats]:
        """F1 of spans, overlaps and tokens, and of probabilities, for each row of `weights` (B, texts)."""
        sums = {name: weights @ np.array(predictions[name], dtype=float) for name in COUNTS}
        precision, sensitivity = ratio(sums["found_over"], sums["found"]), ratio(sums["true_over"], sums["true"])
        nothing = np.full(len(weights), np.nan)
        found = {
            "span_f1": ratio(2 * sums["exact"], sums["found"] + sums["true"]),
            "span_precision": ratio(sums["exact"], sums["found"]),
            "span_sensitivity": ratio(sums["exact"], sums["true"]),
            "overlap_f1": np.where(sums["true_over"] > 0, ratio(2 * precision * sensitivity, precision + sensitivity),
                                   np.where(sums["found"] + sums["true"] > 0, 0.0, np.nan)),
            "token_f1": ratio(2 * sums["token_hit"], sums["token_found"] + sums["token_true"]),
            "span_brier": nothing, "span_calibration_error": nothing,
        }  # fmt: skip
        own = predictions["spans"]
        if own["p"]:
            p, hit = np.array(own["p"], dtype=float), np.array(own["hit"], dtype=np.int64)
            outcomes = Outcomes(hit, (p >= 0.5).astype(np.int64), two_columns(p), 1)
            got = score_all(outcomes, weights[:, np.array(own["text"], dtype=np.int64)], ("brier", "calibration_error"))
            found |= {f"span_{name}": values for name, values in got.items()}
        return found

    def evaluate(self, fitted: SpansFitted, frame: pd.DataFrame, groups: Sequence[str], bootstrap: int, seed: int) -> Report:
        """Annotated texts; an annotation of a label that the model does not know counts as missed."""
        names = fitted.classes_.tolist()
        data = self.read(frame, fitted.recipe)
        labels = names + [label for label in data.labels if label not in names]
        data = self.read(frame, fitted.recipe, labels)
        found = [own for start in range(0, len(data.texts), 64) for own in fitted.label(data.texts[start : start + 64])]
        runs = [_runs(data.tokens, i, own, labels) for i, own in enumerate(found)]
        p = [np.array([span.probability for span in own], dtype=float) for own in found]
        sheet = sheet_of(data, runs, p)
        shown, patients = frame.iloc[data.rows].reset_index(drop=True), data.patients

        def part(own: Ints) -> dict[str, Any]:
            codes = np.unique(patients[own], return_inverse=True)[1]
            measured = measure(self.scores, taken(sheet, own), codes, bootstrap, seed, WHY_UNDEFINED)
            return {"n": len(own), "patients": int(codes.max()) + 1, "metrics": measured}

        return Report(
            task=self.name, n=len(data.texts), patients=int(patients.max()) + 1,
            metrics=measure(self.scores, sheet, patients, bootstrap, seed, WHY_UNDEFINED),
            baseline=_baseline_of(self, data, fitted), classes=names, curves=_curves(sheet), confusion=None,
            per_class=per_label(self, data, runs, p, labels, bootstrap, seed), groups=grouped(shown, groups, part),
            predictions=sheet, left_out={"unlabelled": data.total - len(data.texts), "unknown_class": 0},
            validation=fitted.validation,
        )  # fmt: skip

    def explain(self, fitted: SpansFitted, records: Sequence[Mapping[str, Any]]) -> list[Reasons]:
        """Why the surest span of each text bears its label: exact parts of its score against “outside”, and the words."""
        frame = pd.DataFrame.from_records([dict(record) for record in records])
        return [_explained(fitted, text) for text in fitted.texts(frame.rename(columns=str))]

    def restore(self, fitted: Fitted, state: Mapping[str, Any], arrays: Arrays) -> Fitted:
        """From bucket numbers and weights."""
        return adopt(SpansFitted, fitted).adopt_state(dict(state), arrays)


def _problems(data: Data, recipe: Recipe) -> Iterator[Problem]:
    column = recipe.target
    counts = Counter(span.label for own in data.spans for span in own)
    patients = int(data.patients.max()) + 1
    if recipe.candidates:
        yield _problem("candidate_wrong_task", "error", None, "The candidate “{candidate}” cannot do {task}.",
                       candidate=recipe.candidates[0], task="spans")  # fmt: skip
    if sum(counts.values()) < FEWEST_SPANS:
        yield _problem("too_few_records", "error", column, "Only {count} spans in “{column}”; at least {least} are needed.",
                       count=sum(counts.values()), least=FEWEST_SPANS)  # fmt: skip
    if patients < FEWEST_PATIENTS:
        yield _problem("too_few_patients", "error", None, "Only {count} patients; at least {least} are needed.",
                       count=patients, least=FEWEST_PATIENTS)  # fmt: skip
    elif patients < FEW_PATIENTS:
        yield _problem("few_patients", "warning", None, "Only {count} patients; with fewer than {least} every figure is "
                       "uncertain.", count=patients, least=FEW_PATIENTS)  # fmt: skip
    if data.total > len(data.texts):
        yield _problem("labels_missing", "warning", column, "{count} of {total} rows have no value in “{column}” and are left "
                       "out.", count=data.total - len(data.texts), total=data.total)  # fmt: skip
    if data.lost:
        yield _problem("spans_overlap", "warning", column, "{count} spans of “{column}” overlap another or hold no word, and "
                       "are left out.", count=data.lost)  # fmt: skip
    for label, count in sorted(counts.items()):
        if count < FEWEST_SPANS:
            yield _problem("class_small", "warning", column, "The label “{value}” of “{column}” has only {count} spans; its "
                           "figures will be uncertain.", value=label, count=count)  # fmt: skip


class _Run:
    """One search over penalties."""

    def __init__(self, pipeline: Spans, data: Data, frame: pd.DataFrame, recipe: Recipe, watch: Watch) -> None:
        self.pipeline, self.data, self.frame, self.recipe, self.watch = pipeline, data, frame, recipe, watch
        self.buckets = buckets(data.tokens)
        has = np.array([len(own) > 0 for own in data.spans], dtype=float)
        self.splits = folds(has, "classification", data.patients, recipe.seed, FOLDS)
        self.metric = pipeline.metric(recipe)

    def search(self, problems: list[Problem]) -> Search:
        given = float(self.pipeline.setting(self.recipe, "penalty"))
        penalties = (given,) if given > 0 else PENALTIES
        seconds = SECONDS * len(self.data.tokens.begin) * len(self.data.labels) * (len(self.splits) + 1)
        results, fitted = [], []
        for i, penalty in enumerate(penalties):
            result = CandidateResult(f"crf_{penalty:g}", f"Conditional random field, penalty {penalty:g}", metric=self.metric,
                                     hyperparameters={"penalty": penalty})  # fmt: skip
            results.append(result)
            if i and seconds * (i + 1) > self.recipe.time_budget:
                result.reason = "would take longer than the time budget allows"
                continue
            self.watch.say(0.05 + 0.9 * i / len(penalties), "trial", f"{result.label}: trial 1 of 1", result.name)
            began = time.monotonic()
            result.fitted = self._one(penalty)
            own = result.fitted.validation
            result.status, result.validation_score = "done", own["value"]
            result.validation_interval, result.fit_seconds = (own["low"], own["high"]), time.monotonic() - began
            fitted.append(result)
        better = 1.0 if self.pipeline.metrics[self.metric].better == "higher" else -1.0
        best = max(fitted, key=lambda r: better * (r.validation_score if r.validation_score is not None else -1e9 * better))
        baseline = self._baseline()
        assert best.fitted is not None
        best.fitted.training["baseline"] = {"metric": self.metric, "value": baseline.validation_score}
        self.watch.say(1.0, "done", "Finished", best.name)
        return Search(best.fitted, results, baseline, problems, self.data.total - len(self.data.texts))

    def _fit(self, rows: Ints, penalty: float) -> tuple[Ints, Crf]:
        """(kept buckets, model) of some texts; whoever has a bucket alone loses it."""
        data = self.data
        tokens, found, tags = part_of(data, self.buckets, rows)
        codes = np.unique(data.patients[rows], return_inverse=True)[1]
        kept = known_of(found, tokens, codes)
        return kept, Crf.fit(design(found, kept), tags, tokens.starts, len(data.labels), penalty, self.watch.ask)

    def _one(self, penalty: float) -> SpansFitted:
        data, recipe = self.data, self.recipe
        runs: list[list[tuple[int, int, int]]] = [[] for _ in data.texts]
        raw: list[Floats] = [np.zeros(0) for _ in data.texts]
        for train, held in self.splits:
            kept, crf = self._fit(train, penalty)
            tokens, found, _ = part_of(data, self.buckets, held)
            for i, own, p in zip(held, *decode(crf, design(found, kept), tokens), strict=True):
                runs[i], raw[i] = own, p
        kept, crf = self._fit(np.arange(len(data.texts)), penalty)
        text_column = self.pipeline.setting(recipe, "text") or recipe.target
        encoder, novelty = self._novelty(text_column)
        fitted = SpansFitted(
            recipe, span_schema(self.frame, recipe, text_column), self.pipeline.name, np.array(data.labels), self.metric, "crf",
            {"penalty": penalty}, {}, encoder, [], Calibrator(), novelty, reach=float("inf"), spread=0.0,
            text=text_column, marked=text_column == recipe.target, kept=kept, crf=crf,
        )  # fmt: skip
        draft = sheet_of(data, runs, raw)
        hit, of_text = np.array(draft["spans"]["hit"], dtype=np.int64), np.array(draft["spans"]["text"], dtype=np.int64)
        if 0 < hit.sum() < len(hit):
            codes = np.unique(data.patients[of_text], return_inverse=True)[1]
            fitted.calibrator.fit(two_columns(np.concatenate(raw)), hit, codes, recipe.seed)
        sheet = sheet_of(data, runs, [fitted.calibrator.apply(two_columns(p))[:, 1] for p in raw])
        measured = measure(self.pipeline.scores, sheet, data.patients, RESAMPLES, recipe.seed, WHY_UNDEFINED)
        n, patients = len(data.texts), int(data.patients.max()) + 1
        fitted.validation = {"metric": self.metric, **measured[self.metric], "n": n, "patients": patients,
                             "method": f"{len(self.splits)}-fold cross-validation by patient", "metrics": measured}  # fmt: skip
        fitted.training = {"n": n, "patients": patients, "prior": [], "unlabelled": data.total - n,
                           "spans": sum(len(own) for own in data.spans)}  # fmt: skip
        return fitted

    def _novelty(self, column: str) -> tuple[Encoder, Novelty]:
        if not hasattr(self, "_same"):
            frame = pd.DataFrame({column: self.data.texts})
            encoder = Encoder.settled(schema_of(frame, {column: (Kind.TEXT, Role.FEATURE)}), frame)
            novelty = Novelty(encoder).fit(encoder.from_frame(frame), self.data.patients, self.recipe.seed)
            self._same = (encoder, novelty)
        return self._same

    def _baseline(self) -> CandidateResult:
        """What a list of words would find: each word as it is most often tagged."""
        data = self.data
        runs: list[list[tuple[int, int, int]]] = [[] for _ in data.texts]
        for train, held in self.splits:
            _, found, tags = part_of(data, self.buckets, train)
            words, usual = memory(found[:, WORD], tags, len(data.labels))
            tokens, found, _ = part_of(data, self.buckets, held)
            tagged = recall(found[:, WORD], words, usual)
            for k, i in enumerate(held):
                runs[i] = runs_of(tagged[tokens.starts[k] : tokens.starts[k + 1]])
        sheet = sheet_of(data, runs, [np.zeros(len(own)) for own in runs])
        value = float(self.pipeline.scores(sheet, np.ones((1, len(data.texts))))[self.metric][0])
        return CandidateResult("baseline", "Remembered words", metric=self.metric, status="done", validation_score=plain(value))


WORD = TEMPLATES.index((("word", 0),))


def memory(words: Ints, tags: Ints, labels: int) -> tuple[Ints, Ints]:
    """(distinct buckets of words, the label that each has most often: -1 for none)."""
    known, codes = np.unique(words, return_inverse=True)
    counts = np.zeros((len(known), labels + 1))
    np.add.at(counts, (codes, (tags + 1) // 2), 1)
    return known, counts.argmax(axis=1) - 1


def recall(words: Ints, known: Ints, usual: Ints) -> Ints:
    """(tokens,) tags from remembered labels; neighbours of one label are one span."""
    place = np.minimum(np.searchsorted(known, words), len(known) - 1)
    label = np.where(known[place] == words, usual[place], -1)
    goes_on = np.append(False, label[1:] == label[:-1])[: len(label)]
    return np.where(label < 0, 0, 1 + 2 * label + goes_on)


def part_of(data: Data, found: Ints, rows: Ints) -> tuple[Tokens, Ints, Ints]:
    """(tokens, buckets, tags) of some texts."""
    starts, tokens = data.tokens.starts, data.tokens
    each = [np.arange(starts[i], starts[i + 1]) for i in rows]
    take = np.concatenate(each) if each else np.zeros(0, dtype=np.int64)
    own = Tokens(np.concatenate([[0], np.cumsum([len(part) for part in each])]).astype(np.int64), tokens.begin[take],
                 tokens.end[take], tokens.hashes[:, take])  # fmt: skip
    return own, found[take], data.tags[take]


def span_schema(frame: pd.DataFrame, recipe: Recipe, text: str) -> Schema:
    """The text is the one feature."""
    roles = {} if text == recipe.target else {recipe.target: (Kind.TEXT, Role.TARGET)}
    roles[text] = (Kind.TEXT, Role.FEATURE)
    if recipe.patient is not None:
        roles[recipe.patient] = (Kind.CATEGORY, Role.PATIENT)
    return schema_of(frame.rename(columns=str), roles)


def _runs(tokens: Tokens, i: int, spans: Sequence[Span], labels: Sequence[str]) -> list[tuple[int, int, int]]:
    """Spans of characters as runs of tokens of text i."""
    low, high = int(tokens.starts[i]), int(tokens.starts[i + 1])
    begin = {int(place): t for t, place in enumerate(tokens.begin[low:high])}
    end = {int(place): t + 1 for t, place in enumerate(tokens.end[low:high])}
    return [(begin[span.start], end[span.end], labels.index(span.label)) for span in spans]


def sheet_of(data: Data, runs: Sequence[Sequence[tuple[int, int, int]]], p: Sequence[Floats]) -> Sheet:
    """What a report stores: by text the COUNTS, and every found span's probability and whether it is exactly right."""
    sheet: Sheet = {"task": "spans", **{name: [] for name in COUNTS}, "patient": data.patients.tolist()}
    spans: dict[str, list[Any]] = {"text": [], "p": [], "hit": []}
    for i, own in enumerate(runs):
        low, high = data.tokens.starts[i], data.tokens.starts[i + 1]
        true = runs_of(data.tags[low:high])
        hits = [run in set(true) for run in own]
        counts = (sum(hits), len(own), len(true), _overlapped(own, true), _overlapped(true, own), *_tokens(own, true))
        for name, count in zip(COUNTS, counts, strict=True):
            sheet[name].append(int(count))
        spans["text"] += [i] * len(own)
        spans["p"] += [float(value) for value in p[i]]
        spans["hit"] += [int(hit) for hit in hits]
    return {**sheet, "spans": spans}


def _overlapped(one: Sequence[tuple[int, int, int]], other: Sequence[tuple[int, int, int]]) -> int:
    """How many of `one` overlap any of `other` of the same label."""
    return sum(any(a < d and c < b and label == own for c, d, own in other) for a, b, label in one)


def _tokens(found: Sequence[tuple[int, int, int]], true: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
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
        measured = measure(pipeline.scores, sheet, data.patients, min(bootstrap, 200), seed, WHY_UNDEFINED)
        table.append({"class": label, "n": int(sum(sheet["true"])), "metrics": measured,
                      "precision": measured["span_precision"]["value"], "sensitivity": measured["span_sensitivity"]["value"],
                      "f1": measured["span_f1"]["value"]})  # fmt: skip
    return table


def _baseline_of(pipeline: Spans, data: Data, fitted: SpansFitted) -> dict[str, float | None]:
    """Finding nothing has no F1 but 0; the remembered words' figure of validation stands for the chosen metric."""
    empty = sheet_of(data, [[] for _ in data.texts], [np.zeros(0) for _ in data.texts])
    scores = pipeline.scores(empty, np.ones((1, len(data.texts))))
    found = {name: plain(values[0]) for name, values in scores.items()}
    known = fitted.training.get("baseline")
    return {**found, known["metric"]: known["value"]} if known else found


def _curves(sheet: Sheet) -> dict[str, Any]:
    own = sheet["spans"]
    if not own["p"]:
        return {}
    p, hit = np.array(own["p"]), np.array(own["hit"], dtype=np.int64)
    return {"calibration": calibration_curve(Outcomes(hit, (p >= 0.5).astype(np.int64), two_columns(p), 1))}


def _explained(fitted: SpansFitted, text: str) -> Reasons:
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


PIPELINE = Spans()
