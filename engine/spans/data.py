"""The texts of a span task with their marks, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.checks import FEW_PATIENTS, FEWEST_PATIENTS
from engine.metrics import Ints
from engine.pipelines.base import schema_of
from engine.problems import Problem, make_problem
from engine.recipe import Recipe
from engine.schema import Kind, Role, Schema
from engine.spans.tokens import Span, Tokens

WHY_UNDEFINED = "there is no span in these texts, or none was found"
FEWEST_SPANS = 10


@dataclass(frozen=True)
class Data:
    """n annotated texts, their spans, labels and patients; `lost` annotations overlap others or hold no token."""

    texts: list[str]
    spans: list[list[Span]]
    labels: list[str]
    patients: Ints
    tokens: Tokens
    tags: Ints
    lost: int
    rows: Ints
    total: int


def problems_of(data: Data, recipe: Recipe) -> Iterator[Problem]:
    column = recipe.target
    counts = Counter(span.label for own in data.spans for span in own)
    patients = int(data.patients.max()) + 1
    if recipe.candidates:
        yield make_problem("candidate_wrong_task", "error", None, "The candidate “{candidate}” cannot do {task}.",
                       candidate=recipe.candidates[0], task="spans")  # fmt: skip
    if sum(counts.values()) < FEWEST_SPANS:
        yield make_problem("too_few_records", "error", column, "Only {count} spans in “{column}”; at least {least} are needed.",
                       count=sum(counts.values()), least=FEWEST_SPANS)  # fmt: skip
    if patients < FEWEST_PATIENTS:
        yield make_problem("too_few_patients", "error", None, "Only {count} patients; at least {least} are needed.",
                       count=patients, least=FEWEST_PATIENTS)  # fmt: skip
    elif patients < FEW_PATIENTS:
        yield make_problem("few_patients", "warning", None, "Only {count} patients; with fewer than {least} every figure is "
                       "uncertain.", count=patients, least=FEW_PATIENTS)  # fmt: skip
    if data.total > len(data.texts):
        yield make_problem("labels_missing", "warning", column, "{count} of {total} rows have no value in “{column}” and are "
                       "left out.", count=data.total - len(data.texts), total=data.total)  # fmt: skip
    if data.lost:
        yield make_problem("spans_overlap", "warning", column, "{count} spans of “{column}” overlap another or hold no word, and "
                       "are left out.", count=data.lost)  # fmt: skip
    for label, count in sorted(counts.items()):
        if count < FEWEST_SPANS:
            yield make_problem("class_small", "warning", column, "The label “{value}” of “{column}” has only {count} spans; its "
                           "figures will be uncertain.", value=label, count=count)  # fmt: skip


def part_of(data: Data, found: Ints, rows: Ints) -> tuple[Tokens, Ints, Ints]:
    """(tokens, buckets, tags) of some texts."""
    starts, tokens = data.tokens.starts, data.tokens
    each = [np.arange(starts[i], starts[i + 1]) for i in rows]
    take = np.concatenate(each) if each else np.zeros(0, dtype=np.int64)
    own = Tokens(np.concatenate([[0], np.cumsum([len(part) for part in each])]).astype(np.int64), tokens.begin[take],
                 tokens.end[take], tokens.hashes[:, take])  # fmt: skip
    return own, found[take], data.tags[take]


def span_schema(frame: pd.DataFrame, recipe: Recipe, text: str) -> Schema:
    """The text is the one feature."""
    roles = {} if text == recipe.target else {recipe.target: (Kind.TEXT, Role.TARGET)}
    roles[text] = (Kind.TEXT, Role.FEATURE)
    if recipe.patient is not None:
        roles[recipe.patient] = (Kind.CATEGORY, Role.PATIENT)
    return schema_of(frame.rename(columns=str), roles)
