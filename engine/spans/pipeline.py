"""The task “spans” from a table of annotated texts to a model, its problems, its report and its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from engine.candidates.base import two_columns
from engine.cells import to_text
from engine.errors import EngineError
from engine.evaluation import Report
from engine.explanation import Reasons
from engine.findings import OnProgress, Search, ShouldStop, Watch
from engine.fitted import Fitted
from engine.metrics import METRICS, Floats, Ints, Metric, Outcomes, score_all
from engine.pipelines.base import Pipeline, Setting, adopt
from engine.pipelines.measuring import grouped, measure, ratio
from engine.preprocessing.steps import Arrays
from engine.problems import Problem, refuse
from engine.recipe import Recipe
from engine.spans.data import WHY_UNDEFINED, Data, problems_of
from engine.spans.fitted import SpansFitted
from engine.spans.judging import COUNTS, baseline_of, curves_of, explained, per_label, sheet_of, taken
from engine.spans.learning import Run, runs_in
from engine.spans.tokens import Span, parse_marks, parse_spans, tags_of, tokenise
from engine.training_data import patients_of

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
        return sorted(problems_of(self.read(frame, recipe), recipe), key=lambda problem: problem.severity != "error")

    def fit_candidates(
        self, frame: pd.DataFrame, recipe: Recipe, *, on_progress: OnProgress | None, should_stop: ShouldStop | None
    ) -> Search:
        """The conditional random field with one or two penalties, judged on patients that it did not learn from."""
        watch = Watch(on_progress, should_stop)
        watch.say(0.0, "check", "Checking the data")
        problems = self.check(frame, recipe)
        refuse(problems)
        data = self.read(frame, recipe)
        return Run(self, data, frame, recipe, watch).search(problems)

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
        runs = [runs_in(data.tokens, i, own, labels) for i, own in enumerate(found)]
        p = [np.array([span.probability for span in own], dtype=float) for own in found]
        sheet = sheet_of(data, runs, p)
        shown, patients = frame.iloc[data.rows].reset_index(drop=True), data.patients

        def part(own: Ints) -> dict[str, Any]:
            codes = np.unique(patients[own], return_inverse=True)[1]
            measured = measure(self.scores, self.metrics, taken(sheet, own), codes, bootstrap, seed, WHY_UNDEFINED)
            return {"n": len(own), "patients": int(codes.max()) + 1, "metrics": measured}

        return Report(
            task=self.name, n=len(data.texts), patients=int(patients.max()) + 1,
            metrics=measure(self.scores, self.metrics, sheet, patients, bootstrap, seed, WHY_UNDEFINED),
            baseline=baseline_of(self, data, fitted), classes=names, curves=curves_of(sheet), confusion=None,
            per_class=per_label(self, data, runs, p, labels, bootstrap, seed), groups=grouped(shown, groups, part),
            predictions=sheet, left_out={"unlabelled": data.total - len(data.texts), "unknown_class": 0},
            validation=fitted.validation,
        )  # fmt: skip

    def explain(self, fitted: SpansFitted, records: Sequence[Mapping[str, Any]]) -> list[Reasons]:
        """Why the surest span of each text bears its label: exact parts of its score against “outside”, and the words."""
        frame = pd.DataFrame.from_records([dict(record) for record in records])
        return [explained(fitted, text) for text in fitted.texts(frame.rename(columns=str))]

    def restore(self, fitted: Fitted, state: Mapping[str, Any], arrays: Arrays) -> Fitted:
        """From bucket numbers and weights."""
        return adopt(SpansFitted, fitted).adopt_state(dict(state), arrays)


PIPELINE = Spans()
