"""A task as several questions of yes or no, and models that answer many questions at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.candidates.base import Curve, Matrix, Model, StopCheck, sigmoid
from engine.candidates.network import NetworkModel, activate
from engine.metrics import Floats, Ints
from engine.split import hold_out

FEWEST_FOR_SPLIT = 20  # patients, below which a network has no inner split to stop by


class Several(Model):
    """One model of two classes per question: binary relevance (Tsoumakas & Katakis 2007, doi:10.4018/jdwm.2007070101),
    which with the questions "more than grade k?" is the ordinal reduction of Frank & Hall 2001
    (doi:10.1007/3-540-44795-4_13).

    A question that has one answer in training is answered by its smoothed share (Laplace).
    """

    task = "several"

    def __init__(self, *, base: type[Model], hyperparameters: Mapping[str, Any], seed: int = 0) -> None:
        self.base = base
        self.hyperparameters = hyperparameters
        self.seed = seed

    def _one(self) -> Model:
        return self.base(task="classification", seed=self.seed, **self.hyperparameters)

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """`y` (n, questions): 1, 0, or NaN where the question was not asked."""
        patients = np.arange(len(y)) if patients is None else patients
        self.models_: list[Model | None] = []
        self.shares_ = np.zeros(y.shape[1])
        for j, answers in enumerate(np.asarray(y, dtype=float).T):
            rows = np.flatnonzero(np.isfinite(answers))
            own = answers[rows].astype(np.int64)
            self.shares_[j] = (own.sum() + 1.0) / (len(own) + 2.0)
            if len(np.unique(own)) < 2:
                self.models_.append(None)
                continue
            codes = np.unique(patients[rows], return_inverse=True)[1]
            part = X if len(rows) == len(answers) else X[rows]
            self.models_.append(self._one().fit(part, own, patients=codes, stop=stop))
        return self

    def raw(self, X: Matrix) -> Floats:
        """(n, questions) probabilities of yes."""
        n = X.shape[0]
        answers = [
            np.full(n, share) if model is None else model.raw(X)[:, 1]
            for model, share in zip(self.models_, self.shares_, strict=True)
        ]
        return np.column_stack(answers)

    @property
    def curve(self) -> Curve:
        """Of the first question."""
        return next((model.curve for model in self.models_ if model is not None), super().curve)

    def estimators(self) -> dict[str, Any]:
        """Those of all questions, numbered."""
        return {f"{name}_{j}": part for j, model in enumerate(self.models_) if model is not None
                for name, part in model.estimators().items()}  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Those of all questions, numbered, and which questions have a model."""
        fitted = np.array([model is not None for model in self.models_], dtype=np.int64)
        named: dict[str, NDArray[Any]] = {"shares": self.shares_, "fitted": fitted}
        for j, model in enumerate(self.models_):
            if model is not None:
                named |= {f"{j}/{name}": part for name, part in model.arrays().items()}
        return named

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """The inverse of both."""
        self.shares_, self.models_ = arrays["shares"], []
        for j, fitted in enumerate(arrays["fitted"].tolist()):
            own = {name.rsplit("_", 1)[0]: part for name, part in estimators.items()
                   if name.rsplit("_", 1)[1] == str(j)}  # fmt: skip
            parts = {name.split("/", 1)[1]: part for name, part in arrays.items() if name.startswith(f"{j}/")}
            self.models_.append(self._one().restore(own, parts) if fitted else None)
        return self


class ManyOutputs(NetworkModel):
    """The network candidate with one output per question and a shared body: the log loss of the questions asked.

    Only the hyperparameters are inherited; where there is one for the number of networks, so many are averaged.
    """

    task = "many"

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """`y` (n, questions): 1, 0, or NaN where the question was not asked."""
        from engine.candidates.torch_loop import train

        X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        patients = np.arange(len(y)) if patients is None else np.unique(patients, return_inverse=True)[1]
        answers = np.unique(np.nan_to_num(y, nan=2.0), axis=0, return_inverse=True)[1].ravel()
        self.nets_: list[list[tuple[Floats, Floats]]] = []
        for number in range(int(getattr(self, "networks", 1))):
            one = copy(self)
            one.seed = (self.seed + 7919 * number) % 2**32
            train_rows, held_rows = hold_out(answers.astype(float), "classification", patients, one.seed)
            if int(patients.max()) + 1 < FEWEST_FOR_SPLIT:
                train_rows, held_rows = np.arange(len(y)), np.zeros(0, dtype=np.int64)
            layers, curve = train(one, X, y, train_rows, held_rows, y.shape[1], stop)
            self.nets_.append(layers)
            self._curve = curve
        return self

    def raw(self, X: Matrix) -> Floats:
        """(n, questions) probabilities of yes."""
        X = np.asarray(X, dtype=float)
        return np.mean([self._through(X, layers) for layers in self.nets_], axis=0)

    def _through(self, hidden: Floats, layers: list[tuple[Floats, Floats]]) -> Floats:
        for weight, bias in layers[:-1]:
            hidden = activate(hidden @ weight.T + bias, self.activation)
        weight, bias = layers[-1]
        return sigmoid(hidden @ weight.T + bias)

    @property
    def curve(self) -> Curve:
        """Loss by epoch, of the last network."""
        return getattr(self, "_curve", Model().curve)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights and biases as trained (float32)."""
        named: dict[str, NDArray[Any]] = {"shape": np.array([len(self.nets_), len(self.nets_[0])])}
        for k, layers in enumerate(self.nets_):
            for i, (weight, bias) in enumerate(layers):
                named[f"{k}/weight_{i}"] = weight.astype(np.float32)
                named[f"{k}/bias_{i}"] = bias.astype(np.float32)
        return named

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """From the stored arrays."""
        nets, layers = (int(number) for number in arrays["shape"])
        self.nets_ = [
            [(arrays[f"{k}/weight_{i}"].astype(float), arrays[f"{k}/bias_{i}"].astype(float)) for i in range(layers)]
            for k in range(nets)
        ]
        return self


class Reduced(Model):
    """A model of many questions under a task: `ask` turns the truth into questions, `answer` their answers back."""

    task = "reduced"

    def __init__(
        self, *, inner: Model, ask: Callable[[Any], Floats], answer: Callable[[Floats], Floats]
    ) -> None:
        self.inner = inner
        self.ask = ask
        self.answer = answer

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """`y` as the task reads it."""
        self.inner.fit(X, self.ask(y), patients=patients, stop=stop)
        return self

    def raw(self, X: Matrix) -> Floats:
        """(n, k) as the task wants it."""
        return self.answer(self.inner.raw(X))

    @property
    def curve(self) -> Curve:
        """The inner model's."""
        return self.inner.curve

    def estimators(self) -> dict[str, Any]:
        """The inner model's."""
        return self.inner.estimators()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The inner model's."""
        return self.inner.arrays()

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """Into the inner model."""
        self.inner.restore(estimators, arrays)
        return self


def many_questions(
    model: type[Model], name: str, hyperparameters: Mapping[str, Any], seed: int
) -> Model:
    """The candidate's model for many questions: the network has an output for each, others a model for each."""
    if name == "network":
        return ManyOutputs(task="many", seed=seed, **hyperparameters)
    return Several(base=model, hyperparameters=dict(hyperparameters), seed=seed)
