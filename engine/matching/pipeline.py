"""The task “matching” from a table of texts to a model, its problems, its report and its reasons."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from engine.calibration import Calibrator, conformal_quantile
from engine.candidates.base import sigmoid, two_columns
from engine.cells import to_category, to_number, to_text
from engine.checks import FEW_RECORDS, FEWEST_RECORDS, Problem, _problem, refuse
from engine.encoding import Encoder
from engine.errors import EngineError
from engine.evaluation import Report, calibration_curve
from engine.explanation import SHOWN_WORDS, Reasons, _remove, _split
from engine.fitted import Fitted
from engine.matching.fitted import SHOWN, MatchFitted, Ranked, Scorer, counts_of, share_odds
from engine.matching.index import FEATURES, Grams, Index, Meaning, Weights, flat
from engine.metrics import METRICS, Floats, Ints, Metric, Outcomes, score_all
from engine.novelty import Novelty
from engine.pipelines.base import Pipeline, Setting, schema_of
from engine.pipelines.measuring import Sheet, grouped, measure, plain, ratio
from engine.preprocessing.steps import Arrays
from engine.recipe import Recipe
from engine.schema import Kind, Role, Schema
from engine.search import CandidateResult, OnProgress, Search, ShouldStop, Watch
from engine.split import folds
from engine.training_data import FEWEST_PATIENTS, patients_of
from engine.validation import RESAMPLES

MOST_QUERIES = 3000  # that are learned from and validated with; more would add time, not knowledge
# Likeness never counts against a pair, nor another length for it, whatever chance says: else a text that is the same as a
# reference, which training never saw as it leaves each text's own out, could come behind another.
BOUNDS = [(None, 0.0) if name == "other length" else (0.0, None) for name in FEATURES]
MOST_TAUGHT = 1000  # that the order and the pairs of a fold are learned from: 50,000 pairs
FOLDS = 3
SAME = 1.0 - 1e-5  # cosine from which a text is taken for a reference itself
LABELS = {"words": "Same words", "mixed": "Same words and characters", "learned": "Learned likeness",
          "aligned": "Learned likeness and meaning"}  # fmt: skip
WHY_UNDEFINED = "no query here has a true record, or nothing tells how probable a pair is"
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


@dataclass(frozen=True)
class Data:
    """References and queries of one table. `relevant(queries)` tells which references belong to each.

    `own` (queries,): the reference that a query itself is, or -1. `groups` codes of references, `query_groups` of
    queries, -1 without. `truth` maps a query to its references where they come as labelled pairs, and `apart` are
    labelled pairs (query, reference) that do not belong together.
    """

    references: list[Any]
    queries: list[Any]
    names: list[str]
    own: Ints
    groups: Ints
    query_groups: Ints
    group_names: list[str]
    patients: Ints
    query_patients: Ints
    truth: list[Ints] | None
    apart: tuple[Ints, Ints]
    schema: Schema

    def relevant(self, query: int) -> Ints:
        """The references that belong to a query, without itself."""
        if self.truth is not None:
            return self.truth[query]
        if self.query_groups[query] < 0:
            return np.zeros(0, dtype=np.int64)
        found = np.flatnonzero(self.groups == self.query_groups[query])
        return found[found != self.own[query]]


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
        return _pairs(frame, recipe, chosen, schema) if chosen["other"] else _rows(frame, recipe, chosen, schema)

    def check(self, frame: pd.DataFrame, recipe: Recipe) -> list[Problem]:
        """All problems, errors first."""
        data = self.read(frame, recipe)
        found = [*_amount(data, recipe), *self._supervision(data, recipe)]
        return sorted(found, key=lambda problem: problem.severity != "error")

    def _supervision(self, data: Data, recipe: Recipe) -> Iterator[Problem]:
        if recipe.candidates:
            yield _problem("candidate_wrong_task", "error", None, "The candidate “{candidate}” cannot do {task}.",
                           candidate=recipe.candidates[0], task=self.name)  # fmt: skip
        taught = len(taught_queries(data))
        if not taught:
            yield _problem("matching_uncalibrated", "warning", recipe.target,
                           "Nothing says which texts of “{column}” belong together: the most alike are found, but how "
                           "probable it is that they belong together can't be said.")  # fmt: skip
        elif taught < FEWEST_RECORDS:
            yield _problem("too_few_records", "error", recipe.target,
                           "Only {count} texts of “{column}” have another that belongs to them; at least {least} are needed.",
                           count=taught, least=FEWEST_RECORDS)  # fmt: skip
        if self.setting(recipe, "shareable") and recipe.patient is not None:
            yield _problem("matching_shared_patients", "warning", recipe.patient,
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
        return _Run(self, data, recipe, watch).search(problems)

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
        rows, truth, left_out = _external(self, fitted, frame)
        if not len(rows):
            column = fitted.recipe.target
            raise EngineError("no_labels", f"No text of “{column}” has a true record among the references.", {"column": column})
        shown = frame.iloc[rows].reset_index(drop=True)
        patients = patients_of(shown, fitted.recipe.patient)
        queries = fitted.grams(shown[fitted.text].tolist())
        sheet = sheet_of(fitted.scorer.rank(fitted.index, queries), truth, patients, fitted.calibrate)
        simple = sheet_of(Scorer.plain("words").rank(fitted.index, queries), truth, patients, _unknown)

        def part(own: Ints) -> dict[str, Any]:
            codes = np.unique(patients[own], return_inverse=True)[1]
            measured = measure(self.scores, taken(sheet, own), codes, bootstrap, seed, WHY_UNDEFINED)
            return {"n": len(own), "patients": int(codes.max()) + 1, "metrics": measured}

        once = np.ones((1, len(rows)))
        return Report(
            task=self.name, n=len(rows), patients=int(patients.max()) + 1,
            metrics=measure(self.scores, sheet, patients, bootstrap, seed, WHY_UNDEFINED),
            baseline={name: plain(values[0]) for name, values in self.scores(simple, once).items()},
            classes=[], curves=_curves(sheet), confusion=None, per_class=[], groups=grouped(shown, groups, part),
            predictions=sheet, left_out=left_out, validation=fitted.validation,
        )  # fmt: skip

    def explain(self, fitted: MatchFitted, records: Sequence[Mapping[str, Any]]) -> list[Reasons]:
        """Why the best reference: exact parts of its score, and how much it falls without each word of the text."""
        return [_explained(fitted, record) for record in records]

    def restore(self, fitted: Fitted, state: Mapping[str, Any], arrays: Arrays) -> Fitted:
        """From hashed references and the scorer."""
        from engine.pipelines.base import adopt

        model = adopt(MatchFitted, fitted)
        model.schema = Schema.from_dict(state["schema"])
        return model.adopt_state(dict(state), arrays)


def match_schema(frame: pd.DataFrame, recipe: Recipe, chosen: Mapping[str, Any]) -> Schema:
    """The text is the one feature; group and label are what is to be known."""
    roles: dict[str, tuple[Kind, Role]] = {recipe.target: (Kind.TEXT, Role.FEATURE)}
    for name, kind in (("group", Kind.CATEGORY), ("belongs", Kind.CATEGORY), ("other", Kind.TEXT)):
        if chosen[name] is not None and chosen[name] not in roles:
            roles[chosen[name]] = (kind, Role.TARGET)
    if recipe.patient is not None:
        roles[recipe.patient] = (Kind.CATEGORY, Role.PATIENT)
    return schema_of(frame, roles)


def _rows(frame: pd.DataFrame, recipe: Recipe, chosen: Mapping[str, Any], schema: Schema) -> Data:
    """Every row with a text is a query, and a reference unless a column says which are."""
    texts = frame[recipe.target].tolist()
    usable = np.array([to_text(cell) is not None for cell in texts], dtype=bool)
    catalogued = chosen["reference"]
    marked = usable if catalogued is None else usable & np.array([_yes(cell) for cell in frame[catalogued].tolist()])
    refs, asked = np.flatnonzero(marked), np.flatnonzero(usable if catalogued is None else usable & ~marked)
    place = np.full(len(texts), -1, dtype=np.int64)
    place[refs] = np.arange(len(refs))
    codes, group_names = _codes(frame[chosen["group"]].tolist() if chosen["group"] else [None] * len(texts))
    named = chosen["identifier"] or recipe.target
    patients = patients_of(frame, recipe.patient)
    nothing = np.zeros(0, dtype=np.int64)
    return Data(
        [texts[i] for i in refs], [texts[i] for i in asked], [str(frame[named].iloc[i]) for i in refs], place[asked],
        codes[refs], codes[asked], group_names, patients[refs], patients[asked], None, (nothing, nothing), schema,
    )  # fmt: skip


def _pairs(frame: pd.DataFrame, recipe: Recipe, chosen: Mapping[str, Any], schema: Schema) -> Data:
    """The distinct other texts are the references, the texts of the target the queries."""
    references: dict[str, int] = {}
    asked: dict[tuple[int, str], int] = {}
    texts: list[str] = []
    reference_patients: list[int] = []
    yes: list[tuple[int, int]] = []
    no: list[tuple[int, int]] = []
    patients = patients_of(frame, recipe.patient)
    cells = zip(frame[recipe.target].tolist(), frame[chosen["other"]].tolist(), frame[chosen["belongs"]].tolist(),
                patients.tolist(), strict=True)  # fmt: skip
    for cell, other_cell, label, patient in cells:
        text, other = to_text(cell), to_text(other_cell)
        if text is None or other is None or to_category(label) is None:
            continue
        if other not in references:
            references[other] = len(references)
            reference_patients.append(patient)
        key = (patient if recipe.patient is not None else 0, text)
        if key not in asked:
            asked[key] = len(asked)
            texts.append(text)
        (yes if _yes(label) else no).append((asked[key], references[other]))
    truth: list[set[int]] = [set() for _ in texts]
    for query, reference in yes:
        truth[query].add(reference)
    apart = np.array(no, dtype=np.int64).reshape(-1, 2)
    names = list(references)
    none = np.full(len(names), -1, dtype=np.int64)
    of_query = np.array([key[0] for key in asked], dtype=np.int64) if recipe.patient else np.arange(len(texts))
    return Data(
        list(names), list(texts), names, np.full(len(texts), -1, dtype=np.int64), none, np.full(len(texts), -1, dtype=np.int64),
        [], np.array(reference_patients, dtype=np.int64), np.unique(of_query, return_inverse=True)[1],
        [np.array(sorted(own), dtype=np.int64) for own in truth], (apart[:, 0], apart[:, 1]), schema,
    )  # fmt: skip


def _yes(cell: Any) -> bool:
    number, problem = to_number(cell)
    if problem is None and np.isfinite(number):
        return bool(number > 0)
    return (to_category(cell) or "").lower() in ("true", "yes", "是", "y")


def _codes(cells: Sequence[Any]) -> tuple[Ints, list[str]]:
    known: dict[str, int] = {}
    names = [to_category(cell) for cell in cells]
    codes = [-1 if name is None else known.setdefault(name, len(known)) for name in names]
    return np.array(codes, dtype=np.int64), list(known)


def taught_queries(data: Data) -> Ints:
    """Queries of which a true reference is known."""
    if data.truth is not None:
        return np.flatnonzero([len(own) > 0 for own in data.truth])
    sizes = np.bincount(data.groups[data.groups >= 0], minlength=max(len(data.group_names), 1))
    grouped_, own = data.query_groups >= 0, (data.own >= 0).astype(np.int64)
    return np.flatnonzero(grouped_ & (sizes[np.maximum(data.query_groups, 0)] - own > 0))


def _amount(data: Data, recipe: Recipe) -> Iterator[Problem]:
    n = len(data.references)
    if n < FEWEST_RECORDS:
        yield _problem("too_few_records", "error", recipe.target, "Only {count} texts in “{column}” can be references; at "
                       "least {least} are needed.", count=n, least=FEWEST_RECORDS)  # fmt: skip
    elif n < FEW_RECORDS:
        yield _problem("few_records", "warning", recipe.target, "Only {count} labelled records; with fewer than {least} every "
                       "figure is uncertain.", count=n, least=FEW_RECORDS)  # fmt: skip


class _Run:
    """One search over the methods."""

    def __init__(self, pipeline: Matching, data: Data, recipe: Recipe, watch: Watch) -> None:
        self.pipeline, self.data, self.recipe, self.watch = pipeline, data, recipe, watch
        text = replace(data.schema[recipe.target], role=Role.FEATURE)
        # The n-grams are those of the queries' script where that has no spaces, else those of the references'.
        both = (data.queries, data.references)
        sides = [Encoder.settled(Schema((text,)), pd.DataFrame({recipe.target: cells})) for cells in both]
        wide = sides[0].settings[Kind.TEXT.value]["columns"][0]["analyzer"] == "char"
        self.encoder = sides[0] if wide else sides[1]
        self.shareable = bool(pipeline.setting(recipe, "shareable"))
        counts = self.counts(data.references)
        self.taught = queries = taught_queries(data)
        asked = self.counts([data.queries[i] for i in queries])
        self.weights = Weights.learned(
            (counts, data.patients), 1 if self.shareable else 2, (asked, data.query_patients[queries])
        )
        self.index = Index(self.weights, self.weights.grams(counts))
        self.taught_grams = self.weights.grams(asked)
        chosen = np.arange(len(queries))
        if len(queries) > MOST_QUERIES:
            chosen = np.sort(np.random.default_rng(recipe.seed).choice(len(queries), MOST_QUERIES, replace=False))
        self.queries = queries = queries[chosen]
        self.grams = self.taught_grams.take(chosen)
        self.truth = [data.relevant(int(i)) for i in queries]
        self.own = data.own[queries]
        self.patients = np.unique(data.query_patients[queries], return_inverse=True)[1]
        self.splits = self._splits() if len(queries) else []

    def counts(self, texts: Sequence[Any]) -> Any:
        return counts_of(self.encoder.transformers[Kind.TEXT], texts)

    def _splits(self) -> list[tuple[Ints, Ints]]:
        """Folds in which no group and no patient is on both sides."""
        links = [np.array([-1]) if not len(own) else own for own in self.truth]
        self.owner = _components(self.patients, self.data.query_groups[self.queries], links)
        return folds(np.zeros(len(self.queries)), "classification", self.owner, self.recipe.seed, FOLDS)

    def search(self, problems: list[Problem]) -> Search:
        methods = ["words", "mixed"]
        if len(self.queries):
            methods += ["learned", "aligned"]
        results = [self._method(name, i / len(methods)) for i, name in enumerate(methods)]
        done = [r for r in results if r.fitted is not None]
        better = -1.0 if self.pipeline.metrics[self.pipeline.metric(self.recipe)].better == "lower" else 1.0
        known = [r for r in done if r.validation_score is not None]
        best = max(known, key=lambda r: better * (r.validation_score or 0.0)) if known else done[-1]
        assert best.fitted is not None
        baseline = replace(results[0], name="baseline", fitted=None)
        best.fitted.training["baseline"] = {"metric": best.metric, "value": baseline.validation_score}
        self.watch.say(1.0, "done", "Finished", best.name)
        rows = len(self.data.queries)
        return Search(best.fitted, results, baseline, problems, rows - len(taught_queries(self.data)))

    def _method(self, name: str, fraction: float) -> CandidateResult:
        self.watch.say(0.05 + 0.9 * fraction, "trial", f"{LABELS[name]}: trial 1 of 1", name)
        result = CandidateResult(name, LABELS[name], metric=self.pipeline.metric(self.recipe))
        began = time.monotonic()
        try:
            ranked = self._out_of_fold(name)
        except _NotPossible as reason:
            result.reason = str(reason)
            return result
        fitted = self._finish(name, ranked)
        own = fitted.validation
        result.fitted, result.status = fitted, "done"
        result.validation_score, result.validation_interval = own.get("value"), (own.get("low"), own.get("high"))
        result.fit_seconds = time.monotonic() - began
        return result

    def _out_of_fold(self, name: str) -> Ranked:
        """Every query ranked by what was learned from other groups and patients."""
        n = len(self.queries)
        everything = Ranked([np.zeros(0, dtype=np.int64)] * n, [np.zeros(0)] * n, [np.zeros((0, len(FEATURES)))] * n,
                            [np.zeros(0)] * n)  # fmt: skip
        for train, held in self.splits:
            self.watch.ask()
            index, scorer = self._learn(name, train, held)
            ranked = scorer.rank(index, self.grams.take(held), self.own[held])
            for i, query in enumerate(held):
                everything.found[query] = ranked.found[i]
                everything.scores[query], everything.features[query] = ranked.scores[i], ranked.features[i]
                everything.log_odds[query] = ranked.log_odds[i]
        return everything

    def _learn(self, name: str, train: Ints, held: Ints) -> tuple[Index, Scorer]:
        index = self.index
        if name in ("words", "mixed"):
            scorer = Scorer.plain(name)
            return index, self._with_pairs(scorer, index, train) if len(train) else scorer
        if name == "aligned":
            return self._aligned(train, held)
        return index, self._with_pairs(Scorer(name, np.zeros(len(FEATURES))), index, train)

    def _aligned(self, train: Ints, held: Ints) -> tuple[Index, Scorer]:
        """What a meaning is worth is seen on half of the training queries, of whose groups it was not learned; then it is
        learned of all of them."""
        half = np.random.default_rng(self.recipe.seed).permutation(int(self.owner.max()) + 1)[self.owner[train]] % 2 == 0
        draft = self._meaning(train[half], np.concatenate([held, train[~half]]))
        meaning = self._meaning(train, held)
        if draft is None or meaning is None:
            raise _NotPossible("too few groups of several texts to learn a meaning from")
        grams = self.index.grams
        empty = Scorer("aligned", np.zeros(len(FEATURES)))
        scorer = self._with_pairs(empty, Index(self.weights, grams, draft), train[~half])
        return Index(self.weights, grams, meaning), scorer

    def _meaning(self, train: Ints, held: Ints) -> Meaning | None:
        """From all texts that are joined, but none of a group or query that is held out."""
        data = self.data
        if data.truth is None:
            out = np.isin(data.groups, data.query_groups[self.queries[held]])
            rows = np.flatnonzero(~out & (data.groups >= 0))
            X, groups = [self.index.grams.X[rows]], [data.groups[rows]]
            apart = (data.own[self.taught] < 0) & ~np.isin(
                data.query_groups[self.taught], data.query_groups[self.queries[held]]
            )
            X.append(self.taught_grams.X[apart])
            groups.append(data.query_groups[self.taught[apart]])
        else:  # a pair's texts make a document
            first = np.array([own[0] for own in (self.truth[i] for i in train)], dtype=np.int64)
            X, groups = [self.grams.X[train], self.index.grams.X[np.unique(first)]], [first, np.unique(first)]
        from scipy import sparse

        joined = np.unique(np.concatenate(groups), return_inverse=True)[1]
        return Meaning.learned(sparse.vstack(X, format="csr"), joined, self.recipe.seed)

    def _with_pairs(self, scorer: Scorer, index: Index, train: Ints) -> Scorer:
        """What the order and the pair's log odds are learned from: the retrieved references of some training queries.

        The order, where it is not given, by `conditional_logit`; the pair's log odds by a logistic model of the features
        and their squares.
        """
        rng = np.random.default_rng(self.recipe.seed)
        queries = train if len(train) <= MOST_TAUGHT else np.sort(rng.choice(train, MOST_TAUGHT, replace=False))
        grams = self.grams.take(queries)
        found = index.candidates(grams, self.own[queries], words_only=scorer.words_only)
        chosen = list(found)
        if len(self.data.apart[0]):
            place = {int(self.queries[q]): i for i, q in enumerate(queries)}
            for query, reference in zip(*self.data.apart, strict=True):
                if int(query) in place:
                    chosen[place[int(query)]] = np.union1d(chosen[place[int(query)]], [reference])
        rows, ids = flat(chosen)
        hit = np.concatenate([np.isin(own, self.truth[q]) for own, q in zip(chosen, queries, strict=True)])
        if hit.all() or not hit.any():
            if scorer.terms.any():
                return scorer
            raise _NotPossible("all retrieved records belong together, or none")
        given = scorer.terms.any()
        features = index.features(grams, rows, ids, scorer.terms != 0 if given else None)
        if given:  # a plain cosine's probability rests on what the cosine sees
            features[:, scorer.terms == 0] = 0.0
        both = np.column_stack([features, features * features])
        pair = plain_logit(both, hit)
        terms = scorer.terms if given else conditional_logit(features, rows, hit)
        draft = Scorer(scorer.method, terms, pair)
        scores = draft.score(features)
        worth = float(conditional_logit(scores[:, None], rows, hit)[0]) if given else 1.0
        ends = np.cumsum([len(own) for own in chosen])[:-1]
        shares = np.concatenate([share_odds(own * worth) for own in np.split(scores, ends)])
        context = plain_logit(np.column_stack([shares, draft.log_odds(features)]), hit)
        return Scorer(scorer.method, terms, pair, np.append(context, worth))

    def _finish(self, name: str, ranked: Ranked) -> MatchFitted:
        """Calibration, prediction sets and figures from out-of-fold ranks; then learned anew from all queries."""
        data, recipe = self.data, self.recipe
        everything = np.arange(len(self.queries))
        index, scorer = self._learn(name, everything, np.zeros(0, dtype=np.int64))
        encoded = self.encoder.from_frame(pd.DataFrame({recipe.target: data.references}))
        sizes = np.bincount(data.groups[data.groups >= 0], minlength=len(data.group_names))
        least = 1 if self.shareable else FEWEST_PATIENTS
        known = {group: code for code, group in enumerate(data.group_names) if _holders(data, code, sizes) >= least}
        metric = self.pipeline.metric(recipe)
        fitted = MatchFitted(
            recipe, data.schema, self.pipeline.name, np.array([]), metric, name, {}, {}, self.encoder, [], Calibrator(),
            self._novelty(encoded), reach=float("inf"), spread=0.0, text=recipe.target, index=index, scorer=scorer,
            names=list(data.names) if self.shareable else None, groups=data.groups, known_groups=known,
        )  # fmt: skip
        fitted.training = {"n": len(data.references), "patients": len(np.unique(data.patients)), "prior": [],
                           "unlabelled": len(data.queries) - len(taught_queries(data)), "queries": len(self.queries)}  # fmt: skip
        if len(self.queries):
            self._calibrate(fitted, ranked, metric)
        return fitted

    def _novelty(self, encoded: Any) -> Novelty:
        if not hasattr(self, "_same"):
            self._same = Novelty(self.encoder).fit(encoded, self.data.patients, self.recipe.seed)
        return self._same

    def _calibrate(self, fitted: MatchFitted, ranked: Ranked, metric: str) -> None:
        draft = sheet_of(ranked, self.truth, self.patients, _unknown)
        hit, query = np.array(draft["pairs"]["hit"]), np.array(draft["pairs"]["query"], dtype=np.int64)
        if 0 < hit.sum() < len(hit) and fitted.scorer is not None and fitted.scorer.pair.any():
            scores = np.concatenate([own[:SHOWN] for own in ranked.log_odds])
            codes = np.unique(self.patients[query], return_inverse=True)[1]
            fitted.calibrator.fit(two_columns(sigmoid(scores)), hit.astype(np.int64), codes, self.recipe.seed)
            fitted.calibrated = True
            missed = [1.0 - _best_true(p, ids, true) for p, ids, true in
                      zip(map(fitted.calibrate, ranked.log_odds), ranked.found, self.truth, strict=True)]  # fmt: skip
            fitted.reach = conformal_quantile(np.array(missed), self.patients, self.recipe.coverage)
        sheet = sheet_of(ranked, self.truth, self.patients, fitted.calibrate)
        measured = measure(self.pipeline.scores, sheet, self.patients, RESAMPLES, self.recipe.seed, WHY_UNDEFINED)
        fitted.validation = {
            "metric": metric, **measured[metric], "n": len(self.queries), "patients": int(self.patients.max()) + 1,
            "method": f"{len(self.splits)}-fold cross-validation by group and patient", "metrics": measured,
        }  # fmt: skip


def conditional_logit(features: Floats, query: Ints, hit: NDArray[np.bool_]) -> Floats:
    """(f,) coefficients that give the true of each query the largest share of exp(score), with a slight L2 penalty."""
    scale = np.maximum(features.std(axis=0), 1e-6)
    taught = np.bincount(query, weights=hit) > 0
    rows = taught[query]
    X, codes = features[rows] / scale, np.unique(query[rows], return_inverse=True)[1]
    n = int(codes.max()) + 1
    share = hit[rows] / np.bincount(codes, weights=hit[rows])[codes]

    def loss(terms: Floats) -> tuple[float, Floats]:
        scores = X @ terms
        top = np.full(n, -np.inf)
        np.maximum.at(top, codes, scores)
        raised = np.exp(scores - top[codes])
        p = raised / np.bincount(codes, weights=raised)[codes]
        value = -float((share * np.log(np.maximum(p, 1e-300))).sum()) + 0.5 * float(terms @ terms)
        return value, X.T @ (p - share) + terms

    bounds = [BOUNDS[k % len(FEATURES)] for k in range(X.shape[1])]
    terms: Floats = minimize(loss, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x / scale
    return terms


def plain_logit(features: Floats, hit: NDArray[np.bool_]) -> Floats:
    """(f + 1,) coefficients and constant of a logistic regression with a slight L2 penalty, within BOUNDS."""
    scale = np.maximum(features.std(axis=0), 1e-6)
    X, y = np.column_stack([features / scale, np.ones(len(hit))]), hit.astype(float)
    penalty = np.append(np.ones(features.shape[1]), 0.0)

    def loss(terms: Floats) -> tuple[float, Floats]:
        z = X @ terms
        value = float((np.logaddexp(0.0, z) - y * z).sum()) + 0.5 * float(penalty @ (terms * terms))
        return value, X.T @ (sigmoid(z) - y) + penalty * terms

    bounds = [*(BOUNDS[k % len(FEATURES)] for k in range(features.shape[1])), (None, None)]
    terms: Floats = minimize(loss, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return terms / np.append(scale, 1.0)


class _NotPossible(Exception):
    """This method can't be used on these data."""


def _holders(data: Data, code: int, sizes: Ints) -> int:
    """How many patients have references of a group; counted only where it could matter."""
    if sizes[code] < FEWEST_PATIENTS:
        return int(sizes[code])
    return len(np.unique(data.patients[data.groups == code]))


def _components(patients: Ints, groups: Ints, links: Sequence[Ints]) -> Ints:
    """(n,) what must stay together: queries that share a patient, a group or a true reference."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    n = len(patients)
    shared = [patients, np.where(groups >= 0, groups + patients.max() + 1, -1)]
    offset = int(max(part.max() for part in shared)) + 1
    rows, columns = [np.arange(n), np.arange(n)], list(shared)
    if (groups < 0).all():  # pairs: through the references
        rows.append(np.repeat(np.arange(n), [len(own) for own in links]))
        columns.append(np.concatenate(links) + offset)
    i, j = np.concatenate(rows), np.concatenate(columns)
    i, j = i[j >= 0], j[j >= 0] + n
    size = int(j.max()) + 1
    graph = sparse.coo_matrix((np.ones(len(i)), (i, j)), shape=(size, size))
    owner = connected_components(graph, directed=False)[1][:n]
    return np.unique(owner, return_inverse=True)[1]


def _best_true(p: Floats, ids: Ints, true: Ints) -> float:
    """The largest probability of a true reference; minus infinity when none was found."""
    own = p[np.isin(ids, true)]
    return float(own.max()) if len(own) else -np.inf


def _unknown(scores: Floats) -> Floats:
    return np.full(len(scores), np.nan)


def sheet_of(
    ranked: Ranked, truth: Sequence[Ints], patients: Ints, probability: Callable[[Floats], Floats]
) -> Sheet:
    """What a report stores: by query the place of the first true record (0: not found) and nDCG; the shown pairs."""
    place, gains = [], []
    pairs: dict[str, list[Any]] = {"query": [], "score": [], "p": [], "hit": []}
    for i, (ids, odds, true) in enumerate(zip(ranked.found, ranked.log_odds, truth, strict=True)):
        hits = np.isin(ids, true)
        at = np.flatnonzero(hits)
        place.append(int(at[0]) + 1 if len(at) else 0)
        discount = 1.0 / np.log2(np.arange(2, SHOWN + 2))
        possible = discount[: min(SHOWN, len(true))].sum()
        gains.append(float((discount[: len(ids)] * hits[:SHOWN]).sum() / possible) if len(true) else 0.0)
        p = probability(odds[:SHOWN])
        pairs["query"] += [i] * len(p)
        pairs["score"] += odds[:SHOWN].tolist()
        pairs["p"] += [value if np.isfinite(value) else None for value in p.tolist()]
        pairs["hit"] += hits[:SHOWN].astype(int).tolist()
    return {"task": "matching", "true": [len(own) for own in truth], "rank": place, "ndcg": gains,
            "patient": patients.tolist(), "pairs": pairs}  # fmt: skip


def taken(sheet: Sheet, rows: Ints) -> Sheet:
    """Some of its queries."""
    place = {int(row): i for i, row in enumerate(rows)}
    kept = [k for k, query in enumerate(sheet["pairs"]["query"]) if query in place]
    pairs = {name: [values[k] for k in kept] for name, values in sheet["pairs"].items()}
    pairs["query"] = [place[query] for query in pairs["query"]]
    by_query = {name: [sheet[name][i] for i in rows] for name in ("true", "rank", "ndcg", "patient")}
    return {"task": sheet["task"], **by_query, "pairs": pairs}


def _external(pipeline: Matching, fitted: MatchFitted, frame: pd.DataFrame) -> tuple[Ints, list[Ints], dict[str, int]]:
    """(rows that are queries, their true references, how many were left out) of other records."""
    recipe = fitted.recipe
    group, other, belongs = (pipeline.setting(recipe, name) for name in ("group", "other", "belongs"))
    needed = [recipe.target, *(name for name in (group, other, belongs) if name is not None)]
    for name in needed:
        if name not in frame.columns:
            raise EngineError("column_missing", f"There is no column “{name}”.", {"column": name})
    texts = np.array([to_text(cell) is not None for cell in frame[recipe.target].tolist()], dtype=bool)
    if other is not None:
        found = _located(fitted, frame[other].tolist())
        labelled = np.array([_yes(cell) for cell in frame[belongs].tolist()])
        truth = [own if yes else np.zeros(0, dtype=np.int64) for own, yes in zip(found, labelled, strict=True)]
    else:
        names = [to_category(cell) for cell in (frame[group].tolist() if group else [None] * len(frame))]
        codes = [fitted.known_groups.get(name, -1) if name is not None else -1 for name in names]
        of = {code: np.flatnonzero(fitted.groups == code) for code in set(codes) if code >= 0}
        truth = [of.get(code, np.zeros(0, dtype=np.int64)) for code in codes]
    known = texts & np.array([len(own) > 0 for own in truth], dtype=bool)
    rows = np.flatnonzero(known)
    left_out = {"unlabelled": int((~texts).sum()), "unknown_class": int((texts & ~known).sum())}
    return rows, [truth[i] for i in rows], left_out


def _located(fitted: MatchFitted, texts: Sequence[Any]) -> list[Ints]:
    """For each text the reference that it is; none where it is no reference."""
    assert fitted.index is not None
    grams = fitted.grams(texts)
    ranked = Scorer.plain("mixed").rank(fitted.index, grams)
    norm = np.asarray(grams.X.multiply(grams.X).sum(axis=1), dtype=float).ravel()  # 1, or 1/2 where a kind is lacking
    return [ids[scores >= SAME * max(float(n), 1e-9)] for ids, scores, n in zip(ranked.found, ranked.scores, norm, strict=True)]


def _curves(sheet: Sheet) -> dict[str, Any]:
    place = np.array(sheet["rank"])
    places = range(1, SHOWN + 1)
    within = [float(((place > 0) & (place <= k)).mean()) for k in places]
    curves: dict[str, Any] = {"found_within": {"place": list(places), "share": within}}
    pairs = sheet["pairs"]
    if pairs["p"] and not any(p is None for p in pairs["p"]):
        p = np.array(pairs["p"])
        hit = np.array(pairs["hit"], dtype=np.int64)
        curves["calibration"] = calibration_curve(Outcomes(hit, (p >= 0.5).astype(np.int64), two_columns(p), 1))
    return curves


def _explained(fitted: MatchFitted, record: Mapping[str, Any]) -> Reasons:
    assert fitted.index is not None and fitted.scorer is not None
    text = to_text(record.get(fitted.text)) or ""
    ranked = fitted.scorer.rank(fitted.index, fitted.grams([text]))
    if not len(ranked.found[0]):
        return Reasons(None, 0.0, 0.0, "log odds", [])
    best = ranked.found[0][:1]
    parts = ranked.features[0][0] * fitted.scorer.terms
    contributions: list[dict[str, Any]] = [
        {"column": name, "value": float(ranked.features[0][0][k]), "contribution": float(parts[k]),
         "direction": "for" if parts[k] >= 0 else "against"}
        for k, name in enumerate(FEATURES) if fitted.scorer.terms[k] != 0
    ]  # fmt: skip
    contributions.sort(key=lambda item: -abs(item["contribution"]))
    unit = "log odds" if fitted.scorer.method in ("learned", "aligned") else "cosine"
    return Reasons(fitted.name_of(int(best[0])), 0.0, float(ranked.scores[0][0]), unit, contributions,
                   {fitted.text: _words(fitted, text, best)})  # fmt: skip


def _words(fitted: MatchFitted, text: str, best: Ints) -> list[tuple[str, float]]:
    """How much the score of the best falls when a word is taken out of the text (Li et al. 2016, arXiv:1612.08220)."""
    assert fitted.index is not None and fitted.scorer is not None
    words = _split(text)
    if not words:
        return []
    grams: Grams = fitted.grams([text, *(_remove(text, word) for word in words)])
    rows = np.arange(len(words) + 1)
    scores = fitted.scorer.score(fitted.index.features(grams, rows, np.repeat(best, len(rows))))
    pairs = [(word, float(scores[0] - score)) for word, score in zip(words, scores[1:], strict=True)]
    return sorted(pairs, key=lambda pair: -abs(pair[1]))[:SHOWN_WORDS]


PIPELINE = Matching()
