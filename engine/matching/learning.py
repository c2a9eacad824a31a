"""How likeness is learned, judged on queries that had no part in it, and calibrated."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from engine.calibration import Calibrator, conformal_quantile
from engine.candidates.base import sigmoid, two_columns
from engine.encoding import Encoder
from engine.findings import CandidateResult, Search, Watch
from engine.matching.data import MOST_QUERIES, WHY_UNDEFINED, Data, taught_queries
from engine.matching.fitted import SHOWN, MatchFitted, Ranked, Scorer, counts_of, share_odds
from engine.matching.index import FEATURES, Index, Meaning, Weights, flat
from engine.matching.judging import best_true, sheet_of, unknown_probability
from engine.metrics import Floats, Ints
from engine.novelty import Novelty
from engine.pipelines.measuring import measure
from engine.problems import Problem
from engine.recipe import Recipe
from engine.schema import Kind, Role, Schema
from engine.split import folds
from engine.training_data import FEWEST_PATIENTS
from engine.validation import RESAMPLES

if TYPE_CHECKING:
    from engine.matching.pipeline import Matching

# Likeness never counts against a pair, nor another length for it, whatever chance says: else a text that is the same as a
# reference, which training never saw as it leaves each text's own out, could come behind another.
BOUNDS = [(None, 0.0) if name == "other length" else (0.0, None) for name in FEATURES]
MOST_TAUGHT = 1000  # that the order and the pairs of a fold are learned from: 50,000 pairs
FOLDS = 3
LABELS = {"words": "Same words", "mixed": "Same words and characters", "learned": "Learned likeness",
          "aligned": "Learned likeness and meaning"}  # fmt: skip


class Run:
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
        draft = sheet_of(ranked, self.truth, self.patients, unknown_probability)
        hit, query = np.array(draft["pairs"]["hit"]), np.array(draft["pairs"]["query"], dtype=np.int64)
        if 0 < hit.sum() < len(hit) and fitted.scorer is not None and fitted.scorer.pair.any():
            scores = np.concatenate([own[:SHOWN] for own in ranked.log_odds])
            codes = np.unique(self.patients[query], return_inverse=True)[1]
            fitted.calibrator.fit(two_columns(sigmoid(scores)), hit.astype(np.int64), codes, self.recipe.seed)
            fitted.calibrated = True
            missed = [1.0 - best_true(p, ids, true) for p, ids, true in
                      zip(map(fitted.calibrate, ranked.log_odds), ranked.found, self.truth, strict=True)]  # fmt: skip
            fitted.reach = conformal_quantile(np.array(missed), self.patients, self.recipe.coverage)
        sheet = sheet_of(ranked, self.truth, self.patients, fitted.calibrate)
        measured = measure(
            self.pipeline.scores, self.pipeline.metrics, sheet, self.patients, RESAMPLES, self.recipe.seed, WHY_UNDEFINED
        )
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
