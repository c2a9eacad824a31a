"""Dates: the day itself, and where in the year and in the week it lies."""

from __future__ import annotations

import numpy as np

from engine.cells import to_days
from engine.metrics import Floats
from engine.schema import Kind
from engine.transformers.base import Block, transformer
from engine.transformers.number import NumberTransformer

YEAR, WEEK = 365.2425, 7.0


@transformer(Kind.DATE)
class DateTransformer(NumberTransformer):
    """A block is (n, columns) days since 1970-01-01; each becomes day, season (sine, cosine) and weekday."""

    parse = staticmethod(to_days)
    per_column = 4

    def expand(self, block: Block) -> Floats:
        """(n, 4 * columns): all days, then all sines and cosines of the season, then all weekdays (0 is Monday)."""
        season = 2.0 * np.pi * block / YEAR
        weekday = np.floor(block + 3.0) % WEEK  # 1970-01-01 was a Thursday
        return np.concatenate([block, np.sin(season), np.cos(season), weekday], axis=1)
