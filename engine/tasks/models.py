"""The one door to a candidate's model, whatever the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.candidates.base import Model
from engine.registry import Candidate
from engine.tasks import special


def build(
    candidate: Candidate, task: str, seed: int, hyperparameters: Mapping[str, Any], details: Mapping[str, Any]
) -> Model:
    """An unfitted model: the candidate's own class, or for the tasks of this package what they make of it."""
    own = None if task in candidate.tasks else special(task)
    if own is None:
        return candidate.model(task=task, seed=seed, **hyperparameters)
    return own.build(candidate, seed, hyperparameters, dict(details))
