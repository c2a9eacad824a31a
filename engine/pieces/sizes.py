"""How many rows of a table fit into a memory limit: in a piece, in the sample, in front of the trees."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import EngineError
from engine.pieces import network

FEWEST_MB = 120  # of room above what the process already takes
CELL_BYTES = 160  # that one cell of a piece takes at most while it is read, converted and encoded
SAMPLE_CELL_BYTES = 400  # of the sample, which is also checked, measured and compared
MOST_SAMPLED = 20_000


@dataclass
class Sizes:
    """How many rows fit: in a piece, in the sample, and in memory for the trees."""

    piece: int
    sample: int
    room: int  # bytes
    network: bool = False  # whether there is room for torch too, which `room` is then without

    @classmethod
    def of(cls, limit: int, columns: int, wanted: bool) -> Sizes:
        """From the limit in MB and what the process takes already. `wanted`: whether a network is to be trained."""
        room = limit * 2**20 - resident()
        left = room - network.torch_megabytes() * 2**20
        if wanted := wanted and left >= FEWEST_MB * 2**20:
            room = left
        if room < FEWEST_MB * 2**20:
            raise EngineError(
                "memory_limit_too_small", f"{limit} MB are not enough: the process itself takes nearly as much.",
                {"limit": limit},
            )  # fmt: skip
        piece = int(np.clip(0.3 * room / (columns * CELL_BYTES), 500, 100_000))
        sample = int(np.clip(0.4 * room / (columns * SAMPLE_CELL_BYTES), 500, MOST_SAMPLED))
        return cls(piece, sample, room, wanted)


def resident() -> int:
    """Bytes of memory that this process has in use."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 300 * 2**20  # no /proc: about what the libraries take
