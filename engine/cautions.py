"""The warnings beside a prediction: what is missing, unusual or unlike the training data in each row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.encoding import Encoded, Encoder
from engine.schema import ColumnSpec, Kind

Warning_ = dict[str, Any]

_MESSAGES = {
    "missing_value": "“{column}” is missing; training records usually had it.",
    "missing_column": "“{column}” was not given; it counts as missing.",
    "not_a_number": "“{column}” is not a number; it counts as missing.",
    "not_a_date": "“{column}” is not a date; it counts as missing.",
    "infinite": "“{column}” is infinite; it counts as missing.",
    "files_folder_missing": "The file of “{column}” can't be looked for: no folder was given; it counts as missing.",
    "file_refused": "The file of “{column}” lies outside the given folder; it was not opened and counts as missing.",
    "file_missing": "The file of “{column}” is not there; it counts as missing.",
    "file_unreadable": "The file of “{column}” can't be read; it counts as missing.",
    "unseen_category": "“{column}” has the value “{value}”, which training did not know.",
    "out_of_range": "“{column}” is {value:g}; training saw {low:g} to {high:g}.",
    "unusual": "“{column}” is {value:g}; 98 of 100 training records lay between {low:g} and {high:g}.",
    "out_of_distribution": "This record is unlike those the model was trained on; be careful with the result.",
}
RARELY_MISSING = 0.5


def _warning(
    code: str,
    column: str | None = None,
    value: Any = None,
    low: float | None = None,
    high: float | None = None,
) -> Warning_:
    message = _MESSAGES[code].format(column=column, value=value, low=low, high=high)
    return {"code": code, "column": column, "value": value, "low": low, "high": high, "message": message}


def warnings_of(encoder: Encoder, encoded: Encoded, strange: NDArray[np.bool_]) -> list[list[Warning_]]:
    """For each row its warnings; each has code, column, value, low, high and an English message."""
    rows: list[list[Warning_]] = [[] for _ in range(encoded.n)]
    told: set[tuple[int, str]] = set()
    for issue in encoded.issues:
        rows[issue.row].append(_warning(issue.code, issue.column, issue.value))
        told.add((issue.row, issue.column))
    for kind in encoded.blocks:
        if kind is Kind.TEXT:
            continue
        absent = encoder.transformers[kind].absent(encoded.blocks[kind])
        _missing(encoder.specs[kind], absent, told, rows)
        if kind is Kind.NUMBER:
            _unusual(encoder.specs[kind], encoded.blocks[kind], rows)
    for row in np.flatnonzero(strange):
        rows[row].append(_warning("out_of_distribution"))
    return rows


def _missing(
    specs: tuple[ColumnSpec, ...],
    absent: NDArray[np.bool_],
    told: set[tuple[int, str]],
    rows: list[list[Warning_]],
) -> None:
    for row, j in zip(*np.nonzero(absent), strict=True):
        spec = specs[j]
        if spec.missing_share < RARELY_MISSING and (int(row), spec.name) not in told:
            rows[row].append(_warning("missing_value", spec.name))


def _unusual(specs: tuple[ColumnSpec, ...], block: Any, rows: list[list[Warning_]]) -> None:
    for j, spec in enumerate(specs):
        if spec.minimum is None or spec.maximum is None or spec.quantiles is None:
            continue
        low, high = spec.quantiles[0], spec.quantiles[-1]
        column = block[:, j]
        for row in np.flatnonzero((column < low) | (column > high)):
            value = float(column[row])
            if value < spec.minimum or value > spec.maximum:
                rows[row].append(_warning("out_of_range", spec.name, value, spec.minimum, spec.maximum))
            else:
                rows[row].append(_warning("unusual", spec.name, value, low, high))
