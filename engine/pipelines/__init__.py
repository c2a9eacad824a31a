"""Tasks that have a way of their own from table to model: matching of texts, spans of text, forecasts of series.

The others (classification, regression) share the one way through a matrix. Each pipeline is loaded when it is first
used, so that `import engine` stays quick.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.pipelines.base import Pipeline

HOMES = {"matching": "engine.matching.pipeline", "spans": "engine.spans.pipeline", "forecast": "engine.forecast.pipeline"}
TASKS = tuple(HOMES)


def of(task: str) -> Pipeline | None:
    """The pipeline of a task; None for the tasks that go through a matrix."""
    if task not in HOMES:
        return None
    pipeline: Pipeline = importlib.import_module(HOMES[task]).PIPELINE
    return pipeline


def clean_settings(task: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The given settings of a task in their own types.

    Raises EngineError naming the setting and its limits ("setting_unknown", "setting_invalid").
    """
    pipeline = of(task)
    known = {} if pipeline is None else {setting.name: setting for setting in pipeline.settings}
    cleaned: dict[str, Any] = {}
    for name, value in values.items():
        params = {"setting": name, "task": task, "value": value}
        if name not in known:
            raise EngineError("setting_unknown", f"The task “{task}” has no setting “{name}”.", params)
        try:
            cleaned[name] = known[name].clean(value)
        except (TypeError, ValueError):
            limits = known[name].limits
            message = f"The setting “{name}” of “{task}” must be {limits}."
            raise EngineError("setting_invalid", message, {**params, "limits": limits}) from None
    return cleaned
