"""One network for all kinds of a record: an encoder for each kind of file, one for the table, and gates between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.bundle import Bundle
from engine.candidates.base import Curve, StopCheck
from engine.metrics import Floats, Ints
from engine.networks.base import ENCODERS
from engine.schema import Kind
from engine.transformers.files import one_thread

if TYPE_CHECKING:
    from engine.candidates.fusion import FusionModel

Shapes = dict[Kind, tuple[int, ...]]  # kind -> (columns, *shape of a tensor)
FORGOTTEN = 0.1  # share of files hidden at each step, so that a record without one is nothing new
SERVED = 128  # rows at once
WARM = 0.15  # of all steps until the learning rate is reached; then it falls to 0 along a cosine


class FusionNetwork(nn.Module):
    """Each file's vector is added to the table's, as far as a gate that looks at both lets it through.

    Gated multimodal units (Arevalo et al. 2017, arXiv:1702.01992), additive, so that an absent file adds nothing.
    """

    def __init__(self, table: int, shapes: Shapes, width: int, dropout: float, outputs: int) -> None:
        super().__init__()
        self.kinds = list(shapes)
        self.table = nn.Sequential(nn.Linear(table, width), nn.ReLU(), nn.Dropout(dropout))
        self.encoders = nn.ModuleDict(
            {kind.value: ENCODERS[kind].build(shape[1:], width) for kind, shape in shapes.items()}
        )
        self.columns = nn.ParameterDict(
            {kind.value: nn.Parameter(torch.zeros(shape[0], width)) for kind, shape in shapes.items()}
        )
        self.gates = nn.ModuleDict({kind.value: nn.Linear(2 * width, width) for kind in shapes})
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, outputs)
        )

    def forward(self, table: torch.Tensor, files: Mapping[Kind, tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """`files`: kind -> (tensors (b, columns, ...), present (b, columns)); only cells that are there are encoded."""
        known: torch.Tensor = self.table(table)
        total = known
        for kind in self.kinds:
            tensors, present = files[kind]
            rows, columns = torch.nonzero(present, as_tuple=True)
            if not len(rows):
                continue
            seen = self.encoders[kind.value](tensors[rows, columns]) + self.columns[kind.value][columns]
            gate = torch.sigmoid(self.gates[kind.value](torch.cat([known[rows], seen], dim=1)))
            total = total.index_add(0, rows, gate * seen)
        result: torch.Tensor = self.head(total)
        return result


def shapes_of(bundle: Bundle) -> Shapes:
    """What of a bundle the network can look at."""
    return {kind: tensors.shape[1:] for kind, (tensors, _) in bundle.tensors.items() if kind in ENCODERS}


def build(settings: FusionModel, table: int, shapes: Shapes, outputs: int) -> FusionNetwork:
    """A network with random weights."""
    return FusionNetwork(table, shapes, settings.width, settings.dropout, outputs)


def train(
    settings: FusionModel, X: Bundle, y: Floats | Ints, train_rows: Ints, held_rows: Ints, outputs: int,
    stop: StopCheck | None,
) -> tuple[FusionNetwork, Curve]:  # fmt: skip
    """Train until the held-out loss stops falling; the best epoch's weights are kept."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return _Loop(settings, X, y, outputs).run(train_rows, held_rows, stop)


class _Loop:
    def __init__(self, settings: FusionModel, X: Bundle, y: Floats | Ints, outputs: int) -> None:
        self.settings, self.X = settings, X
        self.table = torch.from_numpy(X.dense().astype(np.float32))
        self.shapes = shapes_of(X)
        self.network = build(settings, self.table.shape[1], self.shapes, outputs)
        classify = settings.task == "classification"
        self.loss_of: nn.Module = nn.CrossEntropyLoss() if classify else nn.MSELoss()
        self.targets = torch.from_numpy(y.astype(np.int64) if classify else y.astype(np.float32)[:, None])
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.knobs: dict[str, Any] = {"augmentation": settings.augmentation, "allow_flip": settings.allow_flip}

    def run(self, train_rows: Ints, held_rows: Ints, stop: StopCheck | None) -> tuple[FusionNetwork, Curve]:
        settings, network = self.settings, self.network
        optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        batches = max(1, -(-len(train_rows) // settings.batch_size))
        rate = torch.optim.lr_scheduler.LambdaLR(optimiser, _falling(settings.epochs * batches))
        curve: Curve = {"epoch": [], "train_loss": [], "validation_loss": []}
        best, kept, since = float("inf"), _copy(network), 0
        for epoch in range(1, settings.epochs + 1):
            if stop is not None:
                stop(curve)
            trained = self._epoch(train_rows, optimiser, rate, stop)
            held = self._loss(held_rows) if len(held_rows) else trained
            for name, value in zip(curve, (float(epoch), trained, held), strict=True):
                curve[name].append(value)
            if held < best - 1e-5:
                best, kept, since = held, _copy(network), 0
            else:
                since += 1
                if since >= settings.patience:
                    break
        network.load_state_dict(kept)
        return network.eval(), curve

    def _epoch(self, rows: Ints, optimiser: Any, rate: Any, stop: StopCheck | None) -> float:
        self.network.train()
        total = 0.0
        order = rows[torch.randperm(len(rows), generator=self.generator).numpy()]
        for start in range(0, len(order), self.settings.batch_size):
            batch = order[start : start + self.settings.batch_size]
            if stop is not None:
                stop({})
            optimiser.zero_grad()
            loss = self.loss_of(self.network(self.table[batch], self._changed(batch)), self.targets[batch])
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            optimiser.step()
            rate.step()
            total += float(loss.detach()) * len(batch)
        return total / max(len(rows), 1)

    def _changed(self, rows: Ints) -> dict[Kind, tuple[torch.Tensor, torch.Tensor]]:
        """The files of a batch, augmented, some of them hidden."""
        files = {}
        for kind, (tensors, present) in files_of(self.X, rows, self.shapes).items():
            keep = torch.rand(present.shape, generator=self.generator) >= FORGOTTEN
            if present.any():
                cells = ENCODERS[kind].augment(tensors[present], self.generator, self.knobs)
                tensors[present] = cells
            files[kind] = (tensors, present & keep)
        return files

    def _loss(self, rows: Ints) -> float:
        scores = torch.from_numpy(scores_of(self.network, self.X, rows, self.shapes))
        return float(self.loss_of(scores, self.targets[rows]))


def _falling(steps: int) -> Any:
    warm = max(1, round(WARM * steps))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1.0 + float(np.cos(np.pi * min((step - warm) / max(steps - warm, 1), 1.0))))

    return factor


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def files_of(X: Bundle, rows: Ints, shapes: Shapes) -> dict[Kind, tuple[torch.Tensor, torch.Tensor]]:
    """Some rows' tensors as float32 (bytes as 0 to 1), and which are there."""
    found = {}
    for kind in shapes:
        tensors, present = X.tensors[kind]
        array = tensors[rows]
        values = torch.from_numpy(array).float() / 255.0 if array.dtype == np.uint8 else torch.from_numpy(array).float()
        found[kind] = (values, torch.from_numpy(np.ascontiguousarray(present[rows])))
    return found


def scores_of(network: FusionNetwork, X: Bundle, rows: Ints, shapes: Shapes) -> NDArray[np.float32]:
    """(rows, outputs) scores without any randomness."""
    network.eval()
    if not len(rows):
        last: Any = network.head[-1]
        return np.zeros((0, last.out_features), dtype=np.float32)
    table = X.table[rows]
    table = np.asarray(table.todense() if hasattr(table, "todense") else table, dtype=np.float32)
    parts = []
    with torch.no_grad():
        for start in range(0, len(rows), SERVED):
            some = rows[start : start + SERVED]
            part = torch.from_numpy(np.ascontiguousarray(table[start : start + SERVED]))
            parts.append(network(part, files_of(X, some, shapes)).numpy())
    scores: NDArray[np.float32] = np.concatenate(parts)
    return scores


def state_of(network: FusionNetwork) -> dict[str, NDArray[Any]]:
    """All weights by name."""
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def load_state(network: FusionNetwork, state: Mapping[str, NDArray[Any]]) -> FusionNetwork:
    """The inverse of `state_of`; names and shapes must be those of the network."""
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()}, strict=True)
    return network.eval()
