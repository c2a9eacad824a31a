"""The tasks beyond classification and regression: one module each, which says how labels are read and what follows."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.tasks.base import Task

# A candidate that can tell classes apart can do these too: each is put to it as several questions of yes or no.
REDUCED = ("ordinal", "multilabel", "survival")


def special(name: str) -> Task | None:
    """The task of that name, or None for classification and regression, which the engine's other modules handle."""
    if name not in REDUCED:
        return None
    task: Task = importlib.import_module(f"engine.tasks.{name}").TASK
    return task
