"""How spans are learned: a penalty chosen by patients left out, the final field, and what was remembered as the baseline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from engine.calibration import Calibrator
from engine.candidates.base import two_columns
from engine.encoding import Encoder
from engine.findings import CandidateResult, Search, Watch
from engine.metrics import Floats, Ints
from engine.novelty import Novelty
from engine.pipelines.base import schema_of
from engine.pipelines.measuring import measure, plain
from engine.problems import Problem
from engine.recipe import Recipe
from engine.schema import Kind, Role
from engine.spans.crf import Crf
from engine.spans.data import WHY_UNDEFINED, Data, part_of, span_schema
from engine.spans.fitted import SpansFitted, decode
from engine.spans.judging import sheet_of
from engine.spans.tokens import TEMPLATES, Span, Tokens, buckets, design, known_of, runs_of
from engine.split import folds
from engine.validation import RESAMPLES

if TYPE_CHECKING:
    from engine.spans.pipeline import Spans

WORD = TEMPLATES.index((("word", 0),))
FOLDS = 3
PENALTIES = (1.0, 0.1)
SECONDS = 1e-4  # of one fit per token and label on one core, from fits of up to 300,000 tokens


class Run:
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
        measured = measure(
            self.pipeline.scores, self.pipeline.metrics, sheet, data.patients, RESAMPLES, recipe.seed, WHY_UNDEFINED
        )
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


def runs_in(tokens: Tokens, i: int, spans: Sequence[Span], labels: Sequence[str]) -> list[tuple[int, int, int]]:
    """Spans of characters as runs of tokens of text i."""
    low, high = int(tokens.starts[i]), int(tokens.starts[i + 1])
    begin = {int(place): t for t, place in enumerate(tokens.begin[low:high])}
    end = {int(place): t + 1 for t, place in enumerate(tokens.end[low:high])}
    return [(begin[span.start], end[span.end], labels.index(span.label)) for span in spans]
