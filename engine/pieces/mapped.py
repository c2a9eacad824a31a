"""Rows in a file that is mapped a stretch at a time, so that what was read before takes no memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 65_536  # rows that are looked at together where only a few numbers of each are needed


@dataclass(frozen=True)
class MappedRows:
    """`rows` rows of `width` numbers (a width of 0: one number each, without an axis of its own).

    One map over the whole file would count every page that was ever looked at as this process's memory.
    """

    path: Path
    rows: int
    width: int
    dtype: Any

    def __len__(self) -> int:
        return self.rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, width) or (rows,)."""
        return (self.rows, self.width) if self.width else (self.rows,)

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """The rows start..stop-1; unmapped again when nobody holds them any more."""
        shape = (stop - start, *self.shape[1:])
        if stop <= start:
            return np.zeros(shape, dtype=self.dtype)
        step = max(self.width, 1) * np.dtype(self.dtype).itemsize
        return np.memmap(self.path, dtype=self.dtype, mode="r", offset=start * step, shape=shape)

    def blocks(self, rows: int = AT_ONCE) -> Iterator[tuple[int, NDArray[Any]]]:
        """(first row, rows) of the whole file."""
        for start in range(0, self.rows, rows):
            yield start, self.block(start, min(start + rows, self.rows))

    def take(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        """Copies of some rows, whose numbers ascend."""
        found = np.empty((len(wanted), *self.shape[1:]), dtype=self.dtype)
        for start, block in self.blocks():
            first, last = np.searchsorted(wanted, (start, start + len(block)))
            found[first:last] = block[wanted[first:last] - start]
        return found


def append(path: Path, at: int, array: NDArray[Any]) -> None:
    """Write at this byte, and through to the disk, before the state says that it is there."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.seek(at)
        file.write(np.ascontiguousarray(array).tobytes())
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
