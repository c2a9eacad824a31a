"""What a matching is judged by and explained with: sheets of ranked records, curves, the words two texts share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine.candidates.base import two_columns
from engine.cells import to_category, to_text
from engine.errors import EngineError
from engine.evaluation import calibration_curve
from engine.explanation import SHOWN_WORDS, Reasons, _remove, _split
from engine.matching.data import is_yes
from engine.matching.fitted import SHOWN, MatchFitted, Ranked, Scorer
from engine.matching.index import FEATURES, Grams
from engine.metrics import Floats, Ints, Outcomes
from engine.pipelines.measuring import Sheet

if TYPE_CHECKING:
    from engine.matching.pipeline import Matching

SAME = 1.0 - 1e-5  # cosine from which a text is taken for a reference itself


def best_true(p: Floats, ids: Ints, true: Ints) -> float:
    """The largest probability of a true reference; minus infinity when none was found."""
    own = p[np.isin(ids, true)]
    return float(own.max()) if len(own) else -np.inf


def unknown_probability(scores: Floats) -> Floats:
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


def external(pipeline: Matching, fitted: MatchFitted, frame: pd.DataFrame) -> tuple[Ints, list[Ints], dict[str, int]]:
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
        labelled = np.array([is_yes(cell) for cell in frame[belongs].tolist()])
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


def curves_of(sheet: Sheet) -> dict[str, Any]:
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


def explained(fitted: MatchFitted, record: Mapping[str, Any]) -> Reasons:
    assert fitted.index is not None and fitted.scorer is not None
    text = fitted.read(record.get(fitted.text))
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
