"""A signal as it is drawn: for each stretch of time the least and the greatest of each channel in every column of a tile.

Tiles halve from level to level: `trace0` is the whole recording in one, `trace1` in two, until a tile holds its samples
themselves. So a day of ECG is as cheap to look at as ten seconds, and no peak is lost.
"""

import struct
from pathlib import Path

import numpy as np

from datasets.viewer.looking import TRACE, About, Plane, Signal
from engine.signals.readers import read_signal

COLUMNS = 1024  # of a tile
MOST_LEVELS = 16
MOST_CHANNELS = 64


class Traces:
    """A recording in memory."""

    def __init__(self, path: Path) -> None:
        self.recording = read_signal(path)
        self.values = self.recording.values[:MOST_CHANNELS]
        self.length = self.values.shape[1]
        self.levels = 1
        while self.length > COLUMNS * 2 ** (self.levels - 1) and self.levels < MOST_LEVELS:
            self.levels += 1

    def about(self, whole: bool = False) -> About:
        channels = len(self.values)
        planes = [Plane(f"trace{level}", 2**level, COLUMNS, channels) for level in range(self.levels)]
        names = tuple(self.recording.names[:MOST_CHANNELS])
        own = Signal(self.recording.seconds, self.recording.rate_known, self.recording.millivolts, names)
        return About(planes, signal=own)

    def frame(self, plane: str, index: int) -> bytes:
        count = 2 ** int(plane.removeprefix("trace"))
        first, last = (round(self.length * edge / count) for edge in (index, index + 1))
        part = self.values[:, first : max(last, first + 1)]
        columns = min(COLUMNS, part.shape[1])
        cuts = np.linspace(0, part.shape[1], columns + 1).round().astype(int)[:-1]
        with np.errstate(invalid="ignore"):
            low, high = np.fmin.reduceat(part, cuts, axis=1), np.fmax.reduceat(part, cuts, axis=1)
        content = np.stack([low, high], axis=2).astype("<f4")
        return struct.pack("<4sHH", TRACE, len(part), columns) + content.tobytes()
