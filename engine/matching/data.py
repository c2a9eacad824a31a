"""The table of a matching: its texts, which of them belong together, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.cells import to_category, to_number, to_text
from engine.checks import FEW_RECORDS, FEWEST_RECORDS
from engine.metrics import Ints
from engine.pipelines.base import schema_of
from engine.problems import Problem, make_problem
from engine.recipe import Recipe
from engine.schema import Kind, Role, Schema
from engine.training_data import patients_of

WHY_UNDEFINED = "no query here has a true record, or nothing tells how probable a pair is"
MOST_QUERIES = 3000  # that are learned from and validated with; more would add time, not knowledge


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


def match_schema(frame: pd.DataFrame, recipe: Recipe, chosen: Mapping[str, Any]) -> Schema:
    """The text is the one feature; group and label are what is to be known."""
    roles: dict[str, tuple[Kind, Role]] = {recipe.target: (Kind.TEXT, Role.FEATURE)}
    for name, kind in (("group", Kind.CATEGORY), ("belongs", Kind.CATEGORY), ("other", Kind.TEXT)):
        if chosen[name] is not None and chosen[name] not in roles:
            roles[chosen[name]] = (kind, Role.TARGET)
    if recipe.patient is not None:
        roles[recipe.patient] = (Kind.CATEGORY, Role.PATIENT)
    return schema_of(frame, roles)


def rows_of(frame: pd.DataFrame, recipe: Recipe, chosen: Mapping[str, Any], schema: Schema) -> Data:
    """Every row with a text is a query, and a reference unless a column says which are."""
    texts = frame[recipe.target].tolist()
    usable = np.array([to_text(cell) is not None for cell in texts], dtype=bool)
    catalogued = chosen["reference"]
    marked = usable if catalogued is None else usable & np.array([is_yes(cell) for cell in frame[catalogued].tolist()])
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


def pairs_of(frame: pd.DataFrame, recipe: Recipe, chosen: Mapping[str, Any], schema: Schema) -> Data:
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
        (yes if is_yes(label) else no).append((asked[key], references[other]))
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


def is_yes(cell: Any) -> bool:
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


def amount_problems(data: Data, recipe: Recipe) -> Iterator[Problem]:
    n = len(data.references)
    if n < FEWEST_RECORDS:
        yield make_problem("too_few_records", "error", recipe.target, "Only {count} texts in “{column}” can be references; at "
                       "least {least} are needed.", count=n, least=FEWEST_RECORDS)  # fmt: skip
    elif n < FEW_RECORDS:
        yield make_problem("few_records", "warning", recipe.target, "Only {count} labelled records; with fewer than {least} "
                       "every figure is uncertain.", count=n, least=FEW_RECORDS)  # fmt: skip
