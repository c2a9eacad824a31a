"""The problems that would flatter a model: columns that give the answer away, and what is done about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from engine.problems import Problem, make_problem
from engine.recipe import Recipe
from engine.split import deal, strata_of
from engine.suspicion import Suspicion, suspicions
from engine.tasks import special
from engine.training_data import TrainingData, unsupported

MOST_CHECKED = 20_000  # rows in which columns that give the answer away are looked for
RARE = 200  # rows of a class that are all looked at

SUSPICIOUS = {
    "leak": "“{column}” alone gives the answer away (it explains {percent} % of what there is to explain). Is it written down "
    "after the diagnosis?",
    "leak_missing": "Whether “{column}” is filled in gives the answer away (agreement beyond chance: {percent} %). Is it only "
    "recorded for some diagnoses?",
    "leak_afterwards": "“{column}” sounds like something that is known only after the diagnosis.",
    "source_per_class": "“{column}” nearly tells the diagnosis (agreement beyond chance: {percent} %): each place or device "
    "has patients of one class, so a model would learn the place.",
}
LEFT_OUT = " It is left out, unless suspicious columns are allowed."
USED = " It is used all the same, because suspicious columns are allowed."
DOUBTFUL = {
    "perhaps_afterwards": "“{column}” may be known only after the diagnosis: if so, leave it out.",
    "source_one_class": "All {count} patients of “{value}” in “{column}” have the class “{label}”, elsewhere not: what tells the "
    "place would pass for a sign of the disease.",
    "patient_suspected": "“{column}” holds {count} different codes in {total} rows: if it is the patient's number, name it as "
    "the patient column, or one patient's records are on both sides of every split.",
    "duplicates_contradict": "{count} rows are alike in every column but differ in their label: one of them must be wrong, or "
    "what decides is not in the table.",
}


def to_be_looked_at(data: TrainingData, recipe: Recipe) -> TrainingData:
    """All rows, or so many of whole patients that the slow checks stay quick."""
    if len(data.y) <= MOST_CHECKED or special(data.task) is not None:
        return data
    strata = strata_of(data.y, data.task)
    size = np.bincount(strata)
    drawn = deal(data.patients, strata, -(-len(data.y) // MOST_CHECKED), recipe.seed) == 0
    rows = np.flatnonzero(drawn | (size[strata] <= RARE))
    patients = np.unique(data.patients[rows], return_inverse=True)[1]
    frame = data.frame.iloc[rows].reset_index(drop=True)
    return replace(data, frame=frame, y=data.y[rows], patients=patients)


def suspicious(data: TrainingData, part: TrainingData, recipe: Recipe) -> Iterator[Problem]:
    """What would flatter the model. Columns that give the answer away are left out, or used when that is allowed."""
    found = suspicions(data, recipe, part)
    for each in found:
        if not each.leave_out:
            yield make_problem(each.code, "warning", each.column, DOUBTFUL[each.code], **each.params)
        elif recipe.allow_leaks:
            text = SUSPICIOUS[each.code] + USED
            yield make_problem(f"{each.code}_used", "warning", each.column, text, **each.params)
        else:
            yield make_problem(each.code, "warning", each.column, SUSPICIOUS[each.code] + LEFT_OUT, **each.params)
    if not recipe.allow_leaks:
        yield from _nothing_left(data, found)


def _nothing_left(data: TrainingData, found: list[Suspicion]) -> Iterator[Problem]:
    left_out = {str(each.column) for each in found if each.leave_out}
    usable = {c.name for c in data.schema.features} - set(unsupported(data.schema))
    if left_out and usable <= left_out:
        names = ", ".join(sorted(left_out))
        yield make_problem(
            "only_leaks", "error", None,
            "Without the columns that give the answer away ({names}) there is nothing to learn from.", names=names,
        )  # fmt: skip


def left_out(problems: list[Problem]) -> list[dict[str, Any]]:
    """[{column, code, why, params}] of the columns that are left out of training as suspicious."""
    return [
        {"column": problem.column, "code": problem.code, "why": problem.message, "params": problem.params}
        for problem in problems
        if problem.code in SUSPICIOUS and problem.column is not None
    ]


LEAKAGE = frozenset(
    [*SUSPICIOUS, *(f"{code}_used" for code in SUSPICIOUS), *DOUBTFUL, "duplicates", "column_identifier", "patient_guessed",
     "column_identifier_used", "patient_contradicts", "only_leaks", "time_missing", "split_by_impossible"]
)  # fmt: skip
