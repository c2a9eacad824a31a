"""The network candidate: a multi-layer perceptron trained with torch and served with numpy."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.candidates.base import Curve, Matrix, Model, StopCheck, softmax
from engine.metrics import Floats, Ints
from engine.registry import Hyperparameter, candidate
from engine.split import hold_out

MANY = 20_000  # records
FEW = 5_000
TORCH_SECONDS = 3.0  # that loading it takes on an idle machine
ACTIVATIONS = ("relu", "tanh", "gelu", "silu")


@candidate(
    "network",
    label="Neural network",
    description="Layers of artificial neurons: learns smooth combinations of all columns.",
    hyperparameters=(
        Hyperparameter("hidden_layers", "int", 2, "Number of hidden layers; 0 is a linear model.", low=0, high=8),
        Hyperparameter("nodes", "int", 64, "Nodes of each hidden layer.", low=1, high=2048),
        Hyperparameter("activation", "choice", "relu", "What each node does with its input.", choices=ACTIVATIONS),
        Hyperparameter("learning_rate", "float", 0.003, "Size of a learning step.", low=1e-6, high=1.0),
        Hyperparameter("dropout", "float", 0.2, "Share of nodes switched off at each step.", low=0.0, high=0.9),
        Hyperparameter("weight_decay", "float", 0.01, "Penalty on large weights.", low=0.0, high=10.0),
        Hyperparameter("batch_size", "int", 64, "Records per step.", low=1, high=65_536),
        Hyperparameter("epochs", "int", 60, "At most this many passes over the training data.", low=1, high=5000),
        Hyperparameter("patience", "int", 10, "Stop after so many epochs without a better validation loss.",
                       low=1, high=5000),
        Hyperparameter("networks", "int", 1, "Networks that are trained from different seeds and averaged.",
                       low=1, high=50),
    ),
)  # fmt: skip
class NetworkModel(Model):
    """Early stopping looks at an inner split by patient; the best epoch's weights are kept.

    Trained in float32 by torch (imported on the first fit only), served in float64 by numpy: no torch at serving.
    """

    wants_dense = True

    def __init__(
        self, *, task: str = "classification", hidden_layers: int = 2, nodes: int = 64, activation: str = "relu",
        learning_rate: float = 0.003, dropout: float = 0.2, weight_decay: float = 0.01, batch_size: int = 64,
        epochs: int = 60, patience: int = 10, networks: int = 1, seed: int = 0,
    ) -> None:  # fmt: skip
        self.task = task
        self.hidden_layers = hidden_layers
        self.nodes = nodes
        self.activation = activation
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.networks = networks
        self.seed = seed

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """Same seed and data: same weights (one thread, own random state)."""
        from engine.candidates.torch_loop import train

        patients = np.arange(len(y)) if patients is None else np.unique(patients, return_inverse=True)[1]
        classify = self.task == "classification"
        centre, spread = (0.0, 1.0) if classify else (float(np.mean(y)), float(np.std(y)))
        self.starts(range(int(y.max()) + 1 if classify else 0), centre, spread)
        target = self.scaled(y)
        outputs = len(self.classes_) if classify else 1
        X = np.asarray(X, dtype=float)
        found = []
        for one in self.single():  # each with an inner split of its own
            train_rows, held_rows = hold_out(y, self.task, patients, one.seed)
            found.append(train(one, X, target, train_rows, held_rows, outputs, stop))
        self.learned(found)
        return self

    def starts(self, codes: Sequence[int], centre: float, spread: float) -> None:
        """What is known before training: the classes' codes, and where numbers lie."""
        self.classes_ = np.array(codes if self.task == "classification" else [], dtype=np.int64)
        self._centre, self._spread = centre, spread or 1.0

    def scaled(self, y: Floats | Ints) -> Any:
        """What the output layer is trained on: codes as they are, numbers around 0."""
        return y if self.task == "classification" else (y - self._centre) / self._spread

    def single(self) -> list[NetworkModel]:
        """The networks that are trained, each with a seed of its own."""
        each = [copy(self) for _ in range(self.networks)]
        for number, one in enumerate(each):
            one.seed = (self.seed + 7919 * number) % 2**32
        return each

    def learned(self, found: Sequence[tuple[list[tuple[Floats, Floats]], Curve]]) -> None:
        """Take the trained layers and the curve of each network."""
        self.layers_: list[tuple[Floats, Floats]] = found[0][0]
        self.others_: list[list[tuple[Floats, Floats]]] = [layers for layers, _ in found[1:]]
        self._curve = found[0][1]

    def raw(self, X: Matrix) -> Floats:
        """Probabilities (n, k) or numbers (n,)."""
        X = np.asarray(X, dtype=float)
        raw = self._answer(X, self.layers_)
        for layers in self.others_:
            raw = raw + self._answer(X, layers)
        return raw / self.networks if self.others_ else raw

    def _answer(self, X: Floats, layers: list[tuple[Floats, Floats]]) -> Floats:
        hidden = X
        for weight, bias in layers[:-1]:
            hidden = activate(hidden @ weight.T + bias, self.activation)
        weight, bias = layers[-1]
        scores: Floats = hidden @ weight.T + bias
        return (
            softmax(scores) if self.task == "classification" else scores[:, 0] * self._spread + self._centre
        )

    @property
    def curve(self) -> Curve:
        """Loss by epoch."""
        return getattr(self, "_curve", super().curve)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights and biases as trained (float32), and the target's centre and spread."""
        named: dict[str, NDArray[Any]] = {"target": np.array([self._centre, self._spread])}
        for k, layers in enumerate([self.layers_, *self.others_]):
            prefix = f"{k}/" if k else ""
            for i, (weight, bias) in enumerate(layers):
                named[f"{prefix}weight_{i}"] = weight.astype(np.float32)
                named[f"{prefix}bias_{i}"] = bias.astype(np.float32)
        return named

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """From the stored arrays."""
        count = sum(name.startswith("weight_") for name in arrays)
        every = [
            [
                (arrays[f"{k}weight_{i}"].astype(float), arrays[f"{k}bias_{i}"].astype(float))
                for i in range(count)
            ]
            for k in ("", *(f"{k}/" for k in range(1, self.networks)))
        ]
        self.layers_, self.others_ = every[0], every[1:]
        self._centre, self._spread = (float(value) for value in arrays["target"])
        self.classes_ = np.arange(len(self.layers_[-1][1])) if self.task == "classification" else np.arange(0)
        return self

    @classmethod
    def trials(cls, task: str, rows: int, width: int, classes: int) -> list[dict[str, Any]]:
        """From a middling network to a small, strongly held one and a wide one; large data in large steps."""
        steps: dict[str, Any] = {"batch_size": 512, "epochs": 20, "patience": 4} if rows > MANY else {}
        if (
            rows <= FEW
        ):  # on few records networks differ by chance as much as settings do: their mean is better than each
            steps = {"networks": 5}
        return [
            steps,
            {"hidden_layers": 1, "nodes": 32, "dropout": 0.3, "weight_decay": 0.1, **steps},
            {"hidden_layers": 2, "nodes": 128, "dropout": 0.4, "activation": "silu", **steps},
            *(
                [{"hidden_layers": 1, "nodes": 32, "dropout": 0.3, "weight_decay": 0.1}]
                if rows <= FEW
                else []
            ),
        ]

    @classmethod
    def startup(cls) -> float:
        """Loading torch."""
        return 0.0 if "torch" in sys.modules else TORCH_SECONDS

    @classmethod
    def cost(cls, rows: int, width: int, classes: int, hyperparameters: Mapping[str, Any]) -> float:
        """Seconds: steps times a fixed part and the multiplications."""
        batch, epochs = hyperparameters.get("batch_size", 64), hyperparameters.get("epochs", 60)
        nodes, layers = hyperparameters.get("nodes", 64), hyperparameters.get("hidden_layers", 2)
        weights = width * nodes + max(layers - 1, 0) * nodes * nodes + nodes * classes
        networks = hyperparameters.get("networks", 1)
        return float(networks * epochs * (math.ceil(rows / batch) * 5e-4 + 6e-10 * rows * weights))


def activate(x: Floats, name: str) -> Floats:
    """The same functions as torch's (gelu in its exact form)."""
    if name == "relu":
        return np.maximum(x, 0.0)
    if name == "tanh":
        return np.tanh(x)
    if name == "silu":
        return x / (1.0 + np.exp(-np.clip(x, -500, 500)))
    from scipy.special import erf

    result: Floats = 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))
    return result
