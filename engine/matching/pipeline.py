"""The task “matching” from a table of texts to a model, its problems, its report and its reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from engine.candidates.base import sigmoid, two_columns
from engine.checks import FEWEST_RECORDS
from engine.errors import EngineError
from engine.evaluation import Report
from engine.explanation import Reasons
from engine.findings import OnProgress, Search, ShouldStop, Watch
from engine.fitted import Fitted
from engine.matching.data import (
    WHY_UNDEFINED,
    Data,
    amount_problems,
    match_schema,
    pairs_of,
    rows_of,
    taught_queries,
)
from engine.matching.fitted import MatchFitted, Scorer
from engine.matching.judging import curves_of, explained, external, sheet_of, taken, unknown_probability
from engine.matching.learning import Run
from engine.metrics import METRICS, Floats, Ints, Metric, Outcomes, score_all
from engine.pipelines.base import Pipeline, Setting
from engine.pipelines.measuring import grouped, measure, plain, ratio
from engine.preprocessing.steps import Arrays
from engine.problems import Problem, make_problem, refuse
from engine.recipe import Recipe
from engine.schema import Schema
from engine.training_data import patients_of

_TASKS = ("matching",)


def _rank_metric(name: str, label: str, description: str, source: str) -> Metric:
    return Metric(name, label, "higher", 0.0, 1.0, _TASKS, description, source)


def _pair_metric(name: str, label: str, of: str) -> Metric:
    return replace(METRICS[of], name=name, label=label, tasks=_TASKS)


_BOOK = "Manning, Raghavan & Schütze 2008, Introduction to Information Retrieval, chapter 8"
MATCH_METRICS = {
    metric.name: metric
    for metric in (
        _rank_metric("mrr", "Mean reciprocal rank", "Mean of 1 / the place of the first true record.",
                     "Voorhees 1999, The TREC-8 question answering track report"),
        *(_rank_metric(f"recall_at_{k}", f"Found among the first {k}",
                       f"Share of the texts that have a true record among the first {k}.", _BOOK) for k in (1, 5, 10)),
        _rank_metric("ndcg", "nDCG at 10", "Discounted gain of the true records among the first ten, of what is possible.",
                     "Järvelin & Kekäläinen 2002, doi:10.1145/582415.582418"),
        _pair_metric("pair_roc_auc", "ROC AUC of pairs", "roc_auc"),
        _pair_metric("pair_brier", "Brier score of pairs", "brier"),
        _pair_metric("pair_calibration_error", "Calibration error of pairs", "calibration_error"),
    )
}  # fmt: skip


class Matching(Pipeline):
    """Settings: what belongs together, which rows are the references, and whether they may be kept readable."""

    name = "matching"
    auto = "mrr"
    metrics = MATCH_METRICS
    settings = (
        Setting("group", "column", None, "Rows with the same value belong together."),
        Setting("other", "column", None, "The other text of a labelled pair; with “belongs”."),
        Setting("belongs", "column", None, "Whether the two texts of the row belong together: 1 or 0."),
        Setting("reference", "column", None, "Rows with 1 are references; without this column all are."),
        Setting("identifier", "column", None, "The name of a reference, such as its code; needs “shareable”."),
        Setting("shareable", "bool", False,
                "The references are terms of a catalogue, nobody's own words: they may be kept readable."),
    )  # fmt: skip

    def read(self, frame: pd.DataFrame, recipe: Recipe) -> Data:
        """Raises EngineError when a column is missing or settings contradict each other."""
        frame = frame.rename(columns=str)
        self.check_columns(frame, recipe)
        chosen = {setting.name: self.setting(recipe, setting.name) for setting in self.settings}
        if (chosen["other"] is None) != (chosen["belongs"] is None):
            raise EngineError("matching_pairs", "Labelled pairs need both settings “other” and “belongs”.")
        if chosen["identifier"] is not None and not chosen["shareable"]:
            raise EngineError("matching_not_shareable", "Names of references are kept only where the setting “shareable” says "
                              "that they are nobody's own words.")  # fmt: skip
        schema = match_schema(frame, recipe, chosen)
        return pairs_of(frame, recipe, chosen, schema) if chosen["other"] else rows_of(frame, recipe, chosen, schema)

    def check(self, frame: pd.DataFrame, recipe: Recipe) -> list[Problem]:
        """All problems, errors first."""
        data = self.read(frame, recipe)
        found = [*amount_problems(data, recipe), *self._supervision(data, recipe)]
        return sorted(found, key=lambda problem: problem.severity != "error")

    def _supervision(self, data: Data, recipe: Recipe) -> Iterator[Problem]:
        if recipe.candidates:
            yield make_problem("candidate_wrong_task", "error", None, "The candidate “{candidate}” cannot do {task}.",
                           candidate=recipe.candidates[0], task=self.name)  # fmt: skip
        taught = len(taught_queries(data))
        if not taught:
            yield make_problem("matching_uncalibrated", "warning", recipe.target,
                           "Nothing says which texts of “{column}” belong together: the most alike are found, but how "
                           "probable it is that they belong together can't be said.")  # fmt: skip
        elif taught < FEWEST_RECORDS:
            yield make_problem("too_few_records", "error", recipe.target,
                           "Only {count} texts of “{column}” have another that belongs to them; at least {least} are needed.",
                           count=taught, least=FEWEST_RECORDS)  # fmt: skip
        if self.setting(recipe, "shareable") and recipe.patient is not None:
            yield make_problem("matching_shared_patients", "warning", recipe.patient,
                           "The texts are kept readable in the model, yet there is a patient column “{column}”: are they "
                           "really nobody's own words?")  # fmt: skip

    def fit_candidates(
        self, frame: pd.DataFrame, recipe: Recipe, *, on_progress: OnProgress | None, should_stop: ShouldStop | None
    ) -> Search:
        """Plain cosines, and where pairs are known learned likeness; judged on groups that were not learned from."""
        watch = Watch(on_progress, should_stop)
        watch.say(0.0, "check", "Checking the data")
        problems = self.check(frame, recipe)
        refuse(problems)
        data = self.read(frame, recipe)
        return Run(self, data, recipe, watch).search(problems)

    def scores(self, predictions: Mapping[str, Any], weights: Floats) -> dict[str, Floats]:
        """Ranks, nDCG and pairs for each row of `weights` (B, queries)."""
        place, total = np.array(predictions["rank"], dtype=float), weights.sum(axis=1)
        found: dict[str, Floats] = {}
        inverse = np.divide(1.0, place, out=np.zeros(len(place)), where=place > 0)
        found["mrr"] = ratio(weights @ inverse, total)
        for k in (1, 5, 10):
            found[f"recall_at_{k}"] = ratio(weights @ ((place > 0) & (place <= k)).astype(float), total)
        found["ndcg"] = ratio(weights @ np.array(predictions["ndcg"], dtype=float), total)
        pairs = predictions["pairs"]
        hit, query = np.array(pairs["hit"], dtype=np.int64), np.array(pairs["query"], dtype=np.int64)
        score = np.array(pairs["score"], dtype=float)
        known = not any(p is None for p in pairs["p"]) and len(hit) > 0
        p = np.array(pairs["p"], dtype=float) if known else sigmoid(score)
        if not len(hit):
            nothing = np.full(len(weights), np.nan)
            return {**found, "pair_roc_auc": nothing, "pair_brier": nothing, "pair_calibration_error": nothing}
        outcomes = Outcomes(hit, (p >= 0.5).astype(np.int64), two_columns(p), 1)
        got = score_all(outcomes, weights[:, query], ("roc_auc", "brier", "calibration_error"))
        for name, values in got.items():
            found[f"pair_{name}"] = values if known or name == "roc_auc" else np.full(len(weights), np.nan)
        return found

    def evaluate(self, fitted: MatchFitted, frame: pd.DataFrame, groups: Sequence[str], bootstrap: int, seed: int) -> Report:
        """Every row whose group (or other text) is among the references is a query; the others are counted."""
        assert fitted.index is not None and fitted.scorer is not None
        rows, truth, left_out = external(self, fitted, frame)
        if not len(rows):
            column = fitted.recipe.target
            raise EngineError("no_labels", f"No text of “{column}” has a true record among the references.", {"column": column})
        shown = frame.iloc[rows].reset_index(drop=True)
        patients = patients_of(shown, fitted.recipe.patient)
        queries = fitted.grams(shown[fitted.text].tolist())
        sheet = sheet_of(fitted.scorer.rank(fitted.index, queries), truth, patients, fitted.calibrate)
        simple = sheet_of(Scorer.plain("words").rank(fitted.index, queries), truth, patients, unknown_probability)

        def part(own: Ints) -> dict[str, Any]:
            codes = np.unique(patients[own], return_inverse=True)[1]
            measured = measure(self.scores, self.metrics, taken(sheet, own), codes, bootstrap, seed, WHY_UNDEFINED)
            return {"n": len(own), "patients": int(codes.max()) + 1, "metrics": measured}

        once = np.ones((1, len(rows)))
        return Report(
            task=self.name, n=len(rows), patients=int(patients.max()) + 1,
            metrics=measure(self.scores, self.metrics, sheet, patients, bootstrap, seed, WHY_UNDEFINED),
            baseline={name: plain(values[0]) for name, values in self.scores(simple, once).items()},
            classes=[], curves=curves_of(sheet), confusion=None, per_class=[], groups=grouped(shown, groups, part),
            predictions=sheet, left_out=left_out, validation=fitted.validation,
        )  # fmt: skip

    def explain(self, fitted: MatchFitted, records: Sequence[Mapping[str, Any]]) -> list[Reasons]:
        """Why the best reference: exact parts of its score, and how much it falls without each word of the text."""
        return [explained(fitted, record) for record in records]

    def restore(self, fitted: Fitted, state: Mapping[str, Any], arrays: Arrays) -> Fitted:
        """From hashed references and the scorer."""
        from engine.pipelines.base import adopt

        model = adopt(MatchFitted, fitted)
        model.schema = Schema.from_dict(state["schema"])
        return model.adopt_state(dict(state), arrays)


PIPELINE = Matching()
