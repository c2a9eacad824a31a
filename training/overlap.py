"""How many of some records a version has learned from: scored on those, a model looks better than it is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accounts.actor import Actor
from datasets.versions import iter_frames
from training import queries
from training.models import ModelVersion

PRIME = np.uint64(
    1_099_511_628_211
)  # FNV-1a's: mixes the columns so that equal values in other columns differ
ROWS = 50_000


def learned_from(actor: Actor, version: ModelVersion, table: pd.DataFrame) -> int | None:
    """How many rows equal a training record in each of the model's columns that the table has, the label among them.

    None when it cannot be told: the frozen records are gone, or the model is another organisation's, which must not
    learn from the answer whom a model was trained on.
    """
    version = ModelVersion.objects.select_related("model", "run__version__file").get(pk=version.pk)
    frozen = version.run.version
    if not queries.is_own(actor.organisation, version.model) or frozen is None or frozen.file is None:
        return None
    there = {c["name"] for c in frozen.columns} & set(table.columns)
    kinds = {
        c["name"]: "category" if c["name"] == version.model.target and c["kind"] != "number" else c["kind"]
        for c in version.schema["columns"]
        if c["name"] in there and (c["role"] == "feature" or c["name"] == version.model.target)
    }
    if len(kinds) < 2:
        return None
    asked = fingerprints(table, kinds)
    seen: set[int] = set()
    wanted = set(asked.tolist())
    for piece in iter_frames(frozen, "train", rows=ROWS, columns=list(kinds)):
        seen |= wanted.intersection(fingerprints(piece, kinds).tolist())
    return int(np.isin(asked, np.array(sorted(seen), dtype=np.uint64)).sum())


def fingerprints(table: pd.DataFrame, kinds: Mapping[str, str]) -> NDArray[np.uint64]:
    """One number a row: equal for rows that the engine reads as the same values, however they are written."""
    total = np.zeros(len(table), dtype=np.uint64)
    for name, kind in kinds.items():
        total = total * PRIME ^ column_hashes(table[name], kind)
    return total


def column_hashes(column: pd.Series, kind: str) -> NDArray[np.uint64]:
    """A hash of each cell as the engine reads it."""
    from engine.cells import to_category, to_days, to_number, to_text

    if kind == "number":
        numbers = [to_number(value)[0] for value in column.tolist()]
        cells = np.array(numbers, dtype=float) + 0.0  # no minus zero
        cells[np.isnan(cells)] = np.nan  # one bit pattern
        return pd.util.hash_array(cells)
    if kind == "date":
        return pd.util.hash_array(np.array([repr(to_days(v)[0]) for v in column.tolist()], dtype=object))
    read: Any = (lambda v: (to_text(v) or "").strip()) if kind == "text" else (lambda v: to_category(v) or "")
    codes, values = pd.factorize(np.array([read(v) for v in column.tolist()], dtype=object))
    return pd.util.hash_array(np.asarray(values, dtype=object))[codes]
