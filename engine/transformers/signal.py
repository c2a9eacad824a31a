"""Signals: recordings of one or many channels, of any length and rate, with gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import FileRefused
from engine.files import Files, source_of
from engine.frozen import Meter
from engine.schema import ColumnSpec, Kind
from engine.signals.layout import DEFAULT, Layout, features_of, laid_out, settle, view_of
from engine.signals.readers import read_signal
from engine.signals.recording import Recording, SignalError
from engine.transformers.base import transformer
from engine.transformers.files import FileTransformer, Source

LOOKED_AT = 48  # recordings of a column that its layout is found from
LOOKED_AT_SAMPLES = 20_000_000  # and samples


class SignalColumn(FileTransformer):
    """One column with its layout; `width` and `shape` may be wider than the layout needs, for its neighbours' sake."""

    dtype = np.float32

    def __init__(self, spec: ColumnSpec, layout: Layout, width: int, shape: tuple[int, ...]) -> None:
        super().__init__([spec])
        self.layout, self.width, self.shape = layout, width, shape

    def read(self, source: Source) -> Recording:
        """The recording with the column's channels at the column's rate."""
        return laid_out(_opened(source, self.specs[0].rate), self.layout)

    def describe(self, item: Recording) -> NDArray[np.float32]:
        """See engine.signals.features."""
        features = np.full(self.width, np.nan, dtype=np.float32)
        features[: self.layout.features] = features_of(item, self.layout)
        return features

    def sketch(self, item: Recording) -> NDArray[np.float32]:
        """(channels, steps): centred, scaled, resampled without aliasing; 0 in gaps."""
        tensor = np.zeros(self.shape, dtype=np.float32)
        view = view_of(item, self.layout)
        tensor[: view.shape[0], : view.shape[1]] = view
        return tensor


@transformer(Kind.SIGNAL)
class SignalTransformer(FileTransformer):
    """A recording becomes statistics, spectrum, rhythm and peaks of each channel (engine.signals.features), and for
    networks (channels, steps) of even length. Each column has a layout of its own, settled on training recordings."""

    dtype = np.float32
    seconds = 4e-3

    def __init__(self, specs: Sequence[ColumnSpec], settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(specs, settings)
        own = self.settings.get("columns")
        layouts = [DEFAULT] * len(self.specs) if own is None else [Layout.from_dict(each) for each in own]
        self.width = max((layout.features for layout in layouts), default=1)
        channels = max((len(layout.names) for layout in layouts), default=1)
        self.shape = (channels, max((layout.steps for layout in layouts), default=1))
        self.parts = [
            SignalColumn(spec, layout, self.width, self.shape)
            for spec, layout in zip(self.specs, layouts, strict=True)
        ]

    @classmethod
    def settle(
        cls, specs: Sequence[ColumnSpec], columns: Sequence[Sequence[Any]], files: Files | None = None
    ) -> dict[str, Any]:
        """The layout of each column."""
        files = files or Files()
        return {
            "columns": [
                settle(_some_recordings(cells, spec, files)).to_dict()
                for spec, cells in zip(specs, columns, strict=True)
            ]
        }

    def part(self, column: int) -> FileTransformer:
        """Each column has a layout of its own."""
        return self.parts[column]

    def _some(
        self, cells: list[tuple[int, int, Any]], files: Files, frozen: list[Any], meter: Meter | None
    ) -> list[Any]:
        done = [self.parts[j]._one(cell, files, False) for _, j, cell in cells]
        return [result[:2] if isinstance(result, tuple) else result for result in done]


def _opened(source: Source, rate: float | None) -> Recording:
    try:
        return read_signal(source, rate)
    except SignalError as error:
        raise FileRefused("file_unreadable", str(error)) from error


def _some_recordings(cells: Sequence[Any], spec: ColumnSpec, files: Files) -> list[Recording]:
    """Recordings from all over the column, as many as can be looked at."""
    places = np.unique(np.linspace(0, len(cells) - 1, min(len(cells), 4 * LOOKED_AT)).astype(int))
    order = np.concatenate([places[k::4] for k in range(4)]) if len(places) else places
    found: list[Recording] = []
    for place in order:
        try:
            source = source_of(cells[place], files.folder)
            if source is not None:
                found.append(_opened(source, spec.rate))
        except FileRefused:
            continue
        if len(found) >= LOOKED_AT or sum(r.values.size for r in found) > LOOKED_AT_SAMPLES:
            break
    return found
