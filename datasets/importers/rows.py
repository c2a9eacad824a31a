"""Rows ready to be written, column by column."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from datasets.models import Split

Row = tuple[int, str, str, str | None, str, str]


@dataclass
class Rows:
    """n rows: row numbers, values as JSON, patient keys ("" for none), labels (or null), hashes (32 hex digits each, one
    after the other), and whether they belong to the locked test."""

    numbers: NDArray[np.int64]
    values: pa.StringArray
    keys: pa.StringArray
    labels: pa.StringArray
    hashes: bytes
    test: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Rows":
        """From (row number, values, patient key, label, hash, split) of each row."""
        numbers, values, keys, labels, hashes, splits = zip(*rows, strict=True) if rows else ((),) * 6
        return cls(
            np.array(numbers, dtype=np.int64),
            pa.array(values, pa.string()),
            pa.array(keys, pa.string()),
            pa.array(labels, pa.string()),
            "".join(hashes).encode(),
            np.array([split == Split.TEST for split in splits], dtype=bool),
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def without(self, places: Sequence[int]) -> "Rows":
        """All but these."""
        left = np.ones(len(self), dtype=bool)
        left[list(places)] = False
        mask = pa.array(left)
        hashes = "".join(self.hash_of(int(place)) for place in np.flatnonzero(left)).encode()
        values, keys, labels = (column.filter(mask) for column in (self.values, self.keys, self.labels))
        return Rows(self.numbers[left], values, keys, labels, hashes, self.test[left])

    def hash_of(self, place: int) -> str:
        return self.hashes[32 * place : 32 * place + 32].decode()
