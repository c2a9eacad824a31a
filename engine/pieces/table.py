"""A table that is read in pieces: a file or a function that yields frames, and a stable hash of each of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.columns import categories_of
from engine.metrics import Floats

Source = str | Path | Callable[[], Iterator[pd.DataFrame]]


def frames(source: Source, rows: int) -> Iterator[pd.DataFrame]:
    """The table in pieces of at most so many rows."""
    if callable(source):
        for frame in source():
            for start in range(0, len(frame), rows):
                yield frame.iloc[start : start + rows]
        return
    path = Path(source)
    if path.suffix.lower() in (".parquet", ".pq"):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=rows):
                yield batch.to_pandas()
        return
    with pd.read_csv(path, chunksize=rows, low_memory=False) as reader:
        yield from reader


def hashes(frame: pd.DataFrame, row: int, patient: str | None, seed: int) -> tuple[Floats, Floats]:
    """Two numbers in [0, 1) for each row, always the same: one of its patient, one of its own."""
    hash_key = f"{seed:016d}"[-16:]
    own = pd.util.hash_array(np.arange(row, row + len(frame), dtype=np.int64), hash_key=hash_key)
    # numbers are hashed without the key, so the seed is mixed in by multiplication with an odd number
    own = own * np.uint64(2 * seed + 0x9E3779B97F4A7C15)
    mine = own / 2.0**64
    if patient is None or patient not in frame.columns:
        return np.asarray(mine, dtype=float), np.asarray(mine, dtype=float)
    names = categories_of(frame[patient].tolist())
    known = np.array([name is not None for name in names])
    texts = np.array(["" if name is None else name for name in names], dtype=object)
    of_patient = pd.util.hash_array(texts, hash_key=hash_key, categorize=False) / 2.0**64
    return np.where(known, of_patient, mine).astype(float), np.asarray(mine, dtype=float)


def storable(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed cells as texts, so that Parquet takes them; texts are read as numbers where they are some."""
    part = frame.copy()
    for name in part.columns:
        if part[name].dtype == object:
            part[name] = [None if cell is None else str(cell) for cell in categories_of(part[name].tolist())]
    return part


def identity(source: Source) -> Any:
    """What tells one source from another: a file's name, size and time; of a function only its name."""
    if callable(source):
        return getattr(source, "__qualname__", "source")
    status = Path(source).stat()
    return [Path(source).name, status.st_size, status.st_mtime_ns]
