"""A diagnosis's file with its reasons drawn on it: warm where they speak for the value, cold where against."""

from collections.abc import Mapping
from typing import Any

from datasets.cells import pictures
from datasets.cells.models import CellFile
from datasets.models import Kind


def drawn(cell: CellFile, kind: str, regions: Mapping[str, Any], fitted: Any, column: str) -> bytes:
    """PNG. `fitted`: the model that looked, as volumes are drawn on the grid that it saw.

    Raises pictures.NotDrawn, and Busy of the desk.
    """
    millimetres = millimetres_of(fitted, kind, column)
    return pictures.by_desk(cell, lambda desk, path: desk.heat(path, kind, regions, millimetres))


def millimetres_of(fitted: Any, kind: str, column: str) -> float:
    """Of a voxel of the grid that the model saw a volume on; 1 for other kinds."""
    if kind != Kind.VOLUME:
        return 1.0
    from engine.schema import Kind as EngineKind

    names = [spec.name for spec in fitted.encoder.specs[EngineKind.VOLUME]]
    return float(fitted.encoder.transformers[EngineKind.VOLUME].part(names.index(column)).millimetres)
