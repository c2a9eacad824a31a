"""The network's training loop for data that comes in pieces, with a state that can be kept after each piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.candidates.base import Curve, StopCheck
from engine.candidates.torch_loop import (
    BETTER,
    Layers,
    build,
    layers_of,
    loss_for,
    loss_on,
    one_epoch,
    optimiser_for,
)
from engine.metrics import Floats

if TYPE_CHECKING:
    from engine.candidates.network import NetworkModel

JUDGED_AT_ONCE = 4096  # rows
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # what AdamW remembers of a weight


class PieceTrainer:
    """Learns piece after piece, judges the held-out pieces, and stops as `torch_loop.train` does.

    `epoch` counts from 1, `at` the pieces that were learned from or judged in it. Everything that the next step depends
    on is in `state()`: weights, the optimiser's moments, torch's random state, the best weights and the sums so far.
    """

    def __init__(self, settings: NetworkModel, width: int, outputs: int) -> None:
        self.settings = settings
        self.epoch, self.at, self.since = 1, 0, 0
        self.best = float("inf")
        self.sums = {False: [0.0, 0.0], True: [0.0, 0.0]}  # judged: [loss, rows]
        self.curve: Curve = {"epoch": [], "train_loss": [], "validation_loss": []}
        self.random = torch.get_rng_state()
        with self._alone():
            torch.manual_seed(settings.seed)
            self.network = build(settings, width, outputs)
        self.optimiser = optimiser_for(settings, self.network)
        self.loss = loss_for(settings.task)
        self.best_weights = self._weights()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the held-out loss has not fallen for too long."""
        return self.epoch > self.settings.epochs or self.since >= self.settings.patience

    def learn(self, X: NDArray[np.float32], y: Floats, stop: StopCheck | None = None) -> None:
        """One pass over a piece in mini-batches."""
        if len(X):
            with self._alone():
                inputs, targets = self._tensors(X, y)
                rows = torch.arange(len(X))
                loss = one_epoch(
                    self.network,
                    self.optimiser,
                    self.loss,
                    inputs,
                    targets,
                    rows,
                    self.settings.batch_size,
                    stop,
                )
            self._add(False, loss, len(X))
        self.at += 1

    def judge(self, X: NDArray[np.float32], y: Floats) -> None:
        """The loss on a piece that is not learned from."""
        for start in range(0, len(X), JUDGED_AT_ONCE):
            part = slice(start, start + JUDGED_AT_ONCE)
            with self._alone():
                loss = loss_on(self.network, self.loss, *self._tensors(X[part], y[part]))
            self._add(True, loss, len(X[part]))
        self.at += 1

    def end_epoch(self) -> None:
        """Keep the weights if they are the best so far; where no row was held out, by the loss in training."""
        trained, held = (total / max(rows, 1.0) for total, rows in (self.sums[False], self.sums[True]))
        if not self.sums[True][1]:
            held = trained
        for name, value in zip(self.curve, (float(self.epoch), trained, held), strict=True):
            self.curve[name].append(value)
        if held < self.best - BETTER:
            self.best, self.best_weights, self.since = held, self._weights(), 0
        else:
            self.since += 1
        self.epoch, self.at = self.epoch + 1, 0
        self.sums = {False: [0.0, 0.0], True: [0.0, 0.0]}

    def best_layers(self) -> Layers:
        """(weight, bias) of each layer, as `NetworkModel` keeps them."""
        return layers_of(self.best_weights)

    def state(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays."""
        found: dict[str, NDArray[Any]] = {
            "random": self.random.numpy(),
            "counts": np.array([self.epoch, self.at, self.since], dtype=np.int64),
            "sums": np.array([self.best, *self.sums[False], *self.sums[True]]),
            "curve": np.array(list(self.curve.values())).reshape(3, -1),
        }
        remembered = self.optimiser.state_dict()["state"]
        for i, weight in enumerate(self.network.parameters()):
            found[f"weight_{i}"] = weight.detach().numpy()
            found[f"best_{i}"] = self.best_weights[i].numpy()
            for moment in MOMENTS if i in remembered else ():
                found[f"{moment}_{i}"] = remembered[i][moment].numpy()
        return found

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """The inverse of `state`."""
        self.random = torch.from_numpy(state["random"].copy())
        self.epoch, self.at, self.since = (int(value) for value in state["counts"])
        self.best, *sums = (float(value) for value in state["sums"])
        self.sums = {False: sums[:2], True: sums[2:]}
        self.curve = {name: values.tolist() for name, values in zip(self.curve, state["curve"], strict=True)}
        moments: dict[int, dict[str, torch.Tensor]] = {}
        with torch.no_grad():
            for i, weight in enumerate(self.network.parameters()):
                weight.copy_(torch.from_numpy(state[f"weight_{i}"].copy()))
                if f"step_{i}" in state:
                    moments[i] = {name: torch.from_numpy(state[f"{name}_{i}"].copy()) for name in MOMENTS}
        self.best_weights = [
            torch.from_numpy(state[f"best_{i}"].copy()) for i in range(len(self.best_weights))
        ]
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})

    def _add(self, judged: bool, loss: float, rows: int) -> None:
        self.sums[judged][0] += loss * rows
        self.sums[judged][1] += rows

    def _weights(self) -> list[torch.Tensor]:
        return [weight.detach().clone() for weight in self.network.parameters()]

    def _tensors(self, X: NDArray[np.float32], y: Floats) -> tuple[torch.Tensor, torch.Tensor]:
        classify = self.settings.task == "classification"
        target = y.astype(np.int64) if classify else y.astype(np.float32).reshape(len(y), -1)
        return torch.from_numpy(np.ascontiguousarray(X)), torch.from_numpy(target)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread and this training's own random numbers."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(self.random)
                yield
                self.random = torch.get_rng_state()
        finally:
            torch.set_num_threads(threads)
