"""The decision curve: is deciding by the model better than treating everybody or nobody, at each threshold?"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.metrics import Floats, Ints, Outcomes
from engine.split import resamples

THRESHOLDS: Floats = np.arange(1, 100) / 100.0
MOST_CELLS = 100_000_000  # records times resamples


def decision_curve(outcomes: Outcomes, patients: Ints, resampled: int, seed: int) -> dict[str, Any] | None:
    """Net benefit of two classes at thresholds of 1 to 99%, with 95% bands over patients; None for other tasks.

    Net benefit = true positives / n - false positives / n x threshold / (1 - threshold): a threshold of 10% says that
    a missed finding is as bad as nine false alarms (Vickers & Elkin 2006, doi:10.1177/0272989X06295361). `treat_none` is
    0 everywhere. `useful`: the thresholds at which the model is above both others.
    """
    if outcomes.probabilities is None or outcomes.probabilities.shape[1] != 2:
        return None
    p, hit = outcomes.probabilities[:, outcomes.positive], outcomes.truth == outcomes.positive
    model, everybody = net_benefit(p, hit.astype(float), np.ones((1, outcomes.n)))
    count = min(resampled, max(50, MOST_CELLS // max(outcomes.n, 1)))
    curve: dict[str, Any] = {
        "threshold": THRESHOLDS.tolist(), "model": model[0].tolist(), "treat_all": everybody[0].tolist(),
        "treat_none": 0.0, "useful": THRESHOLDS[model[0] > np.maximum(everybody[0], 0.0) + 1e-12].tolist(),
    }  # fmt: skip
    if count > 0 and resampled > 0:
        drawn = [
            net_benefit(p, hit.astype(float), weights)[0] for weights in resamples(patients, count, seed)
        ]
        low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975), axis=0)
        curve |= {"low": np.minimum(low, model[0]).tolist(), "high": np.maximum(high, model[0]).tolist()}
    return curve


def net_benefit(p: Floats, hit: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(B, thresholds) of the model and of treating everybody, for each row of `weights` (B, n)."""
    order = np.argsort(-p, kind="stable")
    called = np.searchsorted(-p[order], -THRESHOLDS, side="right")  # how many have p >= threshold
    ordered = weights[:, order]
    nothing = np.zeros((len(weights), 1))
    true = np.concatenate([nothing, np.cumsum(ordered * hit[order], axis=1)], axis=1)
    all_of = np.concatenate([nothing, np.cumsum(ordered, axis=1)], axis=1)
    total, odds = all_of[:, -1:], THRESHOLDS / (1.0 - THRESHOLDS)
    found, named = true[:, called], all_of[:, called]
    model: Floats = (found - (named - found) * odds) / total
    everybody: Floats = (true[:, -1:] - (total - true[:, -1:]) * odds) / total
    return model, everybody
