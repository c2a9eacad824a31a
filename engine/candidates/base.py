"""What every candidate's model is: a scikit-learn style estimator on a matrix, with parts that can be stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import ClassifierTags, RegressorTags, Tags
from sklearn.utils.metaestimators import available_if

from engine.metrics import Floats, Ints

Matrix = Any  # (n, features): a float64 array or a scipy CSR matrix
Curve = dict[str, list[float]]
StopCheck = Callable[[Curve], None]  # called between steps with the curve so far; raises Stopped


class Model(BaseEstimator):
    """Hyperparameters are keyword arguments stored as given; `fit` returns self; learned state ends in `_`.

    `wants_dense`: text is reduced to a dense matrix first. `keeps_missing`: NaN may reach the model.
    `wants_tensors`: X is a Bundle (engine.bundle), the table's matrix with the files' tensors.
    """

    wants_dense = False
    keeps_missing = False
    wants_tensors = False
    task: str
    classes_: Ints

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn is told: a classifier or a regressor by `task`, so that its own checks are those of that kind."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = self.keeps_missing
        tags.input_tags.sparse = not self.wants_dense
        if self.task == "classification":
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        elif self.task == "regression":
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        return tags

    def fit(
        self, X: Matrix, y: Floats | Ints, *, patients: Ints | None = None, stop: StopCheck | None = None
    ) -> Model:
        """Learn from (n, features) and codes 0..k-1 or numbers; `patients` groups rows for any inner split."""
        raise NotImplementedError

    def raw(self, X: Matrix) -> Floats:
        """Probabilities (n, k), or predicted numbers (n,)."""
        raise NotImplementedError

    @available_if(lambda model: model.task != "regression")
    def predict_proba(self, X: Matrix) -> Floats:
        """Probabilities (n, k), columns in the order of `classes_`."""
        return self.raw(X)

    def predict(self, X: Matrix) -> NDArray[Any]:
        """The most probable class code, or the number."""
        raw = self.raw(X)
        return self.classes_[raw.argmax(axis=1)] if self.task == "classification" else raw

    def score(self, X: Matrix, y: Floats | Ints) -> float:
        """As scikit-learn scores: the share of right classes, or R²."""
        return float((accuracy_score if self.task == "classification" else r2_score)(y, self.predict(X)))

    @property
    def curve(self) -> Curve:
        """Loss by epoch, for models that have one."""
        return {"epoch": [], "train_loss": [], "validation_loss": []}

    def shorter(self) -> list[tuple[dict[str, Any], Model]]:
        """What the model was on its way, as hyperparameters that would have ended there: trials that cost no fit."""
        return []

    def linear_terms(self) -> Floats | None:
        """Coefficients (outputs, features) when the log odds are linear in the features, else None."""
        return None

    def intercepts(self) -> Floats:
        """(outputs,) that belong to `linear_terms`."""
        raise NotImplementedError

    def flat_trees(self) -> Any:
        """The `FlatTrees` whose scores are the log odds (two classes) or the numbers, else None."""
        return None

    def estimators(self) -> dict[str, Any]:
        """scikit-learn objects to be stored through skops."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays to be stored as safetensors."""
        return {}

    def restore(self, estimators: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """The inverse of `estimators` and `arrays`."""
        raise NotImplementedError

    @classmethod
    def trials(cls, task: str, rows: int, width: int, classes: int) -> list[dict[str, Any]]:
        """Hyperparameters worth trying, the best guess first; the search walks through them in this order."""
        return [{}]

    @classmethod
    def budgeted_trials(
        cls, task: str, rows: int, width: int, classes: int, row_seconds: float, seconds: float
    ) -> list[dict[str, Any]]:
        """`trials` for models that look at files: `row_seconds` for the files of a record in one step, `seconds` that
        one fit may take."""
        return cls.trials(task, rows, width, classes)

    @classmethod
    def cost(cls, rows: int, width: int, classes: int, hyperparameters: Mapping[str, Any]) -> float:
        """About how many seconds one fit takes on one core; decides (repeatably) how much is tried."""
        return 0.01

    @classmethod
    def startup(cls) -> float:
        """About how many seconds the first fit in this process takes longer, for what must be loaded first."""
        return 0.0


def softmax(scores: Floats) -> Floats:
    """Rows of log odds to rows of probabilities."""
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = e / e.sum(axis=1, keepdims=True)
    return result


def sigmoid(scores: Floats) -> Floats:
    """Log odds to probabilities, without overflow."""
    e = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1.0 / (1.0 + e), e / (1.0 + e))


def two_columns(p: Floats) -> Floats:
    """The positive class's probability (n,) as (n, 2)."""
    return np.column_stack([1.0 - p, p])
