"""What each modality adds: the validation score of the same candidate without it, and the difference with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.assembly import Contender
from engine.candidates.base import StopCheck
from engine.encoding import Encoded
from engine.metrics import METRICS, Floats, Ints, score, score_all
from engine.registry import Candidate, get
from engine.schema import Kind
from engine.split import resamples
from engine.validation import RESAMPLES, Validator

TABLE = frozenset({Kind.NUMBER, Kind.CATEGORY, Kind.DATE})
SHARE = 0.15  # of the budget that may be spent on it


def modalities_of(kinds: Sequence[Kind]) -> dict[str, tuple[Kind, ...]]:
    """Numbers, categories and dates are one modality (the table), each other kind is its own."""
    found: dict[str, tuple[Kind, ...]] = {}
    for kind in kinds:
        name = "table" if kind in TABLE else kind.value
        found[name] = (*found.get(name, ()), kind)
    return found


def what_each_adds(
    validator: Validator, contenders: Sequence[Contender], best: str, budget: float, stop: StopCheck | None
) -> dict[str, Any] | None:
    """{candidate, metric, value, without: [{modality, columns, value, difference, low, high}]}.
    None for one modality, and for other tasks than classification and regression.

    The best candidate is fitted again on every fold without the columns of one modality, with the settings that it
    has; where that would take too long (by its estimated cost), the quickest other candidate is. `difference` is the
    gain from having the modality (positive: it helps), `low` to `high` its 95% interval, patients resampled.
    """
    found = modalities_of(list(validator.encoded.blocks))
    if len(found) < 2 or validator.data.task not in ("classification", "regression"):
        return None  # the other tasks have outcomes of their own
    contender = _affordable(validator, contenders, best, budget, len(found))
    if contender is None:
        return None
    member, whole = contender.members[0], contender.raw
    entries = []
    for name, kinds in found.items():
        blocks = {kind: block for kind, block in validator.encoded.blocks.items() if kind not in kinds}
        reduced = replace(validator, encoded=Encoded(validator.encoded.n, blocks))
        own = {k: v for k, v in member.hyperparameters.items() if k in get(member.candidate).defaults()}
        without = reduced.kept(reduced.run(get(member.candidate), own, member.preprocessor.choices, stop)).raw
        columns = [spec.name for kind in kinds for spec in validator.encoder.specs[kind]]
        entries.append({"modality": name, "columns": columns, **_compared(validator, whole, without, contender.rows)})
    value = score(validator.outcomes(whole, contender.rows), validator.metric)
    return {"candidate": contender.name, "metric": validator.metric, "value": _plain(value), "without": entries}


def _affordable(
    validator: Validator, contenders: Sequence[Contender], best: str, budget: float, count: int
) -> Contender | None:
    order = sorted(contenders, key=lambda c: (c.name != best, _cost(validator, c)))
    runs = count * len(validator.folds)
    return next((c for c in order if _cost(validator, c) * runs <= SHARE * budget), None)


def _cost(validator: Validator, contender: Contender) -> float:
    from engine.plan import row_seconds

    data, member = validator.data, contender.members[0]
    candidate: Candidate = get(member.candidate)
    files = {"row_seconds": row_seconds(data)} if candidate.model.wants_tensors else {}
    width = len(member.preprocessor.origins)
    return candidate.model.cost(len(data.y), width, max(len(data.classes), 1), {**member.hyperparameters, **files})


def _compared(validator: Validator, whole: Floats, without: Floats, rows: Ints) -> dict[str, float | None]:
    metric = validator.metric
    a, b = validator.outcomes(whole, rows), validator.outcomes(without, rows)
    sign = 1.0 if METRICS[metric].better == "higher" else -1.0
    patients = np.unique(validator.data.patients[rows], return_inverse=True)[1]
    drawn = np.concatenate([
        sign * (score_all(a, weights, (metric,))[metric] - score_all(b, weights, (metric,))[metric])
        for weights in resamples(patients, RESAMPLES, validator.seed)
    ])  # fmt: skip
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (np.nan, np.nan)
    value = score(b, metric)
    return {"value": _plain(value), "difference": _plain(sign * (score(a, metric) - value)), "low": _plain(low),
            "high": _plain(high)}  # fmt: skip


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
