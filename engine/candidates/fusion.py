"""The fusion candidate: a torch network trained end to end on files and table together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.candidates.base import Curve, Matrix, Model, StopCheck, softmax
from engine.metrics import Floats, Ints
from engine.registry import Hyperparameter, candidate
from engine.schema import FILE_KINDS, Kind
from engine.split import hold_out
from engine.transformers.files import one_thread

FEWEST_EPOCHS, MOST_EPOCHS = 8, 40
ROW_SECONDS = 4e-5  # of the table's part


@candidate(
    "fusion",
    label="Fusion network",
    description="One network for files and table together: it looks at each picture, volume, video or signal itself "
    "and learns how much each of them counts.",
    kinds=tuple(Kind),
    hyperparameters=(
        Hyperparameter("width", "int", 64, "Length of the vector that each file and the table become.", low=8, high=1024),
        Hyperparameter("learning_rate", "float", 0.002, "Size of a learning step.", low=1e-6, high=1.0),
        Hyperparameter("dropout", "float", 0.2, "Share of nodes switched off at each step.", low=0.0, high=0.9),
        Hyperparameter("weight_decay", "float", 0.02, "Penalty on large weights.", low=0.0, high=10.0),
        Hyperparameter("batch_size", "int", 32, "Records per step.", low=1, high=65_536),
        Hyperparameter("epochs", "int", 30, "At most this many passes over the training data.", low=1, high=5000),
        Hyperparameter("patience", "int", 8, "Stop after so many epochs without a better validation loss.",
                       low=1, high=5000),
        Hyperparameter("augmentation", "float", 0.5, "How strongly files are changed at random while learning; 0 is not "
                       "at all.", low=0.0, high=1.0),
        Hyperparameter("allow_flip", "bool", False, "Whether files may be mirrored while learning. Leave it off where "
                       "left and right matter, as in a chest film."),
    ),
)  # fmt: skip
class FusionModel(Model):
    """X is a Bundle. Early stopping looks at an inner split by patient. torch is imported by `fit` and `raw` only."""

    wants_dense = True
    wants_tensors = True
    _network: Any = None

    def __init__(
        self, *, task: str = "classification", width: int = 64, learning_rate: float = 0.002, dropout: float = 0.2,
        weight_decay: float = 0.02, batch_size: int = 32, epochs: int = 30, patience: int = 8,
        augmentation: float = 0.5, allow_flip: bool = False, seed: int = 0,
    ) -> None:  # fmt: skip
        self.task = task
        self.width = width
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.augmentation = augmentation
        self.allow_flip = allow_flip
        self.seed = seed

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """Same seed and data: same weights (one thread, own random state)."""
        from engine.networks import fusion

        X = _bundle(X)
        patients = np.arange(len(y)) if patients is None else np.unique(patients, return_inverse=True)[1]
        classify = self.task == "classification"
        self.classes_ = np.arange(int(y.max()) + 1) if classify else np.arange(0)
        self._centre, self._spread = (0.0, 1.0) if classify else (float(np.mean(y)), float(np.std(y)) or 1.0)
        target: Any = y if classify else (y - self._centre) / self._spread
        train_rows, held_rows = hold_out(y, self.task, patients, self.seed)
        outputs = len(self.classes_) if classify else 1
        self._shapes, self._table = fusion.shapes_of(X), X.shape[1]
        self._network, self._curve = fusion.train(self, X, target, train_rows, held_rows, outputs, stop)
        self._state = fusion.state_of(self._network)
        return self

    def raw(self, X: Matrix) -> Floats:
        """Probabilities (n, k) or numbers (n,)."""
        from engine.networks import fusion

        X = _bundle(X)
        if self._network is None:
            outputs = len(self.classes_) if self.task == "classification" else 1
            network = fusion.build(self, self._table, self._shapes, outputs)
            self._network = fusion.load_state(network, self._state)
        with one_thread():
            scores = fusion.scores_of(self._network, X, np.arange(len(X)), self._shapes).astype(float)
        return softmax(scores) if self.task == "classification" else scores[:, 0] * self._spread + self._centre

    def heat(self, X: Matrix, code: int) -> dict[tuple[Kind, int], Floats]:
        """Where the network looked in each file of one record (kind and column), for the class (see networks.maps)."""
        from engine.networks import maps

        self.raw(X)  # builds the network where it was loaded
        return maps.heat(self._network, _bundle(X), self._shapes, code if self.task == "classification" else None)

    @property
    def curve(self) -> Curve:
        """Loss by epoch."""
        return getattr(self, "_curve", super().curve)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights as trained (float32), the target's centre and spread, and the shapes to build the network from."""
        named: dict[str, NDArray[Any]] = {f"weights/{name}": value for name, value in self._state.items()}
        named |= {f"shape/{kind.value}": np.array(shape) for kind, shape in self._shapes.items()}
        named["target"] = np.array([self._centre, self._spread])
        named["sizes"] = np.array([self._table, len(self.classes_)])
        return named

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """From the stored arrays; the network itself is built when it is first asked."""
        self._state = {n.removeprefix("weights/"): a for n, a in arrays.items() if n.startswith("weights/")}
        self._shapes = {
            kind: tuple(int(n) for n in arrays[f"shape/{kind.value}"])
            for kind in FILE_KINDS
            if f"shape/{kind.value}" in arrays
        }
        self._centre, self._spread = (float(value) for value in arrays["target"])
        self._table, classes = (int(value) for value in arrays["sizes"])
        self.classes_ = np.arange(classes)
        self._network = None
        return self

    @classmethod
    def budgeted_trials(
        cls, task: str, rows: int, width: int, classes: int, row_seconds: float, seconds: float
    ) -> list[dict[str, Any]]:
        """As many epochs as fit into the seconds of one fit; with time to spare a second, more strongly held network."""
        epochs = int(min(MOST_EPOCHS, max(FEWEST_EPOCHS, seconds / max(rows * (row_seconds + ROW_SECONDS), 1e-9))))
        patience = max(5, epochs // 4)
        first = {"epochs": epochs, "patience": patience}
        return [first, {**first, "dropout": 0.4, "weight_decay": 0.1, "augmentation": 0.8}]

    @classmethod
    def cost(cls, rows: int, width: int, classes: int, hyperparameters: Mapping[str, Any]) -> float:
        """Seconds: `row_seconds` is what the plan knows of the files of a record."""
        each = float(hyperparameters.get("row_seconds", 1e-3)) + ROW_SECONDS
        return float(1.0 + rows * hyperparameters.get("epochs", 30) * each)


def _bundle(X: Matrix) -> Bundle:
    return X if isinstance(X, Bundle) else Bundle(X)
