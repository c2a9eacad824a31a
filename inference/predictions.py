"""From the engine's arrays to what is stored and answered for each record."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def finite(value: Any) -> Any:
    """JSON knows no infinity: such a number becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lists(array: Any) -> list[Any]:
    """A numeric array as nested lists of finite numbers or None."""
    if array is None:
        return []
    values = np.asarray(array, dtype=float)
    if np.isfinite(values).all():
        return values.tolist()  # type: ignore[no-any-return]
    return np.where(np.isfinite(values), values, None).tolist()  # type: ignore[no-any-return, call-overload]


def outcomes(
    fitted: Any, prediction: Any, extra_warnings: Mapping[int, list[dict[str, Any]]]
) -> list[tuple[str, float | None, dict[str, Any]]]:
    """For each record (value as text, probability of the decided class, output).

    `output` has probabilities {class: p}, interval [low, high] (of `probability`, or of the number), set (classes of the
    95% prediction set), out_of_distribution, ood_score and warnings.
    """
    rows = _classes(fitted, prediction) if prediction.probabilities is not None else _numbers(prediction)
    strange = [bool(flag) for flag in prediction.out_of_distribution]
    scores = _lists(prediction.ood_score)
    warnings: Sequence[list[dict[str, Any]]] = prediction.warnings
    for index, (_value, _probability, output) in enumerate(rows):
        output["out_of_distribution"] = strange[index]
        output["ood_score"] = scores[index]
        output["warnings"] = warnings[index] + extra_warnings.get(index, [])
    return rows


def _classes(fitted: Any, prediction: Any) -> list[tuple[str, float | None, dict[str, Any]]]:
    names = [str(name) for name in fitted.classes_]
    place = {name: i for i, name in enumerate(names)}
    values = [str(value) for value in prediction.value]
    intervals = _lists(prediction.interval)
    # With two classes the engine's interval is of the positive class: turned round when the other one was decided.
    positive = fitted.positive if len(names) == 2 else None
    sets = prediction.sets or [[]] * len(values)
    rows = []
    for i, probabilities in enumerate(_lists(prediction.probabilities)):
        code = place[values[i]]
        low, high = intervals[i]
        if positive is not None and code != positive and low is not None and high is not None:
            low, high = 1.0 - high, 1.0 - low
        output = {
            "probabilities": dict(zip(names, probabilities, strict=True)),
            "interval": [low, high],
            "set": [str(name) for name in sets[i]],
        }
        rows.append((values[i], probabilities[code], output))
    return rows


def _numbers(prediction: Any) -> list[tuple[str, float | None, dict[str, Any]]]:
    intervals = _lists(prediction.interval)
    return [
        (repr(float(value)), None, {"probabilities": None, "interval": intervals[i], "set": None})
        for i, value in enumerate(prediction.value)
    ]


def answer_value(value: str, output: Mapping[str, Any]) -> str | float | None:
    """What the API answers as `value`: the class, or for regression the number itself."""
    if output.get("probabilities") is None and value:
        try:
            return finite(float(value))  # type: ignore[no-any-return]
        except ValueError:
            return value
    return value or None
