"""The training loop of the network candidate: imported where a network is trained, as it loads torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from engine.candidates.base import Curve, StopCheck
from engine.metrics import Floats, Ints

if TYPE_CHECKING:
    from engine.candidates.network import NetworkModel

BETWEEN = 50  # batches between two looks at the clock
BETTER = 1e-5  # by which the held-out loss must fall to count as better
Layers = list[tuple[Floats, Floats]]


def train(
    settings: NetworkModel, X: Floats, y: Floats | Ints, train_rows: Ints, held_rows: Ints, outputs: int,
    stop: StopCheck | None,
) -> tuple[Layers, Curve]:  # fmt: skip
    """Train until the held-out loss stops falling; the best epoch's layers as float64 arrays, and the curve."""
    threads = torch.get_num_threads()
    torch.set_num_threads(
        1
    )  # small matrices: more threads only wait for each other, and sums stay repeatable
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return _loop(settings, X, y, train_rows, held_rows, outputs, stop)
    finally:
        torch.set_num_threads(threads)


class Asked(nn.Module):
    """The log loss of many questions of yes or no, summed over those that were asked: NaN marks the others."""

    def forward(self, scores: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        asked = ~torch.isnan(answers)
        known = torch.where(asked, answers, torch.zeros_like(answers))
        losses = nn.functional.binary_cross_entropy_with_logits(scores, known, reduction="none")
        return (losses * asked).sum() / len(scores)


def loss_for(task: str) -> nn.Module:
    """What is made small: log loss of the classes or of the questions, or the squared error."""
    return nn.CrossEntropyLoss() if task == "classification" else Asked() if task == "many" else nn.MSELoss()


def optimiser_for(settings: NetworkModel, network: nn.Module) -> torch.optim.Optimizer:
    """AdamW with the settings' learning rate and weight decay."""
    return torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)


def build(settings: NetworkModel, inputs: int, outputs: int) -> nn.Sequential:
    """The layers, with weights drawn from torch's random state."""
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}[settings.activation]
    parts: list[nn.Module] = []
    for _ in range(settings.hidden_layers):
        parts += [nn.Linear(inputs, settings.nodes), activation(), nn.Dropout(settings.dropout)]
        inputs = settings.nodes
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))


def _loop(
    settings: NetworkModel, X: Floats, y: Floats | Ints, train_rows: Ints, held_rows: Ints, outputs: int,
    stop: StopCheck | None,
) -> tuple[Layers, Curve]:  # fmt: skip
    network = build(settings, X.shape[1], outputs)
    classify = settings.task == "classification"
    loss_of = loss_for(settings.task)
    inputs = torch.from_numpy(X.astype(np.float32))
    targets = torch.from_numpy(y.astype(np.int64) if classify else y.astype(np.float32).reshape(len(y), -1))
    train_index, held_index = torch.from_numpy(train_rows), torch.from_numpy(held_rows)
    optimiser = optimiser_for(settings, network)
    curve: Curve = {"epoch": [], "train_loss": [], "validation_loss": []}
    best, best_layers, since = float("inf"), layers_of(network.parameters()), 0
    for epoch in range(1, settings.epochs + 1):
        if stop is not None:
            stop(curve)
        trained = one_epoch(
            network, optimiser, loss_of, inputs, targets, train_index, settings.batch_size, stop
        )
        held = (
            loss_on(network, loss_of, inputs[held_index], targets[held_index]) if len(held_rows) else trained
        )
        for name, value in zip(curve, (float(epoch), trained, held), strict=True):
            curve[name].append(value)
        if held < best - BETTER:
            best, best_layers, since = held, layers_of(network.parameters()), 0
        else:
            since += 1
            if since >= settings.patience:
                break
    return best_layers, curve


def one_epoch(
    network: nn.Sequential, optimiser: torch.optim.Optimizer, loss_of: nn.Module, inputs: torch.Tensor,
    targets: torch.Tensor, rows: torch.Tensor, batch_size: int, stop: StopCheck | None = None,
) -> float:  # fmt: skip
    """One pass over these rows in mini-batches of a random order; the mean loss before each step."""
    network.train()
    total = 0.0
    for number, batch in enumerate(rows[torch.randperm(len(rows))].split(batch_size)):
        if stop is not None and number % BETWEEN == BETWEEN - 1:
            stop({})  # an epoch of large data takes long
        optimiser.zero_grad()
        loss = loss_of(network(inputs[batch]), targets[batch])
        loss.backward()
        optimiser.step()
        total += float(loss.detach()) * len(batch)
    return total / max(len(rows), 1)


def loss_on(network: nn.Sequential, loss_of: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    """The mean loss without learning."""
    network.eval()
    with torch.no_grad():
        return float(loss_of(network(inputs), targets))


def layers_of(parameters: Iterable[torch.Tensor]) -> Layers:
    """(weight, bias) of each layer: only the linear parts have parameters, in this order."""
    values = [_array(each) for each in parameters]
    return list(zip(values[::2], values[1::2], strict=True))


def _array(values: torch.Tensor) -> Floats:
    array: Floats = values.detach().numpy().astype(np.float64)
    return array
