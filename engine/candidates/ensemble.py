"""The ensemble candidate: the fitted candidates' predictions, weighted by how much each adds on validation data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.candidates.base import Model
from engine.metrics import Floats
from engine.registry import Hyperparameter, candidate


@candidate(
    "ensemble",
    label="Ensemble",
    description="A weighted mean of the other candidates, each counted by what it adds on validation data.",
    hyperparameters=(
        Hyperparameter("rounds", "int", 20, "How often a member is added; more rounds give finer weights.",
                       low=1, high=500),
    ),
    combines=True,
)  # fmt: skip
class EnsembleModel(Model):
    """Holds the rounds; the members are whole fitted candidates and the weights are found by `greedy_weights`."""

    def __init__(self, *, task: str = "classification", rounds: int = 20, seed: int = 0) -> None:
        self.task = task
        self.rounds = rounds
        self.seed = seed


def greedy_weights(members: list[Floats], gain: Callable[[Floats], float], rounds: int) -> Floats:
    """Weights (members,) that sum to 1, by adding the member that helps most, again and again.

    `members` are out-of-fold probabilities (n, k) or numbers (n,); `gain` is to be large. Ensemble selection with
    replacement: Caruana et al. 2004, doi:10.1145/1015330.1015432.
    """
    counts = np.zeros(len(members))
    total = np.zeros_like(members[0])
    best_gain, best_counts = -np.inf, counts
    for step in range(1, rounds + 1):
        gains = [gain((total + member) / step) for member in members]
        chosen = int(np.argmax(gains))
        counts[chosen] += 1
        total = total + members[chosen]
        if gains[chosen] > best_gain + 1e-12:
            best_gain, best_counts = gains[chosen], counts.copy()
    even = np.full(len(members), 1.0 / len(members))
    weights: Floats = best_counts / best_counts.sum() if best_counts.sum() else even
    return weights
