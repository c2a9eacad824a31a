"""What a fit in pieces keeps in its folder, so that it goes on after a kill."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from engine.errors import EngineError


class Checkpoint:
    """Small JSON and arrays in a folder, each written whole or not at all."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        self.path = folder / "state.json"
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
        self.values: dict[str, Any] = {"identity": digest}
        if self.path.exists():
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found.get("identity") != digest:
                raise EngineError(
                    "checkpoint_other",
                    "This checkpoint belongs to other data or another recipe.",
                    {"folder": folder.name},
                )
            self.values = found

    def get(self, name: str, default: Any) -> Any:
        """What was last put there."""
        return self.values.get(name, default)

    def put(self, **values: Any) -> None:
        """All of it at once."""
        self.values |= values
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(self.values), encoding="utf-8")
        draft.replace(self.path)

    def put_arrays(self, name: str, arrays: dict[str, Any]) -> None:
        """A file of arrays, replaced whole."""
        draft = self.folder / f"{name}.draft"
        save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, draft)
        draft.replace(self.folder / f"{name}.safetensors")

    def arrays(self, name: str) -> dict[str, Any]:
        """The arrays of that file; {} where there is none."""
        path = self.folder / f"{name}.safetensors"
        return dict(load_file(path)) if path.exists() else {}

    def clear(self) -> None:
        """Take away everything that this module has written."""
        for pattern in (
            "state.json",
            "*.draft",
            "*.safetensors",
            "sample_*.parquet",
            "rows.f32",
            "labels.f64",
            "inner.u8",
        ):
            for path in self.folder.glob(pattern):
                path.unlink()
