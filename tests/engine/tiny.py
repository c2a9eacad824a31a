"""Tiny data for every task and column kind that the registry names: for tests that run over all candidates."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import engine
from engine import registry
from engine.schema import Kind
from engine.tasks import REDUCED

ROWS = 72
PLAIN = [
    (candidate.name, task)
    for candidate in registry.CANDIDATES.values()
    if not candidate.combines
    for task in candidate.tasks
    if task not in REDUCED
]
PAIRS = PLAIN + [
    (candidate.name, task)
    for candidate in registry.CANDIDATES.values()
    if not candidate.combines and not candidate.reference
    for task in REDUCED
    if candidate.can(task)  # what can tell classes apart can do these too
]
QUICK: dict[str, Any] = {  # hyperparameters that make a fit short, where a candidate has them
    "epochs": 3, "max_iter": 20, "nodes": 8, "n_estimators": 10, "rounds": 20, "steps": 20, "patience": 3, "hidden": 8,
    "width": 8, "trees": 10,
}  # fmt: skip
EPOCHS = {"fusion": 1}  # convolutions on pictures: one pass takes as long as others' whole fits
GRADES = ("none", "mild", "severe")
TARGETS = ["y", "other", "died"]  # columns that belong to a target
WORDS = {"ill": ["fever cough sputum", "fever chills pain"], "well": ["routine visit", "no complaint at all"]}


def quick(name: str) -> dict[str, Any]:
    """Hyperparameters of this candidate within its own limits that make a fit short."""
    found = {}
    for h in registry.get(name).hyperparameters:
        if h.name in QUICK:
            wanted = EPOCHS.get(name, QUICK[h.name]) if h.name == "epochs" else QUICK[h.name]
            found[h.name] = max(wanted, h.low if h.low is not None else wanted)
    return found


def table(name: str, task: str, seed: int = 0, rows: int = ROWS) -> pd.DataFrame:
    """A table that this candidate can learn `y` from; numbers, categories, dates and texts with cells missing."""
    kinds = registry.get(name).kinds
    rng = np.random.default_rng(seed)
    sick = rng.random(rows) < 0.5
    frame = pd.DataFrame({"mrn": [f"P{i // 2:04d}" for i in range(rows)]})
    if Kind.NUMBER in kinds:
        frame["crp"] = np.where(sick, 40.0, 8.0) + rng.normal(0, 14, rows)
        frame["age"] = rng.integers(20, 90, rows).astype(float)
        frame.loc[rng.random(rows) < 0.2, "age"] = np.nan
    if Kind.CATEGORY in kinds:
        frame["ward"] = rng.choice(["north", "south", "east"], rows)
        frame.loc[rng.random(rows) < 0.2, "ward"] = None
    if Kind.DATE in kinds:
        frame["seen"] = pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    if Kind.TEXT in kinds:
        notes = [f"{rng.choice(WORDS['ill' if s else 'well'])} day {rng.integers(9)}" for s in sick]
        frame["note"] = [None if rng.random() < 0.2 else note for note in notes]
    if Kind.IMAGE in kinds:  # decoded already; None where it is missing
        pictures = rng.integers(0, 90, (rows, 16, 16)).astype(np.uint8)
        pictures[sick, 4:10, 4:10] += 120
        frame["scan"] = pd.Series([p if rng.random() > 0.1 else None for p in pictures], dtype=object)
    return frame.assign(**_target(task, sick, rng))


def _target(task: str, sick: Any, rng: np.random.Generator) -> dict[str, Any]:
    """`y`, and what else belongs to the target."""
    n = len(sick)
    noisy = np.where(rng.random(n) < 0.15, ~sick, sick)
    if task == "classification":
        return {"y": np.where(noisy, "ill", "well")}
    if task == "regression":
        return {"y": np.where(sick, 5.0, 1.0) + rng.normal(0, 1, n)}
    if task == "ordinal":
        return {"y": [GRADES[min(int(s) + int(rng.random() < 0.4), 2)] for s in noisy]}
    if task == "multilabel":
        return {"y": np.where(noisy, "yes", "no"), "other": np.where(rng.random(n) < 0.4, "yes", "no")}
    if task == "survival":
        time, end = rng.exponential(np.where(sick, 2.0, 8.0)), rng.uniform(1, 9, n)
        return {"y": np.minimum(time, end), "died": np.where(time <= end, "yes", "no")}
    pytest.skip(f"no tiny data for the task {task} yet")


def recipe(name: str, task: str, **changes: Any) -> engine.Recipe:
    """A quick recipe for exactly this candidate."""
    kinds = registry.get(name).kinds
    frame_kinds = {column: kind.value for column, kind in (("note", Kind.TEXT), ("scan", Kind.IMAGE)) if kind in kinds}
    settings: dict[str, Any] = {
        "target": "y", "patient": "mrn", "task": task, "columns": frame_kinds, "candidates": (name,), "time_budget": 0.5,
        "hyperparameters": {name: quick(name)} if quick(name) else {}, "allow_leaks": True,
    }  # fmt: skip
    own: dict[str, dict[str, Any]] = {
        "ordinal": {"order": GRADES}, "multilabel": {"targets": ("y", "other")}, "survival": {"event": "died", "horizon": 3.0},
    }  # fmt: skip
    return engine.Recipe(**{**settings, **own.get(task, {}), **changes})
