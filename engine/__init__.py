"""The learning engine of AI Mass: data frames in, fitted and calibrated models out; knows no Django.

    schema  = infer_schema(frame)
    fitted  = fit(frame, Recipe(target="diagnosis", patient="mrn"))
    report  = evaluate(fitted, other_frame)
    result  = fitted.predict(frame)
    reasons = explain(fitted, frame)
    save(fitted, folder); fitted = load(folder)

Names are loaded when they are first used, so that `import engine` is quick and never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine import registry
    from engine.artefact import fingerprint, load, save
    from engine.checks import check, leak_report
    from engine.chunked import fit_chunks
    from engine.comparison import compare
    from engine.errors import ArtefactError, EngineError, Stopped
    from engine.evaluation import Report, evaluate
    from engine.explanation import Reasons, explain
    from engine.findings import CandidateResult, Progress, Search
    from engine.fitted import Fitted, Prediction
    from engine.metrics import METRICS, Metric
    from engine.problems import Problem
    from engine.recipe import Recipe
    from engine.schema import ColumnSpec, Kind, Role, Schema, infer_schema
    from engine.search import fit, fit_candidates
    from engine.time_order import time_split

_HOMES = {
    "artefact": ("fingerprint", "load", "save"),
    "checks": ("Problem", "check", "leak_report"),
    "chunked": ("fit_chunks",),
    "comparison": ("compare",),
    "errors": ("ArtefactError", "EngineError", "Stopped"),
    "evaluation": ("Report", "evaluate"),
    "explanation": ("Reasons", "explain"),
    "fitted": ("Fitted", "Prediction"),
    "metrics": ("METRICS", "Metric"),
    "recipe": ("Recipe",),
    "schema": ("ColumnSpec", "Kind", "Role", "Schema", "infer_schema"),
    "search": ("CandidateResult", "Progress", "Search", "fit", "fit_candidates"),
    "time_order": ("time_split",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "METRICS", "ArtefactError", "CandidateResult", "ColumnSpec", "EngineError", "Fitted", "Kind", "Metric",
    "Prediction", "Problem", "Progress", "Reasons", "Recipe", "Report", "Role", "Schema", "Search", "Stopped",
    "check", "compare", "evaluate", "explain", "fingerprint", "fit", "fit_candidates", "fit_chunks", "infer_schema",
    "leak_report", "load", "registry", "save", "time_split",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "registry":
        importlib.import_module("engine.candidates")
        return importlib.import_module("engine.registry")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"engine.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
