"""The network candidate in pieces: mini-batches over stretches of the mapped file, a checkpoint after each piece.

An epoch walks through all stretches in an order of its own, so that a table sorted by its target does no harm. Patients
that no step learns from decide when to stop; they are others than the validation patients that candidates are compared on.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.candidates.base import StopCheck
from engine.candidates.network import NetworkModel
from engine.checkpoint import Checkpoint
from engine.metrics import Floats
from engine.pieces.mapped import MappedRows
from engine.training_data import TrainingData

if TYPE_CHECKING:
    from engine.candidates.torch_pieces import PieceTrainer

TORCH_MB = 280  # that torch takes once it is loaded and has trained (262 were measured)
STRETCH = 256  # rows that lie together in the file and are read together
PIECE_SHARE, ROOM_SHARE = (
    1 / 16,
    1 / 4,
)  # of the limit and of the room: what a piece, and what a network may take
MOST_IN_PIECE = 200_000
Say = Callable[[int], None]


def torch_megabytes() -> int:
    """What loading torch will add to this process."""
    return 0 if "torch" in sys.modules else TORCH_MB


def rows_in_piece(limit: int, room: int, width: int) -> int:
    """Rows of a piece, a whole number of stretches. By the limit (MB) alone where there is the room (bytes), so that the
    same call gives the same model whatever else the process holds."""
    share = min(PIECE_SHARE * limit * 2**20, ROOM_SHARE * room)
    rows = int(np.clip(share / (width * 4 * 2.5 + 64), STRETCH, MOST_IN_PIECE))
    return max(1, rows // STRETCH) * STRETCH


def fits(settings: NetworkModel, width: int, outputs: int, room: int) -> bool:
    """Whether weights, optimiser and one batch stay within their share of the room."""
    nodes, layers = settings.nodes, settings.hidden_layers
    weights = (width * nodes + max(layers - 1, 0) * nodes**2 + nodes * outputs) if layers else width * outputs
    batch = settings.batch_size * (width + 4 * layers * nodes + 4 * outputs)
    return (
        4 * (7 * weights + batch) <= ROOM_SHARE * room
    )  # float32; value, slope, two moments, the best, and a copy


def settings_for(
    data: TrainingData, rows: int, width: int, given: Mapping[str, Any], seed: int
) -> NetworkModel:
    """The network candidate with its first setting for data of this size, and what the recipe says."""
    first = NetworkModel.trials(data.task, max(rows, 1), width, len(data.classes))[0]
    wished = {
        name: value for name, value in first.items() if name != "networks"
    }  # one, unless more are asked for
    return NetworkModel(task=data.task, seed=seed, **{**wished, **given})


@dataclass
class _Rows:
    """The training rows: features, labels, and whether a row is of a patient that only decides when to stop (1) or not (0)."""

    X: MappedRows
    y: MappedRows
    inner: MappedRows

    def piece(self, stretches: Any, inner: int) -> tuple[Any, Floats]:
        """Features (float32) and labels of these stretches' rows of one side."""
        parts, labels = [], []
        for stretch in stretches:
            start = int(stretch) * STRETCH
            stop = min(start + STRETCH, len(self.X))
            wanted = np.flatnonzero(self.inner.block(start, stop) == inner)
            parts.append(self.X.block(start, stop)[wanted])
            labels.append(self.y.block(start, stop)[wanted])
        return np.concatenate(parts), np.concatenate(labels)

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the labels."""
        n = len(self.y)
        mean = sum(float(block.sum()) for _, block in self.y.blocks()) / n
        return mean, math.sqrt(sum(float(((block - mean) ** 2).sum()) for _, block in self.y.blocks()) / n)


def fit_network(
    kept: Checkpoint, X: MappedRows, y: MappedRows, inner: MappedRows, settings: NetworkModel, outputs: int, rows: int,
    say: Say, stop: StopCheck | None,
) -> NetworkModel:  # fmt: skip
    """Go on where the checkpoint is. `rows` in a piece, `inner` (n,) 1 for rows that only decide when to stop."""
    data = _Rows(X, y, inner)
    mean, spread = (0.0, 1.0) if settings.task == "classification" else data.moments()
    settings.starts(range(outputs), mean, spread)
    found = []
    for number, one in enumerate(settings.single()):
        trainer = _trained(kept, f"network_{number}", data, one, outputs, rows, say, stop)
        found.append((trainer.best_layers(), trainer.curve))
    settings.learned(found)
    return settings


def _trained(
    kept: Checkpoint, name: str, data: _Rows, settings: NetworkModel, outputs: int, rows: int, say: Say,
    stop: StopCheck | None,
) -> PieceTrainer:  # fmt: skip
    from engine.candidates.torch_pieces import PieceTrainer

    trainer = PieceTrainer(settings, data.X.width, outputs)
    state = kept.arrays(name)
    if state:
        trainer.restore(state)
    stretches = math.ceil(len(data.X) / STRETCH)
    each = max(1, rows // STRETCH)
    pieces = math.ceil(stretches / each)
    while not trainer.finished:
        order = np.random.default_rng([settings.seed, trainer.epoch]).permutation(stretches)
        at = trainer.at % pieces
        say(2 * pieces * (trainer.epoch - 1) + trainer.at)
        part = order[at * each : (at + 1) * each]
        judging = (
            trainer.at >= pieces
        )  # every piece is learned from, then the others' rows of every piece are judged
        features, labels = data.piece(part, int(judging))
        target = settings.scaled(labels)
        if judging:
            trainer.judge(features, target)
        else:
            trainer.learn(features, target, stop)
        if trainer.at == 2 * pieces:
            trainer.end_epoch()
        kept.put_arrays(name, trainer.state())
    return trainer
